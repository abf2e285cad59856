"""What a deep queue costs: memory, and time at a receive, with very many ready, delayed, leased, dead or in groups."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from scripts.bench_support.bystander import Bystander
from scripts.bench_support.caller import Caller
from scripts.bench_support.large import PART, starting, waiting
from scripts.bench_support.machine import resident_mib
from scripts.bench_support.plan import Aim, Bench, Figure
from scripts.bench_support.rates import publish_to
from scripts.bench_support.servers import broker, call, declare, generate
from scripts.bench_support.spec import Spec
from scripts.bench_support.states import BLOCKED, DEAD, DELAYED, GROUPED, LEASED, READY, SETTINGS, Deep
from tests.support.server import Server

FILL_CONNECTIONS = 4
FILL_BATCH = 500
FILL_SECONDS = 60.0
MEMORY_MIB = 300
SLOWER = 1.5
AT_ONCE = (1, 100)
TURNS = 10
# The million delayed last, so that their memory and timers do not sit beside the others.
STATES = (READY, LEASED, DEAD, GROUPED, BLOCKED, DELAYED)
SMALL = "small"
ALL = "all of these in one broker"


@dataclass(slots=True)
class Pair:
    """Calls of one round, on a deep queue and on the small one: milliseconds, and the server's processor time in µs."""

    ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cpu_us: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def depth(bench: Bench) -> None:
    """Receives from deep queues, each call beside one from a queue that holds only what is taken, in another broker."""
    with broker(bench.directory, bench.tokens) as deep, broker(bench.directory, bench.tokens) as small:
        call(small, "PUT", f"/v1/queues/{SMALL}", SETTINGS)
        with Caller(deep) as ours, Caller(small) as beside:
            for state in STATES:
                _measure(bench, deep, state, ours, beside)
        waiting(bench, deep, "all", ALL)
        starting(bench, deep, "all", ALL)
        bystander = Bystander(bench, deep)
        bystander.alone()
        with Caller(deep) as ours:
            bystander.delete(ours, DELAYED, _count(bench, DELAYED))


def _count(bench: Bench, state: Deep) -> int:
    return max(1, round(bench.plan.depth * state.share))


def _measure(bench: Bench, server: Server, state: Deep, ours: Caller, beside: Caller) -> None:
    messages = _count(bench, state)
    title = f"{messages:,} {state.title}"
    bench.step(f"a queue with {title}")
    before = resident_mib(server.pid)
    _fill(bench, server, state, ours, messages)
    now = resident_mib(server.pid)
    aim = Aim("value", at_most=MEMORY_MIB) if state is READY else None
    # The first stands in a broker that holds nothing else.
    memory = Figure("memory", "MiB", aim=aim, part="depth", row=title)
    bench.figure(f"depth_{state.name}_memory", memory).add(now if state is READY else max(0.0, now - before))
    more = state.more(messages)
    for most in AT_ONCE:
        taken = Figure(f"receive of {most}", "ms", beside="a small queue", aim=Aim("ratio", at_most=SLOWER))
        taken.part, taken.row = "depth", title
        cpu = Figure(f"its CPU at {most}", "µs", beside="a small queue", aim=Aim("ratio", at_most=SLOWER))
        cpu.part, cpu.row = "depth", title
        bench.figure(f"depth_{state.name}_{most}", taken)
        bench.figure(f"depth_{state.name}_{most}_cpu", cpu)
        for _ in range(bench.plan.pairs):
            found = compare(ours, state.name, beside, SMALL, most, more)
            taken.add(*map(_quick_ones, found.ms))
            cpu.add(*map(median, found.cpu_us))


def _fill(bench: Bench, server: Server, state: Deep, caller: Caller, messages: int) -> None:
    if state is READY:
        # What many publishers do at once is a figure of its own.
        declare(server, state.name, SETTINGS)
        publish = publish_to(state.name, FILL_CONNECTIONS, min(FILL_BATCH, messages))
        filled = bench.figure("depth_fill", Figure(f"publish by {FILL_BATCH}s, up to {messages:,} ready", "messages/s"))
        filled.add_result(generate(Spec(server.port, server.pid, FILL_SECONDS, most=messages, publish=publish)))
        return
    call(server, "PUT", f"/v1/queues/{state.name}", SETTINGS)
    caller.longest_ms = 0.0
    state.fill(caller, state.name, messages)
    if state is DELAYED:
        title = f"filling: {messages:,} delayed"
        slowest = Figure("slowest call", "ms", part=PART, row=title)
        bench.figure("depth_delayed_slowest", slowest).add(caller.longest_ms)


def compare(ours: Caller, deep: str, beside: Caller, small: str, most: int, more: dict[str, Sequence[Any]]) -> Pair:
    """Ten receives of each, in turns, with the acks of the one before; as many were published just before.

    What goes to the deep queue takes the properties `more` in turn. Raises `BenchFailed`.
    """
    found = Pair()
    sides = ((ours, deep), (beside, small))
    ours.fill(deep, TURNS * most, **more)
    beside.fill(small, TURNS * most)
    receipts: list[list[bytes]] = [[], []]
    for _ in range(TURNS):
        for at, (caller, queue) in enumerate(sides):
            receipts[at] = caller.receive(queue, most, receipts[at])
            found.ms[at].append(caller.answer_ms)
            found.cpu_us[at].append(caller.cpu_us)
    for at, (caller, queue) in enumerate(sides):
        caller.settle(queue, "ack", receipts[at])
    return found


def _quick_ones(times_ms: list[float]) -> float:
    """The lower quartile: what else goes on in the machine only ever adds to a call."""
    return sorted(times_ms)[len(times_ms) // 4]
