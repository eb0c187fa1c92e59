"""Medians of repeated measurements, printed as one table with ratios."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

Samples = dict[str, dict[str, list[float]]]
"""By workload and store: what was measured, once a repetition."""


class Measured(NamedTuple):
    """A table of measurements: what plots and the summary are made of."""

    key: str
    """Names it for the summary, and its picture."""
    title: str
    samples: Samples
    lower_is_better: bool
    lines: bool = False
    """Whether it is to be drawn as lines; the stores are lengths then."""

    def median(self, workload: str, store: str) -> float | None:
        """What was measured; None if it was not."""
        values = self.samples.get(workload, {}).get(store)
        return median(values) if values else None


def add(samples: Samples, workload: str, store: str, value: float) -> None:
    """One measurement."""
    samples.setdefault(workload, {}).setdefault(store, []).append(value)


def stores_of(samples: Samples) -> list[str]:
    """The names of all stores, in the order in which they were measured."""
    return list(dict.fromkeys(store for by_store in samples.values() for store in by_store))


def show(
    key: str,
    title: str,
    samples: Samples,
    *,
    ours: str,
    lower_is_better: bool,
    digits: int = 0,
    missing: Sequence[str] = (),
) -> Measured:
    """Print medians, and how many times better ours is than each rival; ``missing`` rivals are named below. Returns what it printed."""
    stores = stores_of(samples)
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("workload", no_wrap=True)
    for store in stores:
        table.add_column(store, justify="right")
    for workload, by_store in samples.items():
        middle = {store: median(values) for store, values in by_store.items()}
        cells = [f"{middle[store]:,.{digits}f}" if store in middle else "–" for store in stores]
        ratios = [_ratio(middle, ours, store, lower_is_better=lower_is_better) for store in stores]
        table.add_row(workload, *(f"{cell}{ratio}" for cell, ratio in zip(cells, ratios, strict=True)))
    table.caption = f"in brackets: how many times better {ours} is"
    if missing:
        table.caption += f"; not installed: {', '.join(dict.fromkeys(missing))}"
    Console(width=130).print(table)
    return Measured(key, title, samples, lower_is_better)


def _ratio(middle: dict[str, float], ours: str, store: str, *, lower_is_better: bool) -> str:
    """How many times better ours is, in brackets."""
    if store == ours or store not in middle or ours not in middle:
        return ""
    better, worse = (middle[store], middle[ours]) if lower_is_better else (middle[ours], middle[store])
    return f" ({better / worse:.2f})"
