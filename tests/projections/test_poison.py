"""Events that a handler cannot handle: they stop the projection, or go to the dead letters; and what is no fault of an event does neither."""

from __future__ import annotations

import pytest

from headstream import Event, InvalidInput, ProjectionStopped, Unavailable
from headstream.projections.work import Work
from projections.readers import Crash, check, fill


def poison(_db, event):
    """An error that has something to say."""
    raise LookupError(f"no rule for {event.data['number']}")


@pytest.fixture
def model(model):
    """A read model that chokes on events of type ``Poison``, after it has written of them."""
    model.reactions["Poison"] = poison
    return model


@pytest.mark.parametrize("at", [1, 2, 5, 6])
def test_it_stops(reader, model, store, at):
    """Everything before the poison is in the read model, nothing of it or after it; the error says which event it was, and why."""
    types = ["Counted"] * 6
    types[at - 1] = "Poison"
    fill(store, types)
    for _ in range(2):  # and stops there again, as long as the handler is the same
        with pytest.raises(ProjectionStopped) as caught:
            model.projection().run_until_caught_up(store)
        error = caught.value
        assert (error.name, error.position, error.stream, error.version) == ("items", at, f"s-{at % 2}", (at + 1) // 2)
        assert isinstance(error.__cause__, LookupError)
        assert "no rule" not in str(error)
        assert reader.position() == len(reader.items()) == at - 1
    assert max(model.seen) == at
    del model.reactions["Poison"]
    assert model.projection().run_until_caught_up(store) == 7 - at
    check(reader, store)


def test_it_stops_while_it_follows(reader, model, store):
    """The same from a run that would go on for ever."""
    fill(store, ["Counted", "Poison"])
    with pytest.raises(ProjectionStopped):
        model.projection().run(store)
    assert reader.position() == 1


def test_a_rule_of_the_database(reader, model, store):
    """Values that the database refuses make an event poison as well: a number that is missing, or twice the same key."""
    fill(store, ["Counted"])
    store.append("s-0", Event("Counted", {"number": None}))
    with pytest.raises(ProjectionStopped) as caught:
        model.projection().run_until_caught_up(store)
    assert caught.value.position == 2
    assert type(caught.value.__cause__).__name__ in {"IntegrityError", "NotNullViolation"}
    assert reader.items() == [(1, "s-1", 1)]


def test_poison_that_was_only_seen_once(reader, model, store):
    """An event that fails in the company of others and is handled when it is tried alone is not poison."""

    def once(_db, event):
        if model.seen.count(event.position) == 1:
            raise LookupError

    fill(store, ["Counted", "Once", "Counted", "Once"])
    model.reactions["Once"] = once
    assert model.projection().run_until_caught_up(store) == 4
    check(reader, store)


# --- dead letters ----------------------------------------------------------------------------------------------------


def test_dead_letters(reader, model, store):
    """Each poison event has a letter that says which it is and why; all the others are projected, and the run counts all."""
    fill(store, ["Poison", "Counted", "Poison", "Poison", "Counted", "Counted"])
    assert model.projection(dead_letters="letters").run_until_caught_up(store) == 6
    letters = list(store.read("letters"))
    assert [letter.type for letter in letters] == ["EventNotProjected"] * 3
    assert [letter.data["position"] for letter in letters] == [1, 3, 4]
    assert letters[1].data == {
        "projection": "items",
        "generation": 1,
        "position": 3,
        "stream": "s-1",
        "version": 2,
        "type": "Poison",
        "error": "LookupError: no rule for 3",
    }
    check(reader, store, without=[1, 3, 4, 7, 8, 9])
    assert model.projection(dead_letters="letters").run_until_caught_up(store) == 3  # the letters themselves
    assert reader.position() == 9
    assert max(model.seen) == 6


def test_a_handler_that_chokes_on_everything(reader, model, store):
    """The letters of a projection are not handed to it: it would write letters about letters for ever."""

    def handle(_db, _tables, event):
        raise LookupError(event.type)

    fill(store, ["Counted"] * 3)
    projection = model.projection(dead_letters="letters")
    projection.handle = handle
    assert [projection.run_until_caught_up(store) for _ in range(3)] == [3, 3, 0]
    assert store.head("letters").version == 3


@pytest.mark.parametrize("method", ["skip", "apply"])
def test_a_crash_around_a_letter(reader, model, store, monkeypatch, method):
    """Whether it was written or not: after a crash the event is poison again, and its letter is there once."""
    fill(store, ["Counted", "Poison", "Counted"])
    if method == "apply":  # before the letter is written
        letter = Work._letter
        monkeypatch.setattr(Work, "_letter", lambda *arguments: (letter(*arguments), crash()))
    else:  # after it
        monkeypatch.setattr(Work, "skip", lambda *_arguments: crash())
    with pytest.raises(Crash):
        model.projection(dead_letters="letters").run_until_caught_up(store)
    monkeypatch.undo()
    assert reader.position() == 1
    assert (store.head("letters") is None) == (method == "apply")
    assert model.projection(dead_letters="letters").run_until_caught_up(store) >= 2
    assert store.head("letters").version == 1
    check(reader, store, without=[2, 4])


def crash():
    """The end of the process."""
    raise Crash


def test_an_error_that_is_no_good_text(model, store):
    """A letter holds the beginning of an error's text, whatever is in it."""

    def odd(_db, _event):
        raise ValueError("\udc80" + "x" * 5000)

    model.reactions["Poison"] = odd
    fill(store, ["Poison"])
    model.projection(dead_letters="letters").run_until_caught_up(store)
    (letter,) = store.read("letters")
    assert letter.data["error"].startswith("ValueError: \\udc80xxx")
    assert len(letter.data["error"]) < 1100


def test_letters_of_a_rebuild(reader, model, store):
    """What was poison once may be none for a new handler; what still is has a letter for each generation."""
    fill(store, ["Poison", "Poison"])
    model.projection(dead_letters="letters").run_until_caught_up(store)
    model.reactions["Poison"] = lambda db, event: poison(db, event) if event.position == 2 else None
    model.projection(dead_letters="letters").rebuild(store)
    written = [(letter.data["generation"], letter.data["position"]) for letter in store.read("letters")]
    assert written == [(1, 1), (1, 2), (2, 2)]
    assert reader.items() == [(1, "s-1", 1)]


# --- what is no fault of an event ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Unavailable, ConnectionResetError, TimeoutError])
def test_outages(reader, model, store, kind):
    """What a handler raises because something else was away comes through as it is, with a note; and no letter is written."""

    fault = kind("away")

    def fail(_db, _event):
        raise fault

    fill(store, ["Counted", "Away", "Counted"])
    model.reactions["Away"] = fail
    with pytest.raises(kind) as caught:
        model.projection(dead_letters="letters").run_until_caught_up(store)
    assert caught.value is fault
    assert fault.__notes__ == ["projection 'items' was at position 2: stream 's-0', version 1"]
    assert store.head("letters") is None
    assert reader.position() == 0
    del model.reactions["Away"]
    model.projection(dead_letters="letters").run_until_caught_up(store)
    check(reader, store)


def test_a_handler_that_ends_the_transaction(reader, model, store):
    """It would make the position and the tables disagree: it is told so."""
    fill(store, ["End"])
    model.reactions["End"] = lambda db, _event: db.commit()
    with pytest.raises(InvalidInput, match="no transaction"):
        model.projection().run_until_caught_up(store)
    assert reader.position() == 0
