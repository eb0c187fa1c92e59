"""``headstream init``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headstream import connect
from headstream.cli import init as module
from headstream.errors import StoreNotFound
from servers.base import Server
from support.commands import Commands


def test_a_store_is_made(cli: Commands, tmp_path: Path) -> None:
    """With the settings that were asked for, and they are shown."""
    url = str(tmp_path / "shop.db")
    shown = cli("init", url, "--tail-bytes", 2048, "--fan-out", 16, "--no-feed").stdout
    with connect(url, create=False) as store:
        settings = store.settings
        assert str(store.store_id) in shown
    assert (settings.tail_bytes, settings.fan_out, settings.feed) == (2048, 16, False)
    words = " ".join(shown.split())
    assert "created" in words
    assert "tail 2.0 KiB" in words
    assert "fan-out 16" in words
    assert "feed no" in words


def test_the_feed_has_settings(cli: Commands, tmp_path: Path) -> None:
    """How often a client advances it, and how long an append may take; they are shown too."""
    url = str(tmp_path / "shop.db")
    words = " ".join(cli("init", url, "--advance-every", 1000, "--grace-seconds", 3600).stdout.split())
    with connect(url, create=False) as store:
        assert (store.settings.advance_every, store.settings.grace_seconds) == (1000, 3600)
    assert "advance 1,000 appends" in words
    assert "grace 3,600 s" in words
    assert "advance never by itself" in " ".join(cli("init", tmp_path / "b.db", "--advance-every", 0).stdout.split())
    assert "other settings" in cli.error("init", url, "--grace-seconds", 60, code=2)


def test_an_existing_store_is_left_alone(cli: Commands, tmp_path: Path) -> None:
    """Whether its settings are repeated or not; others are refused."""
    url = str(tmp_path / "shop.db")
    (made,) = cli.json("init", url, "--fan-out", 16)
    (found,) = cli.json("init", url)
    (again,) = cli.json("init", url, "--fan-out", 16)
    assert made == found | {"created": True}
    assert again == found
    assert made["settings"] == {
        "tail_bytes": 16384,
        "fan_out": 16,
        "feed": True,
        "advance_every": 1000,
        "grace_seconds": 60,
    }
    assert "existed already" in cli("init", url).stdout
    assert "other settings" in cli.error("init", url, "--fan-out", 17, code=2)


def test_a_folder_is_made_for_it(cli: Commands, tmp_path: Path) -> None:
    """A local store needs one as a cloud store needs a container."""
    (made,) = cli.json("init", tmp_path / "new" / "shop.db")
    assert (made["created"], made["created_container"]) == (True, True)
    assert "created, in a new folder" in cli("init", tmp_path / "other" / "shop.db").stdout


def test_a_bucket_is_made_for_it(cli: Commands, monkeypatch: pytest.MonkeyPatch, ministack: Server) -> None:
    """On a server that speaks S3: once, and the options of the storage client reach both who make it."""
    for name, value in ministack.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{ministack.fresh_bucket()}-new/shop"
    (made,) = cli.json("init", url, "--option", 'client_options={"timeout": "20s"}')
    assert (made["created"], made["created_container"]) == (True, True)
    (again,) = cli.json("init", url)
    assert (again["created"], again["created_container"]) == (False, False)
    cli("append", url, "s", "T")
    assert [event["version"] for event in cli.json("read", url, "s")] == [1]


def test_it_takes_the_options_that_every_command_takes(
    cli: Commands, monkeypatch: pytest.MonkeyPatch, ministack: Server
) -> None:
    """All of them, by the command line alone; what is wrong in them is said in one line, with code 2."""
    for name in ministack.environment():
        monkeypatch.delenv(name, raising=False)
    url = f"s3://{ministack.fresh_bucket()}-new/shop"
    given = [f"--option={name.lower()}={value}" for name, value in ministack.environment().items()]
    options = [*given, "--option=timeout=20", '--option=client_options={"connect_timeout": "5s"}']
    assert cli.json("init", url, *options)[0]["created_container"] is True
    cli("append", url, "s", "T", *options)
    assert [event["version"] for event in cli.json("read", url, "s", *options)] == [1]
    plain = [option for option in given if "allow_http" not in option]
    for command in (("init", url), ("streams", url), ("doctor", url), ("read", url, "s")):
        message = cli.error(*command, *plain, code=2)
        assert message.startswith("the option aws_endpoint_url begins with http://, and plain HTTP is not allowed")
        assert "did you mean region?" in cli.error(*command, *given, "--option=regoin=x", code=2)


def test_a_container_is_only_made_where_no_store_is(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not create containers can still look at a store by init."""

    def refuse(url: str, **options: Any) -> bool:
        raise AssertionError(url, options)

    monkeypatch.setattr(module, "create_container", refuse)
    assert cli.json("init", shop)[0]["created"] is False


@pytest.mark.parametrize(
    "args",
    [
        ("--tail-bytes", -1),
        ("--tail-bytes", 2**20 + 1),
        ("--fan-out", 1),
        ("--fan-out", 1025),
        ("--advance-every", -1),
        ("--advance-every", 1_000_001),
        ("--grace-seconds", 0),
        ("--grace-seconds", 86_401),
    ],
)
def test_settings_out_of_range_are_refused(cli: Commands, tmp_path: Path, args: tuple[object, ...]) -> None:
    """Before anything is made."""
    url = tmp_path / "new" / "shop.db"
    cli.error("init", url, *args, code=2)
    assert not url.parent.exists()


def test_a_store_in_memory_is_refused(cli: Commands) -> None:
    """It would be gone before anybody could use it."""
    assert "memory" in cli.error("init", "memory://", code=2)


def test_other_commands_make_no_store(cli: Commands, tmp_path: Path) -> None:
    """A mistyped URL shall not look like an empty store."""
    for args in (("append", tmp_path / "no.db", "s", "T"), ("streams", tmp_path / "no.db")):
        assert "headstream init" in cli.error(*args, code=6)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreNotFound):
        connect(str(tmp_path / "no.db"), create=False)
