"""What an error of the file system means: each row of the table, and the things themselves, in the places of files and folders of a store."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest

from headstream import (
    AccessDenied,
    Event,
    EventStore,
    InvalidInput,
    RequestRejected,
    StoreNotFound,
    Unavailable,
    connect,
)
from headstream.backends.files import FilesBackend
from headstream.backends.osfaults import ROWS, explain_os
from headstream.errors import UnsuitableBackend
from headstream.protocol.ops import NotApplied, Unknown
from support.embedded import in_child

ROOT: Final = Path("/nowhere/store")
EXPECTED: Final = MappingProxyType(
    {
        "EACCES": AccessDenied,
        "EPERM": AccessDenied,
        "EROFS": AccessDenied,
        "ENOENT": StoreNotFound,
        "ENOSPC": NotApplied,
        "EDQUOT": NotApplied,
        "EMFILE": NotApplied,
        "ENFILE": NotApplied,
        "EIO": NotApplied,
        "ENOMEM": NotApplied,
        "EBUSY": NotApplied,
        "EINTR": NotApplied,
        "ESTALE": NotApplied,
        "EFBIG": NotApplied,
        "EDEADLK": NotApplied,
        "EEXIST": RequestRejected,
        "EISDIR": RequestRejected,
        "ENOTDIR": RequestRejected,
        "ELOOP": RequestRejected,
        "ENXIO": RequestRejected,
        "ENODEV": RequestRejected,
        "ENAMETOOLONG": RequestRejected,
        "ENOSYS": UnsuitableBackend,
        "ENOTSUP": UnsuitableBackend,
        "EOPNOTSUPP": UnsuitableBackend,
    }
)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_row(name: str) -> None:
    """Its class, its reason, its name; and that nothing is known when the system was asked to make a write visible."""
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number), str(ROOT / "heads/a"))
    told = explain_os(error, ROOT)
    assert type(told) is EXPECTED[name]
    if isinstance(told, NotApplied):
        assert os.strerror(number) in told.reason
        assert told.code == errno.errorcode[number]
    assert str(ROOT.parent) in str(told)
    doubtful = explain_os(error, ROOT, committing=True)
    assert isinstance(doubtful, Unknown)
    assert doubtful.code == errno.errorcode[number]


def test_no_row_is_forgotten() -> None:
    """The table has none that is not tested above."""
    assert set(ROWS) <= {getattr(errno, name) for name in EXPECTED}


# --- the things themselves -------------------------------------------------------------------------------------------


@contextmanager
def _socket(place: Path) -> Iterator[None]:
    before = Path.cwd()
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        os.chdir(place.parent)  # the address of a socket is short
        try:
            listener.bind(place.name)
        finally:
            os.chdir(before)
        yield


@contextmanager
def _made(make: Callable[[Path], Any], place: Path) -> Iterator[None]:
    make(place)
    yield


THINGS: Final[dict[str, Callable[[Path], Any]]] = {
    "FIFO": lambda place: _made(os.mkfifo, place),
    "socket": _socket,
    "device": lambda place: _made(lambda path: path.symlink_to("/dev/zero"), place),
    "loop": lambda place: _made(lambda path: path.symlink_to(path.name), place),
    "dangling link": lambda place: _made(lambda path: path.symlink_to("nothing"), place),
    "folder": lambda place: _made(Path.mkdir, place),
    "file": lambda place: _made(Path.touch, place),
}
NO_FILES: Final = tuple(name for name in THINGS if name != "file")
NO_FOLDERS: Final = tuple(name for name in THINGS if name != "folder")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """A folder with one stream. No call may take longer than the tests' own bound: a FIFO would be waited for, and a device be read, for ever."""
    with connect((tmp_path / "store").as_uri(), timeout=5, feed=False, cache_bytes=0) as store:
        store.append("a", Event("E"))
        yield store


def rejected(call: Callable[[], Any], place: Path) -> None:
    """It is refused for good, and the message names the place."""
    with pytest.raises(RequestRejected, match="remove it") as raised:
        call()
    assert str(place) in str(raised.value)
    assert raised.value.details["code"] in {"ELOOP", "ENXIO", "EISDIR", "ENOTDIR", "EEXIST"}


