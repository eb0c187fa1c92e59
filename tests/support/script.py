"""Plays a generator of the core step by step: a test says which operation comes next and what it is answered.

::

    story = Script(append(settings, proposal, nothing("s")))
    story.stamp(1)
    story.commit(Stored("etag"))
    assert story.returned().version == 1

An answer that is an exception is thrown in, as a driver would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from headstream.protocol.ops import (
    MISSING,
    Commit,
    Delete,
    Found,
    Gen,
    Get,
    GetAnswer,
    GetMany,
    List,
    Op,
    Page,
    Pause,
    Refused,
    Stamp,
    Stamped,
    Stored,
)

T = TypeVar("T")
O = TypeVar("O", bound=Op[Any])  # noqa: E741 - an operation
E = TypeVar("E", bound=BaseException)

MICROS = 1_700_000_000_000_000
"""The time of the first stamp; each number adds a second."""


def ident(number: int) -> bytes:
    """The changeset id that stamp ``number`` gives."""
    return number.to_bytes(16, "big")


class Script(Generic[T]):
    """One run of a generator. What it asks is checked as it goes; what it leaves behind is read at the end."""

    def __init__(self, gen: Gen[T]) -> None:
        self._gen = gen
        self._asked: Op[Any] | None = None
        self._value: T | None = None
        self._error: BaseException | None = None
        self._go_on(lambda: next(gen))

    def _go_on(self, move: Callable[[], Op[Any]]) -> None:
        self._asked = None
        try:
            self._asked = move()
        except StopIteration as stop:
            self._value = stop.value
        except Exception as error:
            self._error = error

    # --- one operation -----------------------------------------------------------------------------------------------

    def expect(self, kind: type[O], answer: object) -> O:
        """The next operation, which must be of this kind; it is given the answer."""
        asked = self._asked
        assert type(asked) is kind, f"expected {kind.__name__}, but the core {self._state()}"
        if isinstance(answer, BaseException):
            self._go_on(lambda: self._gen.throw(answer))
        else:
            self._go_on(lambda: self._gen.send(answer))
        return asked

    def get(self, key: str, answer: GetAnswer | Exception, *, if_none_match: str | None = None) -> None:
        """It asks for one object, and no other."""
        asked = self.expect(Get, answer)
        assert (asked.key, asked.if_none_match) == (key, if_none_match)

    def get_many(self, keys: list[str], answer: tuple[GetAnswer, ...] | Exception) -> None:
        """It asks for these objects together."""
        asked = self.expect(GetMany, answer)
        assert [get.key for get in asked.gets] == keys
        assert all(get.if_none_match is None for get in asked.gets)

    def lists(self, prefix: str, answer: Page | Exception, *, after: str = "") -> None:
        """It asks for one page of keys."""
        asked = self.expect(List, answer)
        assert (asked.prefix, asked.after) == (prefix, after)

    def stamp(self, number: int) -> bytes | None:
        """It asks for an id and the time; it gets those of this number. The id that the new one has to be above."""
        return self.expect(Stamp, Stamped(ident(number), MICROS + number * 1_000_000)).after

    def commit(self, answer: Stored | Refused | Exception) -> Commit:
        """It tries a commit."""
        return self.expect(Commit, answer)

    def delete(self, answer: Exception | None = None) -> tuple[str, ...]:
        """It removes objects; their keys."""
        return self.expect(Delete, answer).keys

    def pause(self) -> float:
        """It waits; at most so many seconds."""
        return self.expect(Pause, None).at_most

    def serve(self, objects: Mapping[str, bytes]) -> list[list[str]]:
        """Answer every read out of ``objects`` until it asks for something else or ends; the keys of each request."""
        asked: list[list[str]] = []
        while isinstance(self._asked, (Get, GetMany)):
            gets = (self._asked,) if isinstance(self._asked, Get) else self._asked.gets
            answers = tuple(_answer(objects, get.key) for get in gets)
            asked.append([get.key for get in gets])
            self.expect(type(self._asked), answers[0] if isinstance(self._asked, Get) else answers)
        return asked

    # --- the end -----------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> Op[Any] | None:
        """The operation that it waits for; ``None`` when it has ended."""
        return self._asked

    @property
    def error(self) -> BaseException | None:
        """What it raised, if it did."""
        return self._error

    def returned(self) -> T:
        """What the generator returned."""
        if self._error is not None:
            raise AssertionError(f"the core {self._state()}") from self._error
        assert self._asked is None, f"the core {self._state()}"
        return self._value  # type: ignore[return-value]  # set when the generator ended

    def raised(self, kind: type[E]) -> E:
        """What the generator raised, which must be exactly of this kind."""
        assert type(self._error) is kind, f"the core {self._state()}"
        return self._error

    def _state(self) -> str:
        if self._asked is not None:
            return f"asks {self._asked!r}"
        return f"raised {self._error!r}" if self._error is not None else f"returned {self._value!r}"


def run(gen: Gen[T], objects: Mapping[str, bytes] | None = None) -> T:
    """What a generator returns that only reads ``objects``; what it raises comes through."""
    story = Script(gen)
    story.serve(objects or {})
    if story.error is not None:
        raise story.error
    return story.returned()


def _answer(objects: Mapping[str, bytes], key: str) -> GetAnswer:
    body = objects.get(key)
    return MISSING if body is None else Found(body, f"etag of {key}")
