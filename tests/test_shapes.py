"""Fingerprints of types: what changes them and what does not, in every version of Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import field, make_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field, create_model

from headstream.shapes import SIZE, fingerprint


def dataclass_of(**fields: Any) -> Any:
    """A dataclass with these fields, of one name."""
    return make_dataclass("State", list(fields.items()))


def struct_of(**fields: Any) -> Any:
    """A Struct."""
    return msgspec.defstruct("State", list(fields.items()))


def model_of(**fields: Any) -> Any:
    """A model."""
    return type("State", (BaseModel,), {"__annotations__": fields})


MAKERS: list[Callable[..., Any]] = [dataclass_of, struct_of, model_of]


@pytest.mark.parametrize("of", MAKERS)
def test_what_changes_a_fingerprint(of):
    """Another field, one less, another name or type, in a part as well."""
    inner = of(a=int)
    shapes = [
        of(),
        of(a=int),
        of(b=int),
        of(a=int, b=int),
        of(a=str),
        of(a=int | None),
        of(a=list[int]),
        of(a=dict[str, int]),
        of(a=Decimal),
        of(a=Literal["x"]),
        of(a=Literal["x", "y"]),
        of(a=Enum("Color", {"RED": "red"})),
        of(a=Enum("Color", {"RED": "red", "BLUE": "blue"})),
        of(a=inner),
        of(a=of(a=str)),
        of(a=list[inner]),
    ]
    found = [fingerprint(shape) for shape in shapes]
    assert len(set(found)) == len(shapes)
    assert {len(one) for one in found} == {SIZE}
    assert fingerprint(of(a=of(a=int))) == fingerprint(of(a=inner)), "the same, made again"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (list[int], set[int]),
        (list[int], tuple[int, ...]),
        (int, Annotated[int, msgspec.Meta(ge=1)]),
        (int, float),
        (int, Any),
        (dict[str, int], dict[int, int]),
        (tuple[int, str], tuple[str, int]),
    ],
)
def test_types_without_a_class(one, other):
    """They have fingerprints too."""
    assert fingerprint(one) != fingerprint(other)


def test_what_does_not_change_a_fingerprint():
    """Prose, defaults, where a class is defined; a field that is called as prose is."""

    class State(BaseModel):
        title: str = "a"
        description: int = Field(3, description="how it is described")

    class Other(BaseModel):
        """With a docstring."""

        title: str = Field("b", title="Another", examples=["c"])
        description: int = 4

    Other.__name__ = Other.__qualname__ = "State"
    assert fingerprint(State) == fingerprint(Other)
    assert fingerprint(State) != fingerprint(create_model("State", title=(str, "a")))
    plain = make_dataclass("State", [("a", int, field(default=1))])
    assert fingerprint(plain) == fingerprint(make_dataclass("State", [("a", int, field(default=2))]))


def test_a_type_that_has_itself_as_a_part():
    """Ends."""
    assert fingerprint(Tree) != fingerprint(Chain)


class Tree(msgspec.Struct):
    """Many of itself."""

    parts: list[Tree]


class Chain(msgspec.Struct):
    """One of itself."""

    parts: Chain | None


PROGRAM = """
import dataclasses, decimal, enum, typing, sys
from headstream.shapes import fingerprint
Color = enum.Enum("Color", {"RED": 1, "BLUE": 2})
@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal
    tags: frozenset[str] = frozenset()
@dataclasses.dataclass
class State:
    "Prose."
    lines: list[Line]
    color: typing.Optional[Color]
    by_name: dict[str, typing.Union[int, str, None]]
    kind: typing.Literal["b", "a"] = "a"
print(fingerprint(State).hex())
"""


def test_a_fingerprint_is_the_same_in_every_process():
    """Whatever the seed of hashes: this one was made by Python 3.11, and others give the same."""
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {"a7b2d71935c2fbcb"}
