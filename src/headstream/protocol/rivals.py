"""Fairness between clients that write the same head: who waits, how long, and who gives way.

The client that has just written a head knows its new etag, and needs two round trips for its next commit: the intent, then the head. One
that was refused needs three, for it reads the head first, and its etag is good only until the other's next commit. So the last winner
would win again and again.

Rules, and what each leans on:

1. After a lost race a client waits for a random part of one round trip, however often it has lost; on a storage of the same machine, of two milliseconds. A pause
   that grows makes its chances worse with every race. A random part, so that clients which were refused together do not come back together.
2. A client that has won a head ``WINS`` times, one after the other, gives way for ``TRIPS`` round trips before its next append, once. In that time another that
   reads the head can commit: its read may come first by so much.
3. It does so only while there are signs of others: in one of its last ``SIGNS`` appends to the stream it lost a race, or found the stream
   elsewhere than it thought. A client that is alone never waits.
4. A client that wins always has no sign of those that lose always. So one that has lost ``KNOCK`` races in one append raises the fence of
   the head, which is a swap that needs no intent: the other loses its next race, and has its sign. While another's fence is newer than that, it need not.
5. Nothing here decides what is written: all of it may be left out without harm to what is stored. On a storage of the same machine no client gives way: a commit there is
   one request, and those that lose read the head in a fraction of it.
6. A refusal, after which the head still has the etag that the write named, was no race: others have changed nothing, so there is nothing to give up the
   turn for. It counts as a fault, with what the storage answered, and its pauses grow. The count begins again when the head has changed (a fence changes it too), since a
   service may also refuse one of two requests that meet. So what is refused for ever ends soon, and the reason is told.
"""

from __future__ import annotations

import msgspec

from headstream import limits
from headstream.protocol.ops import Fault, Gen, Pause, Refused


class Spent(msgspec.Struct, frozen=True):
    """A write that was refused, and the etag that it named."""

    etag: str | None
    refused: Refused


class Races(msgspec.Struct):
    """The races and faults of one append."""

    lost: int = 0
    faults: int = 0
    untrue: int = 0
    """Refusals since the head changed (rule 6)."""
    spent: Spent | None = None
    """The last refusal, until it is judged."""
    _fence: int = -1
    _since: int = 0

    def lose(self) -> Pause:
        """Another was faster; how long to wait (rule 1)."""
        self.lost += 1
        return after_race()

    def judge(self, etag: str | None) -> Gen[Fault | None]:
        """What the refusal was, if there was one, now that the head was read again and has this etag (rule 6); after a pause, if it was a fault."""
        spent, self.spent = self.spent, None
        if spent is None or spent.etag != etag:
            self.untrue = 0
            return None
        self.lost -= 1
        self.untrue += 1
        yield from after_fault(self.untrue)
        return spent.refused.fault

    @property
    def exhausted(self) -> bool:
        """Whether it was tried often enough."""
        return self.lost >= limits.APPEND_ATTEMPTS or max(self.faults, self.untrue) >= limits.FAULT_ATTEMPTS

    def fail(self) -> Pause:
        """A request failed; how long to wait."""
        self.faults += 1
        return after_fault(self.faults)

    def knocks(self, fence: int) -> bool:
        """Whether to raise the fence of the head, which is at ``fence`` (rule 4)."""
        if fence != self._fence:
            self._fence, self._since = fence, self.lost
        if self.lost - self._since < limits.KNOCK:
            return False
        self._since = self.lost
        return True


class _Streak(msgspec.Struct):
    """What a client has seen of a stream that others write, too."""

    wins: int = 0
    """Appends since it lost a race or gave way."""
    appends: int = 0
    """Appends since the last sign of others."""


class Rivals:
    """What one client knows of others that write the same streams: nothing, as long as there are none."""

    def __init__(self) -> None:
        self._streaks: dict[str, _Streak] = {}

    def is_due(self, stream: str) -> bool:
        """Whether the next append to a stream gives way first (rule 2)."""
        streak = self._streaks.get(stream)
        if streak is None or streak.wins < limits.WINS:
            return False
        streak.wins = 0
        return True

    def met(self, stream: str) -> None:
        """Others write the stream: an append lost a race, or was in conflict."""
        if stream not in self._streaks and len(self._streaks) >= limits.RIVALS:
            self._streaks.pop(next(iter(self._streaks)), None)
        self._streaks[stream] = _Streak()

    def won(self, stream: str) -> None:
        """An append was made at the first attempt."""
        streak = self._streaks.get(stream)
        if streak is None:
            return
        streak.wins += 1
        streak.appends += 1
        if streak.appends >= limits.SIGNS:
            self._streaks.pop(stream, None)


def after_race() -> Pause:
    """How long to wait after a lost race (rule 1)."""
    return Pause(limits.RACE_PAUSE[0], 1.0)


def after_fault(faults: int) -> Pause:
    """How long to wait after so many faults."""
    first, longest = limits.FAULT_PAUSE
    return Pause(min(first * 2.0 ** min(faults - 1, 30), longest))
