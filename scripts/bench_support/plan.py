"""How much is measured, and what came out, as values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench_support.spec import Latency, Result


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a bench: each figure is the median of `rounds` runs of `seconds`.

    The first `warm_seconds` of a run do not count; it ends after `most` requests if that is sooner
    (0: no limit). `depth` is how many messages are ready, or delayed, in the deep queues, which are received
    from in `pairs` rounds. The idle broker settles for `settle_seconds` and is watched for `idle_seconds`; the
    bystander of a purge is for `watch_seconds`.
    """

    name: str
    rounds: int
    seconds: float
    warm_seconds: float
    raw_seconds: float
    paced_seconds: float
    depth: int
    pairs: int
    settle_seconds: float
    idle_seconds: float
    watch_seconds: float
    most: int = 0


FULL = Plan(
    name="full",
    rounds=3,
    seconds=1.2,
    warm_seconds=0.3,
    raw_seconds=0.5,
    paced_seconds=3,
    depth=1_000_000,
    pairs=9,
    settle_seconds=2,
    idle_seconds=3,
    watch_seconds=4,
)
QUICK = Plan(
    name="quick",
    rounds=2,
    seconds=0.4,
    warm_seconds=0.1,
    raw_seconds=0.15,
    paced_seconds=0.5,
    depth=100_000,
    pairs=2,
    settle_seconds=0.3,
    idle_seconds=0.5,
    watch_seconds=0.6,
)
SMOKE = Plan(
    name="smoke",
    rounds=1,
    seconds=0.5,
    warm_seconds=0,
    raw_seconds=0.01,
    paced_seconds=0.2,
    depth=1_000,
    pairs=1,
    settle_seconds=0,
    idle_seconds=0.1,
    watch_seconds=0.2,
    most=100,
)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure (`of` is `value`) or its ratio should be: at least or at most so much."""

    of: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, figure: "Figure") -> bool:
        """Whether it is."""
        value = figure.ratio if self.of == "ratio" else figure.value
        if value is None:
            return False
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0)


@dataclass(slots=True)
class Figure:
    """One figure: the median of `rounds` and, where it has one, its ratio to what ran `beside` it in the same minute.

    The ratio is the median of each round's own, and so are latencies, processors (in cores) and `cpu_us`, the
    server's processor time a message in microseconds. `part` is the table it stands in, `row` its row where
    several figures share one.
    """

    title: str
    unit: str
    rounds: list[float] = field(default_factory=list)
    beside: str = ""
    beside_unit: str = ""
    beside_rounds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    aim: Aim | None = None
    part: str = "rates"
    row: str = ""
    answer: list[Latency] = field(default_factory=list)
    delivery: list[Latency] = field(default_factory=list)
    generator_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    others_cpu: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def add(self, value: float, beside: float | None = None) -> None:
        """Add a round."""
        self.rounds.append(value)
        if beside is not None:
            self.beside_rounds.append(beside)
            self.ratios.append(value / beside if beside else 0.0)

    def add_result(self, result: Result, beside: float | None = None) -> None:
        """Add a round of the generator's: its messages a second, latencies and processors."""
        self.add(result.rate, beside)
        self.add_marks(result)

    def add_marks(self, result: Result) -> None:
        """Add the latencies and processor time of a round."""
        self.answer.append(result.answer)
        self.delivery.append(result.delivery)
        self.generator_cpu.append(result.generator_cpu)
        self.server_cpu.append(result.server_cpu)
        self.others_cpu.append(result.others_cpu)
        self.cpu_us.append(result.cpu_us)

    @property
    def value(self) -> float:
        """The median."""
        return median(self.rounds)

    @property
    def ratio(self) -> float | None:
        """The median ratio, if there is one."""
        return median(self.ratios) if self.ratios else None

    def document(self) -> dict[str, Any]:
        """The figure for the JSON file."""
        found: dict[str, Any] = {
            "title": self.title,
            "row": self.row,
            "unit": self.unit,
            "value": self.value,
            "rounds": self.rounds,
        }
        if self.ratios:
            found["beside"] = {"title": self.beside, "unit": self.beside_unit or self.unit}
            found["beside"] |= {"value": median(self.beside_rounds), "rounds": self.beside_rounds}
            found |= {"ratio": self.ratio, "ratios": self.ratios}
        if self.aim is not None:
            limit = {"at_least": self.aim.at_least} if self.aim.at_least is not None else {"at_most": self.aim.at_most}
            found["aim"] = {"of": self.aim.of, **limit, "met": self.aim.met(self)}
        for name, latencies in (("answer_ms", self.answer), ("delivery_ms", self.delivery)):
            if any(latency.count for latency in latencies):
                found[name] = median_latency(latencies)
        if self.server_cpu:
            pairs = (("generator", self.generator_cpu), ("server", self.server_cpu), ("others", self.others_cpu))
            found["cpu_cores"] = {name: median(cores) for name, cores in pairs}
            found["server_cpu_us"] = median(self.cpu_us)
        return found


def median_latency(latencies: list[Latency]) -> dict[str, float]:
    """The medians of the rounds' percentiles, in milliseconds."""
    return {
        "p50": median(latency.p50_ms for latency in latencies),
        "p99": median(latency.p99_ms for latency in latencies),
    }


@dataclass(slots=True)
class Bench:
    """What a section works with: the plan, a folder for its files, whom to tell of each step, and where figures go."""

    plan: Plan
    directory: Path
    step: Callable[[str], None]
    tokens: bool = False
    """whether all is measured under tokens"""
    figures: dict[str, Figure] = field(default_factory=dict)

    def figure(self, name: str, figure: Figure) -> Figure:
        """Put a figure in, to be filled."""
        self.figures[name] = figure
        return figure
