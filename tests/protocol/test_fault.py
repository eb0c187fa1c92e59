"""What is said of each fault."""

from __future__ import annotations

import pytest

from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import fault, keys
from headstream.protocol.fault import Fault, Kind, Mend
from headstream.protocol.ops import About

DAMAGE = CorruptData("it is damaged", key="k")
NEWER = UnsupportedFormat("it is newer", key="k")
ABOUT = About("s", 3, bytes(16), None)
FAULTS: list[tuple[Fault, Kind, Mend | None, bool]] = [
    (fault.damaged_head("s", "k", DAMAGE), Kind.DAMAGED, Mend.HEAD, True),
    (fault.damaged_head("s", "k", NEWER), Kind.NEWER, None, True),
    (fault.missing_head("s", "p"), Kind.MISSING, Mend.HEAD, True),
    (fault.missing_head(keys.FEED, "p"), Kind.MISSING, Mend.FEED, True),
    (fault.damaged_tail("s", 3, 9, DAMAGE), Kind.DAMAGED, Mend.HEAD, True),
    (fault.damaged_tail(keys.FEED, 3, 9, DAMAGE), Kind.DAMAGED, Mend.FEED, True),
    (fault.lost_page("s", "k", 1, 2, kind=Kind.MISSING, problem="p"), Kind.MISSING, Mend.PAGE, True),
    (fault.lost_page("s", "k", 1, 2, kind=Kind.NEWER, problem="p"), Kind.NEWER, None, True),
    (fault.lost_segment("s", "k", 1, 2, kind=Kind.MISSING, problem="p"), Kind.MISSING, Mend.SEGMENT, True),
    (fault.lost_segment(keys.FEED, "k", 1, 2, kind=Kind.DAMAGED, problem="p"), Kind.DAMAGED, Mend.FEED, True),
    (fault.lost_segment("s", "k", 1, 2, kind=Kind.NEWER, problem="p"), Kind.NEWER, None, True),
    (fault.contradiction("s", "k", "p", 1, 2), Kind.CONTRADICTION, None, True),
    (fault.contradiction(keys.FEED, "k", "p", 1, 2), Kind.CONTRADICTION, Mend.FEED, True),
    (fault.wrong_metadata(ABOUT, "k", ["a", "b"]), Kind.METADATA, None, True),
    (fault.wrong_metadata(ABOUT, "k", []), Kind.METADATA, None, False),
    (fault.misplaced("s", "k", "p", 3, 9), Kind.CONTRADICTION, Mend.FEED, True),
    (fault.unpublished("s", "k", 3, 9), Kind.UNPUBLISHED, Mend.ANNOUNCE, True),
    (fault.differs("s", "k", 3, 9), Kind.CONTRADICTION, Mend.FEED, True),
    (fault.differs_somewhere("s"), Kind.CONTRADICTION, Mend.FEED, True),
    (fault.behind("s", 3, "p", 9), Kind.CONTRADICTION, None, True),
    (fault.behind("s", 0, "p", 0), Kind.CONTRADICTION, Mend.HEAD, True),
    (fault.unknown("k", "p", grave=True), Kind.UNKNOWN, None, True),
    (fault.unknown("k", "p", grave=False), Kind.UNKNOWN, None, False),
    (fault.garbage("k", "p", "s"), Kind.GARBAGE, None, False),
    (fault.damaged_intent("s", "k", DAMAGE), Kind.DAMAGED, Mend.INTENT, True),
    (fault.damaged_intent("s", "k", NEWER), Kind.NEWER, None, True),
    (fault.left_over("s", "k", 3), Kind.CONTRADICTION, Mend.SETTLE, True),
    (fault.lost_snapshot("s", "k", "p", Kind.MISSING), Kind.MISSING, None, True),
    (fault.lost_snapshot("s", "k", "p", Kind.NEWER), Kind.NEWER, None, True),
    (fault.damaged_checkpoint("k", DAMAGE), Kind.DAMAGED, None, True),
    (fault.damaged_checkpoint("k", NEWER), Kind.NEWER, None, True),
    (fault.ahead("k", "name", 9, 3), Kind.CONTRADICTION, None, True),
    (fault.description("p"), Kind.CONTRADICTION, None, True),
    (fault.unreadable("s", "k", DAMAGE), Kind.DAMAGED, None, False),
]


@pytest.mark.parametrize(("found", "kind", "mend", "grave"), FAULTS)
def test_a_fault(found: Fault, kind: Kind, mend: Mend | None, grave: bool):
    """It has a key, a problem and a remedy, on one line; a range that is one; and says how it can be mended."""
    assert (found.kind, found.mend, found.grave) == (kind, mend, grave)
    assert found.key
    assert found.problem
    assert found.remedy
    assert "\n" not in str(found)
    assert (found.first is None) == (found.last is None)
    assert found.first is None or found.last is None or 1 <= found.first <= found.last
    assert (kind is Kind.NEWER) == ("upgrade" in found.remedy)


def test_how_much_is_lost():
    """One event or several; of the feed only the order."""
    one = fault.lost_segment("s", "k", 3, 3, kind=Kind.MISSING, problem="p")
    two = fault.lost_segment("s", "k", 3, 4, kind=Kind.MISSING, problem="p")
    feed = fault.lost_segment(keys.FEED, "k", 3, 4, kind=Kind.MISSING, problem="p")
    assert [found.lost for found in (one, two)] == [
        "1 event, unless there is a backup",
        "2 events, unless there is a backup",
    ]
    assert "order" in str(feed.lost)
