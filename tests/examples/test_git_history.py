"""The trees of every history come back from the events, entry by entry, and the command says so."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

import git_history
from examples.conftest import EXAMPLES, ROOT
from examples.histories import assert_trees, files, history, record, stories, streams
from examples.repositories import EXECUTABLE, SUBMODULE, SYMLINK, Blob, Commit, Repository, random_history, text
from git_streams import importer
from git_streams.history import History, differences
from git_streams.importer import Importer
from git_streams.plumbing import Entry, Git
from headstream import Event, EventStore, connect

MIB = 1024 * 1024


# --- trees -----------------------------------------------------------------------------------------------------------

NAMES = [
    b"plain", b" leading", b"trailing ", b"new\nline", b"\n", b'"quoted"', b"back\\slash", b"tab\t", b"\x01\x7f", b"\xff\xfe",
    "\u00e9".encode(), "e\u0301".encode(), "\U0001f600/\u4e2d".encode(), b"$dollar", b"$feed", b"-dash", b"*", b":(top)x", b"...", b"..a/b..",
    b"Case", b"case", b"C:drive", b"%41", b"A", b"a//b".replace(b"//", b"/ /"), b"/".join([b"d" * 200] * 20), b"x" * 1000,
]  # fmt: skip


def test_odd_names(repository: Repository, store: EventStore) -> None:
    """Paths are bytes: every name that git takes comes back exactly, also after a rename to another odd one."""
    turned = dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    first = {name: Blob(text(name)) for name in NAMES}
    repository.add(*history(first, {turned[name]: blob for name, blob in first.items()}, {}))
    record(repository.path, store)
    assert_trees(repository, store)
    assert len(repository.ls_tree(repository.ids[0])) == len(NAMES)


def test_names_that_no_disk_takes(repository: Repository, memory: EventStore) -> None:
    """Entries named ``..``, ``.`` and ``.git``, which git refuses to check out, are only bytes here."""
    blob = repository.git("hash-object", "-w", "--stdin", stdin=b"x").strip()
    entries = b"".join(b"100644 %s\0%s" % (name, bytes.fromhex(blob.decode())) for name in (b".", b"..", b".git"))
    tree = repository.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=entries).strip().decode()
    commit = repository.git("commit-tree", "-m", "odd", tree).strip().decode()
    repository.git("update-ref", "refs/heads/odd", commit)
    record(repository.path, memory)
    assert_trees(repository, memory, [commit])


def test_all_kinds_of_entries(repository: Repository, store: EventStore) -> None:
    """Empty, binary and executable files, symbolic links and submodules come back, and so do changes of mode and type."""
    zoo = {b"empty": Blob(b""), b"binary": Blob(bytes(range(256)) * 9), b"script": Blob(text(1), EXECUTABLE)}
    zoo |= {b"link": Blob(b"no/such\xff", SYMLINK), b"sub": Blob(b"1" * 40, SUBMODULE), b"dir/file": Blob(text(2))}
    steps: list[dict[bytes, Blob]] = [zoo]
    for change in [
        {b"script": Blob(text(1))},
        {b"empty": Blob(b"", EXECUTABLE)},
        {b"binary": Blob(b"target", SYMLINK)},
        {b"link": Blob(text(3))},
        {b"sub": Blob(b"2" * 40, SUBMODULE)},
        {b"sub": Blob(text(4))},
        {b"script": Blob(b"3" * 40, SUBMODULE)},
    ]:
        steps.append(steps[-1] | change)
    as_file = {path: blob for path, blob in steps[-1].items() if path != b"dir/file"} | {b"dir": Blob(text(2))}
    repository.add(*history(*steps, as_file, zoo))
    record(repository.path, store)
    assert_trees(repository, store)


def test_repositories_with_sha256(tmp_path: Path, memory: EventStore) -> None:
    """A repository whose ids are SHA-256 is recorded and rebuilt like any other."""
    repository = Repository(tmp_path / "sha256", "--object-format=sha256")
    repository.add(*history({b"a": Blob(text(1))}, {b"b": Blob(text(1)), b"c": Blob(b"")}))
    record(repository.path, memory)
    assert_trees(repository, memory)
    assert {len(commit) for commit in repository.ids} == {64}


def test_a_file_larger_than_an_append(repository: Repository, store: EventStore) -> None:
    """A content of more than the 16 MiB that an append takes is kept in parts, and comes back whole."""
    large = Random(1).randbytes(17 * MIB) + b"end"
    repository.add(*history({b"large": Blob(large)}, {b"large": Blob(large, EXECUTABLE), b"b": Blob(b"")}, {}))
    record(repository.path, store)
    assert_trees(repository, store)
    types = Counter(event.type for events in streams(store).values() for event in events)
    assert types["ContentPart"] == 4


def test_small_parts(repository: Repository, memory: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents of just under, at and over the size of a part come back, also when they were changed between."""
    monkeypatch.setattr(importer, "PART", 8)
    sizes = [0, 1, 7, 8, 9, 15, 16, 17, 64]
    repository.add(*history(*({b"f": Blob(b"x" * size), b"g": Blob(b"y" * size)} for size in [*sizes, *sizes[::-1]])))
    record(repository.path, memory, batch=100)
    assert_trees(repository, memory)


