"""Installs the programs of the test servers into ``.servers/``: ``python -m servers.install``.

They have a virtual environment of their own, so that what they depend on never meets what headstream depends on.
A stamp with a hash of the pins makes a second run return at once. Azurite is the newest that runs on Node.js 20.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PINS: Final = ROOT / "requirements" / "servers.txt"
PACKAGE: Final = Path(__file__).resolve().parent / "node"
NODE: Final = ROOT / ".servers" / "node"
VENV: Final = ROOT / ".servers" / "venv"


def install() -> None:
    """Install what is missing or no longer as pinned.

    Raises SystemExit, with a message that says what to do, when npm is missing or an installation fails.
    """
    _unless_stamped(NODE, [PACKAGE / "package.json", PACKAGE / "package-lock.json"], "", _install_node)
    _unless_stamped(VENV, [PINS], sys.version, _install_python)


def _unless_stamped(folder: Path, pins: Sequence[Path], interpreter: str, installation: Callable[[], None]) -> None:
    """Run ``installation`` on an empty ``folder``, unless it was completed there for the same pins."""
    content = b"\0".join([interpreter.encode(), str(folder).encode(), *(path.read_bytes() for path in pins)])
    digest = hashlib.sha256(content).hexdigest()
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing {' and '.join(path.name for path in pins)} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    installation()
    stamp.write_text(digest)


def _install_node() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is missing: install Node.js 20.6 or newer, which Azurite runs on")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGE / name, NODE / name)
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], NODE)


def _install_python() -> None:
    venv.create(VENV, with_pip=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--requirement", str(PINS)], ROOT)


def _run(command: Sequence[str], folder: Path) -> None:
    status = subprocess.run(command, cwd=folder, check=False).returncode
    if status != 0:
        raise SystemExit(f"`{' '.join(command)}` failed with status {status}: see above, then run it again")


if __name__ == "__main__":
    install()
