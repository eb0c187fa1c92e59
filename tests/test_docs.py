"""Every example of the documentation is run, and every claim that can be checked is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstream
from headstream import HeadstreamError, connect, errors, limits
from headstream.backends.cloud import CloudBackend
from headstream.backends.files import FilesBackend
from headstream.backends.memory import MemoryBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.model import Expected
from headstream.protocol import layout
from servers.azure import Azurite
from support import docs
from support.costs import costs, feed_costs
from support.docs import ROOT, Reader
from support.signatures import attributes, methods, parameters, raised, signature

README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
EXAMPLES = ("python", "console", "output")
WRITE_PRICE, READ_PRICE = 5.0, 0.4
"""Dollars per million, as the page says."""
ERRORS = {name for name in headstream.__all__ if name in vars(errors)}
FUNCTIONS = ("connect", "connect_async", "Snapshots")
SHELLS = (
    "EventStore",
    "AsyncEventStore",
    "Reading",
    "AsyncReading",
    "FeedReading",
    "AsyncFeedReading",
    "Subscription",
    "AsyncSubscription",
)
CALLED = ("Event", "Settings")
VALUES = (
    "Event",
    "RecordedEvent",
    "Head",
    "Settings",
    "Stats",
    "Checkpoint",
    "EventStore",
    "AsyncEventStore",
    "Subscription",
    "AsyncSubscription",
    "Decider",
    "Decision",
    "Loaded",
    "Registry",
)
LAYOUT = ("Layout", "Changeset", "Reference")
REGISTRIES = re.compile(r"\b(?:pypi|pythonhosted|npmjs|docker|mcr\.microsoft|ghcr)\.(?:org|com|io)\b")

every_page = pytest.mark.parametrize("page", docs.pages(), ids=lambda page: str(page.relative_to(ROOT)))


# --- examples --------------------------------------------------------------------------------------------------------


@every_page
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Typed along from top to bottom, each does what the page says, and prints what the page shows."""
    reader = Reader(page, tmp_path, monkeypatch, request.getfixturevalue)
    for block in docs.blocks(page):
        if block.language in EXAMPLES:
            reader.follow(block)


@every_page
def test_blocks_are_of_known_languages(page: Path) -> None:
    """A misspelled language would leave an example unrun."""
    assert {block.language for block in docs.blocks(page)} <= docs.LANGUAGES


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        ("1\n2\n", "1\n2", True),
        ("1\n", "2", False),
        ("1\n2\n", "1", False),
        ("id 7f, version 3\n", "id …, version 3", True),
        ("id 7f, version 4\n", "id …, version 3", False),
        ("a\nb\nend\n", "…\nend", True),
        ("a\nb\nend\n", "…\nand", False),
    ],
)
def test_an_output_is_compared_but_for_ellipses(actual: str, expected: str, same: bool) -> None:
    """Within a line, … stands for anything; on a line of its own, for any lines."""
    assert docs.agrees(actual, expected) is same


def test_the_tutorial_shows_the_environment_of_azurite() -> None:
    """What it exports is what the tests use, on Azurite's usual port."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    assert dict(re.findall(r"^export (\w+)=(.+)$", text, re.MULTILINE)) == Azurite().environment(
        "http://127.0.0.1:10000"
    )


# --- pages -----------------------------------------------------------------------------------------------------------


@every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    """To a file of the repository and, with an anchor, to a heading in it."""
    for link in docs.links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in docs.anchors(target), f"{page.name} links to {link}"


@every_page
def test_no_page_names_a_registry(page: Path) -> None:
    """Packages have names; where they come from is the reader's own configuration."""
    assert not REGISTRIES.search(page.read_text())


def test_every_page_can_be_found() -> None:
    """From the index, which the README leads to."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in docs.links(index)}
    assert {*docs.pages()} - {README, index} <= linked
    assert "docs/index.md" in docs.links(README)


def test_the_readme_is_short() -> None:
    """It is read before anything else."""
    assert len(README.read_text().splitlines()) < 120


def test_the_project_is_named_as_it_is() -> None:
    """Its version is that of the package; the extras and make targets that pages name exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == headstream.__version__
    text = "".join(page.read_text() for page in docs.pages())
    extras = {name for found in re.findall(r"headstream\[([a-z0-9,]+)\]", text) for name in found.split(",")}
    assert extras <= set(project["optional-dependencies"])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {*re.findall(r"(?:^|`)make ([a-z]+)(?:`| +#|$)", text, re.MULTILINE)} <= targets


# --- reference -------------------------------------------------------------------------------------------------------


def column(text: str, number: int = 0) -> list[str]:
    """A column of a section's tables, without code marks; several names in a cell are several entries."""
    return [name for row in docs.rows(text) for name in re.findall(r"`([^`]+)`", row[number])]


