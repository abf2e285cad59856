"""What a client of another queue notices while something large is done: a purge, or the delete of a deep queue."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from scripts.bench_support.caller import Caller
from scripts.bench_support.plan import Bench, Figure
from scripts.bench_support.rates import publish_to
from scripts.bench_support.servers import declare, generate
from scripts.bench_support.spec import Consume, Result, Spec
from scripts.bench_support.states import Deep
from tests.support.server import Server

PART = "bystander"
RATE = 400
CONNECTIONS = 8
WAIT_SECONDS = 0.5
BYSTANDER = "bystander"
# What is done comes well behind the generator's start and well before its end.
LEAD_SHARE = 0.3
START_SECONDS = 0.4


class Bystander:
    """Publishes to a queue of its own at a rate, receives at once and acknowledges.

    Each latency counts from the moment the publish was to be sent: whatever holds up the broker shows in full.
    """

    def __init__(self, bench: Bench, server: Server) -> None:
        declare(server, BYSTANDER)
        self._bench = bench
        self._server = server

    def alone(self) -> None:
        """While nothing else is done."""
        self._watch("alone", "nothing else", lambda: None)

    def purge(self, caller: Caller, state: Deep, messages: int) -> None:
        """While a queue's messages in a state are purged."""
        path = f"queues/{state.name}/messages?state={state.state}"
        title = f"purge of {messages:,} {state.title}"
        took = self._watch(f"purge_{state.name}", title, lambda: caller.call("DELETE", path))
        self._answered(f"purge_{state.name}", title, took)

    def delete(self, caller: Caller, state: Deep, messages: int) -> None:
        """While a queue is deleted."""
        title = f"delete of a queue of {messages:,} {state.title}"
        took = self._watch(f"delete_{state.name}", title, lambda: caller.call("DELETE", f"queues/{state.name}"))
        self._answered(f"delete_{state.name}", title, took)

    def _answered(self, name: str, title: str, took_ms: float) -> None:
        self._bench.figure(name, Figure("answered after", "ms", part=PART, row=title)).add(took_ms)

    def _watch(self, name: str, title: str, act: Callable[[], object]) -> float:
        """The milliseconds that this took."""
        self._bench.step(title)
        seconds = self._bench.plan.watch_seconds
        with ThreadPoolExecutor(1) as pool:
            watched = pool.submit(self._work, seconds)
            time.sleep(START_SECONDS + LEAD_SHARE * seconds)
            began = time.perf_counter()
            act()
            took_ms = (time.perf_counter() - began) * 1e3
            delivery = watched.result().delivery
        for which, value in (("p50", delivery.p50_ms), ("p99", delivery.p99_ms), ("longest", delivery.max_ms)):
            figure = Figure(f"bystander's {which}", "ms", part=PART, row=title)
            self._bench.figure(f"bystander_{which}_{name}", figure).add(value)
        return took_ms

    def _work(self, seconds: float) -> Result:
        publish = publish_to(BYSTANDER, CONNECTIONS, rate=RATE)
        consume = Consume(BYSTANDER, CONNECTIONS, 1, WAIT_SECONDS, "call")
        return generate(Spec(self._server.port, self._server.pid, seconds, publish=publish, consume=consume))
