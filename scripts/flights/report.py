"""What came out, beside what had to come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scripts.flights.events import Figures, Flight, Task
from scripts.flights.run import Handled, Run, left


@dataclass
class Measured:
    """What is told of the run beside its counts. Sizes are bytes; None where the broker is not ours."""

    seconds: float
    peak_bytes: int | None
    end_bytes: int | None


def print_report(console: Console, run: Run, stats: dict[str, dict[str, Any]], measured: Measured) -> bool:
    """Print the tables, and return whether every count is exact."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("queue", no_wrap=True)
    for column in ("in file", "published", "delivered", "again", "acked", "left"):
        table.add_column(column, justify="right")
    table.add_column("exact")
    wrong: list[str] = []
    for task in run.tasks:
        counts, handled = stats[task.queue], run.handled[task.queue]
        numbers, figures = task.expected(run.flights)
        faults = [f"{task.queue}: {fault}" for fault in find_faults(numbers, figures, counts, handled)]
        wrong += faults
        cells = [len(numbers), counts["published"], len(handled.ids), handled.redeliveries]
        cells += [counts["acked"], left(counts)]
        table.add_row(task.queue, *(f"{cell:,}" for cell in cells), "no" if faults else "yes")
    if run.published.events != len(run.flights):
        wrong.append(f"{run.published.events} of {len(run.flights)} flights were published")
    console.print(table)
    _print_figures(console, run)
    _print_summary(console, run, measured)
    for fault in wrong:
        console.print(f"NOT EXACT: {fault}", style="bold red")
    if not wrong:
        console.print("exact: every flight was handled once in every queue that it belongs to", style="bold green")
    return not wrong


def find_faults(numbers: set[int], figures: Figures, stats: dict[str, Any], handled: Handled) -> list[str]:
    """What is not as it must be with one queue; empty where all is exact."""
    got = set(handled.ids)
    faults = []
    if got != numbers:
        faults.append(f"{len(numbers - got)} flights are missing, {len(got - numbers)} do not belong here")
    if len(set(handled.ids.values())) != len(got):
        faults.append("two flights have the same message id")
    for count in ("published", "acked"):
        if stats[count] != len(numbers):
            faults.append(f"the broker counts {stats[count]} {count}, and not {len(numbers)}")
    if left(stats):
        faults.append(f"{left(stats)} messages are left")
    if handled.figures != figures:
        faults.append("the consumers' figures are not those of the file")
    return faults


def _print_figures(console: Console, run: Run) -> None:
    airports = run.handled["everything"].figures
    means = ", ".join(f"{airport} {airports.mean_delay(airport):.1f}" for airport in sorted(airports.departed))
    cancelled = run.handled["cancellations"].figures.cancelled
    most = ", ".join(f"{carrier} {count}" for carrier, count in cancelled.most_common(6))
    jfk = run.handled["jfk"].figures
    carriers = sorted(jfk.departed, key=jfk.mean_delay)
    best, worst = (f"{carrier} {jfk.mean_delay(carrier):.1f}" for carrier in (carriers[0], carriers[-1]))
    united = run.handled["united"].figures
    console.print(f"mean delay at departure, minutes: {means}; at JFK from {best} to {worst}", soft_wrap=True)
    console.print(f"cancellations: {cancelled.total()}, most of them by {most}", soft_wrap=True)
    console.print(f"United's most frequent destination: {_most(united.departed + united.cancelled)}", soft_wrap=True)


def _most(counter: Any) -> str:
    name, count = counter.most_common(1)[0]
    return f"{name} ({count:,} flights)"


def _print_summary(console: Console, run: Run, measured: Measured) -> None:
    deliveries = sum(handled.deliveries for handled in run.handled.values())
    published = run.published
    rate = published.events / measured.seconds
    console.print(
        f"{published.events:,} events in, {deliveries:,} deliveries out in {measured.seconds:.1f} s:"
        f" {rate:,.0f} events/s, {deliveries / measured.seconds:,.0f} deliveries/s",
        soft_wrap=True,
    )
    if run.killed:
        console.print(
            f"broker killed {run.killed} times; batches cut off before their answer: {published.unknown}"
            f" ({published.found} found in the store, {published.again} sent again)",
            soft_wrap=True,
        )
    if measured.peak_bytes is not None and measured.end_bytes is not None:
        console.print(
            f"store: {_size(measured.peak_bytes)} at most while running, {_size(measured.end_bytes)} after shutdown",
            soft_wrap=True,
        )


def _size(number: int) -> str:
    return f"{number / 1024:,.0f} KiB"


def count_flights(tasks: Sequence[Task], flights: Sequence[Flight]) -> int:
    """How many deliveries there must be at least: one for each flight in each queue that it belongs to."""
    return sum(len(task.expected(flights)[0]) for task in tasks)
