"""The same rates where it is harder: 50 queues behind a topic exchange, and 1,000,000 messages ready."""

from collections.abc import Callable

from scripts.bench_support.plan import Bench, Figure
from scripts.bench_support.rates import (
    BATCH,
    BATCH_CONNECTIONS,
    ONE_BY_ONE_CONNECTIONS,
    PACED_CONNECTIONS,
    PACED_SHARE,
    WAIT_SECONDS,
    publish_to,
)
from scripts.bench_support.servers import broker, declare, declare_many, generate
from scripts.bench_support.spec import Consume, Cycle, Publish, Result, Spec
from tests.support.server import Server

PART = "places"
QUEUES = 50
TOPIC = f"{QUEUES} queues behind a topic exchange"
FILL_CONNECTIONS = 4
FILL_BATCH = 1000
FILL_SECONDS = 60.0

COLUMNS = {
    "publish_32": "publish, 32",
    "batch_publish": "publish, 8 x 100",
    "batch_consume": "consume, 8 x 100",
    "single_end_to_end": "end to end one by one",
    "batch_end_to_end": "end to end by 100s",
    "single_latency": "p50 / p99 one by one",
}
"""What the rows of the table have in common: the figures of `rates` by the same names are its first."""


def places(bench: Bench) -> None:
    """A row of figures for each, a run each: what is compared are these with those of one queue."""
    with broker(bench.directory) as server:
        _topic(bench, server)
    with broker(bench.directory) as server:
        _deep(bench, server)


def _runs(bench: Bench, server: Server, place: str, row: str) -> Callable[[str, Spec], Result]:
    def run(name: str, spec: Spec) -> Result:
        """One run for one column."""
        bench.step(f"{row}: {COLUMNS[name]}")
        result = generate(spec)
        figure = Figure(COLUMNS[name], "messages/s", part=PART, row=row)
        bench.figure(f"{place}_{name}", figure).add_result(result)
        return result

    return run


def _topic(bench: Bench, server: Server) -> None:
    """Each message reaches one of the queues; where they are consumed, each has a consumer."""
    plan, port, pid = bench.plan, server.port, server.pid
    seconds, warm = plan.seconds, plan.warm_seconds
    for name in ("apart", "single", "paced", "batch"):
        declare_many(server, name, "topic", QUEUES, "area.{}.*")

    def publish(name: str, connections: int, batch: int = 1, rate: float = 0) -> Publish:
        """Publishers whose routing keys go round the queues."""
        return Publish(f"/v1/exchanges/{name}/messages", connections, batch, rate, "area.{}.made", QUEUES)

    def consume(name: str, batch: int, wait_seconds: float = WAIT_SECONDS) -> Consume:
        """A consumer for each queue."""
        return Consume(f"{name}-{{}}", QUEUES, batch, wait_seconds, "call" if batch == 1 else "next", QUEUES)

    run = _runs(bench, server, "topic", TOPIC)
    most = plan.most * BATCH
    run("publish_32", Spec(port, pid, seconds, warm, plan.most, publish("apart", ONE_BY_ONE_CONNECTIONS)))
    run("batch_publish", Spec(port, pid, seconds, warm, most, publish("apart", BATCH_CONNECTIONS, BATCH)))
    run("batch_consume", Spec(port, pid, seconds, consume=consume("apart", BATCH, 0)))
    load = publish("single", ONE_BY_ONE_CONNECTIONS)
    fast = run("single_end_to_end", Spec(port, pid, seconds, 0, plan.most, load, consume("single", 1)))
    load = publish("batch", BATCH_CONNECTIONS, BATCH)
    run("batch_end_to_end", Spec(port, pid, seconds, 0, most, load, consume("batch", BATCH)))
    load = publish("paced", PACED_CONNECTIONS, rate=max(1.0, fast.rate * PACED_SHARE))
    run("single_latency", Spec(port, pid, plan.paced_seconds, publish=load, consume=consume("paced", 1)))


def _deep(bench: Bench, server: Server) -> None:
    """Who consumes there gets the oldest, so end to end each client publishes, receives and acks by turns."""
    plan, port, pid = bench.plan, server.port, server.pid
    seconds, warm, most = plan.seconds, plan.warm_seconds, plan.most * BATCH
    row = f"{plan.depth:,} ready"
    declare(server, "deep")
    bench.step(f"{row}: filling")
    fill = Publish("/v1/queues/deep/messages", FILL_CONNECTIONS, FILL_BATCH)
    generate(Spec(port, pid, FILL_SECONDS, most=plan.depth, publish=fill))
    run = _runs(bench, server, "deep", row)
    run("publish_32", Spec(port, pid, seconds, warm, plan.most, publish_to("deep", ONE_BY_ONE_CONNECTIONS)))
    run("batch_publish", Spec(port, pid, seconds, warm, most, publish_to("deep", BATCH_CONNECTIONS, BATCH)))
    singles = Cycle("deep", 2 * ONE_BY_ONE_CONNECTIONS)
    run("single_end_to_end", Spec(port, pid, seconds, warm, plan.most, cycle=singles))
    hundreds = Cycle("deep", 2 * BATCH_CONNECTIONS, BATCH)
    run("batch_end_to_end", Spec(port, pid, seconds, warm, most, cycle=hundreds))
    run("batch_consume", Spec(port, pid, seconds, consume=Consume("deep", BATCH_CONNECTIONS, BATCH)))
