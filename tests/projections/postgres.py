"""A PostgreSQL server for tests, where one is installed: on a socket in a folder of its own, which nobody else can reach."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SECONDS = 60


def programs() -> Path | None:
    """The folder of the server's programs, if there is one."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server that runs; how to connect to it. It does not run as root, so that takes a user ``postgres``."""
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with TemporaryDirectory(prefix="headstream-pg-") as name:  # a short path: that of a socket has 107 bytes at most
        place = Path(name)
        if os.geteuid() == 0:
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [folder / program, *arguments],
                cwd=place,
                user=user if os.geteuid() == 0 else None,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stderr

        data, log = str(place / "data"), str(place / "log")
        run("initdb", "-D", data, "-U", "tests", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c fsync=off -k {place}"
        run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield f"host={place} user=tests dbname=postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
