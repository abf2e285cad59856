"""The command line of `scripts/flights_demo`."""

import asyncio
import contextlib
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.flights.events import TASKS, Flight, find_file, read_flights
from scripts.flights.link import Broken, Link
from scripts.flights.report import Measured, count_flights, print_report
from scripts.flights.run import Inexact, Run
from tests.support.server import Server, ServerFailed

LONGEST_SECONDS = 600


def demo(
    kill: Annotated[bool, typer.Option("--kill", help="Kill the broker (kill -9) in the middle.")] = False,
    kills: Annotated[int, typer.Option(help="How often, with --kill.", min=1, max=100)] = 5,
    url: Annotated[str | None, typer.Option(help="Use this broker instead of starting one.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read this file instead of the month or the slice.")] = None,
    seed: Annotated[int, typer.Option(help="For the moments of the kills.")] = 1,
    patience_seconds: Annotated[float, typer.Option(help="How long to wait for the broker to be there.")] = 60,
) -> None:
    """Replay a month of flights through a topic exchange into four queues, and check that every count is exact.

    Exit code 0: exact. 1: not exact, or it did not come to an end.
    """
    if kill and url:
        raise typer.BadParameter("only a broker of our own can be killed", param_hint="--kill")
    path = file or find_file()
    flights = read_flights(path)
    console = Console()
    console.print(f"{len(flights):,} flights from {path.name}")
    with tempfile.TemporaryDirectory(prefix="flights-") as directory:
        server = None if url else Server(Path(directory) / "data")
        try:
            if server is not None:
                console.print(server.start().start_line.strip(), soft_wrap=True)
            link = Link(url or (server.url if server else ""), patience_seconds)
            exact = asyncio.run(_demo(console, flights, link, server, kills if kill else 0, seed))
        except* (Broken, Inexact, ServerFailed, RuntimeError, TimeoutError) as failed:
            console.print(f"FAILED: {_first(failed)}", style="bold red", soft_wrap=True)
            exact = False
        finally:
            if server is not None:
                server.close()
    raise typer.Exit(0 if exact else 1)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _demo(
    console: Console, flights: list[Flight], link: Link, server: Server | None, kills: int, seed: int
) -> bool:
    peak = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        publishing = progress.add_task("published", total=len(flights))
        handling = progress.add_task("handled", total=count_flights(TASKS, flights))

        def report() -> None:
            nonlocal peak
            progress.update(publishing, completed=run.published.events)
            progress.update(handling, completed=sum(len(handled.ids) for handled in run.handled.values()))
            peak = max(peak, _bytes_in(server.data)) if server is not None else 0

        run = Run(link, TASKS, flights, "" if server else f"demo-{uuid.uuid4().hex[:6]}.", report)
        await run.declare()
        started = time.monotonic()
        async with asyncio.timeout(LONGEST_SECONDS):
            await run.all(server, kills, seed)
        seconds = run.last_at - started
    stats = {task.queue: await run.stats(task.queue) for task in TASKS}
    if server is None:
        await run.clear()
    await link.close()
    if server is not None:
        server.stop()
    measured = Measured(seconds, peak if server else None, _bytes_in(server.data) if server else None)
    return print_report(console, run, stats, measured)


def _bytes_in(directory: Path) -> int:
    size = 0
    for file in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # files beside the store come and go
            size += file.stat().st_size
    return size


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    cli.command()(demo)
    cli(prog_name="scripts/flights_demo")
