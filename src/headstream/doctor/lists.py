"""Lists in pages and in order, and deletes of many objects."""

from __future__ import annotations

from itertools import product
from typing import Final

from headstream import limits
from headstream.doctor.bench import Bench, Client
from headstream.doctor.report import Seen, broken, kept, warned
from headstream.errors import UnsuitableBackend

CHARACTERS: Final = "!-.0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
"""Those of keys, in the order of their bytes."""
PAGES: Final = 8
"""In how many pages, about, the list is read again."""
FOLDERS: Final = ("a", "a!", "a-b", "a.b", "a0", "ab")
"""Their order by bytes is another one than that of their names: ``/`` stands between ``.`` and ``0``."""
DELETED: Final = 40
"""Objects that are deleted together, among as many that do not exist."""


class BrokenList(Exception):
    """A list that no reader could go on from; says why."""


def pages(bench: Bench) -> Seen:
    """Many keys of one folder: listed in large pages, in small ones, from the middle, and by a longer prefix."""
    folder = bench.fresh("pages")
    keys = _names(folder, bench.bounds.keys)
    bench.clients[0].fill(keys)
    reader, step = bench.clients[-1], max(1, len(keys) // PAGES)
    middle = keys[len(keys) // 2]
    absent = f"{middle}."  # the first byte that may follow, but two
    longer = middle[:-1]
    tries = {
        "whole": (f"{folder}/", "", limits.LIST_PAGE, keys),
        "in small pages": (f"{folder}/", "", step, keys),
        "after a key": (f"{folder}/", middle, limits.LIST_PAGE, [key for key in keys if key > middle]),
        "after a key that is missing": (f"{folder}/", absent, step, [key for key in keys if key > absent]),
        "by a longer prefix": (longer, "", limits.LIST_PAGE, [key for key in keys if key.startswith(longer)]),
    }
    for name, (prefix, after, limit, right) in tries.items():
        try:
            listed = _walk(reader, prefix, after, limit, len(keys))
        except BrokenList as problem:
            return broken(f"listed {name}: {problem}", keys=len(keys))
        if listed != right:
            return broken(f"listed {name}: {_difference(listed, right)}", keys=len(keys))
    return kept(f"{len(keys):,} keys, in order: whole, in pages of {step}, from the middle, by prefix", keys=len(keys))


def folders(bench: Bench) -> Seen:
    """Keys of several folders: in the order of whole keys, not of folders' names."""
    base = bench.fresh("folders")
    keys = sorted(f"{base}/{folder}/object" for folder in FOLDERS)
    bench.clients[0].fill(keys)
    wrong = "folders are listed by their names, not by the bytes of whole keys: a list of several folders fails"
    try:
        listed = _walk(bench.clients[-1], f"{base}/", "", limits.LIST_PAGE, len(keys))
    except UnsuitableBackend:
        return warned(wrong)
    except BrokenList as problem:
        return warned(str(problem))
    if listed != keys:
        return warned(wrong)
    return kept("whole keys are in the order of their bytes")


def deletes(bench: Bench) -> Seen:
    """Objects deleted together with some that do not exist, then once more."""
    folder, (client, *_, other) = bench.fresh("delete"), bench.clients
    keys = [f"{folder}/{number:03d}" for number in range(2 * DELETED)]
    client.fill(keys[::2])
    client.delete(keys)
    left = other.page(f"{folder}/").keys
    if left:
        return broken(
            f"{len(left)} of {DELETED} objects are still listed after they were deleted together with missing ones"
        )
    still = sum(other.read(key) is not None for key in keys[:6:2])
    if still:
        return broken("objects can be read after they were deleted, though they are not listed")
    other.delete(keys[:2])
    return kept(f"{DELETED} objects together, among {DELETED} missing ones, and again")


def _names(folder: str, number: int) -> list[str]:
    """So many keys of a folder, in order, of all characters that keys may have."""
    names = [f"{folder}/k{first}{second}" for first, second in product(CHARACTERS, repeat=2)]
    return [names[place * len(names) // number] for place in range(number)]


def _walk(client: Client, prefix: str, after: str, limit: int, most: int) -> list[str]:
    """All keys of a list, page by page."""
    keys: list[str] = []
    while True:
        page = client.page(prefix, after, limit)
        if len(page.keys) > limit:
            raise BrokenList("a page has more keys than were asked for")
        if page.more and not page.keys:
            raise BrokenList("an empty page says that keys follow it")
        keys.extend(page.keys)
        if not page.more:
            return keys
        if len(keys) > most:
            raise BrokenList("keys are listed twice")
        after = page.keys[-1]


def _difference(listed: list[str], right: list[str]) -> str:
    """What is wrong with a list."""
    missing, extra = len(set(right) - set(listed)), len(set(listed) - set(right))
    if missing:
        return f"{missing:,} of {len(right):,} keys are missing"
    if extra:
        return f"{extra:,} keys are listed that were not asked for"
    return "keys are listed twice" if len(listed) > len(right) else "the keys are not in the order of their bytes"