def signatures(text: str) -> str:
    """The ``text`` blocks of a section, which hold signatures."""
    return "\n".join(block.strip() for block in re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def test_every_public_name_has_its_place() -> None:
    """Functions and classes have a section, errors and expectations a row; and nothing else has."""
    titles = re.findall(r"^## (.+)$", REFERENCE.read_text(), re.MULTILINE)
    rows = column(docs.section(REFERENCE, "Errors")) + column(docs.section(REFERENCE, "Expected"))
    assert {*titles, *rows} - {"Errors", "Layout", "Limits"} == set(headstream.__all__)


@pytest.mark.parametrize("name", [*FUNCTIONS, *CALLED])
def test_calls_have_their_signature(name: str) -> None:
    """As the code has it: parameters, annotations, defaults."""
    function = getattr(headstream, name)
    text = docs.section(REFERENCE, name)
    assert signatures(text) == signature(name, function)
    if name in FUNCTIONS:
        assert set(column(docs.section(REFERENCE, name).split("| URL |")[0])) == parameters(function)


@pytest.mark.parametrize("name", SHELLS)
def test_methods_have_their_signatures(name: str) -> None:
    """All of them, in the order of the code."""
    expected = [
        signature(f"{name}.{method}", function) for method, function in methods(getattr(headstream, name)).items()
    ]
    assert signatures(docs.section(REFERENCE, name)) == "\n".join(expected)


@pytest.mark.parametrize("method", methods(headstream.EventStore))
def test_parameters_and_errors_of_a_method_are_documented(method: str) -> None:
    """Each parameter has a row; each error that the docstring names is named, and none that does not exist."""
    function = methods(headstream.EventStore)[method]
    text = docs.section(REFERENCE, f"EventStore.{method}")
    assert set(column(text)) == parameters(function)
    _, _, raises = text.partition("\nRaises ")
    assert raised(function) <= ERRORS & set(re.findall(r"`(\w+)`", raises))


@pytest.mark.parametrize("function", [connect, headstream.Settings, headstream.Event], ids=lambda found: found.__name__)
def test_errors_of_a_call_are_documented(function: Callable[..., Any]) -> None:
    """Each error that the docstring names."""
    _, _, raises = docs.section(REFERENCE, function.__name__).partition("\nRaises ")
    assert raised(function)
    assert raised(function) <= set(re.findall(r"`(\w+)`", raises))


@pytest.mark.parametrize("name", [*VALUES, *LAYOUT])
def test_attributes_are_documented(name: str) -> None:
    """Each public field and property has a row, and no row is stale."""
    found = getattr(layout if name in LAYOUT else headstream, name)
    assert set(column(docs.section(REFERENCE, name, deep=False))) == attributes(found)


def test_errors_are_documented() -> None:
    """Each in the reference with its attributes, and in the guide with what to do."""
    rows = docs.rows(docs.section(REFERENCE, "Errors"))
    documented = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert documented == {name: attributes(getattr(errors, name)) for name in ERRORS}
    assert {name for name, member in vars(errors).items() if isinstance(member, type)} == ERRORS
    guide = docs.section(ROOT / "docs/how-to/errors-and-retries.md", "What each error asks of you")
    assert {*column(guide, 0)} == ERRORS - {HeadstreamError.__name__}


def test_expectations_are_documented() -> None:
    """Those that exist."""
    assert set(column(docs.section(REFERENCE, "Expected"))) == {member.name for member in Expected}


def test_limits_are_documented() -> None:
    """Each with its value, and no other."""
    documented = {row[0].strip("`"): row[1] for row in docs.rows(docs.section(REFERENCE, "Limits"))}
    actual = {
        name: shown(value) for name, value in vars(limits).items() if name.isupper() and name not in {"KIB", "MIB"}
    }
    assert documented == actual


def shown(value: Any) -> str:
    """A limit as the reference writes it: bytes in KiB or MiB where they are whole."""
    if isinstance(value, tuple):
        return " to ".join(map(str, value))
    for unit, size in (("MiB", limits.MIB), ("KiB", limits.KIB)):
        if value >= size and value % size == 0 and value > limits.KIB:
            return f"{value // size:,} {unit}"
    return f"{value:,}"


# --- figures ---------------------------------------------------------------------------------------------------------


def test_default_tails_are_documented() -> None:
    """The guide to settings has what a new store gets."""
    guide = docs.section(ROOT / "docs" / "how-to" / "settings.md", "tail_bytes")
    assert dict(docs.rows(guide)) == {
        "SQLite": shown(SqliteBackend.default_tail),
        "folder": shown(FilesBackend.default_tail),
        "memory": shown(MemoryBackend.default_tail),
        "Azure, S3, GCS": shown(CloudBackend.default_tail),
    }


def test_costs_are_as_counted() -> None:
    """Each row of the table of requests is what the operation takes, and its price follows from it."""
    rows = docs.rows(docs.section(ROOT / "docs" / "costs.md", "Requests, and their price"))
    documented = {row[0]: tuple(map(int, row[1:5])) for row in rows}
    assert documented == costs()
    for row in rows:
        put, get, listed, _ = map(int, row[1:5])
        assert row[5] == f"{(put + listed) * WRITE_PRICE + get * READ_PRICE:.2f}", row[0]


def test_costs_of_the_feed_are_as_counted() -> None:
    """The same for the table of the feed; deletes are free."""
    rows = docs.rows(docs.section(ROOT / "docs" / "costs.md", "The feed"))
    documented = {row[0]: tuple(int(cell.replace(",", "")) for cell in row[1:6]) for row in rows}
    assert documented == feed_costs()
    for row in rows:
        put, get, listed, _, _ = documented[row[0]]
        assert row[6] == f"{(put + listed) * WRITE_PRICE + get * READ_PRICE:.2f}", row[0]
