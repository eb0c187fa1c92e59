"""What was handed in where an event belongs, and what to do about it: the second half of an error's message. No I/O."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Final

from headstream.fidelity import field_names
from headstream.metadata import WithMetadata
from headstream.model import Event, FeedEvent, Head, RecordedEvent

_TEXTS: Final = (str, bytes, bytearray, memoryview)


def is_several(value: object) -> bool:
    """Whether it is iterated for what is in it. Models, named tuples, mappings and texts can be, and are one thing."""
    if type(value) in {list, tuple}:
        return True
    if isinstance(value, (*_TEXTS, Mapping)) or hasattr(value, "_fields"):
        return False
    return isinstance(value, Iterable) and not hasattr(type(value), "model_fields")


def no_event(value: object) -> str:
    """What ``value`` is, which is no event, and what would be one. A coroutine is closed: nothing will await it."""
    kind = type(value)
    if isinstance(value, type):
        return f"the class {value.__name__}: make an instance of it, as {value.__name__}(…)"
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        return f"{kind.__name__}: await it first"
    if field_names(kind) is not None and kind not in _OURS:
        return f"{kind.__name__}: wrap it in Event({kind.__name__!r}, …), or register its class and let the registry encode it"
    for base, remedy in _REMEDIES:
        if isinstance(value, base):
            return f"{kind.__name__}: {remedy}"
    if inspect.isroutine(value):
        return f"{kind.__name__}: call it, and hand over what it returns"
    return f"{kind.__name__}: wrap it in Event(type, data)"


_OURS: Final = frozenset([Event, RecordedEvent, FeedEvent, Head, WithMetadata])
_REMEDIES: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (Event, "the decider has a registry, so return an instance of a registered class"),
    (RecordedEvent, "it is in a stream already; to copy it, append Event(event.type, event.data, event.metadata)"),
    (WithMetadata, "it goes with typed events; let Registry.encode make an Event of it"),
    (Head, "a head is given as expected=head"),
    (AsyncIterable, "collect its events first: [event async for event in …]"),
    (Mapping, "a dictionary is the data of an event; wrap it in Event(type, data)"),
    ((list, tuple), "events are handed over as one flat list"),
)
