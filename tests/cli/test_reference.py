"""docs/cli.md and the help: complete, and the same."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click

from headstream.cli.app import EXAMPLES, program
from headstream.cli.common import Command, Example
from headstream.cli.failures import ExitCode
from support.commands import Commands

ROOT = Path(__file__).parents[2]
NAMES = list(program.commands)


def command(name: str) -> Command:
    """A command by its name."""
    found = program.commands[name]
    assert isinstance(found, Command)
    return found


def examples() -> Iterator[Example]:
    """All examples of all commands."""
    yield from EXAMPLES
    for name in NAMES:
        yield from command(name).examples


def test_the_reference_is_up_to_date() -> None:
    """Else: python tools/cli_reference.py."""
    tool = runpy.run_path(str(ROOT / "tools" / "cli_reference.py"))
    assert (ROOT / "docs" / "cli.md").read_text() == tool["reference"]()


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_explained(name: str) -> None:
    """Itself, each argument, each option; and with examples of its own."""
    found = command(name)
    assert found.help
    assert len(found.examples) >= 3
    assert all(purpose and line.startswith(f"headstream {name}") for purpose, line in found.examples)
    for param in found.params:
        assert isinstance(param, click.RichParameter)
        assert param.help
        assert param.help.endswith("."), param.name


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_it_all(cli: Commands, name: str) -> None:
    """Options, arguments and examples, in 80 columns; -h is the same."""
    shown = cli(name, "--help").stdout
    assert cli(name, "-h").stdout == shown
    assert max(map(len, shown.splitlines())) <= 80
    for option in command(name).params:
        assert (option.opts[0] if isinstance(option, click.Option) else str(option.name).upper()) in shown
    for _, line in command(name).examples:
        assert f"  {line}" in shown


def test_the_programs_help_has_the_exit_codes(cli: Commands) -> None:
    """All of them."""
    shown = cli("--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    for code in ExitCode:
        assert re.search(rf"^ *{code.value}  {re.escape(code.meaning)}", shown, flags=re.MULTILINE)


@pytest.mark.parametrize("line", [part for _, line in examples() for part in line.split(" | ")])
def test_every_example_can_be_parsed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that it calls."""
    monkeypatch.chdir(tmp_path)
    for name in ("events.jsonl", "day.jsonl"):
        (tmp_path / name).touch()
    name, *args = shlex.split(line.removeprefix("headstream ").removeprefix("--stats ").removeprefix("--verbose "))
    context = command(name).make_context(name, args)
    context.close()
    assert context.args == []
