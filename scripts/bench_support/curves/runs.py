"""A point: as fast as it goes for the rate, then at half of that for latencies from the intended sending."""

import dataclasses
from dataclasses import dataclass

from scripts.bench_support.curves.model import Panel, Point, Work
from scripts.bench_support.servers import KEY, generate
from scripts.bench_support.spec import BODY_BYTES, Consume, Cycle, Publish, Result, Spec
from tests.support.server import Server

PACED_SHARE = 0.5
SMOKE_RATE = 100.0
SLOWEST_RATE = 10.0
# Far longer than any run: who is parked does not ask again.
WAIT_SECONDS = 60.0

RATE = Panel("as fast as it goes", "messages/s", ("rate",))
LATENCY = Panel("latency at half of that rate", "ms", ("p99_ms", "p50_ms"), log=True)
CPU = Panel("broker's processor time", "µs a message", ("server_cpu_us",))


@dataclass(frozen=True, slots=True)
class Load:
    """What is done to a broker in a run: publishers, who may have waiting consumers, or cycles."""

    publish: Publish | None = None
    consume: Consume | None = None
    cycle: Cycle | None = None

    def at(self, rate: float) -> "Load":
        """The same at so many messages a second."""
        return Load(
            self.publish and dataclasses.replace(self.publish, rate=rate),
            self.consume,
            self.cycle and dataclasses.replace(self.cycle, rate=rate),
        )


def run(work: Work, server: Server, load: Load, seconds: float) -> Result:
    """One run of a load, of so many seconds behind the warm-up."""
    sizes = work.sizes
    # Where there are consumers all is counted.
    warm = sizes.warm_seconds if load.consume is None else 0
    return generate(
        Spec(server.port, server.pid, seconds + warm, warm, sizes.most, load.publish, load.consume, load.cycle)
    )


def measure(work: Work, server: Server, load: Load, point: Point) -> None:
    """Both runs of a round. The latency is that of the publish or, where there is one, to the receive."""
    fast = run(work, server, load, work.sizes.seconds)
    point.add_result(fast)
    batch = load.cycle.batch if load.cycle else 1
    rate = SMOKE_RATE * batch if work.sizes.most else max(SLOWEST_RATE, fast.rate * PACED_SHARE)
    paced = run(work, server, load.at(rate), work.sizes.paced_seconds)
    latency = paced.delivery if load.consume or load.cycle else paced.answer
    point.add(p50_ms=latency.p50_ms, p99_ms=latency.p99_ms, paced_rate=paced.rate)


def publish(name: str, connections: int, body_bytes: int = BODY_BYTES, spread: int = 1, key: str = KEY) -> Publish:
    """Publishers to an exchange, one message a call."""
    path = f"/v1/exchanges/{name}/messages"
    return Publish(path, connections, routing_key=key, body_bytes=body_bytes, spread=spread)


def wait_for(queue: str, connections: int) -> Consume:
    """Consumers of a queue, one message a call, who all wait when publishing begins."""
    return Consume(queue, connections, 1, WAIT_SECONDS, parked=True)
