"""The tables at the end, and the JSON file."""

import os
import platform
import sqlite3
from datetime import UTC, datetime
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from queuesvc import __version__
from scripts.bench_support.machine import processor
from scripts.bench_support.places import COLUMNS, PART
from scripts.bench_support.plan import Bench, Figure, median_latency

GRIDS = {
    "depth": "receive with the acks of the one before, and (in brackets) its ratio to a small queue",
    "large": "very many messages at rest",
    "bystander": "what is done to very many, and how long a publish takes to its receive in another queue meanwhile",
}
NARROWEST = 140
NOISY_SPREAD = 1.3
NOISY_CORES = 0.25
BUSY_GENERATOR = 0.8


def make_console() -> Console:
    """A console wide enough for the tables where the output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, NARROWEST))


def provenance(size: str, seconds: float) -> dict[str, Any]:
    """When, where and of what it was measured, for a JSON file."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": size,
        "seconds": round(seconds, 1),
        "version": __version__,
        "machine": {
            "cores": os.cpu_count(),
            "processor": processor(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def document(bench: Bench, seconds: float) -> dict[str, Any]:
    """All figures, with when, where and how they were measured."""
    return provenance(bench.plan.name, seconds) | {
        "generator_limit": round(limit) if (limit := generator_limit(bench)) is not None else None,
        "figures": {name: figure.document() for name, figure in bench.figures.items()},
        "noise": noise(bench),
    }


def print_tables(console: Console, bench: Bench, seconds: float) -> None:
    """The figures, then latencies and processors, deep queues, where the generator stood and what was noisy."""
    figures = [figure for figure in bench.figures.values() if figure.part == "rates"]
    if figures:
        table = Table(title="256-byte messages, every 2xx on the disk; medians of the rounds")
        _columns(table, "measured", ("", "spread", "ratio"))
        table.add_column("to")
        table.add_column("aim", justify="right")
        for figure in figures:
            table.add_row(*_cells(figure))
        console.print(table)
        table = Table(title="the same: latencies in ms (call: of publish, or of receive; delivery: publish to receive)")
        names = ("call p50", "p99", "delivery p50", "p99", "CPU µs", "server", "generator", "others")
        _columns(table, "measured", names)
        for figure in figures:
            if figure.server_cpu:
                table.add_row(figure.title, *_marks(figure))
        console.print(table)
        console.print(
            "CPU µs: the server's processor time a message; then in cores: server, generator, everything else."
        )
    _print_columns(console, bench)
    for part, title in GRIDS.items():
        _print_grid(console, bench, part, title)
    limit = generator_limit(bench)
    if limit is not None:
        console.print(
            f"The generator's own limit, by its share of a core at the bare app: {_number(limit)} requests/s."
        )
    for remark in noise(bench):
        console.print(f"noisy: {remark}", style="yellow")
    console.print(f"The {bench.plan.name} bench took {seconds:.0f} s.")


def _print_columns(console: Console, bench: Bench) -> None:
    """The columns by which brokers are compared: a row for one queue, for each harder place, and for the limits."""
    rows: dict[str, dict[str, Figure]] = {}
    for name, title in COLUMNS.items():
        if name in bench.figures:
            rows.setdefault("one queue", {})[title] = bench.figures[name]
    for figure in bench.figures.values():
        if figure.part == PART:
            rows.setdefault(figure.row, {})[figure.title] = figure
    if not rows:
        return
    table = Table(title="messages/s; p50 / p99 in ms, from the intended publish to the receive, at half of the rate")
    _columns(table, "", tuple(COLUMNS.values()))
    for row, figures in rows.items():
        table.add_row(row, *(_column(figures.get(title)) for title in COLUMNS.values()))
    ratios = [bench.figures.get(name) for name in COLUMNS]
    table.add_row(
        "its share of the limit", *(f"{f.ratio:.2f}" if f is not None and f.ratio is not None else "" for f in ratios)
    )
    console.print(table)


def _column(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.title == COLUMNS["single_latency"] or figure.title.endswith("at half of its rate"):
        found = median_latency(figure.delivery)
        return f"{found['p50']:.2f} / {found['p99']:.2f}"
    return _number(figure.value)


def _print_grid(console: Console, bench: Bench, part: str, title: str) -> None:
    """A table of the figures of a part: by their rows, a column for each title."""
    figures = [figure for figure in bench.figures.values() if figure.part == part]
    if not figures:
        return
    names = list(dict.fromkeys(figure.title for figure in figures))
    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        rows.setdefault(figure.row, {})[figure.title] = _grid_cell(figure)
    table = Table(title=title)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row, cells in rows.items():
        table.add_row(row, *(cells.get(name, "") for name in names))
    console.print(table)


def _grid_cell(figure: Figure) -> str:
    text = f"{_number(figure.value)} {figure.unit}"
    if figure.ratio is not None:
        text += f" ({figure.ratio:.2f})"
    return text if figure.aim is None else f"[{'green' if figure.aim.met(figure) else 'red'}]{text}[/]"


def _columns(table: Table, first: str, numbers: tuple[str, ...]) -> None:
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)


def _cells(figure: Figure) -> list[str]:
    low, high = min(figure.rounds), max(figure.rounds)
    spread = f"{_number(low)} - {_number(high)}" if len(figure.rounds) > 1 else ""
    beside = f"{figure.beside}, {_number(median(figure.beside_rounds))}" if figure.ratios else ""
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    aim = ""
    if figure.aim is not None:
        sign, limit = (">=", figure.aim.at_least) if figure.aim.at_least is not None else ("<=", figure.aim.at_most)
        colour = "green" if figure.aim.met(figure) else "red"
        aim = f"[{colour}]{'ratio ' if figure.aim.of == 'ratio' else ''}{sign} {_number(limit or 0)}[/]"
    return [figure.title, f"{_number(figure.value)} {figure.unit}", spread, ratio, beside, aim]


def _marks(figure: Figure) -> list[str]:
    cells = []
    for latencies in (figure.answer, figure.delivery):
        if any(latency.count for latency in latencies):
            found = median_latency(latencies)
            cells += [f"{found['p50']:.2f}", f"{found['p99']:.2f}"]
        else:
            cells += ["", ""]
    cores = (figure.server_cpu, figure.generator_cpu, figure.others_cpu)
    return [*cells, f"{median(figure.cpu_us):.1f}", *(f"{median(each):.2f}" for each in cores)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def generator_limit(bench: Bench) -> float | None:
    """About how many requests a second the generator could do, by its share of a core at the bare app, if that ran."""
    bare = bench.figures.get("bare_asgi")
    if bare is None:
        return None
    return bare.value / (median(bare.generator_cpu) or 1.0)


def noise(bench: Bench) -> list[str]:
    """What makes figures doubtful: rounds far apart, other work on the machine, a generator without room."""
    remarks = []
    for name, figure in bench.figures.items():
        # In the other tables calls are compared one by one, in turns.
        if figure.part == "rates" and len(figure.rounds) > 1 and max(figure.rounds) > NOISY_SPREAD * min(figure.rounds):
            remarks.append(f"{name}: rounds from {_number(min(figure.rounds))} to {_number(max(figure.rounds))}")
        if figure.others_cpu and median(figure.others_cpu) > NOISY_CORES:
            remarks.append(f"{name}: other processes took {median(figure.others_cpu):.1f} cores")
        if figure.generator_cpu and median(figure.generator_cpu) > BUSY_GENERATOR:
            remarks.append(f"{name}: the generator was busy for {median(figure.generator_cpu):.2f} of its core")
    return remarks
