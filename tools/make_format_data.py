"""Write ``tests/data/format-N``: a store of the current format, and what is in it. Run once for each format, then never again.

``python tools/make_format_data.py``
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Any

from headstream import NO_STREAM, Event, Expectation, connect
from headstream.protocol.codec import FORMAT

FOLDER = Path(__file__).parents[1] / "tests" / "data" / f"format-{FORMAT}"
STREAMS = {
    "short": 1,
    "Order_1/é ü": 3,
    "a $ ~name.with %all! [kinds]": 2,
    "long-東京": 40,
}


def events_of(stream: str, changeset: int) -> list[Event]:
    """One, two or three events of every kind that there is."""
    kinds = [
        Event("Text", {"stream": stream, "number": changeset, "nested": [1, 2.5, None, True, {"é": "ü"}]}),
        Event("Bytes", bytes(range(changeset % 7)), {"user": "eve"}, f"id-{changeset}"),
        Event("Nothing"),
    ]
    return kinds[: changeset % 3 + 1]


def plain(data: Any) -> Any:
    """Data as JSON can express it."""
    return {"base64": b64encode(data).decode()} if isinstance(data, bytes) else data


def main() -> None:
    """Write the store, and what any reader must find in it."""
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} exists: a store that was committed stays as it is")
    expected: dict[str, list[Any]] = {}
    with connect((FOLDER / "store").as_uri(), tail_bytes=400, fan_out=3) as store:
        for stream, changesets in STREAMS.items():
            head: Expectation = NO_STREAM
            for number in range(changesets):
                head = store.append(stream, events_of(stream, number), expected=head, key=f"key-{number}")
            expected[stream] = [
                [event.version, event.type, plain(event.data), event.metadata, event.id, str(event.changeset_id)]
                for event in store.read(stream)
            ]
    shutil.rmtree(FOLDER / "store" / ".headstream")  # locks, of use to nobody but running processes
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
