"""Medians of repeated measurements, printed as one table with ratios."""

from __future__ import annotations

from statistics import median

from rich.console import Console
from rich.table import Table

Samples = dict[str, dict[str, list[float]]]
"""By workload and store: what was measured, once a repetition."""


def add(samples: Samples, workload: str, store: str, value: float) -> None:
    """One measurement."""
    samples.setdefault(workload, {}).setdefault(store, []).append(value)


def show(title: str, samples: Samples, *, ours: str, lower_is_better: bool, digits: int = 0) -> None:
    """Print medians, and how many times better ours is than each rival."""
    stores = list(next(iter(samples.values())))
    table = Table(title=title, title_justify="left")
    table.add_column("workload")
    for store in stores:
        table.add_column(store, justify="right")
    for store in stores:
        if store != ours:
            table.add_column(f"× {store}", justify="right")
    for workload, by_store in samples.items():
        middle = {store: median(values) for store, values in by_store.items()}
        ratios = [
            middle[store] / middle[ours] if lower_is_better else middle[ours] / middle[store]
            for store in stores
            if store != ours
        ]
        table.add_row(
            workload,
            *(f"{middle[store]:,.{digits}f}" for store in stores),
            *(f"{ratio:.2f}" for ratio in ratios),
        )
    Console(width=110).print(table)
