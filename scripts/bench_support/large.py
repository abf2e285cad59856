"""A million messages in each state, a broker each: memory, waiting, starting again, purging. Minutes, for `--deep`."""

import time

from scripts.bench_support.bystander import Bystander
from scripts.bench_support.caller import Caller
from scripts.bench_support.machine import process_seconds, resident_mib
from scripts.bench_support.plan import Bench, Figure
from scripts.bench_support.servers import broker, call
from scripts.bench_support.states import BLOCKED, DEAD, DELAYED, LEASED, READY, SETTINGS
from tests.support.server import Server

PART = "large"
STATES = (READY, DELAYED, LEASED, DEAD, BLOCKED)


def large(bench: Bench) -> None:
    """Each state by itself, all at the plan's full depth."""
    messages = bench.plan.depth
    for state in STATES:
        with broker(bench.directory, bench.tokens) as server:
            call(server, "PUT", f"/v1/queues/{state.name}", SETTINGS)
            title = f"{messages:,} {state.title}"
            bench.step(f"a queue with {title}")
            with Caller(server) as caller:
                state.fill(caller, state.name, messages)
                slowest = Figure("slowest call", "ms", part=PART, row=f"filling it: {title}")
                bench.figure(f"large_{state.name}_slowest", slowest).add(caller.longest_ms)
            memory = Figure("memory", "MiB", part=PART, row=title)
            bench.figure(f"large_{state.name}_memory", memory).add(resident_mib(server.pid))
            waiting(bench, server, state.name, title)
            starting(bench, server, state.name, title)
            bystander = Bystander(bench, server)
            with Caller(server) as caller:
                bystander.purge(caller, state, messages)


def waiting(bench: Bench, server: Server, name: str, row: str) -> None:
    """What the broker uses of a processor while nobody calls and all of this waits."""
    bench.step("doing nothing")
    time.sleep(bench.plan.settle_seconds)  # housekeeping comes to its end
    before, began = process_seconds(server.pid), time.monotonic()
    time.sleep(bench.plan.idle_seconds)
    used = (process_seconds(server.pid) - before) / (time.monotonic() - began)
    bench.figure(f"idle_{name}", Figure("idle: CPU a second", "ms", part=PART, row=row)).add(used * 1000)


def starting(bench: Bench, server: Server, name: str, row: str) -> None:
    """Ended as by a crash and started again with all of this, up to when it takes requests."""
    bench.step("starting again")
    server.kill()
    began = time.monotonic()
    server.start()
    took = time.monotonic() - began
    bench.figure(f"start_{name}", Figure("started again in", "s", part=PART, row=row)).add(took)
    cpu = Figure("its CPU", "s", part=PART, row=row)
    bench.figure(f"start_{name}_cpu", cpu).add(process_seconds(server.pid))