@pytest.mark.parametrize("thing", NO_FILES)
def test_in_the_place_of_a_head(store: EventStore, tmp_path: Path, thing: str) -> None:
    """Neither read nor overwritten; other streams are not concerned."""
    place = tmp_path / "store/heads/b"
    with THINGS[thing](place):
        if thing != "dangling link":  # which is no object
            rejected(lambda: list(store.read("b")), place)
        rejected(lambda: store.append("b", Event("E")), place)
        rejected(lambda: store.append("b", Event("E"), expected=0), place)
        store.append("a", Event("E"))
        assert "a" in list(store.streams())


@pytest.mark.parametrize("thing", NO_FOLDERS)
def test_in_the_place_of_a_folder(tmp_path: Path, thing: str) -> None:
    """Refused before anything is written there."""
    store = connect((tmp_path / "store").as_uri(), timeout=5, feed=False)
    with store, THINGS[thing](tmp_path / "store/heads"):
        rejected(lambda: store.append("a", Event("E")), tmp_path / "store/heads")


@pytest.mark.parametrize("thing", [name for name in NO_FILES if name not in ("device", "dangling link")])
def test_in_the_place_of_a_lock(store: EventStore, tmp_path: Path, thing: str) -> None:
    """No write waits for it."""
    with closing(FilesBackend(tmp_path / "store")) as backend:
        place = Path(backend._lock_of("heads/a")._path)
    place.unlink()
    with THINGS[thing](place):
        rejected(lambda: store.append("a", Event("E")), place)


@pytest.mark.parametrize("thing", NO_FILES)
def test_in_the_place_of_the_description(tmp_path: Path, thing: str) -> None:
    """Connecting says so."""
    (tmp_path / "store").mkdir()
    place = tmp_path / "store/store.json"
    with THINGS[thing](place):
        rejected(lambda: connect((tmp_path / "store").as_uri(), timeout=5), place)


@pytest.mark.parametrize("thing", NO_FOLDERS)
def test_in_the_place_of_the_store(tmp_path: Path, thing: str) -> None:
    """A URL that names something else than a folder."""
    place = tmp_path / "store"
    with THINGS[thing](place), pytest.raises((InvalidInput, RequestRejected), match=str(place)):
        connect(place.as_uri(), timeout=5)


@pytest.mark.parametrize("thing", [name for name in NO_FILES if name != "dangling link"])
def test_in_the_place_of_a_database(tmp_path: Path, thing: str) -> None:
    """The same of a SQLite file. A link to nothing is one to a database that is to be made."""
    place = tmp_path / "shop.db"
    with THINGS[thing](place), pytest.raises((InvalidInput, RequestRejected)):
        connect(place, timeout=5)


@pytest.mark.parametrize("url", ["file://{}/{}", "{}/{}.db"])
def test_a_name_that_is_too_long(tmp_path: Path, url: str) -> None:
    """It is never tried again."""
    with pytest.raises(RequestRejected, match="too long") as raised:
        connect(url.format(tmp_path, "x" * 300))
    assert raised.value.details["code"] == "ENAMETOOLONG"


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """The folder is deep, so that a stream with a short name has a file and one with a long name none: nothing is written of it."""
    folder = tmp_path
    while len(str(folder)) < 3700:
        folder /= "d" * min(200, 3899 - len(str(folder)))
    folder.mkdir(parents=True)
    folder /= "e" * (3900 - len(str(folder)))
    with connect(folder.as_uri(), feed=False, timeout=5) as store:
        assert store.append("short", Event("E")).version == 1
        with pytest.raises(RequestRejected, match="too long"):
            store.append("x" * 250, Event("E"))


def test_too_many_open_files(tmp_path: Path) -> None:
    """That is of the moment: it is tried again, and the reason is told."""

    def work() -> None:
        with connect(tmp_path.as_uri(), timeout=1) as store:
            store.append("a", Event("E"))
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                store.append("a", Event("E"))
            except Unavailable as error:
                assert error.details["code"] == "EMFILE", error  # noqa: PT017 - in a child
            else:
                raise AssertionError("no file could be opened")
            finally:
                with suppress(OSError):
                    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            assert store.append("a", Event("E")).version == 2

    assert in_child(work) == 0
