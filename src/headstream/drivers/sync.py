"""The blocking driver: runs a step of the core against a :class:`~headstream.backends.base.Backend`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from headstream import limits
from headstream.backends.base import Backend
from headstream.drivers.ids import stamp
from headstream.errors import HeadstreamError
from headstream.protocol.ops import FAULTS, Commit, Delete, Gen, Get, GetMany, List, Op, Pause, Stamp

T = TypeVar("T")

_EXECUTE: Final[dict[type[Op[Any]], Callable[[Backend, Any], object]]] = {
    Get: lambda backend, op: backend.get(op),
    GetMany: lambda backend, op: backend.get_many(op.gets),
    List: lambda backend, op: backend.list(op.prefix, op.after, limits.LIST_PAGE),
    Commit: lambda backend, op: backend.commit(op.prelude, op.head),
    Delete: lambda backend, op: backend.delete(op.keys),
    Stamp: lambda _backend, op: stamp(op.after),
    Pause: lambda _backend, op: time.sleep(random.uniform(0, op.at_most)),  # noqa: S311 - jitter, no secret
}


def run(gen: Gen[T], backend: Backend) -> T:
    """Execute the operations that ``gen`` yields, until it returns; its value. What it raises comes through."""
    try:
        op = next(gen)
        while True:
            try:
                answer = _EXECUTE[type(op)](backend, op)
            except (*FAULTS, HeadstreamError) as error:
                op = gen.throw(error)
            except StopIteration as error:  # else it would pass for the end of the step, as PEP 479 explains
                raise RuntimeError("a backend raised StopIteration") from error
            else:
                op = gen.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value
