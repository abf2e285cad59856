"""The command line of `scripts/bench --curves`."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.bench_support.curves import queues, traffic, waiters
from scripts.bench_support.curves.model import FULL, SMOKE, Curve, Work
from scripts.bench_support.report import make_console, provenance
from scripts.bench_support.servers import BenchFailed
from tests.support.server import ServerFailed

CURVES = {
    curve.name: curve
    for curve in (
        Curve(
            "connections",
            "Connections",
            "connections",
            traffic.CONNECTION_PANELS,
            traffic.over_connections,
            traffic.connection_steps,
        ),
        Curve(
            "size", "Size of messages", "bytes a message", traffic.SIZE_PANELS, traffic.over_sizes, traffic.size_steps
        ),
        Curve(
            "depth",
            "Depth: publish, receive and ack at a queue with so many ready",
            "ready messages",
            queues.DEPTH_PANELS,
            queues.over_depth,
            queues.depth_steps,
        ),
        Curve(
            "queues",
            "Queues: publish, receive and ack spread over so many",
            "queues",
            queues.QUEUE_PANELS,
            queues.over_queues,
            queues.queue_steps,
        ),
        Curve(
            "fanout",
            "Fan-out: a publish reaches so many queues",
            "queues a publish",
            queues.FAN_OUT_PANELS,
            queues.over_targets,
            queues.target_steps,
        ),
        Curve(
            "waiters",
            "Waiting: so many long polls are parked, and 100 a second are woken",
            "long polls",
            waiters.WAITER_PANELS,
            waiters.over_waiters,
            waiters.waiter_steps,
        ),
        Curve(
            "consumers",
            "Consumers of one queue, 32 publishers",
            "consumers",
            traffic.CONSUMER_PANELS,
            traffic.over_consumers,
            traffic.consumer_steps,
        ),
    )
}
FOLDER = Path("docs/curves")


def curves(
    names: Annotated[
        str, typer.Argument(metavar="[NAMES]", help=f"Some of these, parted by commas: {', '.join(CURVES)}.")
    ] = ",".join(CURVES),
    smoke: Annotated[bool, typer.Option("--smoke", help="A few requests each: does it work? Seconds.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the plots and their points go.",
            show_default=f"{FOLDER}, and with --smoke a temporary folder",
        ),
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Store below this folder, on the disk to be measured.")] = None,
    draw_only: Annotated[
        bool, typer.Option("--draw-only", help="Measure nothing: draw again what was measured.")
    ] = False,
    plots: Annotated[bool, typer.Option(help="Draw the plots; else only the points are written.")] = True,
) -> None:
    """Measure how rates, latencies and memory change with connections, sizes, depth and so on. About 15 minutes.

    Each curve becomes NAME.png and NAME.json in the output folder. Exit code 1: it could not be carried out.
    """
    asked = [CURVES.get(name) for name in names.split(",")]
    chosen = [curve for curve in asked if curve is not None]
    if len(chosen) < len(asked):
        raise typer.BadParameter(f"{names}: there are {', '.join(CURVES)}")
    console = make_console()
    if output is None:
        # What proves no more than that it works must not take the place of what was measured.
        output = Path(tempfile.mkdtemp(prefix="curves-smoke-")) if smoke and not draw_only else FOLDER
    output.mkdir(parents=True, exist_ok=True)
    if not draw_only:
        try:
            _measure(console, chosen, smoke, output, directory)
        except (BenchFailed, ServerFailed) as failure:
            console.print(f"FAILED: {failure}", style="bold red")
            raise typer.Exit(1) from None
    if plots:
        # Only here is matplotlib needed.
        from scripts.bench_support.curves.draw import draw

        for curve in chosen:
            draw(curve, json.loads((output / f"{curve.name}.json").read_text()), output / f"{curve.name}.png")
    console.print(f"{len(chosen)} curves are in {output}.")


def _measure(console: Console, chosen: list[Curve], smoke: bool, output: Path, directory: Path | None) -> None:
    sizes = SMOKE if smoke else FULL
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="curves-", dir=directory) as folder,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task("starting", total=sum(curve.steps(sizes) for curve in chosen))
        for curve in chosen:

            def step(text: str, name: str = curve.name) -> None:
                progress.update(task, description=f"{name}: {text}", advance=1)

            began = time.monotonic()
            lines = curve.measure(Work(sizes, Path(folder), step))
            seconds = time.monotonic() - began
            document: dict[str, Any] = {"curve": curve.name, "title": curve.title, "x": curve.x}
            document |= provenance(sizes.name, seconds) | {"lines": lines.document()}
            (output / f"{curve.name}.json").write_text(_render(document))
            progress.console.print(f"{curve.name}: {seconds:.0f} s")


def _render(document: dict[str, Any]) -> str:
    """JSON with a point a line."""
    lines = document.pop("lines")
    head = json.dumps(document, indent=2)[:-2]
    points = ",\n".join(
        f"    {json.dumps(line)}: [\n" + ",\n".join(f"      {json.dumps(point)}" for point in found) + "\n    ]"
        for line, found in lines.items()
    )
    return f'{head},\n  "lines": {{\n{points}\n  }}\n}}\n'


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    cli.command()(curves)
    cli(prog_name="scripts/bench --curves")
