"""Single objects: etags, conditional gets, metadata, large bodies."""

from __future__ import annotations

from random import Random

from headstream.backends.base import metadata_of
from headstream.doctor.bench import Bench
from headstream.doctor.report import Seen, broken, kept, not_applicable, warned
from headstream.protocol.ops import About, Found, NotModified
from headstream.protocol.store import Breach

STREAM = "probe/ä 1"
"""A name that metadata cannot hold as it is."""


def etags(bench: Bench) -> Seen:
    """An object is swapped again and again, by the etag of the write or of a read: bodies of one size, and no pause in between."""
    key, seen = bench.fresh("etags"), set[str]()
    etag = bench.clients[0].create(key, b"000000")
    if etag is None:
        return broken(Breach.REFUSES_CREATE)
    swaps = bench.bounds.comparisons
    for number in range(1, swaps + 1):
        seen.add(etag)
        writer, others = bench.turn(number)
        if number % 2 == 0:
            found = others[0].get(key)
            if not isinstance(found, Found):
                return broken("an object that was written cannot be read")
            etag = found.etag
        answer = writer.swap(key, b"%06d" % number, etag)
        if answer is None:
            return broken(f"{Breach.REFUSES_SWAP}, as {'a read' if number % 2 == 0 else 'the write'} gave it")
        if answer in seen:
            return broken(
                "an etag came back with another content: a writer who knows the old state could win", swaps=number
            )
        etag = answer
    return kept(f"{swaps} swaps, {swaps + 1} etags; those of reads are as good as those of writes", swaps=swaps)


def conditional_get(bench: Bench) -> Seen:
    """A get with an etag: not modified if it is the object's, else the object."""
    key, (client, other, *_) = bench.fresh("unless"), bench.clients
    first = client.create(key, b"first")
    if first is None:
        return broken(Breach.REFUSES_CREATE)
    unchanged = other.get(key, first)
    if client.swap(key, b"second", first) is None:
        return broken(Breach.REFUSES_SWAP)
    changed = other.get(key, first)
    if not isinstance(changed, Found) or changed.body != b"second":
        return broken("an object that has changed is said to be not modified, or missing")
    if not isinstance(unchanged, NotModified):
        return warned("an unchanged object is sent whole: every check for news costs its body")
    return kept("an unchanged object costs no body, a changed one is sent")


def metadata(bench: Bench) -> Seen:
    """What a storage browser shows of an object."""
    if not bench.clients[0].backend.keeps_metadata:
        return not_applicable("the backend declares that it keeps none")
    key, about = bench.fresh("metadata"), About(STREAM, 1, bytes(range(16)), None)
    if bench.clients[0].create(key, b"body", about) is None:
        return broken(Breach.REFUSES_CREATE)
    found, right = bench.clients[-1].get(key), metadata_of(about)
    given = (found.metadata or {}) if isinstance(found, Found) else {}
    lost = sorted(name for name, value in right.items() if given.get(name) != value)
    if lost:
        return warned(f"not kept: {', '.join(lost)}: storage browsers will not show what an object is")
    return kept(f"{len(right)} names and their values came back")


def large_object(bench: Bench) -> Seen:
    """An object as large as long changesets make them: created, swapped, and read by others."""
    size, chance = bench.bounds.body_bytes, Random(0)  # noqa: S311 - any bytes that do not compress
    bodies = chance.randbytes(size), chance.randbytes(size)
    key, (client, other, *_) = bench.fresh("large"), bench.clients
    etag = client.create(key, bodies[0])
    if etag is None:
        return broken(Breach.REFUSES_CREATE)
    created = other.read(key)
    if other.swap(key, bodies[1], etag) is None:
        return broken(Breach.REFUSES_SWAP)
    if (created, client.read(key)) != bodies:
        return broken(f"{size:,} bytes came back as others", body_bytes=size)
    return kept(f"{size:,} bytes, created and swapped, came back whole", body_bytes=size)
