"""The blocking driver: runs a step of the core against a :class:`~headstream.backends.base.Backend`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from headstream import limits
from headstream.backends.base import Backend, is_remote
from headstream.backends.caching import Cached
from headstream.backends.metering import Meter, Metered
from headstream.backends.objects import Objects
from headstream.drivers.ids import stamp
from headstream.drivers.pace import Pace
from headstream.drivers.patience import Patience
from headstream.errors import CorruptData, HeadstreamError
from headstream.protocol.ops import FAULTS, Commit, Delete, Gen, Get, GetMany, GiveWay, List, Op, Pause, Stamp

T = TypeVar("T")

_EXECUTE: Final[dict[type[Op[Any]], Callable[[Backend, Any], object]]] = {
    Get: lambda backend, op: backend.get(op),
    GetMany: lambda backend, op: backend.get_many(op.gets),
    List: lambda backend, op: backend.list(op.prefix, op.after, limits.LIST_PAGE),
    Commit: lambda backend, op: backend.commit(op.prelude, op.head),
    Delete: lambda backend, op: backend.delete(op.keys),
    Stamp: lambda _backend, op: stamp(op.after),
}
_LOCAL: Final = Pace(remote=False)


def _perform(op: Any, backend: Backend, meter: Meter | None, pace: Pace) -> object:
    """One operation; pauses are counted, since each comes before something is tried again."""
    kind = type(op)
    if kind is Commit and pace.remote:
        began = time.perf_counter()
        answer = backend.commit(op.prelude, op.head)
        pace.committed(time.perf_counter() - began, prelude=bool(op.prelude))
        return answer
    if kind is Pause:
        time.sleep(pace.pause(op))
        if meter is not None:
            meter.retry()
        return None
    if kind is GiveWay:
        if pace.trip:
            time.sleep(pace.give_way(op))
        return None
    return _EXECUTE[kind](backend, op)


def run(
    gen: Gen[T], backend: Backend, meter: Meter | None = None, pace: Pace = _LOCAL, seconds: float | None = None
) -> T:
    """Execute the operations that ``gen`` yields, until it returns; its value. What it raises comes through.

    After ``seconds`` nothing is tried again; see :mod:`.patience`.
    """
    patience = None if seconds is None else Patience(seconds)
    try:
        op = next(gen)
        while True:
            try:
                if patience is not None and type(op) is Pause:
                    patience.check()
                answer = _perform(op, backend, meter, pace)
            except (*FAULTS, HeadstreamError) as error:
                if patience is not None:
                    patience.failed(error)
                op = gen.throw(error)
            except StopIteration as error:  # else it would pass for the end of the step, as PEP 479 explains
                raise RuntimeError("a backend raised StopIteration") from error
            else:
                op = gen.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value


class Direct:
    """Runs steps on a backend that blocks, in the thread that asks; counts and logs the requests that they make.

    One step may take so many ``seconds``, as far as that is in the hands of a driver.
    """

    def __init__(self, backend: Backend, seconds: float | None = None) -> None:
        self.backend = backend
        self._seconds = seconds
        self.meter = Meter()
        self._metered = Metered(backend, self.meter)
        self._cached: Backend = self._metered
        self._objects: Objects | None = None
        self._pace = Pace(remote=is_remote(backend))

    def keep(self, objects: Objects) -> None:
        """Have :meth:`recall` look for immutable objects here first."""
        self._objects = objects
        self._cached = Cached(self._metered, objects, self.meter)

    def run(self, gen: Gen[T]) -> T:
        """Execute ``gen``. Everything that it gets is from the storage."""
        return run(gen, self._metered, self.meter, self._pace, self._seconds)

    def recall(self, gen: Gen[T]) -> T:
        """The same for a step that reads events: immutable objects may be copies.

        Where damage is found the copies are given up: the object may be mended, and then a copy of it must not be what is seen.
        """
        try:
            return run(gen, self._cached, self.meter, self._pace, self._seconds)
        except CorruptData:
            if self._objects is not None:
                self._objects.clear()
            raise

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()
