"""Medians of repeated measurements, printed as one table with ratios."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

Samples = dict[str, dict[str, list[float]]]
"""By workload and store: what was measured, once a repetition."""


def add(samples: Samples, workload: str, store: str, value: float) -> None:
    """One measurement."""
    samples.setdefault(workload, {}).setdefault(store, []).append(value)


def show(
    title: str,
    samples: Samples,
    *,
    ours: str,
    lower_is_better: bool,
    digits: int = 0,
    missing: Sequence[str] = (),
) -> None:
    """Print medians, and how many times better ours is than each rival; ``missing`` rivals are named below."""
    stores = list(dict.fromkeys(store for by_store in samples.values() for store in by_store))
    table = Table(title=title, title_justify="left")
    table.add_column("workload")
    for store in stores:
        table.add_column(store, justify="right")
    for store in stores:
        if store != ours:
            table.add_column(f"× {store}", justify="right")
    for workload, by_store in samples.items():
        middle = {store: median(values) for store, values in by_store.items()}
        table.add_row(
            workload,
            *(f"{middle[store]:,.{digits}f}" if store in middle else "–" for store in stores),
            *(_ratio(middle, ours, store, lower_is_better=lower_is_better) for store in stores if store != ours),
        )
    if missing:
        table.caption = f"not installed: {', '.join(missing)}"
    Console(width=130).print(table)


def _ratio(middle: dict[str, float], ours: str, store: str, *, lower_is_better: bool) -> str:
    """How many times better ours is."""
    if store not in middle or ours not in middle:
        return "–"
    better, worse = (middle[store], middle[ours]) if lower_is_better else (middle[ours], middle[store])
    return f"{better / worse:.2f}"
