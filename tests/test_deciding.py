"""Load, decide, append: what a decider may be made of, what is requested, and what becomes of conflicts and faults.

What every client does on every backend is in ``support.api_deciding``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel

from headstream import (
    AccessDenied,
    Decider,
    Event,
    EventStore,
    InvalidInput,
    OutcomeUnknown,
    Registry,
    Unavailable,
    WrongExpectedVersion,
    connect,
    connect_async,
    limits,
)
from headstream.protocol.ops import NotApplied, Put, Refused, Stored, Unknown
from support.api_deciding import ACCOUNTS, Account, Deposited, deposit, withdraw
from support.backends import Watched


class Lossy(Watched):
    """Loses the answers to some commits, which have taken effect."""

    lost = 0

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """A commit."""
        answer = super().commit(prelude, head)
        if self.lost:
            self.lost -= 1
            raise Unknown
        return answer


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Lossy:
    """A backend that can be watched; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Lossy()


@pytest.fixture
def store(backend: Lossy) -> Iterator[EventStore]:
    """A client of it."""
    with connect(backend, feed=False) as store:
        backend.take()
        yield store


def counted(state: int, event: Event) -> int:
    """How much was counted."""
    return state + int(event.data["n"])


COUNTER = Decider(int, counted)


def count(n: int, _state: int = 0) -> Event:
    """So much more."""
    return Event("Counted", {"n": n})


# --- what a decider is made of -----------------------------------------------------------------------------------


def test_plain_events_and_a_plain_state(store):
    """Without a registry, events are Events, with data as JSON has it: new ones too."""

    @dataclass
    class Data:
        n: int

    decision = store.transact("s", COUNTER, lambda _: Event("Counted", Data(2), {"by": "me"}, "id"))
    assert decision.events == (Event("Counted", {"n": 2}, {"by": "me"}, "id"),)
    assert decision.state == 2


def test_metadata_of_plain_events(store):
    """That of the event wins."""
    store.transact("s", COUNTER, lambda _: Event("Counted", {"n": 1}, {"a": 1}), metadata={"a": 2, "b": 2})
    assert next(store.read("s")).metadata == {"a": 1, "b": 2}


class Opened(msgspec.Struct, frozen=True):
    owner: str


class Renamed(BaseModel):
    name: str


@dataclass(frozen=True)
class Closed:
    pass


class Book(msgspec.Struct, frozen=True):
    """A state with methods."""

    title: str = ""
    open: bool = False

    def evolve(self, event: Opened | Renamed | Closed) -> Book:
        match event:
            case Opened():
                return msgspec.structs.replace(self, open=True)
            case Renamed(name=name):
                return msgspec.structs.replace(self, title=name)
            case Closed():
                return msgspec.structs.replace(self, open=False)

    def rename(self, name: str) -> Iterator[Renamed]:
        if self.title != name:
            yield Renamed(name=name)


class Rename(BaseModel):
    """A command."""

    name: str

    def __call__(self, book: Book) -> Iterator[Renamed]:
        return book.rename(self.name)


def test_structs_models_classes_and_commands(store):
    """A state with methods, events of several kinds, a command that is a model and can be called, a generator that decides."""
    books = Decider(Book, Book.evolve, Registry(Opened, Renamed, Closed), name="books", version=2)
    store.transact("s", books, lambda _: [Opened("ada"), Closed()])
    decision = store.transact("s", books, Rename(name="B"))
    assert decision.state == Book("B", open=False)
    assert store.transact("s", books, Rename(name="B")).events == ()
    assert repr(books) == "Decider('books', version=2, initial=Book, evolve=Book.evolve)"


def test_a_model_as_a_state(store):
    """pydantic's, copied with each event."""

    class Total(BaseModel):
        n: int = 0

    totals = Decider(Total, lambda total, event: total.model_copy(update={"n": total.n + event.data["n"]}))
    store.transact("s", totals, lambda _: [count(1), count(2)])
    assert store.transact("s", totals, lambda _: None).state == Total(n=3)


def test_a_fold_by_hand(store):
    """Of what any read returns: from the first event on, or onto a state that is there."""
    store.transact("s", ACCOUNTS, lambda _: [Deposited(1), Deposited(2), Deposited(3)])
    assert ACCOUNTS.fold(store.read("s")) == Account(6, 3)
    assert ACCOUNTS.fold_onto(ACCOUNTS.fold(store.read("s", limit=1)), store.read("s", after=1)) == Account(6, 3)


