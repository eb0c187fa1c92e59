"""What one connection was told is done, every other one sees."""

from __future__ import annotations

from functools import partial

from headstream.doctor.bench import Bench, Client
from headstream.doctor.report import Seen, broken, kept
from headstream.protocol.store import Breach


def reads(bench: Bench) -> Seen:
    """One connection creates, swaps and deletes; the others read after each step, and before the first.

    The first reads are there for caches that remember that an object was missing.
    """
    total, stale, rounds = 0, dict.fromkeys(("create", "swap", "delete"), 0), 0
    for number in bench.rounds(bench.bounds.comparisons):
        writer, others = bench.turn(number)
        key, rounds = bench.fresh("read"), rounds + 1
        _read(bench, others, key)
        etag = writer.create(key, b"created")
        if etag is None:
            return broken(Breach.REFUSES_CREATE)
        stale["create"] += _differing(_read(bench, others, key), b"created")
        if writer.swap(key, b"swapped", etag) is None:
            return broken(Breach.REFUSES_SWAP)
        stale["swap"] += _differing(_read(bench, others, key), b"swapped")
        writer.delete([key])
        stale["delete"] += _differing(_read(bench, others, key), None)
        total += 3 * len(others)
    return _seen("reads", total, stale, rounds)


def lists(bench: Bench) -> Seen:
    """One connection creates and deletes objects of a folder; the others list it after each step.

    Each round leaves one object, so that the list grows.
    """
    folder, alive = bench.fresh("list"), set[str]()
    total, stale, rounds = 0, dict.fromkeys(("create", "delete"), 0), 0
    for number in bench.rounds(bench.bounds.comparisons):
        writer, others = bench.turn(number)
        stays, goes = f"{folder}/{number:05d}", f"{folder}/{number:05d}-goes"
        rounds += 1
        for key in (stays, goes):
            if writer.create(key, b"listed") is None:
                return broken(Breach.REFUSES_CREATE)
        alive |= {stays, goes}
        stale["create"] += _differing(_list(bench, others, folder), alive)
        writer.delete([goes])
        alive.remove(goes)
        stale["delete"] += _differing(_list(bench, others, folder), alive)
        total += 2 * len(others)
    return _seen("lists", total, stale, rounds)


def _read(bench: Bench, clients: tuple[Client, ...], key: str) -> list[bytes | None]:
    return bench.together([partial(client.read, key) for client in clients])


def _list(bench: Bench, clients: tuple[Client, ...], folder: str) -> list[set[str]]:
    pages = bench.together([partial(client.page, f"{folder}/") for client in clients])
    return [set(page.keys) for page in pages]


def _differing(answers: list[bytes | None] | list[set[str]], right: bytes | set[str] | None) -> int:
    return sum(answer != right for answer in answers)


def _seen(what: str, total: int, stale: dict[str, int], rounds: int) -> Seen:
    wrong = sum(stale.values())
    figures = {what: total, "stale": wrong, "rounds": rounds}
    if wrong:
        after = ", ".join(f"{number} after a {step}" for step, number in stale.items() if number)
        return broken(f"{wrong} of {total} {what} did not show what another connection had done: {after}", **figures)
    return kept(f"{total} {what} on other connections showed what was done before", **figures)
