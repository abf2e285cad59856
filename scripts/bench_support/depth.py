"""What a deep queue costs: memory, and time at a receive."""

from scripts.bench_support.machine import resident_mib
from scripts.bench_support.plan import Aim, Bench, Figure
from scripts.bench_support.rates import BATCH, publish_to
from scripts.bench_support.servers import broker, declare, generate
from scripts.bench_support.spec import Consume, Result, Spec
from tests.support.server import Server

FILL_CONNECTIONS = 4
FILL_BATCH = 500
RECEIVES = 50
MEMORY_MIB = 300
SLOWER = 1.5
FILL_SECONDS = 60.0


def depth(bench: Bench) -> None:
    """Receives of 100 from a deep queue and, in turns, from one that holds only what they take, in another broker."""
    plan = bench.plan
    ready = f"{plan.depth:,} ready"
    memory = bench.figure(
        "depth_memory", Figure(f"memory of the broker with {ready}", "MiB", aim=Aim("value", at_most=MEMORY_MIB))
    )
    filled = bench.figure("depth_fill", Figure(f"publish by {FILL_BATCH}s, up to {ready}", "messages/s"))
    figure = bench.figure(
        "depth_receive",
        Figure(
            f"receive of 100 with {ready}, p50", "ms", beside="from an empty broker", aim=Aim("ratio", at_most=SLOWER)
        ),
    )
    with broker(bench.directory) as deep, broker(bench.directory) as empty:
        declare(deep, "deep")
        declare(empty, "empty")
        bench.step(f"filling a queue with {plan.depth:,}")
        filled.add_result(_fill(deep, "deep", plan.depth))
        memory.add(resident_mib(deep.pid))
        for turn in range(plan.rounds):
            bench.step(f"receives at depth, round {turn + 1} of {plan.rounds}")
            messages = min(RECEIVES * BATCH, plan.depth // 2)
            _fill(empty, "empty", messages)
            beside = _receive(empty, "empty", messages)
            ours = _receive(deep, "deep", messages)
            figure.add(ours.answer.p50_ms, beside.answer.p50_ms)
            figure.add_marks(ours)


def _fill(server: Server, name: str, messages: int) -> Result:
    batch = min(FILL_BATCH, messages)
    publish = publish_to(name, FILL_CONNECTIONS, batch)
    return generate(Spec(server.port, server.pid, FILL_SECONDS, most=messages, publish=publish))


def _receive(server: Server, name: str, messages: int) -> Result:
    """Receives of 100 on one connection, each with the acks of the one before."""
    return generate(Spec(server.port, server.pid, 20.0, most=messages, consume=Consume(name, 1, BATCH)))
