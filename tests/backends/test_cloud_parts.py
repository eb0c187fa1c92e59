"""The parts of the cloud backends that need no server: URLs, options, lists, etags, attributes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.backends.cloud import AsyncCloudBackend, CloudBackend
from headstream.backends.cloud.dialect import Dialect
from headstream.backends.cloud.scan import ALPHABET, Scan, before
from headstream.backends.cloud.service import SERVICES, Address, open_clients
from headstream.errors import InvalidInput, UnsuitableBackend
from headstream.protocol.ops import ABSENT, ALWAYS, About, Found, Get, Matches, Page, Put, Stored
from headstream.testing.conformance.support import fill, paged
from servers.base import Server
from servers.proxy import Proxy

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
S3: dict[str, Any] = {"access_key_id": "key", "secret_access_key": SECRET, "region": "us-east-1"}


class TestAddresses:
    """What a URL may be."""

    @pytest.mark.parametrize(
        ("url", "bucket", "prefix"),
        [
            ("az://shop", "shop", ""),
            ("az://shop/", "shop", ""),
            ("s3://my-bucket.eu/a", "my-bucket.eu", "a"),
            ("gs://my_bucket/a/b-c/d.e/", "my_bucket", "a/b-c/d.e"),
            ("az://$root/x", "$root", "x"),
            (f"s3://shop/{'x' * limits.MAX_PREFIX}", "shop", "x" * limits.MAX_PREFIX),
        ],
    )
    def test_an_address_is_a_bucket_and_a_path(self, url: str, bucket: str, prefix: str) -> None:
        """Slashes around the path do not matter; the address is written back without them."""
        address = Address.parse(url)
        assert (address.bucket, address.prefix) == (bucket, prefix)
        assert str(address) == url.rstrip("/")
        assert Address.parse(str(address)) == address

    @pytest.mark.parametrize(
        "url",
        [
            f"az://shop/a?sig={SECRET}",
            f"az://account:{SECRET}@shop/a",
            f"s3://shop/a#{SECRET}",
            "http://shop/a",
            "shop",
            "",
            "az://",
            "az:///a",
            "az://a",
            "az://[::1",
            "s3://shop:80/a",
            "s3://shop/a//b",
            "s3://shop/a/../b",
            "s3://shop/./b",
            "s3://shop/a b",
            "s3://shop/a%20b",
            "s3://shop/é",
            f"s3://shop/{'x' * (limits.MAX_PREFIX + 1)}",
        ],
    )
    def test_others_are_refused_and_not_repeated(self, url: str) -> None:
        """Anything else is refused, and the error does not show what may be a credential."""
        with pytest.raises(InvalidInput) as raised:
            CloudBackend(url, **S3)
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None


class TestOptions:
    """What obstore is told."""

    def test_the_two_clients_differ_in_their_retries(self) -> None:
        """Writes are never repeated, whatever is asked for; reads are, for a fifth of the time of a call, or as asked."""
        clients = open_clients(Address.parse("s3://shop/a"), None, {"max_retries": 3}, S3)
        assert clients.writes.retry_config is not None
        assert clients.writes.retry_config["max_retries"] == 0
        reads = clients.reads.retry_config
        assert reads is not None
        assert reads["max_retries"] == 3
        assert reads["retry_timeout"] == timedelta(seconds=24)

    def test_time_outs_are_set_and_may_be_changed(self) -> None:
        """A request has 30 seconds and a connection 5, unless the caller says otherwise; both clients alike."""
        for client in open_clients(Address.parse("s3://shop/a"), {"timeout": "7s"}, None, S3):
            assert client.client_options is not None
            assert client.client_options["connect_timeout"] == "5s"
            assert client.client_options["timeout"] == "7s"

    def test_the_prefix_is_the_stores_path(self) -> None:
        """Keys are relative to the path in the URL."""
        assert open_clients(Address.parse("s3://shop/a/b"), None, None, S3).reads.prefix == "a/b"
        assert open_clients(Address.parse("s3://shop"), None, None, S3).reads.prefix is None

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("s3://shop", {"no_such_option": SECRET}),
            ("s3://shop", {"client_options": {"no_such_option": SECRET}}),
            ("az://shop", {"account_name": "shop", "account_key": f"not base64: {SECRET}"}),
            ("gs://shop", {"service_account_key": f"{{{SECRET}}}"}),
        ],
    )
    def test_wrong_options_are_named_without_their_values(self, url: str, options: dict[str, Any]) -> None:
        """An option that obstore does not take is the caller's to correct; no value is shown."""
        for shell in (CloudBackend, AsyncCloudBackend):
            with pytest.raises(InvalidInput) as raised:
                shell(url, **options)
            assert SECRET not in str(raised.value)
            assert raised.value.__context__ is None

    def test_a_missing_account_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Azure needs an account, which a URL does not hold."""
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
        with pytest.raises(InvalidInput, match="AZURE_STORAGE_ACCOUNT_NAME"):
            CloudBackend("az://shop")

    def test_a_repr_is_the_url(self) -> None:
        """And nothing of the credentials."""
        assert repr(CloudBackend("s3://shop/a/", **S3)) == "CloudBackend('s3://shop/a')"
        assert repr(AsyncCloudBackend("s3://shop", **S3)) == "AsyncCloudBackend('s3://shop')"

    def test_closing_twice_is_no_error(self) -> None:
        """Close is idempotent."""
        backend = CloudBackend("s3://shop", **S3)
        backend.close()
        backend.close()

    def test_without_obstore_the_extras_are_named(self) -> None:
        """An installation without the extra says which one to add."""
        script = (
            "import sys; sys.modules['obstore'] = None\n"
            "from headstream.errors import InvalidInput\n"
            "try:\n    import headstream.backends.cloud\n"
            "except InvalidInput as error:\n    print(error)\n"
        )
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert "headstream[azure]" in ran.stdout


segments = st.text(ALPHABET.replace("/", ""), min_size=1, max_size=4).filter(lambda text: text.strip("."))
keys = st.lists(segments, min_size=1, max_size=3).map("/".join)


class TestScan:
    """One page, from what a folder's list gives."""

    @given(
        st.sets(keys, max_size=30), st.text(ALPHABET, max_size=5), keys | st.just(""), st.integers(1, 12), st.booleans()
    )
    def test_a_scan_is_a_list(self, stored: set[str], prefix: str, after: str, limit: int, seeks: bool) -> None:
        """From the parent folder's keys behind the offset, the page is the one that was asked for."""
        scan = Scan(prefix, after, limit, SERVICES["s3"]._replace(seeks=seeks))
        folder = f"{scan.folder}/" if scan.folder else ""
        listed = [key for key in sorted(stored) if key.startswith(folder)]
        if seeks:
            listed = [key for key in listed if key > (scan.offset or "")]
        for start in range(0, len(listed), scan.chunk_size):
            if scan.take(listed[start : start + scan.chunk_size]):
                break
        expected = [key for key in sorted(stored) if key.startswith(prefix) and key > after]
        page = scan.page()
        assert page.keys == tuple(expected[:limit])
        assert page.more or len(expected) <= limit
        assert not page.more or len(page.keys) == limit

    @given(keys, keys)
    def test_nothing_that_a_prefix_covers_is_before_it(self, prefix: str, key: str) -> None:
        """The place where a list begins is below the prefix, and above what ends below it."""
        start = before(prefix)
        assert start < prefix
        assert not start.startswith("/")
        assert "//" not in start
        assert key <= start or key >= prefix or key.startswith(start)

    @pytest.mark.parametrize(
        ("prefix", "start"),
        [
            ("", ""),
            ("heads/", ""),
            ("heads/order-", "heads/order!~~~~"),
            ("heads/b", "heads/a~~~~"),
            ("heads/0", "heads/.~~~~"),
            ("heads/order0", "heads/order/~~~~"),
            ("heads/!", "heads/"),
        ],
    )
    def test_where_lists_begin(self, prefix: str, start: str) -> None:
        """Examples, with no empty segment among them."""
        assert before(prefix) == start

    def test_keys_out_of_order_are_refused(self) -> None:
        """A service that sorts otherwise cannot be read in pages without missing keys."""
        scan = Scan("", "", 10, SERVICES["az"])
        with pytest.raises(UnsuitableBackend, match="order of their bytes"):
            scan.take(["a/b", "a-b/c"])

    @pytest.mark.parametrize("name", ["ministack", "gcs", "azurite"])
    def test_a_page_costs_one_request(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A full page, a short one, and one of a part of a folder are one request each, which names where to begin."""
        server: Server = request.getfixturevalue(name)
        bucket = server.fresh_bucket()
        with Proxy(server.address) as proxy:
            for variable, value in server.environment(proxy.address).items():
                monkeypatch.setenv(variable, value)
            with closing(CloudBackend(server.url(f"{bucket}/shop"))) as backend:
                names = [f"inbox/{number:04}" for number in range(limits.LIST_PAGE + 1)]
                fill(backend, names)
                proxy.requests.clear()
                assert backend.list("inbox/", "", limits.LIST_PAGE) == Page(tuple(names[:-1]), more=True)
                assert backend.list("inbox/00", "inbox/0004", 3) == Page(tuple(names[5:8]), more=True)
                assert backend.list("inbox/10", "", limits.LIST_PAGE) == Page(tuple(names[-1:]), more=False)
                assert len(proxy.requests) == 3
                queries = [parse_qs(urlsplit(seen.path).query) for seen in proxy.requests]
                begins = [query.get("start-after", query.get("startFrom")) for query in queries]
                assert begins == [None, ["shop/inbox/0004"], ["shop/inbox/1/~~~~"]]
                assert paged(backend, "inbox/") == names


class TestDialects:
    """Etags and attributes."""

    GS = Dialect(Address.parse("gs://shop"))
    AZ = Dialect(Address.parse("az://shop"))

    def test_google_swaps_by_generation_and_asks_by_etag(self) -> None:
        """The etag of GCS carries both, and each request takes its part."""
        stored = self.GS.stored(Put("a", b"", ALWAYS), {"e_tag": '"abc"', "version": "17"})
        assert stored == Stored('17/"abc"')
        arguments = self.GS.put_arguments(Put("a", b"", Matches('17/"abc"')))
        assert arguments is not None
        assert arguments["mode"] == {"version": "17"}
        assert self.GS.get_options(Get("a", '17/"abc"')) == {"if_none_match": '"abc"'}

    def test_a_strange_etag_matches_nothing_at_google(self) -> None:
        """An etag without a generation is not sent."""
        assert self.GS.put_arguments(Put("a", b"", Matches('"abc"'))) is None
        assert self.GS.get_options(Get("a", '"abc"')) is None

    def test_others_swap_by_the_etag_alone(self) -> None:
        """A version is not sent to Azure and S3, whose objects may have one."""
        assert self.AZ.stored(Put("a", b"", ALWAYS), {"e_tag": '"abc"', "version": "17"}) == Stored('"abc"')
        arguments = self.AZ.put_arguments(Put("a", b"", Matches('"abc"')))
        assert arguments is not None
        assert arguments["mode"] == {"e_tag": '"abc"'}
        assert self.AZ.get_options(Get("a", '"abc"')) == {"if_none_match": '"abc"'}
        assert self.AZ.get_options(Get("a")) is None

    @pytest.mark.parametrize("described", [{"e_tag": None, "version": None}, {}])
    def test_without_an_etag_a_storage_is_unsuitable(self, described: dict[str, None]) -> None:
        """Nothing could be swapped."""
        for dialect in (self.AZ, self.GS):
            assert isinstance(dialect.stored(Put("a", b"", ALWAYS), described), UnsuitableBackend)
            assert isinstance(dialect.found(Get("a"), described, {}, b""), UnsuitableBackend)

    def test_conditions_and_attributes(self) -> None:
        """A create is a create, a write in one request, with the article's metadata and a content type."""
        about = About("Müller & Söhne", 3, bytes(16), None)
        arguments = self.AZ.put_arguments(Put("heads/a", b"", ABSENT, about))
        nil = "00000000-0000-0000-0000-000000000000"
        assert arguments == {
            "mode": "create",
            "use_multipart": False,
            "attributes": {
                "Content-Type": "application/octet-stream",
                "aggregateid": "M%C3%BCller%20&%20S%C3%B6hne",
                "aggregateversion": "3",
                "changesetid": nil,
                "parentchangesetid": nil,
            },
        }
        plain = self.AZ.put_arguments(Put("store.json", b"", ALWAYS))
        assert plain == {
            "mode": "overwrite",
            "use_multipart": False,
            "attributes": {"Content-Type": "application/json"},
        }

    def test_metadata_is_what_is_not_http(self) -> None:
        """The content type and its like are not metadata of ours."""
        meta = {"e_tag": '"1"', "version": None}
        found = self.AZ.found(Get("a"), meta, {"Content-Type": "text/plain", "aggregateid": "order-1"}, b"body")
        assert found == Found(b"body", '"1"', {"aggregateid": "order-1"})
        assert self.AZ.found(Get("a"), meta, {"Content-Type": "text/plain"}, b"") == Found(b"", '"1"', None)