def test_no_two_loads_share_a_state(store):
    """The first state is made anew for each, so what changes it in place changes one."""

    def note(state: list[str], event: Event) -> list[str]:
        state.append(event.type)
        return state

    notes = Decider(list, note)
    assert [store.transact(name, notes, lambda _: Event("E")).state for name in ("a", "b", "a")] == [
        ["E"],
        ["E"],
        ["E", "E"],
    ]


def test_events_of_unknown_types(store):
    """Are an error, left out, or kept, as the registry says."""
    store.append("s", [Event("Deposited", {"cents": 1}), Event("Audited")])

    def seen(state: tuple[str, ...], event: Any) -> tuple[str, ...]:
        return (*state, type(event).__name__)

    def load(**options: Any) -> Any:
        decider = Decider(tuple, seen, Registry(Deposited, **options))
        return store.transact("s", decider, lambda _: None).state

    assert load(unknown="skip") == ("Deposited",)
    assert load(unknown="keep") == ("Deposited", "RecordedEvent")
    with pytest.raises(InvalidInput, match="its type is not registered"):
        load()


class Scanned(NamedTuple):
    """A tuple that is one thing."""

    place: int
    gate: int


async def streaming() -> AsyncIterator[Deposited]:
    """Events that must be waited for."""
    yield Deposited(1)


async def waiting(_state: Any) -> None:
    """Not a plain function."""


def generated(state: int, _event: Event) -> Iterator[int]:
    """A fold that yields."""
    yield state


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((0, counted), {}, "initial is a function"),
        ((int, None), {}, "evolve is a function"),
        ((int, counted, [Deposited]), {}, "events is a Registry, not list"),
        ((int, counted), {"name": ""}, "a decider's name cannot be empty"),
        ((int, counted), {"version": 0}, "a decider's version is 0"),
        ((int, waiting), {}, "evolve is a plain function that returns a state, and not a coroutine function"),
        ((waiting, counted), {}, "initial is a plain function that returns a state, and not a coroutine function"),
        ((int, generated), {}, "evolve is a plain function that returns a state, and not a generator function"),
    ],
)
def test_what_is_no_decider(arguments, options, why):
    """Is refused when it is made."""
    with pytest.raises(InvalidInput, match=why):
        Decider(*arguments, **options)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"decider": counted}, "the decider is a Decider, not function"),
        ({"decide": None}, "decide is a function of the state, not NoneType"),
        ({"key": ""}, "a key cannot be empty"),
        ({"metadata": 7}, "metadata is a mapping, not int"),
        ({"attempts": 0}, "attempts is 0; it must be at least 1"),
    ],
)
def test_what_is_no_transaction(store, backend, change, why):
    """Is refused before anything is requested."""
    arguments = {"stream": "s", "decider": COUNTER, "decide": partial(count, 1)} | change
    with pytest.raises(InvalidInput, match=why):
        store.transact(**arguments)
    assert backend.take() == []


# --- what is decided ---------------------------------------------------------------------------------------------


def twice(_state: Any) -> Iterator[Deposited]:
    """A generator."""
    yield Deposited(1)
    yield Deposited(2)


ONE, TWO = (Deposited(1),), (Deposited(1), Deposited(2))


@pytest.mark.parametrize(
    ("returned", "result", "events"),
    [
        (None, None, ()),
        ([], None, ()),
        (Deposited(1), None, ONE),
        ([Deposited(1)], None, ONE),
        (ONE, None, ONE),
        (TWO, None, TWO),
        ("generator", None, TWO),
        (("result", None), "result", ()),
        (("result", []), "result", ()),
        (("result", [Deposited(1)]), "result", ONE),
        (("result", TWO), "result", TWO),
        ((Deposited(9), [Deposited(1)]), Deposited(9), ONE),
        (({}, iter(TWO)), {}, TWO),
    ],
)
def test_what_decide_may_return(store, returned, result, events):
    """An event, several, none; or a result and such."""
    decide: Callable[[Account], Any] = twice if returned == "generator" else lambda _: returned
    decision = store.transact("s", ACCOUNTS, decide)
    assert (decision.result, decision.events) == (result, events)


class Empty(BaseModel):
    """A model can be iterated, over its fields."""


