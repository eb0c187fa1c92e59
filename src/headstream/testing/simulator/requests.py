"""Requests: what the operations of the core consist of, one after the other. Between two of them, anybody else may act."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

import msgspec

from headstream.errors import HeadstreamError
from headstream.protocol.ops import (
    FAULTS,
    Commit,
    Delete,
    Gen,
    Get,
    GetMany,
    GiveWay,
    List,
    NotApplied,
    Op,
    Pause,
    Put,
    Refused,
    Stamp,
    Stored,
)

T = TypeVar("T")


class Remove(msgspec.Struct, frozen=True):
    """The deletion of one object."""

    key: str


Request: TypeAlias = Get | List | Put | Remove | Stamp | Pause | GiveWay
Steps: TypeAlias = Generator[Request, Any, T]
"""Work that may be interrupted wherever it yields a request; it is sent the answer, or a fault is thrown in."""

Order: TypeAlias = Callable[[tuple[Put, ...]], list[Put]]
"""In what order the writes of a prelude, which are in flight together, take effect."""


def drive(gen: Gen[T], order: Order) -> Steps[T]:
    """Execute a step of the core, request by request."""
    try:
        op = next(gen)
        while True:
            try:
                answer = yield from _perform(op, order)
            except (*FAULTS, HeadstreamError) as error:
                op = gen.throw(error)
            else:
                op = gen.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value


def _perform(op: Op[Any], order: Order) -> Steps[Any]:
    if isinstance(op, (Get, List, Stamp, Pause, GiveWay)):
        return (yield op)
    if isinstance(op, Commit):
        return (yield from _commit(op, order))
    if isinstance(op, GetMany):
        answers: list[Any] = []
        for get in op.gets:
            answers += [(yield get)]  # a comprehension cannot yield
        return tuple(answers)
    assert isinstance(op, Delete)
    failed: Exception | None = None
    for key in op.keys:
        try:
            yield Remove(key)
        except FAULTS as fault:  # the others are removed all the same
            failed = fault
    if failed is not None:
        raise failed
    return None


def _commit(commit: Commit, order: Order) -> Steps[Stored | Refused]:
    failed = False
    for write in order(commit.prelude):
        try:
            failed = isinstance((yield write), Refused) or failed
        except FAULTS:
            failed = True
    if failed:
        raise NotApplied("the prelude failed")
    answer: Stored | Refused = yield commit.head
    return answer
