"""Over the long polls that wait: what each takes of memory, and how soon one of them is woken."""

from scripts.bench_support.curves.model import Lines, Panel, Sizes, Work
from scripts.bench_support.curves.runs import WAIT_SECONDS, Load, run
from scripts.bench_support.servers import broker, declare_many
from scripts.bench_support.spec import Consume, Publish

ONE_QUEUE = "all at one queue"
SPREAD = "spread over 1,000 queues"
SPREAD_QUEUES = 1000
PUBLISHERS = 8
WAKES_A_SECOND = 100.0
KIB = 1024

WAITER_PANELS = (
    Panel("from the publish sent to the consumer's answer", "ms", ("p99_ms", "p50_ms")),
    Panel("memory of the broker for each", "KiB", ("waiter_kib", "connection_kib")),
)


def over_waiters(work: Work) -> Lines:
    """All wait; then one message after the other wakes the first in a line, who acknowledges and waits again."""
    lines = Lines()
    for turn in range(work.sizes.rounds):
        for count in work.sizes.waiters:
            for line, most in ((ONE_QUEUE, 1), (SPREAD, SPREAD_QUEUES)):
                work.step(f"{count:,} wait, {line}, round {turn + 1}")
                queues = min(count, most)
                path = "/v1/queues/parked-{}/messages"
                load = Load(
                    Publish(path, PUBLISHERS, rate=WAKES_A_SECOND, spread=queues),
                    Consume("parked-{}", count, 1, WAIT_SECONDS, spread=queues, parked=True),
                )
                with broker(work.directory) as server:
                    declare_many(server, "parked", "direct", queues)
                    result = run(work, server, load, work.sizes.wake_seconds)
                point, woken = lines.point(line, count), result.delivery
                point.add(p50_ms=woken.p50_ms, p99_ms=woken.p99_ms, max_ms=woken.max_ms, woken=woken.count)
                before, connected, waiting = result.memory_mib
                if count >= work.sizes.memory_from:
                    point.add(
                        waiter_kib=(waiting - before) / count * KIB, connection_kib=(connected - before) / count * KIB
                    )
    return lines


def waiter_steps(sizes: Sizes) -> int:
    """How many steps `over_waiters` tells of."""
    return sizes.rounds * len(sizes.waiters) * 2
