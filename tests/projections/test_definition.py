"""What a projection can be."""

from __future__ import annotations

import inspect
import re

import pytest

from headstream import InvalidInput
from headstream.projections import AsyncProjection, Projection
from support import docs


def nothing(*_arguments):
    """A handler, or a function that creates no table."""


@pytest.mark.parametrize("kind", [Projection, AsyncProjection])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name cannot be empty"),
        ({"name": "x" * 257}, "at most 256"),
        ({"version": 0}, "version is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": "many"}, "batch is a whole number"),
        ({"dead_letters": "$letters"}, "choose another"),
        ({"streams": 7}, "streams is a string or several"),
        ({"types": [""]}, "cannot be empty"),
        ({"tables": ["Orders"], "create": nothing}, "lower-case"),
        ({"tables": ["a; DROP TABLE b"], "create": nothing}, "lower-case"),
        ({"tables": ["x" * 49], "create": nothing}, "1 to 48"),
        ({"tables": ["a", "a"], "create": nothing}, "different"),
        ({"tables": [f"t{number}" for number in range(51)], "create": nothing}, "at most 50"),
        ({"tables": ["a"]}, "go together"),
        ({"create": nothing}, "go together"),
    ],
)
def test_what_is_refused(kind, options, message):
    """At once, with what would be accepted."""
    with pytest.raises(InvalidInput, match=message):
        kind(**{"name": "n", "handle": nothing, "database": None} | options)


def test_one_table_or_several():
    """A name alone stands for one table; several may come from an iterator."""
    assert Projection("n", nothing, None, tables="a", create=nothing).tables == ("a",)
    assert Projection("n", nothing, None, tables=iter("ab"), create=nothing).tables == ("a", "b")
    assert Projection("n", nothing, None, types=iter(["A", "B"]), streams=iter(["a-"])).types == ("A", "B")


def test_the_arguments_are_documented():
    """Each in the guide, and no other."""
    guide = docs.section(docs.ROOT / "docs/how-to/projections.md", "Arguments")
    documented = {name for row in docs.rows(guide) for name in re.findall(r"`(\w+)`", row[0])}
    assert documented == {*inspect.signature(Projection).parameters} == {*inspect.signature(AsyncProjection).parameters}


@pytest.mark.parametrize("method", ["run", "run_until_caught_up", "rebuild"])
def test_both_kinds_take_the_same(method):
    """What one can do, so can the other."""
    one, other = (inspect.signature(getattr(kind, method)) for kind in (Projection, AsyncProjection))
    assert [*one.parameters] == [*other.parameters]
