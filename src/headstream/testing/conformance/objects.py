"""Objects: get, the conditions of a commit, its prelude, bodies, metadata and delete."""

from __future__ import annotations

from uuid import UUID

import pytest

from headstream.backends.base import Backend, metadata_of
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    About,
    Found,
    Get,
    Matches,
    Put,
    Stored,
)
from headstream.testing.conformance.support import Checks, fill, found, is_missing, paged, store

CHANGESET = UUID("01890a5d-ac96-774b-bcce-b302099a8057").bytes
PARENT = UUID("01890a5d-ac95-774b-bcce-b302099a8057").bytes
ALL_BYTES = bytes(range(256))
NO_ETAG = '"0123456789abcdef0123456789abcdef"'


class ObjectChecks(Checks):
    """One object at a time, and the objects of one commit."""

    # --- get -------------------------------------------------------------------------------------------------

    def test_a_key_that_was_never_written_is_missing(self, backend: Backend) -> None:
        """A get of a missing key is answered, not raised; with an etag too."""
        assert backend.get(Get("heads/none")) == MISSING
        etag = store(backend, "heads/other")
        assert backend.get(Get("heads/none", if_none_match=etag)) == MISSING

    def test_what_was_written_is_read(self, backend: Backend, another: Backend) -> None:
        """Body and etag of a get are those of the write, for this client and for another."""
        etag = store(backend, "heads/a", b"hello")
        for client in (backend, another):
            answer = found(client, "heads/a")
            assert answer.body == b"hello"
            assert answer.etag == etag

    def test_an_unchanged_object_is_not_modified(self, backend: Backend, another: Backend) -> None:
        """A get that names the current etag, from a write or from a read, gets no body."""
        etag = store(backend, "heads/a")
        assert backend.get(Get("heads/a", if_none_match=etag)) == NOT_MODIFIED
        assert another.get(Get("heads/a", if_none_match=found(another, "heads/a").etag)) == NOT_MODIFIED

    def test_a_changed_object_is_read_whole(self, backend: Backend, another: Backend) -> None:
        """A get that names an older etag gets the new body and etag."""
        old = store(backend, "heads/a", b"old")
        new = store(another, "heads/a", b"new", Matches(old))
        answer = backend.get(Get("heads/a", if_none_match=old))
        assert isinstance(answer, Found)
        assert (answer.body, answer.etag) == (b"new", new)

    def test_many_gets_are_answered_in_order(self, backend: Backend) -> None:
        """The answers of get_many come in the order of the requests, whichever kind each one is."""
        keys = [f"segments/s/{number:03}" for number in range(40)]
        fill(backend, keys)
        etag = found(backend, keys[7]).etag
        gets = [Get(key) for key in reversed(keys)]
        gets[3:3] = [Get("segments/s/none"), Get(keys[7], if_none_match=etag)]
        answers = backend.get_many(gets)
        assert answers[3:5] == (MISSING, NOT_MODIFIED)
        bodies = [answer.body for answer in answers if isinstance(answer, Found)]
        assert bodies == [key.encode() for key in reversed(keys)]
        assert backend.get_many([]) == ()

    # --- conditions ------------------------------------------------------------------------------------------

    def test_a_key_is_created_once(self, backend: Backend, another: Backend) -> None:
        """A second create is refused and changes nothing."""
        etag = store(backend, "heads/a", b"first")
        assert another.commit((), Put("heads/a", b"second", ABSENT)) == REFUSED
        answer = found(backend, "heads/a")
        assert (answer.body, answer.etag) == (b"first", etag)

    def test_an_etag_is_swapped_once(self, backend: Backend, another: Backend) -> None:
        """The same etag wins one swap; the next one with it is refused and changes nothing."""
        first = store(backend, "heads/a", b"first")
        second = store(another, "heads/a", b"second", Matches(first))
        assert second != first
        assert backend.commit((), Put("heads/a", b"third", Matches(first))) == REFUSED
        answer = found(another, "heads/a")
        assert (answer.body, answer.etag) == (b"second", second)

    def test_a_long_chain_of_swaps(self, backend: Backend) -> None:
        """Each write's etag serves the next swap, without a get in between."""
        etag = store(backend, "heads/a", b"0")
        seen = {etag}
        for number in range(1, 20):
            etag = store(backend, "heads/a", b"%d" % number, Matches(etag))
            seen.add(etag)
        assert len(seen) == 20
        assert found(backend, "heads/a").body == b"19"

    def test_a_missing_key_is_not_swapped(self, backend: Backend) -> None:
        """A swap of a key that is not there is refused and writes nothing, with a true etag of another key or none."""
        etag = store(backend, "heads/other")
        assert backend.commit((), Put("heads/a", b"body", Matches(etag))) == REFUSED
        store(backend, "heads/b", b"body")
        stale = store(backend, "heads/b", b"more", Matches(found(backend, "heads/b").etag))
        backend.delete(["heads/b"])
        assert backend.commit((), Put("heads/b", b"body", Matches(stale))) == REFUSED
        assert is_missing(backend, "heads/a")
        assert is_missing(backend, "heads/b")

    def test_an_etag_of_no_write_is_refused(self, backend: Backend) -> None:
        """An etag that this storage never gave out matches nothing: it is refused, not an error."""
        store(backend, "heads/a", b"body")
        assert backend.commit((), Put("heads/a", b"forged", Matches(NO_ETAG))) == REFUSED
        answer = backend.get(Get("heads/a", if_none_match=NO_ETAG))
        assert isinstance(answer, Found)
        assert answer.body == b"body"

    def test_an_old_etag_stays_refused(self, backend: Backend) -> None:
        """After contents A, B and another A, the etag of the first A does not match again."""
        first = store(backend, "heads/a", b"A fence=1")
        second = store(backend, "heads/a", b"B fence=1", Matches(first))
        third = store(backend, "heads/a", b"A fence=2", Matches(second))
        assert len({first, second, third}) == 3
        for stale in (first, second):
            assert backend.commit((), Put("heads/a", b"C", Matches(stale))) == REFUSED
        assert found(backend, "heads/a").body == b"A fence=2"

    def test_a_head_is_written_whatever_is_there(self, backend: Backend) -> None:
        """Without a condition a write creates, and replaces."""
        first = store(backend, "checkpoints/a", b"one", ALWAYS)
        second = store(backend, "checkpoints/a", b"two", ALWAYS)
        assert first != second
        assert found(backend, "checkpoints/a").body == b"two"

    # --- prelude ---------------------------------------------------------------------------------------------

    def test_a_commit_shows_its_prelude_to_everybody(self, backend: Backend, another: Backend) -> None:
        """When a commit is answered, all of it is read and listed by another client."""
        prelude = [Put(f"inbox/{number:02}", b"intent %d" % number, ALWAYS) for number in range(40)]
        assert isinstance(backend.commit(prelude, Put("heads/a", b"head", ABSENT)), Stored)
        for put in prelude:
            assert found(another, put.key).body == put.body
        assert paged(another, "inbox/") == [put.key for put in prelude]
        assert found(another, "heads/a").body == b"head"

    def test_a_refused_commit_leaves_the_head(self, backend: Backend, another: Backend) -> None:
        """A commit that is refused has not touched the head, prelude or not; the etag goes on to serve."""
        etag = store(backend, "heads/a", b"first")
        prelude = [Put("inbox/1", b"intent", ALWAYS), Put("segments/a/1", b"segment", ALWAYS)]
        assert another.commit(prelude, Put("heads/a", b"second", ABSENT)) == REFUSED
        assert another.commit(prelude, Put("heads/a", b"second", Matches(NO_ETAG))) == REFUSED
        answer = found(backend, "heads/a")
        assert (answer.body, answer.etag) == (b"first", etag)
        assert isinstance(another.commit(prelude, Put("heads/a", b"second", Matches(etag))), Stored)

    # --- bodies and metadata ---------------------------------------------------------------------------------

    def test_any_bytes_are_kept(self, backend: Backend) -> None:
        """Empty bodies and all byte values come back as they were."""
        for name, body in (("empty", b""), ("all", ALL_BYTES), ("nul", bytes(70_000)), ("lines", b"\r\n\x1a\n\xff")):
            store(backend, f"heads/{name}", body)
            assert found(backend, f"heads/{name}").body == body

    def test_an_empty_body_has_an_etag_to_swap(self, backend: Backend) -> None:
        """An empty object is an object: it is created once and swapped by its etag."""
        etag = store(backend, "heads/empty", b"")
        assert backend.commit((), Put("heads/empty", b"x", ABSENT)) == REFUSED
        store(backend, "heads/empty", b"x", Matches(etag))

    def test_large_bodies_are_kept(self, backend: Backend) -> None:
        """Large bodies come back as they were, in the head and in the prelude, and are conditional like small ones."""
        for size in self.large_bodies:
            body = (ALL_BYTES * (size // 256 + 1))[:size]
            prelude = [Put(f"segments/{size}", body, ALWAYS)]
            assert isinstance(backend.commit(prelude, Put(f"heads/{size}", body, ABSENT)), Stored)
            assert backend.commit((), Put(f"heads/{size}", body, ABSENT)) == REFUSED
            assert found(backend, f"segments/{size}").body == body
            assert found(backend, f"heads/{size}").body == body

    @pytest.mark.parametrize(
        "stream", ["order-1", " leading space", "Müller & Söhne/日本", "a\tb\n", "100%", "'\"?#", "x" * 256, "é" * 128]
    )
    def test_metadata_travels_with_the_body(self, backend: Backend, stream: str) -> None:
        """Any stream name is accepted; where metadata is kept it comes back as it was, on a head and on a segment."""
        about = About(stream, 12, CHANGESET, PARENT)
        first = About(stream, 1, CHANGESET, None)
        prelude = [Put("segments/a", b"segment", ALWAYS, first)]
        assert isinstance(backend.commit(prelude, Put("heads/a", b"head", ABSENT, about)), Stored)
        for key, expected in (("heads/a", about), ("segments/a", first)):
            answer = found(backend, key)
            assert answer.body == key.split("/")[0].removesuffix("s").encode()
            if backend.keeps_metadata:
                assert answer.metadata is not None
                assert dict(answer.metadata) == metadata_of(expected)

    # --- delete ----------------------------------------------------------------------------------------------

    def test_delete_is_idempotent(self, backend: Backend, another: Backend) -> None:
        """A deleted key is missing for everybody; deleting it again, and deleting nothing, is no error."""
        store(backend, "inbox/a")
        for _ in range(2):
            backend.delete(["inbox/a"])
            assert is_missing(another, "inbox/a")
        backend.delete([])
        store(another, "inbox/a", b"again", ABSENT)
        assert found(backend, "inbox/a").body == b"again"

    def test_delete_removes_the_others_when_one_is_missing(self, backend: Backend) -> None:
        """Missing keys first, last, between and twice do not keep the others from being removed."""
        fill(backend, [f"inbox/{name}" for name in "bdfh"] + ["inbox/stays"])
        backend.delete([f"inbox/{name}" for name in "abcdefghi"] + ["inbox/b", "inbox/a"])
        assert paged(backend) == ["inbox/stays"]

    def test_delete_of_more_than_one_request_holds(self, backend: Backend) -> None:
        """A delete may name more keys than a bulk request of any service, some of them missing."""
        keys = [f"inbox/{number:05}" for number in range(self.many)]
        written = [key for number, key in enumerate(keys) if number % 3]
        fill(backend, [*written, "inbox/stays"])
        backend.delete(keys)
        assert paged(backend) == ["inbox/stays"]
