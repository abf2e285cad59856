"""`scripts/bench --stages`: where the broker's processor time goes, stage by stage, as a sampler sees it under load.

The time a message and each thread's part of it are the kernel's own figures; how a thread's time is divided tells a
sampler (py-spy). It looks without stopping the broker, so one look in eight finds a stack on the move and counts for
nothing. (One that stops it finds a fifth of all time in a call that takes half a microsecond: not where the threads
were, but where they come to a halt.)
"""

import re
import subprocess
import sysconfig
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

from rich.table import Table

from scripts.bench_support.machine import thread_seconds
from scripts.bench_support.plan import Bench
from scripts.bench_support.rates import (
    BATCH,
    BATCH_CONNECTIONS,
    ONE_BY_ONE_CONNECTIONS,
    SINGLE_CONNECTIONS,
    WAIT_SECONDS,
    publish_to,
)
from scripts.bench_support.servers import BenchFailed, broker, declare, generate
from scripts.bench_support.spec import Consume, Publish
from scripts.bench_support.spec import Spec as Run
from tests.support.server import Server

SAMPLES_PER_SECOND = 400
SAMPLED_SECONDS = 5
NAME = "stages"
LOADS: Final[dict[str, tuple[Publish, Consume | None]]] = {
    "publish 1": (publish_to(NAME, SINGLE_CONNECTIONS), None),
    "publish, receive, ack 1": (
        publish_to(NAME, ONE_BY_ONE_CONNECTIONS),
        Consume(NAME, ONE_BY_ONE_CONNECTIONS, 1, WAIT_SECONDS, "call"),
    ),
    f"publish {BATCH}": (publish_to(NAME, BATCH_CONNECTIONS, BATCH), None),
    f"publish, receive, ack {BATCH}": (
        publish_to(NAME, BATCH_CONNECTIONS, BATCH),
        Consume(NAME, BATCH_CONNECTIONS, BATCH, WAIT_SECONDS),
    ),
}

THREAD: Final = re.compile(r"thread \((\d+)\)")
WAITING: Final = "_connection_worker_thread"
"""Where the writer's thread stands between two batches; it takes no time there."""

# What is called straight from a stage is told by the function that the sample ends in; all else by
# the innermost function of these on the stack.
ENDS: Final = {
    "Runner.run": "event loop and kernel: wait, read",
    "Direct._write": "send",
    "transact": "COMMIT: SQLite's log and its fsync",
}
STAGES: Final = {
    "_write_all": "rows and statements",
    "Machine.apply": "routing and the machine",
    "Direct._begin": "the call: what is asked",
    "Direct._answer": "the call: its answer",
    "Connection.data_received": "HTTP: heads, bodies, limits",
    "Committer._run": "group commit: to the writer and back",
    "transact": "COMMIT: SQLite's log and its fsync",
}
OTHER: Final = "the rest"
ALL: Final = "in all"
ORDER: Final = (*dict.fromkeys((*ENDS.values(), *STAGES.values())), OTHER)


def function_of(frame: str) -> str:
    """`name (file:line)` without where it is."""
    return frame.partition(" (")[0]


def stage_of(frames: list[str]) -> str | None:
    """The stage of a stack, outermost frame first; None for a thread that only waits."""
    functions = [function_of(frame) for frame in frames]
    last = functions[-1]
    if last == WAITING:
        return None
    if last in ENDS:
        return ENDS[last]
    return next((STAGES[name] for name in reversed(functions) if name in STAGES), OTHER)


def shares(lines: Iterable[str], seconds: Mapping[int, float]) -> dict[str, float]:
    """Each stage's part of the processor time that threads, by their ids, have used for so many seconds.

    `lines` are a sampler's collapsed stacks: `thread (id): name;frame;frame count`.
    """
    found: dict[int, Counter[str]] = {}
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        thread, *frames = stack.split(";")
        there = stage_of(frames) if frames else None
        if there is not None:
            found.setdefault(int(THREAD.findall(thread)[0]), Counter())[there] += int(count)
    parts: defaultdict[str, float] = defaultdict(float)
    total = sum(seconds[thread_id] for thread_id in found)
    for thread_id, stages in found.items():
        for stage, samples in stages.items():
            parts[stage] += samples / stages.total() * seconds[thread_id] / total
    return dict(parts)


def _sampled(server: Server, run: Run, folder: Path) -> dict[str, float]:
    """The stages' parts while the server is under this load. Raises `BenchFailed` where it can't be sampled."""
    program = Path(sysconfig.get_path("scripts")) / "py-spy"
    stacks = folder / "stacks"
    options = ["--nonblocking", "--threads", "--format", "raw"]
    options += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(SAMPLED_SECONDS)]
    command = [str(program), "record", "--pid", str(server.pid), *options, "--output", str(stacks)]
    sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    before = thread_seconds(server.pid)
    generate(run)
    seconds = {thread: used - before.get(thread, 0.0) for thread, used in thread_seconds(server.pid).items()}
    _, said = sampler.communicate()
    if sampler.returncode:
        raise BenchFailed(f"py-spy can't look into the broker: {said.strip()[-300:]}")
    return shares(stacks.read_text().splitlines(), seconds)


def stages(bench: Bench) -> dict[str, dict[str, float]]:
    """For each load microseconds of processor time a message, stage by stage and `in all`. Raises `BenchFailed`."""
    found: dict[str, dict[str, float]] = {}
    plan = bench.plan
    for title, (publish, consume) in LOADS.items():
        with broker(bench.directory, bench.tokens) as server, tempfile.TemporaryDirectory() as folder:
            declare(server, NAME)
            bench.step(f"{title}: processor time")
            run = Run(server.port, server.pid, plan.seconds, 0, 0, publish, consume)
            generate(run)  # a broker is slower in its first second
            whole = median(generate(run).cpu_us for _ in range(plan.rounds))
            bench.step(f"{title}: stages")
            longer = Run(server.port, server.pid, SAMPLED_SECONDS + 1, 0, 0, publish, consume)
            parts = _sampled(server, longer, Path(folder))
            found[title] = {stage: part * whole for stage, part in parts.items()} | {ALL: whole}
    return found


def table_of(found: dict[str, dict[str, float]]) -> Table:
    """What `stages` found, to be printed."""
    table = Table("processor time, µs a message", *found)
    for stage in (*ORDER, ALL):
        values = [parts.get(stage, 0.0) for parts in found.values()]
        if any(values):
            table.add_row(stage, *[f"{value:.1f}" if value < 100 else f"{value:.0f}" for value in values])
    return table
