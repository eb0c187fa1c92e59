"""Lists: order, prefix, where they begin, where a page ends, and what they must not miss."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.backends.base import Backend
from headstream.protocol.ops import Page
from headstream.testing.conformance.support import Checks, fill, in_order, paged, store

TREE = (
    "heads/orde",
    "heads/order!20x",
    "heads/order-1",
    "heads/order-10",
    "heads/order-2",
    "heads/order.x",
    "heads/order1",
    "heads/orders-1",
    "heads/Order-1",
    "heads-old/a",
    "heads.old/a",
    "heads0",
    "inbox/a",
    "segments/order-1/0001-a",
    "segments/order-1/0002-b",
    "segments/order-10/0001-c",
    "segments/order/0001-d",
    "store.json",
)


class ListChecks(Checks):
    """Which keys a list returns, and in which pages."""

    def test_an_empty_storage_lists_nothing(self, backend: Backend) -> None:
        """A list of nothing is an empty page, not an error."""
        for prefix in ("", "heads/", "heads/order-", "no/such/folder/"):
            assert backend.list(prefix, "", 10) == Page((), more=False)

    def test_keys_come_in_the_order_of_their_bytes(self, backend: Backend) -> None:
        """The order is that of the whole keys' bytes: a folder is not sorted apart from its neighbours."""
        fill(backend, TREE)
        assert paged(backend) == in_order(TREE)

    @pytest.mark.parametrize(
        "prefix",
        [
            "heads/",
            "heads/o",
            "heads/order",
            "heads/order-",
            "heads/order-1",
            "heads/order-10",
            "heads/order-1/",
            "heads/orders",
            "heads/O",
            "heads/zzz",
            "heads.",
            "inbox/a",
            "inbox/ab",
            "segments/order-1/",
            "segments/order-1/0002",
            "store.json",
            "z",
        ],
    )
    def test_a_prefix_may_end_anywhere(self, backend: Backend, prefix: str) -> None:
        """A prefix is of the key: it may end in the middle of a segment, at a slash, with the key, or behind it."""
        self.check_prefix(backend, prefix)

    @pytest.mark.parametrize("prefix", ["", "h", "heads", "segments/", "segments/order", "segments/order-1"])
    def test_a_prefix_may_cover_folders(self, backend: Backend, prefix: str) -> None:
        """A prefix that several folders share lists all their keys, in the order of whole keys."""
        self.check_prefix(backend, prefix)

    def check_prefix(self, backend: Backend, prefix: str) -> None:
        """What a list of the tree returns, at three page sizes."""
        fill(backend, TREE)
        expected = [key for key in in_order(TREE) if key.startswith(prefix)]
        assert paged(backend, prefix) == expected
        assert paged(backend, prefix, limit=2) == expected
        assert paged(backend, prefix, limit=1) == expected

    @pytest.mark.parametrize("prefix", ["heads/", "heads/order", "heads/order-1", "segments/order-1/"])
    def test_a_list_begins_after_a_key(self, backend: Backend, prefix: str) -> None:
        """``after`` leaves out that key and all before it: a key, none, one before the prefix and one behind it."""
        self.check_after(backend, prefix)

    @pytest.mark.parametrize("prefix", ["", "heads", "segments/order"])
    def test_a_list_of_folders_begins_after_a_key(self, backend: Backend, prefix: str) -> None:
        """``after`` may be in one folder while the list goes on in the next."""
        self.check_after(backend, prefix)

    def check_after(self, backend: Backend, prefix: str) -> None:
        """What a list of the tree returns after each of its keys, and after others."""
        fill(backend, TREE)
        for after in (*TREE, "a", "heads/", "heads/order-", "heads/order-1!", "heads/order-1~", "segments/", "~"):
            expected = [key for key in in_order(TREE) if key.startswith(prefix) and key > after]
            assert paged(backend, prefix, after) == expected, after
            assert paged(backend, prefix, after, limit=2) == expected, after

    def test_a_page_ends_at_its_limit(self, backend: Backend) -> None:
        """A page has the first keys, up to the limit; ``more`` is true when others follow and false on a short page."""
        keys = [f"inbox/{number:02}" for number in range(10)]
        fill(backend, keys)
        for limit in (1, 4, 5, 9):
            assert backend.list("inbox/", "", limit) == Page(tuple(keys[:limit]), more=True)
        assert backend.list("inbox/", "", 10).keys == tuple(keys)
        assert backend.list("inbox/", "", 11) == Page(tuple(keys), more=False)
        assert backend.list("inbox/", keys[4], 5).keys == tuple(keys[5:])
        assert backend.list("inbox/", keys[4], 6) == Page(tuple(keys[5:]), more=False)
        assert backend.list("inbox/", keys[-1], 5) == Page((), more=False)
        assert paged(backend, "inbox/", limit=5) == keys

    def test_a_list_sees_a_write_and_a_delete_at_once(self, backend: Backend, another: Backend) -> None:
        """What was written or removed before a list began is in it, or not, for every client."""
        for number in range(5):
            store(backend, f"inbox/{number}")
            assert paged(another, "inbox/") == [f"inbox/{seen}" for seen in range(number + 1)]
        for number in range(5):
            another.delete([f"inbox/{number}"])
            assert paged(backend, "inbox/") == [f"inbox/{seen}" for seen in range(number + 1, 5)]

    def test_a_paged_list_goes_on_where_it_was(self, backend: Backend) -> None:
        """Keys written and deleted between two pages do not make the next one skip or repeat others."""
        keys = [f"inbox/{number:02}" for number in range(10)]
        fill(backend, keys)
        first = backend.list("inbox/", "", 5)
        backend.delete([keys[0], keys[4], keys[5]])
        store(backend, "inbox/00a")
        store(backend, "inbox/07a")
        assert paged(backend, "inbox/", after=first.keys[-1]) == [*keys[6:8], "inbox/07a", *keys[8:]]

    def test_more_keys_than_a_page_are_listed(self, backend: Backend) -> None:
        """A list longer than any service's page is whole, in order and without repeats, at every page size."""
        keys = [f"heads/order-{number:05}" for number in range(self.many)]
        others = ["heads/order", "heads/orders-1", "inbox/1"]
        fill(backend, keys + others)
        for limit in (limits.LIST_PAGE, self.many // 2, self.many, self.many + 1):
            assert paged(backend, "heads/order-", limit=limit) == keys
        middle = self.many // 2
        assert paged(backend, "heads/order-", after=keys[middle]) == keys[middle + 1 :]
        assert paged(backend) == in_order(keys + others)
