"""Conditional writes: of all that try, one wins; and whoever knows an older state, or none, is refused."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from headstream import limits
from headstream.doctor.bench import Bench, Fault
from headstream.doctor.bounds import LEAST_ROUNDS
from headstream.doctor.report import Seen, broken, kept, warned
from headstream.protocol.ops import FAULTS
from headstream.protocol.store import Breach

SIZES: Final = (128, 64 * limits.KIB)
"""Bytes of what racers write, in turns: a server that checks first and writes later takes longer for the larger one."""
LONG_ROUND: Final = 2.0
"""Seconds: writers of one stream that meet each other often will wait as long."""
FRUITLESS: Final = LEAST_ROUNDS
"""Rounds that faults may spoil, one after the other, before a race is given up. Not more: then one round at least counts."""


class Tally:
    """What became of the rounds of a race."""

    def __init__(self) -> None:
        self.rounds = 0
        self.shared = 0
        """Rounds that several writers won."""
        self.overwritten = 0
        """Rounds after which another body than the winner's was read."""
        self.unwon = 0
        """Rounds in which all were refused."""
        self.most = 1
        """Winners of one round, at most."""
        self._fruitless = 0
        self._begun = time.monotonic()

    def count(self, outcomes: Sequence[str | Fault | None], bodies: Sequence[bytes], read: set[bytes | None]) -> None:
        """One round: what each writer was told, what it wrote, and what all connections read afterwards.

        Raises the fault of a round that nobody is known to have won, when there were several such rounds in a row.
        """
        winners = [body for outcome, body in zip(outcomes, bodies, strict=True) if isinstance(outcome, str)]
        faults = [outcome for outcome in outcomes if isinstance(outcome, FAULTS)]
        if not winners and faults:
            self._fruitless += 1
            if self._fruitless == FRUITLESS:
                raise faults[0]
            return
        self._fruitless = 0
        self.rounds += 1
        self.most = max(self.most, len(winners))
        self.unwon += not winners
        self.shared += len(winners) > 1
        self.overwritten += len(winners) == 1 and read != {winners[0]}

    def seen(self, writers: int, refused: Breach) -> Seen:
        """The verdict; ``refused`` says what it means when nobody wins.

        A round that nobody wins now and then is no harm, writers try again: S3 refuses some of the writes that race.
        """
        round_seconds = round((time.monotonic() - self._begun) / self.rounds, 6)
        figures = {
            "rounds": self.rounds,
            "writers": writers,
            "shared": self.shared,
            "overwritten": self.overwritten,
            "round_seconds": round_seconds,
        }
        if self.shared:
            return broken(
                f"several writers won: up to {self.most} of {writers}, in {self.shared} of {self.rounds} rounds",
                **figures,
            )
        if self.overwritten:
            return broken(
                f"another body than the winner's was read after {self.overwritten} of {self.rounds} rounds", **figures
            )
        if self.unwon > self.rounds // 2:
            return broken(
                f"{refused}: none of {writers} writers won in {self.unwon} of {self.rounds} rounds", **figures
            )
        won = f"one of {writers} writers won, in {self.rounds - self.unwon} of {self.rounds} rounds"
        if round_seconds > LONG_ROUND:
            return warned(f"{won}; slow: a round takes {round_seconds:.1f} s", **figures)
        return kept(won, **figures)


def create_race(bench: Bench) -> Seen:
    """All create the same object."""
    tally = Tally()
    for number in bench.rounds(bench.bounds.rounds):
        key, bodies = bench.fresh("create"), _bodies(bench, number)
        outcomes = bench.race(
            [partial(client.create, key, body) for client, body in zip(bench.clients, bodies, strict=True)]
        )
        tally.count(outcomes, bodies, _read(bench, key))
    return tally.seen(len(bench.clients), Breach.REFUSES_CREATE)


def swap_race(bench: Bench) -> Seen:
    """All swap the same object by the same etag."""
    tally = Tally()
    for number in bench.rounds(bench.bounds.rounds):
        key, bodies = bench.fresh("swap"), _bodies(bench, number)
        etag = bench.turn(number)[0].create(key, b"to be swapped")
        if etag is None:
            return broken(Breach.REFUSES_CREATE)
        outcomes = bench.race(
            [partial(client.swap, key, body, etag) for client, body in zip(bench.clients, bodies, strict=True)]
        )
        tally.count(outcomes, bodies, _read(bench, key))
    return tally.seen(len(bench.clients), Breach.REFUSES_SWAP)


def second_create(bench: Bench) -> Seen:
    """An object that exists is created again, by each connection."""
    key = bench.fresh("exists")
    if bench.clients[0].create(key, b"first") is None:
        return broken(Breach.REFUSES_CREATE)
    tries = [client.create(key, b"again %d" % number) for number, client in enumerate(bench.clients)]
    if any(tries):
        return broken(Breach.IGNORES_ABSENT)
    if _read(bench, key) != {b"first"}:
        return broken("it refuses to create an object that exists, and overwrites it nevertheless")
    return kept(f"refused, by each of {len(tries)} connections")


def stale_swap(bench: Bench) -> Seen:
    """A swapped object is swapped by its former etags, by each connection."""
    key = bench.fresh("stale")
    etags, bodies = [bench.clients[0].create(key, b"number 0")], [b"number 0"]
    for number, client in enumerate(bench.clients[1:], 1):
        etag = etags[-1]
        if etag is None:
            return broken(Breach.REFUSES_CREATE if number == 1 else Breach.REFUSES_SWAP)
        bodies.append(b"number %d" % number)
        etags.append(client.swap(key, bodies[-1], etag))
    if etags[-1] is None:
        return broken(Breach.REFUSES_SWAP)
    stale = [etag for etag in etags[:-1] if etag]
    tries = [
        client.swap(key, b"stale " + etag.encode(), etag) for client, etag in zip(bench.clients, stale, strict=False)
    ]
    if any(tries):
        return broken(Breach.IGNORES_MATCH)
    if _read(bench, key) != {bodies[-1]}:
        return broken("it refuses to swap an object by a stale etag, and overwrites it nevertheless")
    return kept(f"refused, {len(tries)} times")


def missing_swap(bench: Bench) -> Seen:
    """An object that does not exist is swapped: it never did, or it was deleted."""
    key, client = bench.fresh("missing"), bench.clients[0]
    etag = client.create(bench.fresh("other"), b"of another object")
    gone = client.create(key, b"to be deleted")
    if etag is None or gone is None:
        return broken(Breach.REFUSES_CREATE)
    client.delete([key])
    never = bench.fresh("never")
    tries = [(never, etag), (key, gone), (key, etag)]
    for number, (target, known) in enumerate(tries):
        if bench.clients[number % len(bench.clients)].swap(target, b"swapped", known) is not None:
            return broken("it creates an object that was to be swapped (If-Match is ignored where nothing is)")
    if _read(bench, key) | _read(bench, never) != {None}:
        return broken("it refuses to swap an object that is missing, and creates it nevertheless")
    return kept("refused, and nothing was created")


def _bodies(bench: Bench, number: int) -> list[bytes]:
    """What the racers of a round write: never the same, and of one size."""
    size = SIZES[number % len(SIZES)]
    return [b"%-*b" % (size, b"round %d, writer %d" % (number, racer)) for racer in range(len(bench.clients))]


def _read(bench: Bench, key: str) -> set[bytes | None]:
    """What the connections read, all at once."""
    return set(bench.together([partial(client.read, key) for client in bench.clients]))
