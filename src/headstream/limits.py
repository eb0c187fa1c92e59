"""Every bound of headstream, in one place. Sizes are bytes unless a name says otherwise.

A store's own settings (:class:`headstream.Settings`) are chosen when it is created; the numbers here hold for all stores.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- what an application may hand in ----------------------------------------------------------------------------
MAX_STREAM_NAME: Final = 256
"""Of a stream's name in UTF-8: escaped (three bytes for one at most), with folder and id, it fits S3's 1,024-byte keys."""
MAX_TYPE: Final = 256
MAX_EVENT_ID: Final = 256
MAX_IDEMPOTENCY_KEY: Final = 256
MAX_EVENTS: Final = 10_000
"""Events in one append."""
MAX_CHANGESET: Final = 16 * MIB
"""One append, encoded: data, metadata and all. Memory for a read is bounded by a small multiple of it."""
MAX_VERSION: Final = 10**16 - 1
"""Keys carry versions with 16 digits, so that their order is the order of versions."""

# --- a store's settings -----------------------------------------------------------------------------------------
MAX_TAIL: Final = 1 * MIB
"""The tail travels with every append; beyond this, sealing is cheaper on every backend that was measured."""
MIN_FAN_OUT: Final = 2
MAX_FAN_OUT: Final = 1024
MAX_LEVELS: Final = 60
"""Index levels: with the smallest fan-out, more segments than versions can number."""
MAX_PREFIX: Final = 150
"""The path of a store inside its bucket."""

# --- what one stored object may be -------------------------------------------------------------------------------
MAX_SEGMENT: Final = MAX_CHANGESET + MAX_TAIL + 64 * KIB
"""Frames of a segment, uncompressed: a full tail, the largest changeset, and their framing."""
MAX_OBJECT: Final = MAX_SEGMENT + 1 * MIB

# --- how long the protocols try ----------------------------------------------------------------------------------
APPEND_ATTEMPTS: Final = 200
"""Commits that one append may try before it gives up on a stream that others win again and again."""
FAULT_ATTEMPTS: Final = 8
"""Faults (time-outs, 5xx, throttling) on the commits of one append before it gives up: about five seconds of pauses."""
RACE_PAUSE: Final = (0.002, 0.5)
"""Seconds: the longest first pause after a lost race, and the longest of all. Each doubles; a random part is waited."""
FAULT_PAUSE: Final = (0.05, 2.0)
"""The same after a fault."""

# --- how much is in flight ---------------------------------------------------------------------------------------
READ_WINDOW: Final = 8 * MIB
"""Uncompressed bytes of segments fetched at once by one read (always at least one segment)."""
READ_WINDOW_OBJECTS: Final = 32
LIST_PAGE: Final = 1000
"""Keys in one page of a list: what S3 and GCS return at most."""
HEAD_CACHE: Final = 8 * MIB
"""Default size of a client's cache of heads."""
THREADS: Final = 16
"""Threads in which an ``AsyncEventStore`` runs a backend that blocks."""