@pytest.mark.parametrize(
    ("decide", "why"),
    [
        (lambda _: "Deposited", "not str"),
        (lambda _: {"cents": 1}, "not dict"),
        (lambda _: 7, "not int"),
        (lambda _: Closed(), "not Closed: is its class registered"),
        (lambda _: Empty(), "not Empty: is its class registered"),
        (lambda _: [Deposited(1), Closed()], "not Closed: is its class registered"),
        (lambda _: ("result", Deposited(1)), r"a pair with one event: return \(result, \[event\]\)"),
        (lambda _: (None, Deposited(1)), "a pair with one event"),
        (lambda _: (Closed(), Deposited(1)), "if both are events, the first is not Closed: is its class registered"),
        (lambda _: ("result", Closed()), "not Closed: is its class registered"),
        (lambda _: Event("Deposited", {"cents": 1}), "not Event: the decider has a registry"),
        (lambda _: [Event("Deposited", {"cents": 1})], "not Event: the decider has a registry"),
        (lambda _: Deposited, r"not the class Deposited: make an instance of it, as Deposited\(…\)"),
        (lambda _: [Deposited], "not the class Deposited"),
        (lambda _: [{"cents": 1}], "not dict: a dictionary is the data of an event"),
        (lambda _: [[Deposited(1)]], "not list: events are handed over as one flat list"),
        (lambda _: deposit, "not function: call it"),
        (lambda _: [waiting(0)], "not coroutine: await it first"),
        (lambda _: streaming(), "not async_generator: collect its events first"),
        (lambda _: Scanned(1, 2), "not Scanned"),
        (waiting, "decide is a plain function"),
        (lambda _: [Deposited(1)] * (limits.MAX_EVENTS + 1), "an append has 1 to 10000 events"),
    ],
)
def test_what_decide_may_not_return(store, decide, why):
    """Nothing that could be lost, or taken for something else."""
    with pytest.raises(InvalidInput, match=why):
        store.transact("s", ACCOUNTS, decide)
    assert store.head("s") is None


def test_plain_events_are_events(store):
    """And nothing else, without a registry."""
    with pytest.raises(InvalidInput, match="not dict: a dictionary is the data of an event; wrap it in Event"):
        store.transact("s", COUNTER, lambda _: [{"n": 1}])


def test_what_could_not_be_loaded_is_not_appended(store):
    """Whether the class would not take its own data back, or the fold fails: every later load would."""
    with pytest.raises(InvalidInput, match="does not fit Deposited"):
        store.transact("s", ACCOUNTS, lambda _: Deposited("one"))
    with pytest.raises(KeyError, match="n"):
        store.transact("s", COUNTER, lambda _: Event("Counted", {}))
    assert store.head("s") is None


@pytest.mark.parametrize("count", [1, 2])
def test_a_fold_that_returns_nothing(store, count):
    """As one that changes its state in place and forgets to return it: before anything is written."""

    def forgetful(state: list[str], event: Event) -> Any:
        state.append(event.type)

    notes = Decider(list, forgetful)
    with pytest.raises(InvalidInput, match="evolve returned None: it returns the state after the event"):
        store.transact("s", notes, lambda _: [Event("E")] * count)
    assert store.head("s") is None
    with pytest.raises(InvalidInput, match="evolve returned None"):
        notes.fold(recorded_once(store))


def recorded_once(store: EventStore) -> Any:
    """A stream of one event."""
    store.append("other", Event("E"))
    return store.read("other")


def test_a_state_may_be_none(store):
    """Where the first one is."""

    def last(_state: str | None, event: Event) -> str | None:
        return None if event.data is None else str(event.data)

    names = Decider(lambda: None, last)
    assert store.transact("s", names, lambda _: [Event("Named", "a"), Event("Named")]).state is None


# --- requests and conflicts --------------------------------------------------------------------------------------


def test_what_a_decision_asks_for(store, backend):
    """A get and a commit, whether the stream is there or not; without events, a get."""
    for _ in range(2):
        store.transact("s", ACCOUNTS, deposit)
        assert backend.take() == ["get heads/s", "commit heads/s"]
    store.transact("s", ACCOUNTS, lambda _: None)
    assert backend.take() == ["get heads/s"]
    store.transact("s", ACCOUNTS, deposit, key="k")
    assert backend.take() == ["get heads/s", "commit heads/s"]


