"""Deliberate errors in the protocols, each of which the simulator has to catch."""

from __future__ import annotations

import msgspec


class Mutant(msgspec.Struct, frozen=True):
    """One change of one module's source."""

    name: str
    module: str
    old: str
    """Occurs once in the module."""
    new: str
    histories: int = 400
    """Within so many it must be caught."""
    case: str = ""
    """A case whose exhaustive exploration must catch it, for errors that chance meets rarely."""


APPEND = "headstream.protocol.append"
HEAD = "headstream.protocol.head"
FEED = "headstream.protocol.feed"
VERDICTS = "headstream.protocol.verdicts"
READ = "headstream.protocol.read"
GC = "headstream.protocol.gc"
SNAPSHOT = "headstream.protocol.snapshot"
DECIDING = "headstream.deciding"
CHECKPOINT = "headstream.protocol.checkpoint"

MUTANTS = (
    # --- append
    Mutant(
        "after an unknown outcome, look only at the newest changeset",
        APPEND,
        "    frame = yield from changeset_after(known, still_open.follows)\n",
        "    frame = (tail_chain(known) or (yield from newest_segment(known)))[-1]\n",
        2000,
    ),
    Mutant(
        "resend an attempt with its id",
        APPEND,
        "    stamp = yield from Stamp(parent)\n",
        "    stamp = yield from Stamp(parent)\n"
        "    stamp = globals().setdefault('_SENT', {}).setdefault(id(proposal), (stamp, proposal))[0]\n",
        2000,
    ),
    Mutant(
        "report any conflict by a head that is remembered",
        APPEND,
        "isinstance(expected, int) and expected < version",
        "isinstance(expected, int)",
        2000,
    ),
    Mutant(
        "ids of a stream need not increase",
        APPEND,
        "Stamp(parent)",
        "Stamp()",
        2000,
    ),
    Mutant(
        "commit before the prelude is durable",
        APPEND,
        "        answer = yield from Commit(prelude, head.put(grown, known.etag))\n",
        "        answer = yield from Commit((), head.put(grown, known.etag))\n"
        "        if prelude:\n"
        "            yield from Commit(prelude[1:], prelude[0])\n",
    ),
    Mutant(
        'trust a refusal ("already exists")',
        APPEND,
        "    if not isinstance(answer, Stored):\n        return None\n    return Appended(stamp.id, version + proposal.events, Known(grown, answer.etag))\n",
        "    if isinstance(answer, Stored):\n"
        "        return Appended(stamp.id, version + proposal.events, Known(grown, answer.etag))\n"
        "    still_open.ids.pop()\n"
        "    return None\n",
    ),
    Mutant(
        "take an unknown outcome for a conflict",
        APPEND,
        "    if frame.id in still_open.ids:\n        return Appended(frame.id, frame.version, known)\n",
        "",
    ),
    Mutant(
        "take an unknown outcome for success",
        APPEND,
        "    if not still_open.ids or known.state.version == still_open.follows:\n        return None\n",
        "    if not still_open.ids:\n        return None\n"
        "    if known.state.version == still_open.follows:\n"
        "        return Appended(still_open.ids[0], known.state.version, known)\n",
    ),
    Mutant(
        "take open attempts for dead before the fence is raised",
        APPEND,
        "            known = yield from _knock(known, proposal, races)\n",
        "            if races.lost:\n"
        "                still_open.ids.clear()\n"
        "            known = yield from _knock(known, proposal, races)\n",
        case="two writers that raise the fence, two faults",
    ),
    Mutant(
        "take the key for the events",
        APPEND,
        "    if proposal.adopts or is_same(found.events, proposal.rows):\n",
        "    if True:\n",
    ),
    Mutant(
        "compare an append that is repeated with its metadata",
        "headstream.protocol.repetition",
        "    return type_ == other_type and event_id == other_id and _is_same_data(data, other_data)\n",
        "    return one == other\n",
    ),
    # --- head
    Mutant(
        "swap the head whatever it is",
        HEAD,
        "ABSENT if etag is None else Matches(etag),",
        "ALWAYS,",
    ),
    Mutant(
        "skip the digest",
        HEAD,
        "    digest = codec.chain_digest(old.digest, (frame,))\n",
        "    digest = old.digest\n",
    ),
    Mutant(
        "seal the tail without its newest changeset",
        HEAD,
        "            seals, end = state.tail, Sealed(old.version, old.changeset_id, old.digest)\n",
        "            seals, end = state.tail[:-1], Sealed(old.version, old.changeset_id, old.digest)\n",
    ),
    Mutant(
        "move one reference too few to an index page",
        HEAD,
        "            moved, full = full[:fan_out], full[fan_out:]\n",
        "            moved, full = full[: fan_out - 1], full[fan_out:]\n",
    ),
    # --- read
    Mutant(
        "off by one at the boundary of a segment",
        READ,
        "    return run[bisect_right(run, version, key=lambda span: span.ref.first) - 1]\n",
        "    return run[bisect_left(run, version, key=lambda span: span.ref.first) - 1]\n",
    ),
    Mutant(
        "trust a cached head without asking",
        READ,
        "    key = keys.head(stream)\n    try:\n        answer",
        "    key = keys.head(stream)\n    if known is not None and known.etag is not None:\n        return known\n    try:\n        answer",
    ),
    # --- feed
    Mutant(
        "one list in an advance",
        FEED,
        "    second, _ = yield from inbox.list(None, last, {entry.key: entry for entry in first})\n",
        "    second = first\n",
        4000,
    ),
    Mutant(
        "only the first page of the second list",
        FEED,
        "        if not page.more or not page.keys or (last is not None and page.keys[-1] >= last):\n",
        "        if True:\n",
        2000,
    ),
    Mutant(
        "publish what only the second list has",
        FEED,
        " and entry.follows <= sure.get(entry.stream, -1)]",
        "]",
        case="two writers and an advance that finds a backlog",
    ),
    Mutant(
        "no fence before an old intent is settled",
        VERDICTS,
        "        answer = yield from Commit((), head.put(head.fenced(known.state), known.etag))\n        return isinstance(answer, Stored)\n",
        "        yield from ()\n        return True\n",
        2000,
    ),
    Mutant(
        "settle an intent whose fence was refused",
        VERDICTS,
        "        return isinstance(answer, Stored)\n",
        "        return answer is not None\n",
        case="two writers and an advance that fences",
    ),
    Mutant(
        "do not list in the feed's head what was settled",
        FEED,
        "    settled = tuple([frame.id for _, _, frame in harvested])\n",
        "    settled = ()\n",
    ),
    Mutant(
        "leave what a crash left, and append the next",
        FEED,
        "    yield from _delete([entry.key for entry in second if entry.id in settled])\n",
        "",
    ),
    Mutant(
        "look for it in the window only",
        FEED,
        '    last = max([first[-1].key, *[f"{keys.INBOX}{changeset_id.hex()}~" for changeset_id in settled]]) if more else None\n',
        "    last = first[-1].key if more else None\n",
        case="two advances and a writer whose clock is behind, one fault",
    ),
    Mutant(
        "go on with a plan that another advance made void",
        FEED,
        "        feed, lost = appended.known, appended.known.state.version != appended.version\n",
        "        feed, lost = appended.known, False\n",
        case="two advances of two batches, one fault",
    ),
    Mutant(
        "read the feed's head after the lists",
        FEED,
        "    rest = [entry for entry in second",
        "    feed = yield from load_head(keys.FEED, feed)\n    rest = [entry for entry in second",
        4000,
    ),
    Mutant(
        "delete intents before the feed has their events",
        FEED,
        "        appended = yield from _append(settings, feed, harvest.changesets)\n",
        "        yield from _delete([entry.key for entry in taken])\n"
        "        appended = yield from _append(settings, feed, harvest.changesets)\n",
    ),
    Mutant(
        "forget what a batch had no room for",
        FEED,
        "            left.append(entry)\n",
        "",
        2000,
    ),
    Mutant(
        "go on with a stream of which something had no room",
        FEED,
        "            behind.add(entry.stream)\n",
        "",
        10_000,
    ),
    Mutant(
        "take what may still come for dead",
        VERDICTS,
        "                coming.update([entry.id for entry in pending])\n",
        "                for entry in pending:\n                    verdicts.add(entry, None)\n",
        2000,
    ),
    Mutant(
        "take what cannot be read for dead",
        VERDICTS,
        "                verdicts.unreadable[waiting.popleft()[0].state.stream] = error\n",
        "                for entry in waiting.popleft()[1]:\n                    verdicts.add(entry, None)\n",
        2000,
    ),
    Mutant(
        "publish what follows a changeset that cannot be read",
        VERDICTS,
        "                verdicts.unreadable[waiting.popleft()[0].state.stream] = error\n",
        "                known, past, follows = waiting.popleft()\n"
        "                verdicts.unreadable[known.state.stream] = error\n"
        "                if follows[1:]:\n"
        "                    waiting.append((known, past[1:], follows[1:]))\n",
        4000,
    ),
    Mutant(
        "forget which changeset it was that follows the version",
        VERDICTS,
        "isinstance(frame, Frame) and frame.id == entry.id else None",
        "isinstance(frame, Frame) else None",
        2000,
    ),
    Mutant(
        "order a batch by clocks alone",
        FEED,
        "        self._times[stream] = max(frame.micros, self._times.get(stream, 0))\n",
        "        self._times[stream] = frame.micros\n",
        2000,
    ),
    # --- snapshots
    Mutant(
        "say that a kept state is of the version before its events",
        HEAD,
        "follows=old.version, at=version\n",
        "follows=old.version, at=old.version or 1\n",
    ),
    Mutant(
        "take a state that another version of the decider kept",
        READ,
        "        if (entry.name, entry.version) != (name, version):\n",
        "        if entry.name != name:\n",
        histories=1500,
    ),
    Mutant(
        "fold events onto a kept state that it has already",
        DECIDING,
        "        return Cursor(cursor.known, found.at + 1, cursor.last)\n",
        "        return Cursor(cursor.known, found.at, cursor.last)\n",
    ),
    Mutant(
        "name a snapshot before it is durable",
        APPEND,
        "        answer = yield from Commit(prelude, head.put(grown, known.etag))\n",
        "        late = [put for put in prelude if put.key.startswith(keys.SNAPSHOTS)]\n"
        "        answer = yield from Commit(tuple([put for put in prelude if put not in late]), head.put(grown, known.etag))\n"
        "        if late:\n"
        "            yield from Commit((), late[0])\n",
    ),
    Mutant(
        "collect a snapshot that the head names",
        GC,
        "    referenced = {key for entry in known.state.snapshots if (key := entry.key(stream)) is not None}\n",
        "    referenced = set[str]()\n",
        4000,
    ),
    Mutant(
        "forget the snapshots of other deciders",
        SNAPSHOT,
        "    others = [entry for entry in before if (entry.name, entry.version) != (kept.name, kept.version)]\n",
        "    others = [entry for entry in before if entry.name == kept.name]\n",
    ),
    # --- garbage
    Mutant(
        "delete a segment before the fence",
        GC,
        "    seen, fenced = yield from _outdate(known)\n",
        "    seen, fenced = known, True\n",
        4000,
    ),
    Mutant(
        "delete what the fenced head did not refer to, though the fence was refused",
        GC,
        "    dead = candidates if fenced else (yield from _unreferenced(seen, candidates))\n",
        "    dead = candidates\n",
        case="two writers and a collection",
    ),
    Mutant(
        "a fence that loses the newest changeset",
        HEAD,
        "fields = msgspec.structs.replace(state.fields, fence=state.fields.fence + 1)",
        "fields = msgspec.structs.replace(state.fields, fence=state.fields.fence + 1, version=max(0, state.fields.version - 1))",
    ),
    # --- tails
    Mutant(
        "keep what was compressed of a tail that was sealed",
        HEAD,
        "        packed_tail = None\n        if len(frame)",
        "        if len(frame)",
    ),
    Mutant(
        "compress all of a tail, and count one changeset less",
        "headstream.protocol.tail",
        "PackedTail(len(frames), size,",
        "PackedTail(len(frames) - 1, size,",
    ),
    # --- checkpoints
    Mutant(
        "write a checkpoint whoever wrote the last",
        CHECKPOINT,
        "ABSENT if before is None else Matches(before.etag)",
        "__import__('headstream').protocol.ops.ALWAYS",
        2000,
    ),
    Mutant(
        "mark a position with the changeset that ends before it",
        "headstream.protocol.mark",
        "return Mark(position, chain[number].id)",
        "return Mark(position, chain[number].parent)",
    ),
    Mutant(
        "take a mark for that of the next changeset",
        "headstream.protocol.mark",
        "frame.parent if frame.follows == mark.position else frame.id",
        "frame.id",
    ),
    Mutant(
        "begin a subscription one event late",
        "headstream.protocol.follow",
        "Cursor(known, here.position + 1, known.state.version)",
        "Cursor(known, min(here.position + 2, known.state.version), known.state.version)",
    ),
)
