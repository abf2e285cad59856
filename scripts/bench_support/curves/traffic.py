"""Over connections, over the size of messages, and over the consumers of one queue."""

from scripts.bench_support.curves.model import Lines, Panel, Sizes, Work
from scripts.bench_support.curves.runs import CPU, LATENCY, RATE, Load, measure, publish, wait_for
from scripts.bench_support.servers import broker, declare

PUBLISH = "publish"
END_TO_END = "publish, receive, ack"
PUBLISHERS = 32
SIDE = 16
MIB = 1024 * 1024

CONNECTION_PANELS = (RATE, LATENCY, CPU)
SIZE_PANELS = (
    Panel("as fast as it goes", "messages/s", ("rate",), log=True),
    Panel("the same in bytes", "MiB/s", ("mib",), log=True),
    LATENCY,
)
CONSUMER_PANELS = (RATE, LATENCY, CPU)


def over_connections(work: Work) -> Lines:
    """Publishers alone; and half of the connections publishers, the other half consumers."""
    lines = Lines()
    for turn in range(work.sizes.rounds):
        for count in work.sizes.connections:
            work.step(f"{count:,} connections, round {turn + 1}")
            with broker(work.directory) as server:
                declare(server, "alone")
                measure(work, server, Load(publish("alone", count)), lines.point(PUBLISH, count))
                if count > 1:
                    declare(server, "both")
                    load = Load(publish("both", count // 2), wait_for("both", count // 2))
                    measure(work, server, load, lines.point(END_TO_END, count))
    return lines


def over_sizes(work: Work) -> Lines:
    """Publishers alone; and as many publishers as consumers. A broker for each, since much is stored."""
    lines = Lines()
    for turn in range(work.sizes.rounds):
        for size in work.sizes.sizes:
            work.step(f"messages of {size:,} bytes, round {turn + 1}")
            for line, load in (
                (PUBLISH, Load(publish("sizes", PUBLISHERS, size))),
                (END_TO_END, Load(publish("sizes", SIDE, size), wait_for("sizes", SIDE))),
            ):
                with broker(work.directory) as server:
                    declare(server, "sizes")
                    point = lines.point(line, size)
                    measure(work, server, load, point)
                    point.add(mib=point.rounds["rate"][-1] * size / MIB)
    return lines


def over_consumers(work: Work) -> Lines:
    """The same publishers, and more and more consumers of one queue, who all wait when publishing begins."""
    lines = Lines()
    for turn in range(work.sizes.rounds):
        for count in work.sizes.consumers:
            work.step(f"{count:,} consumers, round {turn + 1}")
            with broker(work.directory) as server:
                declare(server, "shared")
                load = Load(publish("shared", PUBLISHERS), wait_for("shared", count))
                measure(work, server, load, lines.point(END_TO_END, count))
    return lines


def connection_steps(sizes: Sizes) -> int:
    """How many steps `over_connections` tells of."""
    return sizes.rounds * len(sizes.connections)


def size_steps(sizes: Sizes) -> int:
    """How many steps `over_sizes` tells of."""
    return sizes.rounds * len(sizes.sizes)


def consumer_steps(sizes: Sizes) -> int:
    """How many steps `over_consumers` tells of."""
    return sizes.rounds * len(sizes.consumers)
