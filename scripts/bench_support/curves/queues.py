"""Over the depth of a queue, over the number of queues, and over the queues that one publish reaches."""

from scripts.bench_support.curves.model import Lines, Panel, Sizes, Work
from scripts.bench_support.curves.runs import LATENCY, Load, measure, publish
from scripts.bench_support.machine import resident_mib
from scripts.bench_support.servers import broker, call, declare_many, generate
from scripts.bench_support.spec import BODY_BYTES, Cycle, Publish, Spec
from tests.support.server import Server

SINGLES = "one by one, 64 clients"
HUNDREDS = "by 100s, 8 clients"
TOPIC = "publish through a topic exchange to one of them"
BATCH = 100
SINGLE_CLIENTS, BATCH_CLIENTS = 64, 8
PUBLISHERS = 16

FILL_BATCH = 1000
FILL_STEP = 1_000_000
FILL_CONNECTIONS = 4
FILL_SECONDS = 80.0
TINY_BYTES = 20
SHARED_BYTES = 4096

RATES = Panel("as fast as it goes", "messages/s", ("rate",), log=True)
DEPTH_PANELS = (RATES, LATENCY, Panel("memory of the broker", "MiB", ("memory_mib",), log=True))
QUEUE_PANELS = (RATES, LATENCY, Panel("broker's processor time", "µs a message", ("server_cpu_us",), log=True))
FAN_OUT_PANELS = (
    Panel("publishes", "publishes/s", ("rate",), log=True),
    Panel("copies stored", "copies/s", ("copies",), log=True),
    LATENCY,
)


def cycles(queue: str, spread: int = 1) -> tuple[tuple[str, Load], ...]:
    """Publish, receive, ack by turns: one message a call, and a hundred."""
    return (
        (SINGLES, Load(cycle=Cycle(queue, SINGLE_CLIENTS, spread=spread))),
        (HUNDREDS, Load(cycle=Cycle(queue, BATCH_CLIENTS, BATCH, spread=spread))),
    )


def over_depth(work: Work) -> Lines:
    """Each call takes the oldest and publishes as many: the queue stays as deep as it was filled before."""
    lines = Lines()
    with broker(work.directory) as server:
        call(server, "PUT", "/v1/queues/deep", {})
        depth = 0
        for more in work.sizes.depths:
            _fill(work, server, depth, more)
            depth = more
            for turn in range(work.sizes.rounds):
                work.step(f"{depth:,} ready, round {turn + 1}")
                for line, load in cycles("deep"):
                    measure(work, server, load, lines.point(line, depth))
            lines.point(SINGLES, depth).add(memory_mib=resident_mib(server.pid))
    return lines


def _fill(work: Work, server: Server, depth: int, to: int) -> None:
    """From one depth to another by the thousand; what lies deeper than the plain depth has tiny bodies."""
    while depth < to:
        work.step(f"filling: {depth:,} of {to:,}")
        size = BODY_BYTES if depth < work.sizes.plain_depth else TINY_BYTES
        goal = min(to, depth + FILL_STEP)
        load = Publish("/v1/queues/deep/messages", FILL_CONNECTIONS, FILL_BATCH, body_bytes=size)
        generate(Spec(server.port, server.pid, FILL_SECONDS, most=goal - depth, publish=load))
        depth = goal


def over_queues(work: Work) -> Lines:
    """Calls spread over so many queues; and publishes through a topic exchange that has them all behind it."""
    lines = Lines()
    for turn in range(work.sizes.rounds):
        for count in work.sizes.queues:
            work.step(f"{count:,} queues, round {turn + 1}")
            with broker(work.directory) as server:
                declare_many(server, "many", "topic", count, "area.{}.*")
                for line, load in cycles("many-{}", count):
                    measure(work, server, load, lines.point(line, count))
                topic = publish("many", SINGLE_CLIENTS, spread=count, key="area.{}.made")
                measure(work, server, Load(topic), lines.point(TOPIC, count))
    return lines


def over_targets(work: Work) -> Lines:
    """Publishes to a fanout exchange with so many queues behind it: small bodies, and ones that are stored once."""
    lines = Lines()
    for turn in range(work.sizes.rounds):
        for count in work.sizes.targets:
            work.step(f"fan-out to {count:,} queues, round {turn + 1}")
            for size in (BODY_BYTES, SHARED_BYTES):
                with broker(work.directory) as server:
                    declare_many(server, "wide", "fanout", count)
                    point = lines.point(f"{size:,} bytes", count)
                    measure(work, server, Load(publish("wide", PUBLISHERS, size)), point)
                    point.add(copies=point.rounds["rate"][-1] * count)
    return lines


def depth_steps(sizes: Sizes) -> int:
    """How many steps `over_depth` tells of."""
    fills, depth = 0, 0
    for to in sizes.depths:
        fills += -((depth - to) // FILL_STEP)
        depth = to
    return fills + sizes.rounds * len(sizes.depths)


def queue_steps(sizes: Sizes) -> int:
    """How many steps `over_queues` tells of."""
    return sizes.rounds * len(sizes.queues)


def target_steps(sizes: Sizes) -> int:
    """How many steps `over_targets` tells of."""
    return sizes.rounds * len(sizes.targets)
