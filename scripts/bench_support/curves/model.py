"""Curves as values: what is asked for, how much is measured, and points with their rounds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench_support.spec import Result


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: each point is the median of `rounds` runs of `seconds`, behind a warm-up.

    Runs at a pace take `paced_seconds`. `most` ends a run after so many messages, if that is sooner (0: no limit).
    Waiters are woken for `wake_seconds`, and their memory is told from `memory_from` on: what fewer take cannot be
    told from what the broker takes anyway. The tuples are where each curve is measured. What lies deeper than
    `plain_depth` has tiny bodies.
    """

    name: str
    rounds: int
    seconds: float
    paced_seconds: float
    warm_seconds: float
    wake_seconds: float
    memory_from: int
    most: int
    plain_depth: int
    connections: tuple[int, ...]
    sizes: tuple[int, ...]
    depths: tuple[int, ...]
    queues: tuple[int, ...]
    targets: tuple[int, ...]
    waiters: tuple[int, ...]
    consumers: tuple[int, ...]


FULL = Sizes(
    name="full",
    rounds=3,
    seconds=0.8,
    paced_seconds=0.8,
    warm_seconds=0.2,
    wake_seconds=2,
    memory_from=1000,
    most=0,
    plain_depth=3_000_000,
    connections=(1, 2, 4, 8, 16, 32, 64, 250, 1000),
    sizes=(100, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576),
    depths=(0, 1000, 10_000, 100_000, 1_000_000, 3_000_000, 10_000_000),
    queues=(1, 10, 50, 1000, 10_000),
    targets=(1, 2, 10, 100, 1000),
    waiters=(1, 10, 100, 1000, 5000, 15_000),
    consumers=(1, 4, 16, 64, 250, 1000),
)
SMOKE = Sizes(
    name="smoke",
    rounds=1,
    seconds=10,
    paced_seconds=0.2,
    warm_seconds=0,
    wake_seconds=0.2,
    memory_from=100,
    most=20,
    plain_depth=1000,
    connections=(1, 2),
    sizes=(100, 200_000),
    depths=(0, 2000),
    queues=(1, 3),
    targets=(1, 3),
    waiters=(1, 120),
    consumers=(1, 3),
)


@dataclass(slots=True)
class Point:
    """What was measured at one place of the x axis: for each measure its rounds."""

    x: int
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """Add a round of these measures."""
        for name, value in values.items():
            self.rounds.setdefault(name, []).append(value)

    def add_result(self, result: Result) -> None:
        """Add a run of the generator's: the rate, and whose processors it took."""
        self.add(
            rate=result.rate,
            server_cpu_us=result.cpu_us,
            server_cores=result.server_cpu,
            generator_cores=result.generator_cpu,
            others_cores=result.others_cpu,
        )

    def document(self) -> dict[str, Any]:
        """The point for the JSON file: medians, and the rounds that they are of."""
        rounded = {name: [round(value, 4) for value in values] for name, values in self.rounds.items()}
        return (
            {"x": self.x} | {name: round(median(values), 4) for name, values in rounded.items()} | {"rounds": rounded}
        )


class Lines:
    """The points of a curve, by the line that they belong to."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[int, Point]] = {}

    def point(self, line: str, x: int) -> Point:
        """The point of a line at this place, made where there is none."""
        return self._lines.setdefault(line, {}).setdefault(x, Point(x))

    def document(self) -> dict[str, Any]:
        """The lines for the JSON file."""
        return {line: [point.document() for point in points.values()] for line, points in self._lines.items()}


@dataclass(frozen=True, slots=True)
class Work:
    """What a curve is measured with: the sizes, a folder for its brokers, and whom to tell of each step."""

    sizes: Sizes
    directory: Path
    step: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Panel:
    """One of a curve's pictures: some measures of all lines that have them. Several measures differ in their stroke."""

    title: str
    unit: str
    measures: tuple[str, ...]
    log: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve that can be asked for. `measure` tells of so many `steps`."""

    name: str
    title: str
    x: str
    panels: tuple[Panel, ...]
    measure: Callable[[Work], Lines]
    steps: Callable[[Sizes], int]
