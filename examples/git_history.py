"""Record the history of a git repository as events, and rebuild a tree of it from them.

    python examples/git_history.py REPO URL [--commit REV] [--batch N]

records all commits of REPO in the store at URL, rebuilds the tree of REV (``HEAD``) from the events alone, compares it with
``git ls-tree -r``, and exits with 0 if they are equal, with 1 if they are not (and says where), with 2 if it could not try. Run it again
after a crash, or when there are new commits: it appends what is missing. It needs ``pip install headstream[cli]`` for the progress bar.

The events, and why the trees are right for every commit of every history: see ``git_streams/__init__.py``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time

from rich.console import Console
from rich.progress import Progress

from git_streams.history import History, differences
from git_streams.importer import Commits, Importer
from git_streams.plumbing import Git
from headstream import EventStore, HeadstreamError, connect


def record(git: Git, store: EventStore, commits: Commits, batch: int) -> None:
    """Record what is missing; say how much it was and how long it took."""
    importer = Importer(git, store)
    missing = importer.missing(commits)
    events, start = 0, time.perf_counter()
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("recording commits", total=len(missing))
        for done, appended in importer.run(missing, batch):
            events += appended
            progress.advance(task, done)
    seconds = time.perf_counter() - start
    rate = f"{events} events in {seconds:.1f} s, {events / seconds:.0f} a second"
    print(f"{len(commits)} commits, {len(missing)} of them new: {rate}")


def compare(git: Git, store: EventStore, commit: str) -> bool:
    """Rebuild the tree of a commit; say how it compares with git's, and return whether they are equal."""
    rebuilt = list(History(store).tree(commit))
    found = differences(rebuilt, git.tree(commit))
    for line in found:
        print(line)
    print(f"{commit}: {len(rebuilt)} files rebuilt,", f"{len(found)} differences" if found else "equal to git ls-tree")
    return not found


def run(repository: str, url: str, revision: str, batch: int) -> bool:
    """Record and compare; whether the trees are equal."""
    with Git(repository) as git, connect(url) as store:
        commits = git.commits()
        if not commits and revision == "HEAD":
            print("the repository has no commits: there is nothing to record or to compare")
            return True
        commit = git.resolve(revision)
        record(git, store, commits if commit in commits else git.commits(commit), batch)
        return compare(git, store, commit)


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description="Record the history of a git repository as events; rebuild a tree.")
    parser.add_argument("repository", metavar="REPO", help="a folder in a repository, or a bare repository")
    parser.add_argument("url", metavar="URL", help="the store: history.db, file:///folder, az://container/path, …")
    parser.add_argument("--commit", metavar="REV", default="HEAD", help="the commit whose tree to rebuild (HEAD)")
    parser.add_argument("--batch", metavar="N", type=int, default=200, help="commits to record at a time (200)")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error("--batch is at least 1")
    try:
        return 0 if run(options.repository, options.url, options.commit, options.batch) else 1
    except subprocess.CalledProcessError as error:
        print(f"{shlex.join(error.cmd)}: {error.stderr.decode(errors='replace').strip()}", file=sys.stderr)
    except (HeadstreamError, OSError) as error:
        print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
