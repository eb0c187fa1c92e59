"""What was aimed at, and what was reached in this run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import cloud, contention, long
from benchmarks.rivals import HEADSTREAM
from benchmarks.table import Measured

LIMIT = "bare SQLite"
"""No rival: what a rival could reach."""


class Run:
    """The measurements of one run."""

    def __init__(self, measured: Iterable[Measured]) -> None:
        self._by_key = {one.key: one for one in measured}

    def workloads(self, key: str) -> list[str]:
        """Of a table; none if it was not measured."""
        return list(self._by_key[key].samples) if key in self._by_key else []

    def stores(self, key: str, workload: str) -> list[str]:
        """Of a workload; none if it was not measured."""
        return list(self._by_key[key].samples.get(workload, {})) if key in self._by_key else []

    def better(self, key: str, workload: str, rival: str, ours: str = HEADSTREAM) -> float | None:
        """How many times better ours is; None if one of the two was not measured."""
        if key not in self._by_key:
            return None
        table = self._by_key[key]
        mine, its = table.median(workload, ours), table.median(workload, rival)
        if not mine or not its:
            return None
        return its / mine if table.lower_is_better else mine / its

    def better_than_all(self, key: str, workload: str) -> float | None:
        """How many times better ours is than the best rival."""
        rivals = [store for store in self.stores(key, workload) if store not in {HEADSTREAM, LIMIT, "no feed"}]
        return _least(self.better(key, workload, rival) for rival in rivals)

    def worst(self, key: str, words: str, rival: str, ours: str) -> float | None:
        """The smallest ratio among the workloads that have these words in their names."""
        found = (name for name in self.workloads(key) if words in name)
        return _least(self.better(key, name, rival, ours) for name in found)


def _least(ratios: Iterable[float | None]) -> float | None:
    return min((ratio for ratio in ratios if ratio is not None), default=None)


class Aim(NamedTuple):
    """A line of the summary."""

    workload: str
    figure: str
    bound: float
    found: Callable[[Run], float | None]
    at_most: bool = False


def _longest(run: Run) -> float | None:
    """The load at the longest stream ÷ that at the shortest, with a snapshot."""
    lengths = sorted(run.stores("long", long.SNAPSHOT), key=int)
    return run.better("long", long.SNAPSHOT, rival=lengths[-1], ours=lengths[0]) if lengths else None


def _processor(run: Run) -> float | None:
    """The largest of the ratios of an append to its bare PUTs."""
    ratio = run.worst("processor", "append", cloud.BARE, cloud.CPU)
    return 1 / ratio if ratio else None


AIMS = (
    Aim("1 event a call", "÷ eventsourcing", 1, lambda run: run.better("append", "1 event a call", "eventsourcing")),
    Aim("1 event a call", f"÷ {LIMIT}", 0.75, lambda run: run.better("append", "1 event a call", LIMIT)),
    Aim("16 threads", "÷ eventsourcing", 3, lambda run: run.better("append", "16 threads", "eventsourcing")),
    Aim("16 threads", "÷ UmaDB", 1, lambda run: run.better("append", "16 threads", "UmaDB")),
    Aim("batches of 100", "÷ eventsourcing", 2, lambda run: run.better("append", "batches of 100", "eventsourcing")),
    Aim("batches of 100", f"÷ {LIMIT}", 1.3, lambda run: run.better("append", "batches of 100", LIMIT)),
    Aim("load 10,000 events", "eventsourcing ÷", 3, lambda run: run.better("read", "load 10,000", "eventsourcing")),
    Aim(
        "16 writers on one stream",
        "÷ best rival",
        3,
        lambda run: run.better_than_all("contention", contention.CONDITIONAL),
    ),
    Aim("read everything", "÷ UmaDB", 1, lambda run: run.better("replay", "one by one", "UmaDB")),
    Aim("bytes, all appends", "best rival ÷", 1, lambda run: run.better_than_all("sizes", "on disk, of all these")),
    Aim("bytes, 1 an append", "best rival ÷", 1, lambda run: run.better_than_all("replay-sizes", "1 an append")),
    Aim("bytes, 100 an append", "best rival ÷", 1, lambda run: run.better_than_all("replay-sizes", "100 an append")),
    Aim("append through obstore, processor", "÷ bare PUTs", 1.3, _processor, at_most=True),
    Aim(
        "append at 15 ms, feed", "article ÷", 1.45, lambda run: run.worst("cloud", "append", cloud.ARTICLE, cloud.FEED)
    ),
    Aim(
        "append at 15 ms, no feed",
        "article ÷",
        2.9,
        lambda run: run.worst("cloud", "append", cloud.ARTICLE, cloud.PLAIN),
    ),
    Aim("load at 15 ms", "article ÷", 300, lambda run: run.worst("cloud", "load", cloud.ARTICLE, cloud.FEED)),
    Aim("load with snapshot", "longest ÷ shortest", 1.2, _longest, at_most=True),
)


def show(measured: Sequence[Measured]) -> None:
    """Print the summary."""
    run = Run(measured)
    table = Table(title="what was aimed at", title_justify="left")
    for column in ("workload", "figure", "aim", "reached", ""):
        table.add_column(column, justify="right" if column in {"aim", "reached"} else "left", no_wrap=True)
    for aim in AIMS:
        found = aim.found(run)
        sign = "≤" if aim.at_most else "≥"
        cells = ("not measured", "") if found is None else (f"{found:.2f}", _verdict(aim, found))
        table.add_row(aim.workload, aim.figure, f"{sign} {aim.bound:g}", *cells)
    Console(width=110).print(table)


def _verdict(aim: Aim, found: float) -> str:
    return "reached" if (found <= aim.bound if aim.at_most else found >= aim.bound) else "missed"
