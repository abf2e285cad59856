"""The command line of `scripts/bench`."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.bench_support.authentication import authentication
from scripts.bench_support.depth import STATES, depth
from scripts.bench_support.large import STATES as LARGE
from scripts.bench_support.large import large
from scripts.bench_support.places import COLUMNS, places
from scripts.bench_support.plan import FULL, QUICK, SMOKE, Bench, Plan
from scripts.bench_support.rates import batches, one_by_one, singles
from scripts.bench_support.report import document, make_console, print_tables
from scripts.bench_support.servers import BenchFailed
from scripts.bench_support.stages import LOADS, stages, table_of
from tests.support.server import ServerFailed

Section = Callable[[Bench], None]
# In this order: what is measured one by one is compared with the single publishes.
SECTIONS: tuple[Section, ...] = (singles, one_by_one, batches, places)
DEEP: tuple[Section, ...] = (depth, large)


def steps_of(plan: Plan, deep: bool, where: bool) -> int:
    """How many steps a bench of this size tells of."""
    if where:
        return 2 * len(LOADS)
    return len(STATES) + 4 + 4 * len(LARGE) if deep else 3 * plan.rounds + 1 + 2 * len(COLUMNS)


def sections_of(deep: bool, where: bool, tokens: bool) -> tuple[Section, ...]:
    """What is measured, in this order. Stages are a table of their own."""
    if where:
        return ()
    if deep:
        return DEEP
    return (*SECTIONS, authentication) if tokens else SECTIONS


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="In under 30 seconds: fewer and shorter rounds.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Only a few requests each: does the bench work?")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Instead: what very many messages in each state cost. Takes five minutes.")
    ] = False,
    where: Annotated[
        bool, typer.Option("--stages", help="Instead: where the broker's time goes, stage by stage. Half a minute.")
    ] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Every broker needs a token, and every call shows it.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Store below this folder, on the disk to be measured.")] = None,
) -> None:
    """Measure the broker, each figure beside something run in the same minute. Takes under two minutes.

    How figures change with connections, sizes, depth and so on is measured by `scripts/bench --curves`.

    Exit code 0, whether aims are met or not. 1: it could not be carried out.
    """
    plan = SMOKE if smoke else QUICK if quick else FULL
    console = make_console()
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as folder:
        try:
            with Progress(*columns, console=console) as progress:
                task = progress.add_task("starting", total=steps_of(plan, deep, where) + (plan.rounds if tokens else 0))
                tell = lambda text: progress.update(task, description=text, advance=1)  # noqa: E731
                work = Bench(plan, Path(folder), tell, tokens)
                parts = stages(work) if where else {}
                for section in sections_of(deep, where, tokens):
                    section(work)
        except (BenchFailed, ServerFailed) as failure:
            console.print(f"FAILED: {failure}", style="bold red")
            raise typer.Exit(1) from None
    seconds = time.monotonic() - began
    if where:
        console.print(table_of(parts))
    else:
        print_tables(console, work, seconds)
    if json_file is not None:
        told = {"stages_us": parts} if where else document(work, seconds)
        json_file.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    cli.command()(bench)
    cli(prog_name="scripts/bench")
