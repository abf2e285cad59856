"""The pictures: a PNG for each curve, drawn from its JSON document."""

from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from scripts.bench_support.curves.model import Curve, Panel

PANEL_INCHES = (4.4, 3.6)
DOTS_PER_INCH = 90
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44")
STROKES: tuple[Literal["-"], Literal["--"]] = ("-", "--")
MEASURES = {
    "p99_ms": "p99",
    "p50_ms": "p50",
    "waiter_kib": "connected and waiting",
    "connection_kib": "connected only",
}


def draw(curve: Curve, document: dict[str, Any], file: Path) -> None:
    """Draw a curve of which `document` has the points, into a PNG."""
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(curve.panels), height), layout="constrained")
    axes = figure.subplots(1, len(curve.panels), squeeze=False)[0]
    lines: dict[str, Any] = document["lines"]
    colours = dict(zip(lines, COLOURS, strict=False))
    for panel, each in zip(curve.panels, axes, strict=True):
        _panel(each, curve, panel, lines, colours)
    if len(lines) > 1:
        keys = [Line2D([], [], color=colour, marker="o", markersize=3.5) for colour in colours.values()]
        figure.legend(keys, list(colours), loc="outside lower center", ncols=len(lines), fontsize=9, frameon=False)
    figure.suptitle(curve.title)
    # No date and no version in it: the same points give the same file.
    figure.savefig(file, dpi=DOTS_PER_INCH, metadata={"Software": None})


def _panel(axes: Axes, curve: Curve, panel: Panel, lines: dict[str, Any], colours: dict[str, str]) -> None:
    places: set[int] = set()
    for line, points in lines.items():
        for stroke, measure in zip(STROKES, panel.measures, strict=False):
            found = [(point["x"], point[measure]) for point in points if measure in point]
            if found:
                places |= {x for x, _ in found}
                axes.plot(*zip(*found, strict=True), stroke, color=colours[line], marker="o", markersize=3.5)
    _scales(axes, panel, places)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(curve.x)
    axes.set_ylabel(panel.unit)
    axes.grid(True, which="major", alpha=0.35)
    if len(panel.measures) > 1:
        keys = [Line2D([], [], color="grey", linestyle=stroke) for stroke in STROKES]
        axes.legend(keys, [MEASURES[measure] for measure in panel.measures], fontsize=8, framealpha=0.6)


def _scales(axes: Axes, panel: Panel, places: set[int]) -> None:
    if 0 in places:
        axes.set_xscale("symlog", linthresh=min(places - {0}, default=1))
        axes.set_xticks(sorted(places))
    else:
        axes.set_xscale("log")
    if panel.log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_number))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if panel.log:
        axes.yaxis.set_minor_formatter(FuncFormatter(_minor))


def _number(value: float, _: int | None = None) -> str:
    """A number as short as it can be said: 1k, 10M, 0.5."""
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _minor(value: float, _: int | None = None) -> str:
    """Between the powers of ten the 2 and the 5."""
    return _number(value) if f"{value:e}"[0] in "25" else ""
