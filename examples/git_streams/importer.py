"""From commits to events: only what is missing, whatever became of the imports before."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import Final, TypeAlias

from git_streams import COMMITS, THREADS
from git_streams.files import Draft, Files, follow
from git_streams.history import History
from git_streams.plumbing import Change, Git
from headstream import Event, EventStore, WrongExpectedVersion

PART: Final = 4 * 1024 * 1024
"""Bytes of content in one event, and about the most in one append: well under the 16 MiB that headstream takes."""
GROUP: Final = 1000
"""Events in one append at most."""
MESSAGE: Final = 1024 * 1024
"""Bytes of a commit object that are looked at: the rest of a longer message is left out."""
ATTEMPTS: Final = 100
"""How often other imports may get in the way of one append."""

Commits: TypeAlias = Mapping[str, list[str]]
"""Commits and their parents."""
Wanted: TypeAlias = dict[str, Callable[[], Iterable[Event]]]
"""What a stream is to have: ids, and how to make the events of that id. Contents are fetched no sooner than that."""


class Importer:
    """Records the history of a repository in a store. It can be killed at any moment, and run again."""

    def __init__(self, git: Git, store: EventStore) -> None:
        self._git = git
        self._store = store
        self._history = History(store)
        self._ids = self._history.ids
        self._recorded = set(self._history.follows)
        #: Where the streams end, as far as this import knows.
        self._versions = {COMMITS: self._history.version}
        #: Events of commits that are not recorded yet: another import was killed, or is at work.
        self._leftovers: set[tuple[str, str]] = set()
        #: The files of commits, and how many commits still wait for them.
        self._files: dict[str, Files] = {}
        self._waiting: Counter[str] = Counter()

    def missing(self, commits: Commits) -> Commits:
        """Those of the commits that are not recorded."""
        return {commit: parents for commit, parents in commits.items() if commit not in self._ids}

    def run(self, commits: Commits, batch: int) -> Iterator[tuple[int, int]]:
        """Record commits whose parents are recorded or come before them, ``batch`` at a time.

        After each batch, says how many commits it had and how many events were appended for it.
        """
        self._waiting = Counter(chain.from_iterable(commits.values()))
        self._files = self._history.files(parent for parent in self._waiting if parent not in commits)
        rest = iter(commits.items())
        with ThreadPoolExecutor(THREADS) as pool:
            while some := dict(islice(rest, batch)):
                streams = self._plan(some)
                records = streams.pop(COMMITS)
                events = sum(pool.map(self._append, streams, streams.values()))
                events += self._append(COMMITS, records)
                self._recorded.update(records)
                yield len(some), events

    def _plan(self, commits: Commits) -> dict[str, Wanted]:
        """What the commits say in which stream."""
        changes = self._git.changes({commit: parents[0] if parents else None for commit, parents in commits.items()})
        streams: defaultdict[str, Wanted] = defaultdict(dict)
        for commit, parents in commits.items():
            drafts = self._drafts(commit, parents, changes.get(commit, []))
            follows = self._ids[parents[0]] if parents else None
            name = hashlib.sha256(json.dumps([follows, commit, drafts]).encode()).hexdigest()[:40]
            self._ids[commit] = name
            streams[COMMITS][name] = partial(self._commit_event, name, commit, parents, follows)
            for draft in drafts:
                streams[draft.stream][name] = partial(self._file_events, name, commit, draft)
                if draft.type == "FileAdded":
                    self._versions[draft.stream] = 0
        return streams

    def _drafts(self, commit: str, parents: list[str], changes: list[Change]) -> list[Draft]:
        files = self._files[parents[0]] if parents else {}
        if parents and self._waiting[parents[0]] > 1:
            files = files.copy()
        drafts = list(follow(commit, changes, files, [self._files[parent] for parent in parents[1:]]))
        self._waiting.subtract(parents)
        for parent in parents:
            if not self._waiting[parent]:
                self._files.pop(parent, None)
        if self._waiting[commit]:
            self._files[commit] = files
        return drafts

    def _commit_event(self, name: str, commit: str, parents: list[str], follows: str | None) -> list[Event]:
        # For people: text that is not UTF-8 is replaced, for no tree depends on it.
        header, _, message = self._git.content(commit)[:MESSAGE].decode(errors="replace").partition("\n\n")
        author, *when = header.partition("\nauthor ")[2].partition("\n")[0].rsplit(" ", 2)
        about = {"author": author, "time": " ".join(when), "message": message}
        return [Event("Committed", {"commit": commit, "parents": parents, "follows": follows, **about}, id=name)]

    def _file_events(self, name: str, commit: str, draft: Draft) -> Iterator[Event]:
        about: dict[str, str | int] = {"commit": commit, "path": draft.path}
        if draft.blob:
            about |= {"mode": draft.mode, "blob": draft.blob}
        last = None
        if draft.has_content:
            content = self._git.content(draft.blob)
            *parts, last = [content[start : start + PART] for start in range(0, len(content) or 1, PART)]
            about["parts"] = len(parts) + 1
            yield from (Event("ContentPart", part, {"commit": commit}) for part in parts)
        yield Event(draft.type, last, about, id=name)

    def _append(self, stream: str, wanted: Wanted) -> int:
        """Append what the stream does not have of the events; how many they were."""
        version, appended = self._versions.get(stream), 0
        for _ in range(ATTEMPTS):
            if version is None:
                version = self._look(stream)
            makers = [make for name, make in wanted.items() if (stream, name) not in self._leftovers]
            try:
                for group in groups(event for make in makers for event in make()):
                    version = self._store.append(stream, group, expected=version).version
                    appended += len(group)
            except WrongExpectedVersion:
                version = None
            else:
                self._versions[stream] = version
                return appended
        raise TimeoutError(f"other imports got in the way of stream {stream} too often: run this one again, alone")

    def _look(self, stream: str) -> int:
        """Where a stream ends; remembers which events it has of commits that are not recorded."""
        events = self._store.read(stream, backwards=True)
        for event in events:
            if event.id in self._recorded:
                break
            if event.id is not None:
                self._leftovers.add((stream, event.id))
        return events.head().version


def groups(events: Iterable[Event]) -> Iterator[list[Event]]:
    """The events in runs that are good to append at once."""
    group: list[Event] = []
    size = 0
    for event in events:
        more = _size(event)
        if group and (size + more > PART or len(group) == GROUP):
            yield group
            group, size = [], 0
        group.append(event)
        size += more
    if group:
        yield group


def _size(event: Event) -> int:
    data = event.data if isinstance(event.data, bytes) else json.dumps(event.data)
    return len(data) + len(json.dumps(dict(event.metadata)))