def overtaken(backend: Lossy, times: int, decide: Callable[[Any], Any] = deposit) -> Callable[[Any], Any]:
    """The same decision, in front of which another client deposits a cent, so many times."""
    left = [times]

    def late(state: Any) -> Any:
        if left[0]:
            left[0] -= 1
            with connect(backend) as other:
                other.append("s", Event("Deposited", {"cents": 1}))
            backend.take()
        return decide(state)

    return late


def test_what_a_conflict_asks_for(store, backend):
    """The append looks at the head to judge; nothing else is requested, since that head has the new events."""
    store.transact("s", ACCOUNTS, overtaken(backend, 1))
    assert backend.take() == ["commit heads/s", "get heads/s", "commit heads/s"]


def test_a_conflict_with_nothing_remembered(backend):
    """The new events are requested."""
    with connect(backend, feed=False, cache_bytes=0) as store:
        decision = store.transact("s", ACCOUNTS, overtaken(backend, 1))
    assert backend.take() == ["commit heads/s", "get heads/s", "get heads/s", "commit heads/s"]
    assert decision.state == Account(2, 2)


def test_after_a_conflict_only_new_events_are_folded(store, backend):
    """Of a thousand events, each once."""
    store.append("s", [Event("Deposited", {"cents": 1})] * 1000)
    folded: list[int] = []

    def evolve(state: int, event: Deposited) -> int:
        folded.append(event.cents)
        return state + event.cents

    accounts = Decider(int, evolve, Registry(Deposited))
    assert store.transact("s", accounts, overtaken(backend, 2, lambda _: Deposited(7))).state == 1009
    assert folded == [1] * 1000 + [7, 1, 7, 1, 7]


@pytest.mark.parametrize("key", [None, "k"])
def test_a_state_that_is_changed_in_place(store, backend, key):
    """Is folded anew after a conflict, for it holds what was not appended."""

    def evolve(state: list[int], event: Deposited) -> list[int]:
        state.append(event.cents)
        return state

    accounts = Decider(list, evolve, Registry(Deposited))
    store.append("s", Event("Deposited", {"cents": 5}))
    decision = store.transact("s", accounts, overtaken(backend, 2, lambda _: Deposited(7)), key=key)
    assert decision.state == [5, 1, 1, 7]


def test_attempts_are_bounded(store, backend):
    """The last conflict comes through."""
    with pytest.raises(WrongExpectedVersion) as caught:
        store.transact("s", ACCOUNTS, overtaken(backend, 3), attempts=3)
    assert caught.value.actual == 3
    assert store.transact("s", ACCOUNTS, overtaken(backend, 2), attempts=3).state == Account(6, 6)


def test_pauses_between_attempts(store, backend, monkeypatch):
    """A random part of each is waited."""
    at_most: list[float] = []
    monkeypatch.setattr("headstream.drivers.pace.random.uniform", lambda _least, most: at_most.append(most) or 0.0)
    store.transact("s", ACCOUNTS, overtaken(backend, 4))
    assert at_most == [0.002] * 7, (
        "one of each append that was refused, and one before each load but the first, which knows the new head"
    )


# --- faults ------------------------------------------------------------------------------------------------------


def test_an_unreachable_storage(store, backend):
    """Nothing was written."""
    backend.faults.append(NotApplied())
    with pytest.raises(Unavailable):
        store.transact("s", ACCOUNTS, deposit, key="k")


def lose(backend: Lossy, gets: int = 1) -> None:
    """Load; then lose the answer to the commit, and so many looks at what became of it."""
    backend.lost = 1
    backend.faults.extend([None, None, *[NotApplied()] * gets])


def test_an_unknown_outcome_without_a_key(store, backend):
    """Comes through."""
    lose(backend)
    with pytest.raises(OutcomeUnknown):
        store.transact("s", ACCOUNTS, deposit)


