"""The documentation as tests see it: its pages, their blocks, tables and links, and a reader who types along."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from azure.storage.blob import generate_container_sas

from servers.azure import ACCOUNT, KEY
from servers.base import Server
from servers.s3 import ACCESS_KEY, SECRET_KEY

ROOT: Final = Path(__file__).resolve().parents[2]
ANYTHING: Final = "…"
"""Stands in an expected output for whatever differs from run to run."""
LANGUAGES: Final = frozenset({"python", "output", "console", "text", "sh", "json"})
"""Of fenced blocks. ``python`` and ``console`` are run, ``output`` is what the block before it prints; nobody runs the others."""
CLOUDS: Final[Mapping[str, str]] = {"az": "azurite", "s3": "ministack", "gs": "gcs"}
"""Schemes, and the test servers behind them."""
COMMAND_SECONDS: Final = 120

_FENCE: Final = re.compile(r"^```(\w*)$")
_FILE: Final = re.compile(r"^# (\w+\.py)$")
_EXPLICIT: Final = re.compile(r"\b(?:account_key|sas_key|secret_access_key|service_account_key)=")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Of its first line of text."""
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All pages of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened = (number + 1, fence[1] or "text")
        elif opened is not None and line == "```":
            start, language = opened
            found.append(Block(page, start, language, "\n".join(lines[start - 1 : number - 1]) + "\n"))
            opened = None
    assert opened is None, f"{page}:{opened}: the block is not closed"
    return found


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page can be linked."""
    titles = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def section(page: Path, title: str, *, deep: bool = True) -> str:
    """What stands below the heading ``title``, not the page's own: up to the next heading of its level or a higher one; unless ``deep``, to any."""
    lines = page.read_text().splitlines()
    start = next((at for at, line in enumerate(lines) if re.fullmatch(rf"##+ {re.escape(title)}", line)), None)
    assert start is not None, f"{page.name} has no heading {title!r}"
    highest = lines[start].index(" ") if deep else 6
    rest = lines[start + 1 :]
    end = next((at for at, line in enumerate(rest) if re.match(rf"#{{1,{highest}}} ", line)), len(rest))
    return "\n".join([*rest[:end], ""])


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows in a text, without titles and rulers."""
    lines = text.splitlines()
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines if line.startswith("|")
    ]
    ruler = re.compile(r":?-+:?")
    rulers = [at for at, row in enumerate(cells) if all(ruler.fullmatch(cell) for cell in row)]
    return [row for at, row in enumerate(cells) if at not in rulers and at + 1 not in rulers]


def agrees(actual: str, expected: str) -> bool:
    """Whether an output is the expected one, in which ``…`` stands for anything within a line, or alone for any lines."""
    pattern = ""
    for line in expected.strip().splitlines():
        if line.strip() == ANYTHING:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split(ANYTHING)) + r"[ ]*\n"
    return re.fullmatch(pattern, actual.strip() + "\n") is not None


class Reader:
    """Somebody who types a page's examples along, in an empty folder that is the working folder.

    Where an example uses a cloud, a test server stands for it: the environment leads to it, the bucket ``events`` becomes a fresh one,
    and the page's account and endpoint become the server's. An example that names its credentials finds none in the environment.
    """

    def __init__(
        self, page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, server: Callable[[str], Server]
    ) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._module = ModuleType(f"documentation_{page.stem.lower()}")
        self._output = ""
        text = page.read_text()
        self._servers = {scheme: server(name) for scheme, name in CLOUDS.items() if f"{scheme}://events" in text}
        self._buckets = {scheme: found.fresh_bucket() for scheme, found in self._servers.items()}
        for name, value in self._page_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setitem(sys.modules, self._module.__name__, self._module)

    def follow(self, block: Block) -> None:
        """Do what the block says, and compare what it shows."""
        self._set_credentials(shown=_EXPLICIT.search(block.text) is not None)
        if block.language == "python":
            self._output = self._run(block)
        elif block.language == "console":
            self._type(block)
        elif block.language == "output":
            message = f"{block.place}: the example before it prints\n{self._output}"
            assert agrees(self._output, block.text), message

    def _run(self, block: Block) -> str:
        text = self._at_home(block.text)
        if file := _FILE.match(text.partition("\n")[0]):
            (self._folder / file[1]).write_text(text)
        code = compile("\n" * (block.line - 1) + text, str(block.page), "exec", dont_inherit=True)
        with redirect_stdout(io.StringIO()) as output:
            exec(code, self._module.__dict__)
        return output.getvalue()

    def _type(self, block: Block) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        for command, expected in commands(block):
            done = subprocess.run(
                ["bash", "-c", self._at_home(command)],
                cwd=self._folder,
                env=os.environ | {"PATH": path, "COLUMNS": "120"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
            message = f"{block.place}: $ {command}\n{done.stdout}"
            assert done.returncode == 0, message
            assert not expected or agrees(done.stdout, expected), message

    def _at_home(self, text: str) -> str:
        for scheme, bucket in self._buckets.items():
            text = text.replace(f"{scheme}://events", f"{scheme}://{bucket}")
        if azurite := self._servers.get("az"):
            endpoint = f"{azurite.address}/{ACCOUNT}"
            text = text.replace('account_name="myshop"', f'account_name="{ACCOUNT}", endpoint="{endpoint}"')
        if ministack := self._servers.get("s3"):
            text = text.replace("https://s3.example.net", ministack.address)
        return text

    def _set_credentials(self, *, shown: bool) -> None:
        for found in self._servers.values():
            for name, value in found.environment().items():
                if shown and not name.endswith("_ALLOW_HTTP"):
                    self._monkeypatch.delenv(name, raising=False)
                else:
                    self._monkeypatch.setenv(name, value)

    def _page_environment(self) -> dict[str, str]:
        """What the examples take from the environment by names of their own."""
        environment = {"SHOP_ACCESS_KEY": ACCESS_KEY, "SHOP_SECRET_KEY": SECRET_KEY}
        if azurite := self._servers.get("az"):
            expiry = datetime.now(UTC) + timedelta(hours=1)
            sas = generate_container_sas(
                ACCOUNT, self._buckets["az"], account_key=KEY, permission="rcwdl", expiry=expiry
            )
            environment |= {"SHOP_ACCOUNT_KEY": KEY, "SHOP_SAS": sas, "AZURITE_BLOB_STORAGE_URL": azurite.address}
        return environment


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a ``console`` block, each with the output that the block shows below it."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        found.append((command, output))
    assert found, f"{block.place}: the block shows no command: lines that start with `$ `"
    return found
