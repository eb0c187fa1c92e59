"""Writes docs/cli.md, the reference of the command line, from the commands themselves: python tools/cli_reference.py"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import rich_click as click

from headstream.cli.app import EXAMPLES, program
from headstream.cli.common import Command, Example
from headstream.cli.failures import ExitCode

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"
INTRODUCTION = """\
# The command line

<!-- Written by tools/cli_reference.py from the commands themselves. Change their help, then run it. -->

```sh
pip install "headstream[cli]"
```
"""


def reference() -> str:
    """The whole page."""
    context = click.RichContext(program, info_name="headstream", **program.context_settings)
    parts = [
        INTRODUCTION,
        *_paragraphs(program.help),
        _examples(EXAMPLES),
        _contents(),
        _options(program),
        _exit_codes(),
    ]
    for name in program.list_commands(context):
        command = program.commands[name]
        assert isinstance(command, Command)
        parts.extend(_command(command, click.RichContext(command, info_name=name, parent=context)))
    return "\n".join(parts)


def _command(command: Command, context: click.RichContext) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    yield f"```\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield from _paragraphs(command.help)
    arguments = [param for param in command.params if isinstance(param, click.RichArgument)]
    if arguments:
        yield _table("argument", [(f"`{param.make_metavar(context)}`", param.help or "") for param in arguments])
    yield _options(command)
    yield _examples(command.examples)


def _options(command: click.Command) -> str:
    options = [param for param in command.params if isinstance(param, click.Option)]
    return _table("option", [(f"`{_flags(option)}`", _help(option)) for option in options])


def _flags(option: click.Option) -> str:
    flags = ", ".join(option.opts)
    if option.secondary_opts:
        flags += f" / {', '.join(option.secondary_opts)}"
    return flags if option.is_flag else f"{flags} {option.metavar}"


def _help(option: click.Option) -> str:
    text = option.help or ""
    return f"{text} Default: `{option.default}`." if option.show_default else text


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {title} | |", "| --- | --- |", *(f"| {name} | {_cell(text)} |" for name, text in rows)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(paragraph.split()) + "\n" for paragraph in (text or "").split("\n\n")]


def _examples(examples: Iterable[Example]) -> str:
    lines = [f"# {purpose}\n{line}" if purpose else line for purpose, line in examples]
    return "```sh\n" + "\n".join(lines) + "\n```\n"


def _contents() -> str:
    return (
        "\n".join(
            f"* [{name}](#headstream-{name}): {command.get_short_help_str(200)}"
            for name, command in program.commands.items()
        )
        + "\n"
    )


def _exit_codes() -> str:
    return "## Exit codes\n\n" + _table("code", [(str(code.value), code.meaning) for code in ExitCode])


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