@pytest.mark.parametrize("seed", range(12))
def test_random_histories(seed: int, repository: Repository, memory: EventStore) -> None:
    """Whatever branches, merges, renames and swaps a history is made of, all its trees come back, in whatever batches it was recorded."""
    repository.add(*random_history(seed, 30))
    record(repository.path, memory, batch=seed + 1)
    assert_trees(repository, memory)
    for events in streams(memory).values():
        assert max(Counter(event.id for event in events).values()) == 1


def test_this_repository(store: EventStore) -> None:
    """The history of this very repository, or as much of it as the clone has, is recorded and rebuilt at HEAD and on the way there."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone")
    with Git(str(ROOT)) as git:
        commits = git.commits()
        head = git.resolve("HEAD")
        run = Importer(git, store)
        assert sum(done for done, _ in run.run(run.missing(commits), 50)) == len(commits) > 0
        past = History(store)
        for commit in [head, *Random(1).sample(sorted(commits), min(len(commits), 5))]:
            assert differences(past.tree(commit), git.tree(commit)) == []
        assert any(entry.path == b"pyproject.toml" for entry in past.tree(head))


# --- git's many settings ---------------------------------------------------------------------------------------------


def test_configuration_changes_nothing(
    repository: Repository, memory: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ignored submodules, nor settings of diffs, replaced objects, the variables of a hook or the current folder change the events."""
    modules = Blob(b'[submodule "sub"]\n\tpath = sub\n\turl = x\n\tignore = all\n')
    subs = [
        {b"sub": Blob(number * 40, SUBMODULE), b".gitmodules": modules, b"d/e": Blob(b"")} for number in (b"1", b"2")
    ]
    repository.add(*history(subs[0], {**subs[1], b"a": Blob(text(1))}, {**subs[0], b"b": Blob(text(1))}))
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(repository.path), str(clone)], check=True)
    for name, value in [
        ("diff.ignoreSubmodules", "all"),
        ("submodule.sub.ignore", "all"),
        ("diff.renames", "false"),
        ("diff.renameLimit", "1"),
        ("diff.relative", "true"),
        ("core.abbrev", "7"),
        ("core.quotePath", "true"),
        ("log.showRoot", "false"),
    ]:
        subprocess.run(["git", "-C", str(clone), "config", name, value], check=True)
    replaced = repository.git("rev-parse", "c1:a", "c1:.gitmodules").decode().split()
    subprocess.run(["git", "-C", str(clone), "replace", *replaced], check=True)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert git_history.main([str(clone / "d"), "memory://"]) == 0
    record(clone / "d", memory)
    monkeypatch.delenv("GIT_DIR")
    assert_trees(repository, memory)
    assert [("FileAdded", "a"), ("FileRenamed", "b")] in stories(memory)


def test_tags_of_anything(repository: Repository, memory: EventStore) -> None:
    """Refs to blobs and trees, and tags of tags, are no hindrance; a commit that only a tag reaches is recorded."""
    repository.add(*history({b"a": Blob(text(1))}, {b"b": Blob(text(1))}))
    for name, target in [("blob", "c0:a"), ("tree", "c0^{tree}"), ("heavy", "c0"), ("tag", "heavy")]:
        repository.git("tag", "-a", "-m", "x", name, target)
    repository.git("update-ref", "-d", "refs/heads/c0")
    record(repository.path, memory)
    assert_trees(repository, memory)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script, for a store in a file: it records, says how much, rebuilds HEAD or another commit, and exits with 0."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    repository.add(*history({b"a": Blob(text(1))}, {b"a": Blob(text(1)), b"b": Blob(text(2))}))
    command = [sys.executable, str(EXAMPLES / "git_history.py"), str(repository.path), str(tmp_path / "store.db")]
    first = subprocess.run(command, capture_output=True, check=True, text=True)
    assert first.stdout.startswith("2 commits, 2 of them new: 4 events in ")
    assert first.stdout.endswith(f"\n{repository.ids[1]}: 2 files rebuilt, equal to git ls-tree\n")
    assert "100%" in first.stderr
    second = subprocess.run([*command, "--commit", "c0", "--batch", "1"], capture_output=True, check=True, text=True)
    assert second.stdout.startswith("2 commits, 0 of them new: 0 events in ")
    assert second.stdout.endswith(f"\n{repository.ids[0]}: 1 files rebuilt, equal to git ls-tree\n")


