"""What every test server offers, and how a server that is a program is started and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final, Self
from uuid import uuid4

START_ATTEMPTS: Final = 3
"""A free port may be taken before the server binds it."""
READY_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
REQUEST_SECONDS: Final = 20
"""How long a request of set-up may take on a busy machine. A whole number: a client library wants one."""
REQUEST_ATTEMPTS: Final = 3
"""Set-up repeats a request that was not answered; whatever it asks for may be done already by then."""
KILLED_SECONDS: Final = 30.0
"""How long the system may take to take back what a killed process had: more than a moment, on a busy machine."""
LOG_SHOWN: Final = 4_000
"""Characters of a server's log that an error shows."""
CREDENTIALS: Final = ("AWS_", "AZURE_", "GOOGLE_")
"""Environment variables that a server must not inherit: it would read a test's settings as its own."""


class ServerError(Exception):
    """A test server did not start. The message ends with what the server logged."""


class Server(ABC):
    """A storage service on loopback, and a context manager: it answers inside the ``with`` block."""

    scheme: ClassVar[str]
    """Of the headstream URLs that lead to it."""
    address: str
    """Where it listens: ``http://127.0.0.1:PORT``."""

    def url(self, name: str) -> str:
        """The headstream URL of a store: ``name`` is ``BUCKET/PREFIX``, or a bucket alone."""
        return f"{self.scheme}://{name}"

    @abstractmethod
    def environment(self, address: str | None = None) -> dict[str, str]:
        """The environment variables by which a client finds this server; with ``address``, a proxy before it."""

    @abstractmethod
    def create_bucket(self, name: str) -> None:
        """Make the bucket (container) ``name``: 3 to 63 lower-case letters, digits and hyphens. Repeating it does no harm."""

    def fresh_bucket(self) -> str:
        """Make a bucket that no other test has, and return its name."""
        name = f"test-{uuid4().hex[:16]}"
        self.create_bucket(name)
        return name

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *_exception: object) -> None: ...


class ProcessServer(Server):
    """A server that is a program of its own: started in its own process group and in an empty folder."""

    name: ClassVar[str]
    stop_seconds: ClassVar[float] = 5.0
    """How long it may take to end by itself."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self.port = 0
        self.folder = Path()
        """The server's working folder; gone when it is stopped."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The program and its arguments, to listen on ``self.port``. May write files into ``self.folder``."""

    def variables(self) -> Mapping[str, str]:
        """Environment variables that the program needs besides the usual ones."""
        return {}

    def answers(self) -> bool:
        """Whether the server does its work by now. Any HTTP answer will do, unless a server says otherwise."""
        try:
            with urllib.request.urlopen(self.address, timeout=2):
                return True
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return True
        except OSError:
            return False

    def __enter__(self) -> Self:
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start()
            except ServerError:
                self._resources.close()
                if attempt == START_ATTEMPTS:
                    raise
            else:
                break
        return self

    def __exit__(self, *_exception: object) -> None:
        self._resources.close()

    def _start(self) -> None:
        self.folder = Path(self._resources.enter_context(TemporaryDirectory(prefix=f"headstream-{self.name}-")))
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        command = [str(part) for part in self.command()]
        if not Path(command[0]).exists():
            raise ServerError(f"{self.name} is not installed: run `make setup` ({command[0]} is missing)")
        log = self.folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=_clean_environment() | {"TMPDIR": str(self.folder)} | dict(self.variables()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._resources.callback(_stop, process, self.stop_seconds)
        self._await_answer(process, log)

    def _await_answer(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(POLL_SECONDS)
                raise ServerError(f"{self.name} ended with status {status} before it answered; it logged:\n{_end(log)}")
            if self.answers():
                return
        raise ServerError(f"{self.name} did not answer within {READY_SECONDS:g} s; it logged:\n{_end(log)}")


def free_port() -> int:
    """A loopback TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(CREDENTIALS)}


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_SHOWN:].strip() or "(nothing)"


def _stop(process: subprocess.Popen[bytes], patience: float) -> None:
    """End the server's process group: politely, then, after ``patience`` seconds, not."""
    for request, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILLED_SECONDS)):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, request)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
