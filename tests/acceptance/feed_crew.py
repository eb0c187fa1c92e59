"""Ten writers, three advancers and two followers of one store: started, listened to, killed and started again."""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from acceptance.feed_worker import Order
from acceptance.places import Place

WORKER = Path(__file__).with_name("feed_worker.py")
WRITERS = [f"writer-{number}" for number in range(10)]
ADVANCERS = [f"advancer-{number}" for number in range(3)]
FOLLOWERS = [f"follower-{number}" for number in range(2)]
ROLES = {"writer": "write", "advancer": "advance", "follower": "follow"}
STREAMS = 1000
KILLS = ["writer"] * 6 + ["advancer"] * 4 + ["follower"] * 4
"""Who is killed, in random order, at even distances."""
SECONDS = 240
"""For all of it; a tenth of that is usual."""


@dataclass
class Ack:
    """An append that was acknowledged."""

    stream: str
    version: int
    payloads: list[str]
    positions: list[int] | None


@dataclass
class Told:
    """What the processes told."""

    acks: list[Ack] = field(default_factory=list)
    doomed: list[str] = field(default_factory=list)
    """Objects of commits whose writer died before the head."""
    published: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """The last position that each follower noted."""
    saved: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Sessions and positions of checkpoints that each follower saved."""
    ready: set[str] = field(default_factory=set)
    done: set[tuple[str, int]] = field(default_factory=set)
    """Workers, and sessions of theirs that came to an orderly end."""


class Crew:
    """The processes. They are ended when the ``with`` block is left."""

    def __init__(self, place: Place, folder: Path, *, appends: int, doom: float, seed: int) -> None:
        self.told = Told()
        self.killed: Counter[str] = Counter()
        self._place = place
        self._folder = folder
        self._appends = appends
        self._doom = doom
        self._random = random.Random(seed)
        self._deadline = time.monotonic() + SECONDS
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: Counter[str] = Counter()
        self._acks: Counter[str] = Counter()
        self._reports: deque[bytes] = deque()
        self._plan = self._random.sample(KILLS, len(KILLS))

    def __enter__(self) -> Self:
        self._pipe, self._report = os.pipe()
        for name in (*WRITERS, *ADVANCERS, *FOLLOWERS):
            self._start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        os.close(self._pipe)
        os.close(self._report)

    # --- the run ---------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Let all of them work, and kill one of them now and then, until the writers have finished."""
        every = len(WRITERS) * self._appends // (len(KILLS) + 1)
        due = every
        while not all(map(self._is_done, WRITERS)):
            news = self._listen()
            name = news["by"]
            if "doomed" in news and news["session"] == self._session(name):
                self._restart(name)
            elif len(self.told.acks) >= due and len(self.told.ready) == len(self._processes):
                due += every
                self._kill()
        self._stop(WRITERS)
        self._stop(ADVANCERS)

    def follow(self, position: int) -> None:
        """Wait until the followers have seen the feed up to ``position``, and stop them."""
        while any(self.told.seen[name] < position for name in FOLLOWERS):
            self._listen()
        self._stop(FOLLOWERS)

    def notes(self, follower: str) -> list[list[str]]:
        """What a follower noted, by session. A line that a kill has cut is not a note."""
        files = [self._log(follower, session) for session in range(self._sessions[follower])]
        logs = [file.read_text() if file.exists() else "" for file in files]
        return [log[: log.rfind("\n") + 1].splitlines() for log in logs]

    def _kill(self) -> None:
        """The next of those who are planned to be killed."""
        kind = self._plan.pop() if self._plan else ""
        names = [name for name in self._processes if name.partition("-")[0] == kind and not self._is_done(name)]
        if names:
            name = self._random.choice(names)
            self._processes[name].kill()
            self.killed[kind] += 1
            self._restart(name)

    # --- processes -------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        order = Order(
            role=ROLES[name.partition("-")[0]],
            name=name,
            session=self._sessions[name],
            url=self._place.url,
            report=self._report,
            log=str(self._log(name, self._sessions[name])),
            streams=STREAMS,
            appends=self._appends - self._acks[name],
            doom=self._doom if name in WRITERS else 0.0,
            advance=name != FOLLOWERS[1],
        )
        self._sessions[name] += 1
        with self._errors(name).open("ab") as errors:
            self._processes[name] = subprocess.Popen(
                [sys.executable, str(WORKER), msgspec.json.encode(order).decode()],
                env=self._place.process_environment,
                stdin=subprocess.PIPE,
                stderr=errors,
                pass_fds=[self._report],
            )

    def _session(self, name: str) -> int:
        """The one that runs."""
        return self._sessions[name] - 1

    def _is_done(self, name: str) -> bool:
        return (name, self._session(name)) in self.told.done

    def _restart(self, name: str) -> None:
        process = self._processes[name]
        process.wait(SECONDS)
        assert process.stdin is not None
        process.stdin.close()
        self._start(name)

    def _stop(self, names: list[str]) -> None:
        """Let them end; they must have had no trouble."""
        for name in names:
            process = self._processes[name]
            assert process.stdin is not None
            process.stdin.close()
        for name in names:
            assert self._processes[name].wait(SECONDS) == 0, self._errors(name).read_text()

    def _log(self, name: str, session: int) -> Path:
        return self._folder / f"{name}.{session}.log"

    def _errors(self, name: str) -> Path:
        return self._folder / f"{name}.errors"

    # --- reports ---------------------------------------------------------------------------------------------------

    def _listen(self) -> dict[str, Any]:
        """The next thing that a process tells."""
        while not self._reports:
            assert time.monotonic() < self._deadline, f"not done in {SECONDS} s: {self.told.seen}, {self.told.done}"
            if select.select([self._pipe], [], [], 1.0)[0]:
                self._reports.extend(os.read(self._pipe, select.PIPE_BUF).splitlines(keepends=True))
                while not self._reports[-1].endswith(b"\n"):
                    self._reports[-1] += os.read(self._pipe, 1)
            else:
                self._check_alive()
        news: dict[str, Any] = json.loads(self._reports.popleft())
        self._note(news)
        return news

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            assert process.poll() in (None, 0), f"{name} ended: {self._errors(name).read_text()}"

    def _note(self, news: dict[str, Any]) -> None:
        told, name, session = self.told, news["by"], news["session"]
        match news:
            case {"payloads": payloads}:
                told.acks.append(Ack(news["stream"], news["version"], payloads, news["positions"]))
                self._acks[name] += 1
            case {"doomed": objects}:
                told.doomed += objects
            case {"published": events}:
                told.published += events
            case {"seen": position}:
                told.seen[name] = max(told.seen[name], position)
            case {"saved": position}:
                told.saved.setdefault(name, []).append((session, position))
            case {"ready": True}:
                told.ready.add(name)
            case {"done": True}:
                told.done.add((name, session))
