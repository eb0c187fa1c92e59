"""One history: some clients, a storage, a clock, and a seed that decides everything."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from headstream.drivers.ids import stamped
from headstream.model import Settings
from headstream.protocol import keys
from headstream.protocol.head import fenced, put
from headstream.protocol.ops import FAULTS, Found, Get, GiveWay, List, NotApplied, Pause, Put, Stamp
from headstream.protocol.read import load_head
from headstream.testing.simulator.client import FEED_HABITS, HABITS, Client, Crash, Deed, Delivery, Habit
from headstream.testing.simulator.requests import Remove, Request, Steps
from headstream.testing.simulator.storage import CALM, Storage, Weather
from headstream.testing.simulator.tiny import TINY, limited
from headstream.testing.simulator.watch import Watcher

SECOND: Final = 1_000_000
"""In microseconds."""


class Violation(AssertionError):
    """A promise was broken. The message has the seed and the promise; the story is in the world's trace."""


class World:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)  # noqa: S311 - a seed must decide
        self.trace: list[tuple[int, str, object, object]] = []
        """Step, who, what, what came of it."""
        self.settings = Settings(
            tail_bytes=rng.choice((0, 100, 300, 2000)),
            fan_out=rng.choice((2, 3, 128)),
            feed=rng.random() < 0.85,
            grace_seconds=1,
        )
        self.limits = {name: rng.choice(values) for name, values in TINY.items()} if rng.random() < 0.8 else {}
        self.weather = self.drawn = Weather.draw(rng)
        self.stickiness = rng.choice((0.0, 0.0, 0.7, 0.9, 0.97))
        """How likely the client that acted last acts again: then others are slow, and find much changed."""
        self.eyes = Random(f"eyes {seed}")  # noqa: S311 - of its own, so that the rest of a history is what it was
        self.blindness = self.eyes.choice((0.0, 0.6))
        """How likely an advance cannot read one of the streams."""
        self.page = rng.choice((1, 2, 3, 1000))
        """Keys in one page of a list."""
        self.pace = rng.choice((100, 5_000, 300_000))
        """Microseconds that pass at most between two requests."""
        self.watcher = Watcher(self.check)
        self.storage = Storage(self.watcher.saw)
        self.watcher.objects = self.storage.objects
        self.streams = [f"s{number}" for number in range(rng.randint(1, 3))]
        self.habits = self._draw_habits()
        self.deeds: list[Deed] = []
        self.reads: list[tuple[str, list[str]]] = []
        self.deliveries: list[Delivery] = []
        self.steps = 0
        self._micros = 1_700_000_000 * SECOND

    def _draw_habits(self) -> list[Habit]:
        """Appends, and some of the other habits: a history of few habits is one of many races between these."""
        rng = self.rng
        others = [(habit, weight) for habit, weight in HABITS if self.settings.feed or habit not in FEED_HABITS]
        some = rng.sample(others, rng.randint(1, len(others)))
        return [Client.append, *(habit for habit, weight in some for _ in range(rng.randint(1, weight)))]

    # --- the history -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The whole history; :class:`Violation` if a promise is broken while it lasts."""
        with limited(self.limits):
            skews = (0, 0, 0, -3 * SECOND, 3 * SECOND, 100 * SECOND)
            clients = [Client(f"c{number}", self, self.rng.choice(skews)) for number in range(self.rng.randint(1, 4))]
            running = [Running(client, client.live(self.rng.randint(1, 8)), self) for client in clients]
            one = running[0]
            while running:
                self.steps += 1
                turn = self.rng.random()
                if turn < self.weather.fence:
                    self._fence(self.rng.choice(self.streams))
                elif turn < 0.2:
                    self._arrive()
                if one not in running or self.rng.random() >= self.stickiness:
                    one = self.rng.choice(running)
                if not one.step():
                    running.remove(one)
            while self.storage.late:
                self._arrive()
            self.weather = CALM

    def finish(self, steps: Steps[Any]) -> Any:
        """Run to the end without interruption, in calm weather; what it returns."""
        answer: Any = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = self._answer("judge", 0, request, None)

    def pass_time(self, seconds: int) -> None:
        """Let time go by."""
        self._micros += seconds * SECOND

    def check(self, holds: bool, promise: str) -> None:
        """One promise."""
        if not holds:
            raise Violation(f"seed {self.seed}: {promise}")

    def tell(self, who: str, what: object, outcome: object = None) -> None:
        """One line of the story."""
        self.trace.append((self.steps, who, what, outcome))

    def order(self, prelude: tuple[Put, ...]) -> list[Put]:
        """The order in which writes that are in flight together take effect."""
        if len(prelude) < 2:
            return list(prelude)
        return self.rng.sample(prelude, len(prelude))

    # --- what happens to a request -----------------------------------------------------------------------------------

    def answer(self, client: Client, request: Request, before: list[str] | None) -> Any:
        """Execute a request in this weather; faults are raised."""
        weather = self.weather
        if weather.crash and self.rng.random() < weather.crash:
            if isinstance(request, (Put, Remove)) and self.rng.random() < 0.5:
                self.storage.apply(request)
            raise Crash
        if weather.jump and isinstance(request, Stamp) and self.rng.random() < weather.jump:
            client.skew += self.rng.randint(-2 * SECOND, 2 * SECOND)
        answer = self._answer(client.name, client.skew, request, before)
        if client.unreadable is not None and isinstance(request, Get) and isinstance(answer, Found):
            head, segment = keys.head(client.unreadable), keys.segment(client.unreadable, 1, b"")
            if request.key == head or request.key.startswith(segment[: segment.rindex("/") + 1]):
                return Found(b"damaged", answer.etag)
        return answer

    def _answer(self, who: str, skew: int, request: Request, before: list[str] | None) -> Any:
        if isinstance(request, Stamp):
            self._micros += self.rng.randint(1, self.pace)
            return stamped((self._micros + skew) * 1000, lambda: self.rng.getrandbits(80), request.after)
        if isinstance(request, (Pause, GiveWay)):
            return None
        if isinstance(request, (Put, Remove)):
            return self._write(who, request)
        if self.weather.lost and self.rng.random() < self.weather.lost:
            raise NotApplied("lost")
        if isinstance(request, Get):
            answer: Any = self.storage.get(request)
        else:
            answer = self.storage.page(request, self.page, before, self.rng)
        self.tell(who, request, answer)
        return answer

    def _write(self, who: str, request: Put | Remove) -> Any:
        try:
            outcome, answer = self.storage.write(request, self.weather, self.rng)
        except FAULTS as fault:
            self.tell(who, request, fault)
            raise
        self.tell(who, request, outcome)
        return answer

    def snapshot(self, request: Request) -> list[str] | None:
        """The keys that there are when a list is sent, if it is to be a ragged one."""
        return self.storage.keys(request.prefix) if self.weather.ragged and isinstance(request, List) else None

    def _arrive(self) -> None:
        arrived = self.storage.arrive(self.rng)
        if arrived is not None:
            self.tell("network", arrived[1], arrived[0])

    def _fence(self, stream: str) -> None:
        weather, self.weather = self.weather, CALM
        bystander = Client("somebody", self)
        known = self.finish(bystander.run(load_head(stream, None)))
        if known.etag is not None:
            self.tell("somebody", f"fences {stream}")
            self.storage.apply(put(fenced(known.state), known.etag))
        self.weather = weather


class Running:
    """A client at work: the request that it has sent, and what becomes of it when its turn comes."""

    def __init__(self, client: Client, steps: Steps[None], world: World) -> None:
        self._client = client
        self._steps = steps
        self._world = world
        self._request: Request | None = None
        self._before: list[str] | None = None
        self._proceed(lambda: self._steps.send(None))

    def step(self) -> bool:
        """The request is executed, and the client goes on to its next; whether it has one."""
        if self._request is None:
            return False
        try:
            answer = self._world.answer(self._client, self._request, self._before)
        except (*FAULTS, Crash) as fault:
            error = fault
            return self._proceed(lambda: self._steps.throw(error))
        return self._proceed(lambda: self._steps.send(answer))

    def _proceed(self, go: Any) -> bool:
        try:
            self._request = go()
        except StopIteration:
            self._request = None
            return False
        assert self._request is not None
        self._before = self._world.snapshot(self._request)
        return True
