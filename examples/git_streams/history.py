"""From events to trees. This knows a store and no git."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from git_streams import COMMITS, FILES, THREADS
from git_streams.files import File, Files
from git_streams.plumbing import SUBMODULE, Entry
from headstream import EventStore, RecordedEvent

T = TypeVar("T")


class History:
    """What the events of a store say about commits and their trees."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        commits = store.read(COMMITS)
        #: How many events the stream of commits has.
        self.version = commits.head().version
        #: The id of the events of each recorded commit.
        self.ids: dict[str, str] = {}
        #: For each of these ids, that of the first parent.
        self.follows: dict[str, str | None] = {}
        for event in commits:
            assert event.id is not None
            self.ids.setdefault(event.data["commit"], event.id)
            self.follows[event.id] = event.data["follows"]

    def line(self, commit: str) -> set[str]:
        """The ids of a recorded commit, its first parent, the first parent of that, and so on."""
        line: set[str] = set()
        step: str | None = self.ids[commit]
        while step is not None:
            line.add(step)
            step = self.follows[step]
        return line

    def tree(self, commit: str) -> Iterator[Entry]:
        """The tree of a commit, in no order. Its ids are computed from the contents."""
        return (entry for _, entry in self._map(self._entry, [commit]))

    def files(self, commits: Iterable[str]) -> dict[str, Files]:
        """The files of each of some commits."""
        files: dict[str, Files] = {commit: {} for commit in commits}
        for commit, (path, file) in self._map(_file, files):
            files[commit][path] = file
        return files

    def content(self, state: RecordedEvent) -> bytes:
        """The content of a file as of one of its events: with that event, or with the newest before it of the same blob."""
        events = self._store.read(state.stream, before=state.version + 1, backwards=True)
        wanted = state.metadata["blob"]
        last = next(event for event in events if "parts" in event.metadata and event.metadata["blob"] == wanted)
        parts = [last, *islice(events, last.metadata["parts"] - 1)]
        return b"".join(part.data for part in reversed(parts))

    def _entry(self, state: RecordedEvent) -> Entry:
        path, mode, blob = (state.metadata[name] for name in ("path", "mode", "blob"))
        return Entry(
            unquote_to_bytes(path), mode, blob if mode == SUBMODULE else blob_id(self.content(state), len(blob))
        )

    def _map(self, function: Callable[[RecordedEvent], T], commits: Iterable[str]) -> Iterator[tuple[str, T]]:
        """For each of the commits and each file that it has: the function of the event that says so."""
        lines = {commit: self.line(commit) for commit in commits}
        streams = self._store.streams(FILES) if lines else ()

        def of_stream(stream: str) -> list[tuple[str, T]]:
            states = self._states(stream, lines).items()
            return [(commit, function(event)) for commit, event in states if event.type != "FileDeleted"]

        with ThreadPoolExecutor(THREADS) as pool:
            for results in pool.map(of_stream, streams):
                yield from results

    def _states(self, stream: str, lines: Mapping[str, set[str]]) -> dict[str, RecordedEvent]:
        """A file's newest event on each of the lines that it has one on."""
        found: dict[str, RecordedEvent] = {}
        for event in self._store.read(stream, backwards=True):
            found.update({commit: event for commit, line in lines.items() if commit not in found and event.id in line})
            if len(found) == len(lines):
                break
        return found


def _file(state: RecordedEvent) -> tuple[bytes, File]:
    return unquote_to_bytes(state.metadata["path"]), File(state.stream, state.metadata["blob"])


def blob_id(content: bytes, digits: int) -> str:
    """The id that git gives to a content, in a repository whose ids have 40 digits (SHA-1) or 64 (SHA-256)."""
    digest = hashlib.new("sha1" if digits == 40 else "sha256", b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def differences(rebuilt: Iterable[Entry], true: Iterable[Entry]) -> list[str]:
    """What only one of two trees has, a line for each file; nothing if they are equal."""
    ours, gits = Counter(rebuilt), Counter(true)
    lines = [(entry, "only in the events") for entry in (ours - gits).elements()]
    lines += [(entry, "only in git") for entry in (gits - ours).elements()]
    return [f"{where}: {mode} {blob} {quote_from_bytes(path)}" for (path, mode, blob), where in sorted(lines)]
