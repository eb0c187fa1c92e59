"""The model of a storage: objects, the writes that are still on their way, and the weather that both are in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from headstream.protocol.ops import (
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Absent,
    Found,
    Get,
    GetAnswer,
    List,
    Matches,
    NotApplied,
    Page,
    Put,
    Refused,
    Stored,
    Unknown,
)
from headstream.testing.simulator.requests import Remove


class Weather(msgspec.Struct, frozen=True):
    """How likely each fault is, for one request; drawn by the seed, many of them zero."""

    lost: float = 0.0
    """The request has no effect. Half of the time the client learns that, else the outcome is unknown to it."""
    silent: float = 0.0
    """The request takes effect, and its answer is lost, or comes too late."""
    contrary: float = 0.0
    """The conditional write takes effect, and is answered as if it had been refused."""
    late: float = 0.0
    """The outcome is unknown, and the request takes effect later, or never."""
    crash: float = 0.0
    """The client dies and starts again, knowing nothing."""
    fence: float = 0.0
    """Somebody fences a stream instead of a client's next step."""
    ragged: float = 0.0
    """A page of a list shows some of the writes that were made while it was put together, and not others."""
    jump: float = 0.0
    """A client's clock jumps, forwards or backwards."""

    @staticmethod
    def draw(rng: Random) -> Weather:
        """Each fault is off for half of the seeds."""
        worst = Weather(lost=0.2, silent=0.2, contrary=0.1, late=0.2, crash=0.02, fence=0.05, ragged=1.0, jump=0.1)
        return Weather(*(rng.choice((0.0, rng.uniform(0.0, most))) for most in msgspec.structs.astuple(worst)))


CALM: Final = Weather()

Late = Put | Remove
Watch = Callable[[str, bytes | None], None]
"""Told of every object that was written (its body) or removed (``None``)."""


class Storage:
    """Objects by key, every request atomic; consistent, as :mod:`headstream.backends.base` promises, whatever the weather."""

    def __init__(self, watch: Watch = lambda _key, _body: None) -> None:
        self.objects: dict[str, Found] = {}
        self.late: list[Late] = []
        self._keys: list[str] = []
        self._writes = 0
        self._watch = watch

    def get(self, get: Get) -> GetAnswer:
        """One object."""
        found = self.objects.get(get.key)
        if found is None:
            return MISSING
        return NOT_MODIFIED if found.etag == get.if_none_match else found

    def keys(self, prefix: str) -> list[str]:
        """All keys with a prefix, in their order."""
        end = bisect_left(self._keys, prefix + "\x7f")
        return self._keys[bisect_left(self._keys, prefix) : end]

    def page(self, ask: List, size: int, before: list[str] | None = None, rng: Random | None = None) -> Page:
        """At most ``size`` keys. What changed since ``before``, when the request was sent, is shown or not, key by key."""
        keys = self.keys(ask.prefix)
        if before is not None and before != keys and rng is not None:
            both = set(before) & set(keys)
            keys = [key for key in sorted({*before, *keys}) if key in both or rng.random() < 0.5]
        start = bisect_right(keys, ask.after)
        return Page(tuple(keys[start : start + size]), more=len(keys) > start + size)

    def apply(self, request: Late) -> Stored | Refused | None:
        """A write or a removal takes effect now."""
        if isinstance(request, Remove):
            if self.objects.pop(request.key, None) is not None:
                del self._keys[bisect_left(self._keys, request.key)]
                self._watch(request.key, None)
            return None
        found = self.objects.get(request.key)
        if isinstance(request.when, Matches):
            if found is None or found.etag != request.when.etag:
                return REFUSED
        elif found is not None and isinstance(request.when, Absent):
            return REFUSED
        if found is None:
            insort(self._keys, request.key)
        self._writes += 1
        self.objects[request.key] = Found(request.body, str(self._writes))
        self._watch(request.key, request.body)
        return Stored(str(self._writes))

    def write(self, request: Late, weather: Weather, rng: Random) -> tuple[str, Stored | Refused | None]:
        """A write or a removal in this weather: what became of it, in a word, and the answer. Faults are raised."""
        chance = rng.random()
        if chance < weather.lost:
            raise rng.choice((NotApplied, Unknown))("lost")
        chance -= weather.lost
        if chance < weather.silent:
            self.apply(request)
            raise Unknown("done, but the answer was lost")
        chance -= weather.silent
        if chance < weather.contrary and isinstance(request, Put):
            self.apply(request)
            return "refused, untruly", REFUSED
        chance -= weather.contrary
        if chance < weather.late:
            self.late.append(request)
            raise Unknown("on its way")
        answer = self.apply(request)
        return "refused" if isinstance(answer, Refused) else "done", answer

    def arrive(self, rng: Random) -> tuple[str, Late] | None:
        """One late request arrives, or is lost for good; what became of it."""
        if not self.late:
            return None
        request = self.late.pop(rng.randrange(len(self.late)))
        if rng.random() < 0.2:
            return "never arrives", request
        return "arrives late: " + ("refused" if isinstance(self.apply(request), Refused) else "done"), request
