"""The command line of `scripts/soak`."""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from scripts.soak_support.load import QUEUES, Failed, Load
from scripts.soak_support.watch import Sample, Watch, document, problems
from tests.support.calls import Calls
from tests.support.server import Server

DRAIN_SECONDS = 60.0
READER_BEGINS = 0.55
HEAD = "  minute  memory    file     log     p50     p99  cores  published      acked  refused"


def line(sample: Sample) -> str:
    """A sample as it is shown."""
    return (
        f"{sample.seconds / 60:8.1f}{sample.memory_mib:8.1f}{sample.file_mib:8.1f}{sample.log_mib:8.1f}"
        f"{sample.p50_ms:8.2f}{sample.p99_ms:8.2f}{sample.cores:7.2f}{sample.published:11,}{sample.acked:11,}"
        f"{sample.refused:9,}{'  another program reads the file' if sample.reader else ''}"
    )


async def stats_of(port: int) -> dict[str, dict[str, int]]:
    """The statistics of all queues."""
    calls = Calls(port)
    found = {queue: (await calls.call("GET", f"/v1/queues/{queue}")).json["stats"] for queue in QUEUES}
    await calls.close()
    return found


async def drain(port: int, load: Load) -> dict[str, dict[str, int]]:
    """Let the consumers take what is left, for a minute at most."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        load.check()
        stats = await stats_of(port)
        if not any(one[state] for one in stats.values() for state in ("ready", "leased", "delayed", "dead")):
            break
        await asyncio.sleep(0.2)
    await load.stop()
    return await stats_of(port)


async def soak(server: Server, seconds: float, rate: float, every: float, reader: float, seed: int) -> dict[str, Any]:
    """Load for so long; tells of it as it goes. `reader` seconds of it another program reads the file."""
    load = Load(server.port, rate, seed)
    await load.start()
    watch = Watch(server.pid, server.data, load)
    began = time.monotonic()
    reading = (began + READER_BEGINS * seconds, began + READER_BEGINS * seconds + reader)
    print(HEAD, flush=True)
    next_at = began
    while (now := time.monotonic()) < began + seconds:
        next_at += every
        while (now := time.monotonic()) < min(next_at, began + seconds):
            load.check()
            if reading[0] <= now < reading[1]:
                watch.begin_reading()
            else:
                watch.end_reading()
            await asyncio.sleep(min(0.5, max(0.0, next_at - now)))
        print(line(watch.sample()), flush=True)
    watch.end_reading()
    await load.stop_publishing()
    stats = await drain(server.port, load)
    return document(watch.samples, problems(watch.samples, stats, load))


def main(
    minutes: Annotated[float, typer.Option(help="How long the load lasts.")] = 20.0,
    rate: Annotated[
        float, typer.Option(help="Steps a second; a step publishes one message to twenty, or looks.")
    ] = 300.0,
    every: Annotated[float, typer.Option(help="Seconds between two lines.")] = 30.0,
    reader_minutes: Annotated[
        float | None, typer.Option(help="How long another program reads the file, in the middle; else a sixth of it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What the load draws its lots from.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Store below this folder.")] = None,
) -> None:
    """Mixed load at a steady rate: is the broker at the end what it was after the warm-up?

    Exit code 0: it is, everything adds up and was drained. 1: not so.
    """
    reader = minutes * 10 if reader_minutes is None else reader_minutes * 60
    with tempfile.TemporaryDirectory(prefix="soak-", dir=directory) as folder:
        server = Server(Path(folder) / "data").start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(soak(server, minutes * 60, rate, every, reader, seed))
        except (Failed, OSError, TimeoutError) as error:
            print(f"FAILED: {error!r}\n{server.log[-2000:]}")
            raise typer.Exit(1) from None
        finally:
            server.close()
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1))
    for one in found["trends"]:
        print("{what}: {mean} on average after the warm-up, {growth:+} over it, {most} at most".format(**one))
    print(*(found["problems"] or ["flat, adds up, drained"]), sep="\n")
    raise typer.Exit(1 if found["problems"] else 0)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    cli.command()(main)
    cli(prog_name="scripts/soak")
