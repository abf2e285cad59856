"""A guard against slipping back, for the end of the tests: what a message costs beside its limits, in one run.

It compares processor time, not speed: that hardly moves when other work takes the machine, and both sides of a ratio
run in turns. (Counting instructions would be steadier still, but virtual machines seldom have the counters, and
valgrind makes Python fifty times slower.) Each side's cheapest round counts, since strangers only ever add. The
floors are about half of what is usual. Being below one is said but fails nothing: only a run that cannot be carried
out does.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from scripts.bench_support.limits import raw_sqlite
from scripts.bench_support.rates import SINGLE_CONNECTIONS, publish_to
from scripts.bench_support.servers import KEY, BenchFailed, bare_app, broker, declare, generate
from scripts.bench_support.spec import Cycle, Spec
from tests.support.server import ServerFailed

ROUNDS = 3
SECONDS = 0.4
RAW_SECONDS = 0.15
BATCH_CLIENTS, BATCH = 8, 100


@dataclass(frozen=True, slots=True)
class Ratio:
    """Processor time a message, in µs, of the broker and of what it is held against."""

    title: str
    beside: str
    ours_us: float
    beside_us: float
    floor: float

    @property
    def value(self) -> float:
        """The share of the other's speed that the broker has; 0 where the machine does not tell."""
        return self.beside_us / self.ours_us if self.ours_us else 0.0

    def line(self) -> str:
        """What is said of it."""
        if not self.value:
            return f"{self.title}: not compared, this machine does not tell the processor time of other processes"
        text = (
            f"{self.title}: {self.ours_us:.1f} µs of processor time, {self.value:.2f} of the speed of "
            f"{self.beside} ({self.beside_us:.1f} µs), floor {self.floor:.2f}"
        )
        return text if self.value >= self.floor else f"slower than the floor: {text}"


def measure(directory: Path, rounds: int = ROUNDS, seconds: float = SECONDS) -> Iterator[Ratio]:
    """The ratios, the broker and its limits in turns. Raises `BenchFailed` and `ServerFailed`."""
    costs: dict[str, list[float]] = {"single": [], "bare": [], "batch": [], "raw": []}
    with broker(directory) as server:
        for name in ("singles", "batches"):
            declare(server, name)
        answer = httpx2.post(f"{server.url}/v1/exchanges/singles/messages?routing_key={KEY}", content=b"x")
        singles, cycle = publish_to("singles", SINGLE_CONNECTIONS), Cycle("batches", BATCH_CLIENTS, BATCH)
        with bare_app(answer.text, answer.headers["x-request-id"]) as (port, pid):
            for _ in range(rounds):
                bare = generate(Spec(port, pid, seconds, seconds / 4, publish=singles))
                single = generate(Spec(server.port, server.pid, seconds, seconds / 4, publish=singles))
                batch = generate(Spec(server.port, server.pid, seconds, seconds / 4, cycle=cycle))
                costs["raw"].append(raw_sqlite(directory, RAW_SECONDS).cpu_us)
                for name, result in (("bare", bare), ("single", single), ("batch", batch)):
                    costs[name].append(result.cpu_us)
    best = {name: min(found) for name, found in costs.items()}
    yield Ratio("a single publish", "a bare ASGI app", best["single"], best["bare"], 0.3)
    yield Ratio("publish, receive and ack by 100s", "a raw SQLite loop", best["batch"], best["raw"], 0.15)


def main() -> None:
    """Measure and tell. Exit code 1 only where it could not be carried out."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ratios-") as folder:
        try:
            for ratio in measure(Path(folder)):
                print(ratio.line())
        except (BenchFailed, ServerFailed) as failure:
            sys.exit(f"the ratios could not be measured: {failure}")
    print(f"(measured in {time.monotonic() - began:.0f} s; ./scripts/bench tells more)")


if __name__ == "__main__":
    main()