@pytest.fixture
def meanwhile(backend: Lossy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client appends an event as soon as all faults are over and somebody waits."""
    waiting = [True]

    def sleep(_seconds: float) -> None:
        if waiting and not backend.faults:
            waiting.clear()
            with connect(backend) as other:
                other.append("s", Event("Deposited", {"cents": 100}))

    monkeypatch.setattr("headstream.drivers.sync.time.sleep", sleep)


def test_an_unknown_outcome_with_a_key_is_settled(store, backend):
    """It has taken effect: the same append, made again, finds it."""
    lose(backend)
    decision = store.transact("s", ACCOUNTS, deposit, key="k")
    assert (decision.events, decision.state, decision.head) == (ONE, Account(1, 1), store.head("s"))


@pytest.mark.usefixtures("meanwhile")
def test_an_unknown_outcome_is_settled_below_later_events(store, backend):
    """It has taken effect, and others have appended since."""
    lose(backend)
    decision = store.transact("s", ACCOUNTS, deposit, key="k")
    assert (decision.events, decision.state, decision.head.version) == (ONE, Account(1, 1), 1)
    assert store.head("s").version == 2


@pytest.mark.usefixtures("meanwhile")
def test_an_unknown_outcome_that_was_none(store, backend):
    """It has not taken effect, and another append has: a conflict, as any other."""
    backend.faults.extend([None, Unknown(), NotApplied()])
    decision = store.transact("s", ACCOUNTS, deposit, key="k")
    assert (decision.events, decision.state) == (ONE, Account(101, 2))
    assert [event.data["cents"] for event in store.read("s")] == [100, 1]


def test_an_outcome_that_stays_unknown(store, backend):
    """So many repeats later, it is the first error that comes through."""
    lose(backend)
    backend.faults.extend([NotApplied()] * 1000)
    with pytest.raises(OutcomeUnknown) as caught:
        store.transact("s", ACCOUNTS, deposit, key="k")
    assert caught.value.follows == 0
    assert isinstance(caught.value.__cause__, Unavailable | OutcomeUnknown)
    backend.faults.clear()
    assert backend.take().count("commit heads/s") == 1 + limits.TRANSACT_REPEATS * limits.FAULT_ATTEMPTS


def test_an_outcome_that_another_error_leaves_unknown(store, backend):
    """Access that is denied now says nothing of the commit before."""
    lose(backend)
    backend.faults.append(AccessDenied("no"))
    with pytest.raises(OutcomeUnknown) as caught:
        store.transact("s", ACCOUNTS, deposit, key="k")
    assert isinstance(caught.value.__cause__, AccessDenied)
    assert len(backend.take()) == 4


@pytest.mark.parametrize("evolve", ["new", "in place"])
def test_an_append_of_another_with_the_key(store, backend, evolve):
    """What is in the stream counts, and not what was decided here."""

    def new(state: list[int], event: Deposited) -> list[int]:
        return [*state, event.cents]

    def in_place(state: list[int], event: Deposited) -> list[int]:
        state.append(event.cents)
        return state

    accounts = Decider(list, new if evolve == "new" else in_place, Registry(Deposited))
    store.append("s", [Event("Deposited", {"cents": 1})] * 3)

    def late(_state: list[int]) -> Deposited:
        with connect(backend) as other:
            other.transact("s", accounts, lambda _: [Deposited(5), Deposited(6)], key="k")
            other.append("s", Event("Deposited", {"cents": 9}))
        return Deposited(7)

    decision = store.transact("s", accounts, late, key="k")
    assert (decision.events, decision.state) == ((Deposited(5), Deposited(6)), [1, 1, 1, 5, 6])
    assert decision.head.version == 5


def test_an_append_that_cannot_be_read_back(backend):
    """Is done, and no error may say that nothing was written."""
    with connect(backend, feed=False, cache_bytes=0) as store:
        backend.faults.extend([None, None, NotApplied()])
        with pytest.raises(OutcomeUnknown, match="the append is done") as caught:
            store.transact("s", ACCOUNTS, deposit, key="k")
        (event,) = store.read("s")
    assert caught.value.changeset_ids == (str(event.changeset_id),)
    assert (caught.value.stream, caught.value.follows) == ("s", 0)


# --- asyncio -----------------------------------------------------------------------------------------------------


async def test_a_decision_is_awaited():
    """The same, from a coroutine."""
    async with connect_async("memory://") as store:
        await store.transact("s", ACCOUNTS, deposit)
        decision = await store.transact("s", ACCOUNTS, withdraw)
        assert (decision.result, decision.state.balance, decision.head.version) == (1, 0, 2)
        with pytest.raises(InvalidInput, match="await before transact"):
            await store.transact("s", ACCOUNTS, waiting)
