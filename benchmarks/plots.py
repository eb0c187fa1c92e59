"""Measurements as pictures: bars for each workload, and for the long stream lines. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from math import floor, log10
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.rivals import HEADSTREAM
from benchmarks.table import Measured, stores_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "out"
OURS, OTHERS = "#d1495b", "#8d99ae"
COLOURS = {HEADSTREAM: OURS, "no feed": "#e8a3ab", "bare SQLite": "#cfd4dd", "bare PUTs": "#cfd4dd"}
"""Ours, and limits, which are no rivals."""
ACROSS = 3
"""Workloads in a row of bars."""


def draw(measured: Sequence[Measured], folder: Path = FOLDER) -> None:
    """One PNG for each table that was measured; says so instead, if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed; pip install --group bench")
        return
    folder.mkdir(exist_ok=True)
    for one in measured:
        if one.samples:
            figure = _lines(one) if one.lines else _bars(one)
            figure.savefig(folder / f"{one.key}.png", dpi=120)
    print(f"plots are in {folder}")


def _figure(title: str, width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - it may be missing

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _bars(measured: Measured) -> Figure:
    """A panel for each workload, since their scales differ."""
    better = "less" if measured.lower_is_better else "more"
    panels = len(measured.samples)
    columns = 2 if panels == 4 else min(panels, ACROSS)
    rows = -(-panels // columns)
    height = 0.6 + rows * (0.7 + 0.3 * len(stores_of(measured.samples)))
    figure = _figure(f"{measured.title}: {better} is better", 4.2 * columns, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat[panels:]:
        panel.set_visible(False)
    for panel, (workload, by_store) in zip(axes.flat, measured.samples.items(), strict=False):
        _panel(panel, workload, {store: median(values) for store, values in by_store.items()})
        panel.set_ylim(len(stores_of(measured.samples)) - 0.4, -0.6)  # bars of one height, from the top down
    return figure


def _panel(panel: Any, workload: str, middle: dict[str, float]) -> None:
    colours = [COLOURS.get(store, OTHERS) for store in middle]
    bars = panel.barh(list(middle), list(middle.values()), color=colours)
    panel.bar_label(bars, labels=[_number(value) for value in middle.values()], padding=3, fontsize=8)
    panel.set_title(workload, fontsize=10, loc="left")
    panel.margins(x=0.25)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.tick_params(bottom=False, labelbottom=False, labelsize=9)


def _lines(measured: Measured) -> Figure:
    """Both axes are logarithmic; the names of what else are stores are lengths here."""
    figure = _figure(measured.title, 8, 5)
    panel = figure.subplots()
    for name, by_length in measured.samples.items():
        lengths = sorted(by_length, key=int)
        panel.plot(
            [int(length) for length in lengths], [median(by_length[length]) for length in lengths], "o-", label=name
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("events in the stream")
    panel.set_ylabel("milliseconds")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(lambda value, _place: _number(value))
        axis.set_minor_formatter(lambda _value, _place: "")
    panel.yaxis.set_minor_formatter(lambda value, _place: _number(value) if f"{value:e}"[0] in "25" else "")
    panel.set_ylim(
        bottom=10
        ** floor(log10(min(by_length[length][0] for by_length in measured.samples.values() for length in by_length)))
    )
    panel.grid(visible=True, alpha=0.3)
    panel.legend(fontsize=8)
    return figure


def _number(value: float) -> str:
    """Three digits are enough."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