def test_differences_are_told(repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong content, a file too many, one recorded twice and one too few: the command names each, and exits with 1."""
    repository.add(Commit({name: Blob(text(name)) for name in [b"same", b"wrong", b"new\nline", b"gone"]}))
    url = str(tmp_path / "store.db")
    assert git_history.main([str(repository.path), url]) == 0
    with connect(url) as store:
        added = {event.metadata["path"]: event for (event,) in files(store).values()}
        wrong, gone, same = added["wrong"], added["gone"], added["same"]
        store.append(wrong.stream, Event("FileModified", b"other", wrong.metadata, id=wrong.id))
        store.append(gone.stream, Event("FileDeleted", None, {"path": "gone"}, id=gone.id))
        store.append("file/extra", Event("FileAdded", same.data, same.metadata, id=same.id))
        store.append("file/odd", Event("FileAdded", b"", same.metadata | {"path": "%FF"}, id=same.id))
    capsys.readouterr()
    assert git_history.main([str(repository.path), url]) == 1
    *lines, last = capsys.readouterr().out.splitlines()[1:]
    ids = {path.decode(): blob for path, _, blob in repository.ls_tree(repository.ids[0])}
    other, empty = (hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest() for data in (b"other", b""))
    expected = [
        f"only in git: 100644 {ids['gone']} gone",
        f"only in git: 100644 {ids['wrong']} wrong",
        f"only in the events: 100644 {ids['same']} same",
        f"only in the events: 100644 {other} wrong",
        f"only in the events: 100644 {empty} %FF",
    ]
    assert sorted(lines) == sorted(expected)
    assert last == f"{repository.ids[0]}: 5 files rebuilt, 5 differences"


def test_every_difference_counts() -> None:
    """Two trees differ when a path, a mode or an id does, or when one has an entry twice; order is no difference."""
    one, two = Entry(b"a", "100644", "1" * 40), Entry(b"b", "100644", "2" * 40)
    assert differences([one, two], [two, one]) == []
    for other in [one._replace(path=b"c"), one._replace(mode="100755"), one._replace(blob="3" * 40)]:
        assert len(differences([one, two], [other, two])) == 2
    assert len(differences([one, one], [one])) == 1
    assert len(differences([], [one])) == 1


def test_an_empty_repository(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """Without commits there is nothing to do, which is no failure."""
    assert git_history.main([str(repository.path), "memory://"]) == 0
    assert capsys.readouterr().out == "the repository has no commits: there is nothing to record or to compare\n"


def test_a_commit_that_nothing_refers_to(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """The commit to rebuild may be one that no ref reaches: it is recorded because it is named."""
    repository.add(*history({b"a": Blob(text(1))}, {b"b": Blob(text(1))}))
    repository.git("symbolic-ref", "HEAD", "refs/heads/none")
    repository.git("update-ref", "-d", "refs/heads/c1")
    assert git_history.main([str(repository.path), "memory://", "--commit", repository.ids[1]]) == 0
    assert git_history.main([str(repository.path), "memory://"]) == 2
    assert "Needed a single revision" in capsys.readouterr().err


def test_what_cannot_be_tried(repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no repository, no commit, or no store is said, and the exit code is 2."""
    repository.add(Commit({b"a": Blob(text(1))}))
    (tmp_path / "empty").mkdir()
    for arguments, words in [
        ([str(tmp_path / "empty"), "memory://"], "not a git repository"),
        ([str(tmp_path / "nowhere"), "memory://"], "No such file or directory"),
        ([str(repository.path), "memory://", "--commit", "no-such"], "Needed a single revision"),
        ([str(repository.path), "gopher://here"], "no place that headstream knows"),
    ]:
        assert git_history.main(arguments) == 2
        assert words in capsys.readouterr().err


def test_a_lost_object(repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A repository that lacks an object is named as the trouble; once it is mended, the import goes on."""
    repository.git("config", "fastimport.unpackLimit", "1000")
    repository.add(Commit({b"a": Blob(text(1))}))
    blob = repository.git("rev-parse", "c0:a").decode().strip()
    lost = repository.path / "objects" / blob[:2] / blob[2:]
    lost.rename(tmp_path / "kept")
    url = str(tmp_path / "store.db")
    assert git_history.main([str(repository.path), url]) == 2
    assert f"the repository does not have object {blob}" in capsys.readouterr().err
    (tmp_path / "kept").rename(lost)
    assert git_history.main([str(repository.path), url]) == 0


def test_batches_have_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch of no commits is refused as bad usage."""
    with pytest.raises(SystemExit) as stopped:
        git_history.main([".", "memory://", "--batch", "0"])
    assert stopped.value.code == 2
    assert "--batch is at least 1" in capsys.readouterr().err
