"""The history of a git repository as streams of events, and any tree of it rebuilt from the events alone.

``git_history.py`` is the command. ``plumbing`` asks git, ``files`` finds out which file a change belongs to, ``importer`` appends events,
``history`` reads them.

**Streams.** A stream ``file/<id>`` is a *file*, not a path: it goes on when the file is renamed. Each commit that touches the file is one event
in it: ``FileAdded`` (always the first), ``FileModified``, ``FileRenamed``, ``FileMerged`` or ``FileDeleted``. Its metadata are commit, path, mode
and blob id; its data is the content. The path is percent-encoded, which keeps any bytes exactly. A file that is deleted and made again is
a new file. The stream ``commits`` has an event for each commit, appended after all others of it: when it is there, the commit is recorded.

**A graph in lines.** A history branches and merges; a stream does neither. So a commit is recorded as its difference from its *first* parent, a
root as its difference from nothing, and a merge like any other commit: what it takes from its other parents are events too. Then

    tree(commit) = tree(first parent) + difference

holds for every commit of every history, however a merge was resolved. A commit, its first parent, the first parent of that and so on to a
root are the commit's *line*. An event says all about its file at its commit; so the newest event on the line (the first one that is met
when the stream is read backwards) is the file's state, and the states of all files are the tree. Events of other branches lie between them
and are passed over. Which file an event belongs to is git's guess about renames: whatever it guesses, the trees are right. A path that is
new in a merge and that another parent has goes on with that parent's file.

**Ids.** All events of a commit have one id: a digest of the commit, of what it does to which streams, and of its first parent's id. A line is a
set of such ids. An import that died makes the same events when it is run again, and knows by the ids which of them it has. One that
sees something else than the import before it (another version of git guesses other renames; a shallow clone was deepened) makes other ids, also
for all later commits: what was left unfinished is on no line. Appends expect a version, so imports at the same time cannot double anything.

**Content** is kept once. An event has none if its blob is also the file's blob in a parent: an earlier event of the stream has it. A content
too large for one event is preceded by its first parts (``ContentPart``). A submodule has none: its blob id is a commit elsewhere.

Several repositories may share a store: what they have in common is recorded once.
"""

from typing import Final

COMMITS: Final = "commits"
FILES: Final = "file/"
THREADS: Final = 8
"""Streams that are read or appended to at the same time: storage may be far away."""
