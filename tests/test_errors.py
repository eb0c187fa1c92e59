"""The errors: one tree, one line each, with details for logs; they travel between processes."""

from __future__ import annotations

import inspect
import pickle

import pytest

import headstream
from headstream import Head, errors
from headstream.errors import (
    CheckpointLost,
    CorruptData,
    HeadstreamError,
    InvalidInput,
    KeyReused,
    NotPublished,
    OutcomeUnknown,
    ProjectionStopped,
    WrongExpectedVersion,
)

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, HeadstreamError) and kind.__doc__
]


@pytest.mark.parametrize("kind", ALL)
def test_the_tree(kind):
    """All have one base, are public, and are drawn where people look them up."""
    assert issubclass(kind, HeadstreamError)
    assert getattr(headstream, kind.__name__) is kind
    assert kind.__name__ in (errors.__doc__ or "")


def test_how_an_error_looks():
    """The message, then the details; on one line."""
    assert str(HeadstreamError("it failed")) == "it failed"
    error = HeadstreamError("it failed", key="heads/s", attempts=3)
    assert str(error) == "it failed (key='heads/s', attempts=3)"
    assert (error.message, error.details) == ("it failed", {"key": "heads/s", "attempts": 3})
    assert "\n" not in str(HeadstreamError("it failed", key="a\nb"))


def test_attributes_of_errors():
    """What a caller needs to go on."""
    conflict = WrongExpectedVersion("no", stream="s", expected="EXISTS", actual=0)
    assert (conflict.stream, conflict.expected, conflict.actual) == ("s", "EXISTS", 0)
    assert conflict.details == {"stream": "s", "expected": "EXISTS", "actual": 0}
    reused = KeyReused("no", stream="s", key="k", version=3)
    assert (reused.stream, reused.key, reused.version) == ("s", "k", 3)
    assert reused.details == {"stream": "s", "key": "k", "version": 3}
    unknown = OutcomeUnknown("perhaps", stream="s", follows=3, changeset_ids=("a", "b"))
    assert (unknown.stream, unknown.follows, unknown.changeset_ids) == ("s", 3, ("a", "b"))
    assert unknown.details == {"stream": "s", "follows": 3, "changeset_ids": ("a", "b")}
    assert CorruptData("no", key="heads/s").key == "heads/s"
    lost = CheckpointLost("stop", name="w", owner="host:1", position=7)
    assert (lost.name, lost.owner, lost.position) == ("w", "host:1", 7)
    assert lost.details == {"name": "w", "owner": "host:1", "position": 7}
    stopped = ProjectionStopped("no", name="p", position=7, stream="s", version=3)
    assert (stopped.name, stopped.position, stopped.stream, stopped.version) == ("p", 7, "s", 3)
    assert stopped.details == {"name": "p", "position": 7, "stream": "s", "version": 3}
    head = Head("s", 3, "e3", b"x" * 16)
    assert NotPublished("later", head=head).head is head
    assert str(NotPublished("later", head=head)) == "later"


def test_wrong_input_is_a_value_error():
    """Frameworks that turn ``ValueError`` into a bad request do the right thing."""
    assert issubclass(InvalidInput, ValueError)


@pytest.mark.parametrize(
    "error",
    [
        HeadstreamError("it failed", key="heads/s"),
        InvalidInput("no", asked={"feed": True}),
        WrongExpectedVersion("no", stream="s", expected=3, actual=4),
        KeyReused("no", stream="s", key="k", version=3),
        OutcomeUnknown("perhaps", stream="s", follows=3, changeset_ids=("a",)),
        CorruptData("no", key="heads/s"),
        NotPublished("later", head=Head("s", 3, "e3", b"x" * 16)),
        CheckpointLost("stop", name="w", owner="host:1", position=7),
        ProjectionStopped("no", name="p", position=7, stream="s", version=3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel(error):
    """Pickled, as by a pool of processes, they arrive as they were."""
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
