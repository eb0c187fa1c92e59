"""An exception out of a signal handler, at any moment, in the backends of this machine's files: nothing stays held."""

import dis
import fcntl
import gc
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headstream import backends
from headstream.backends.files import FilesBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.protocol.ops import ALWAYS, Found, Get, Put

OURS = tuple(
    str(Path(backends.__path__[0]) / name)
    for name in (
        "sqlite.py",
        "sqlite_pool.py",
        "sqlite_file.py",
        "filelock.py",
        "files.py",
        "durable.py",
        "osfaults.py",
    )
)


class Interrupt(BaseException):
    """What the handler raises."""


CHECKED = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD", "YIELD_VALUE", "SEND"}
"""Bytecodes after which CPython looks for signals. In particular it does not between a block and the end of its ``with``."""


class Interrupted:
    """Raises at one of the moments at which our files can be interrupted by a signal."""

    def __init__(self, at):
        self.left = at
        self.last = {}

    def __enter__(self):
        sys.settrace(self.trace)

    def __exit__(self, *_):
        sys.settrace(None)

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename not in OURS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            last, self.last[frame] = self.last.get(frame), frame.f_lasti
            if last is not None and dis.opname[frame.f_code.co_code[last]] in CHECKED:
                self.left -= 1
                if self.left == 0:
                    raise Interrupt
        return self.trace


def is_free(path):
    """Whether no one holds a lock file, in whatever process or thread."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def commit(backend):
    return backend.commit([Put("inbox/1", b"x", ALWAYS)], Put("heads/a", b"interrupted", ALWAYS))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of files that Python closes
@pytest.mark.parametrize(("opened", "fresh"), [(SqliteBackend, False), (SqliteBackend, True), (FilesBackend, False)])
@pytest.mark.parametrize("call", [commit, lambda backend: backend.get(Get("heads/a"))])
def test_an_interrupt_leaves_nothing_held(tmp_path, opened, call, fresh):
    """Afterwards other processes can lock and write, and so can this client, while the exception is still at hand."""
    path = tmp_path / "store.db"
    with closing(opened(path)) as backend, closing(opened(path)) as another:
        commit(backend), commit(another)
        at, interrupted = 0, True
        while interrupted:
            at += 1
            if fresh:
                backend._pool.close()
                backend._pool._closed = False
            kept = None
            try:
                with Interrupted(at):
                    call(backend)
                interrupted = False
            except BaseException as error:  # it may come as the Unknown of a member of a group
                kept = error
            locks = [tmp_path / "store.db-lock"] if opened is SqliteBackend else (path / ".headstream/locks").iterdir()
            assert all(map(is_free, locks)), at
            etag = another.commit((), Put("heads/a", b"another %d" % at, ALWAYS)).etag
            assert backend.get(Get("heads/a")) == Found(b"another %d" % at, etag), at
            etag = commit(backend).etag
            assert another.get(Get("heads/a")) == Found(b"interrupted", etag), at
            del kept
        assert at > 10
        gc.collect()
