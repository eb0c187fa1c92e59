"""A process that appends to a store: the other half of the tests with several processes.

``writer.py URL STREAM NAME COUNT MODE``. It says ``ready``, waits for a line on its input, and then commits ``COUNT`` changesets
(0: until it is killed). ``race`` expects the version that it knows, and after a conflict reads again; ``any`` leaves the place
to headstream; ``own`` appends to a stream of its own. Each acknowledged changeset is printed: its payload and version.
"""

from __future__ import annotations

import sys

from headstream import ANY, NO_STREAM, Event, EventStore, Head, WrongExpectedVersion, connect


def commit(store: EventStore, stream: str, payload: str, mode: str, head: Head | None) -> Head:
    """One changeset of two events, whatever it takes."""
    events = [Event("Half", payload), Event("Half", payload)]
    if mode != "race":
        return store.append(stream, events, expected=ANY)
    while True:
        try:
            return store.append(stream, events, expected=head or NO_STREAM)
        except WrongExpectedVersion:
            head = store.head(stream)


def main(url: str, stream: str, name: str, count: int, mode: str) -> None:
    """Commit, and say so."""
    if mode == "own":
        stream = f"{stream}-{name}"
    with connect(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        head = None
        number = 0
        while count == 0 or number < count:
            head = commit(store, stream, f"{name}-{number}", mode, head)
            print(f"{name}-{number} {head.version}", flush=True)
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
