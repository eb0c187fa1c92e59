"""Recording a repository's history, and looking at what was recorded."""

from __future__ import annotations

from pathlib import Path

from examples.repositories import Commit, Repository, Tree
from git_streams.history import History
from git_streams.importer import Importer
from git_streams.plumbing import Git
from headstream import EventStore, RecordedEvent


def history(*trees: Tree) -> list[Commit]:
    """One commit after the other."""
    return [Commit(tree, (number - 1,) if number else ()) for number, tree in enumerate(trees)]


def record(path: Path, store: EventStore, batch: int = 4) -> int:
    """Record all commits of a repository; how many events were appended."""
    with Git(str(path)) as git:
        run = Importer(git, store)
        return sum(events for _, events in run.run(run.missing(git.commits()), batch))


def assert_trees(repository: Repository, store: EventStore, commits: list[str] | None = None) -> None:
    """The events give the trees of all commits that git gives."""
    past = History(store)
    for commit in commits or repository.ids:
        assert sorted(past.tree(commit)) == repository.ls_tree(commit)


def streams(store: EventStore) -> dict[str, list[RecordedEvent]]:
    """All events."""
    return {stream: list(store.read(stream)) for stream in store.streams()}


def files(store: EventStore) -> dict[str, list[RecordedEvent]]:
    """All events of files, without the parts of contents, which only the event after them makes count."""
    return {
        stream: [event for event in events if event.type != "ContentPart"]
        for stream, events in streams(store).items()
        if stream != "commits"
    }


def stories(store: EventStore) -> list[list[tuple[str, str]]]:
    """What happened to each file: types and paths of its events."""
    return sorted([(event.type, event.metadata["path"]) for event in events] for events in files(store).values())


def facts(store: EventStore) -> list[tuple[object, ...]]:
    """Every event by all that does not depend on when, in which batches and after which other branches it was appended."""
    commits = {"commits": list(store.read("commits"))}
    return sorted(
        (stream, event.id, event.type, repr(event.data), sorted(event.metadata.items()))
        for stream, events in (files(store) | commits).items()
        for event in events
    )
