"""The figures of a campaign."""

from collections import Counter
from dataclasses import dataclass, field

from tests.crash.checker import KINDS

FIGURES = (
    "calls",
    "unknown",
    "attempted",
    "acknowledged",
    "delivered",
    "deliveries",
    "duplicated",
    "recovered",
    "retried",
)


@dataclass
class Report:
    """Kills by kind, figures (in copies of messages, but for the calls), faults."""

    kills: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    rounds: int = 0

    @property
    def killed(self) -> int:
        """How many kills, of all kinds."""
        return self.kills.total()

    def add(self, one: "Report") -> None:
        """A round more."""
        self.kills += one.kills
        self.figures.update(one.figures)
        self.faults += one.faults
        self.rounds += 1

    def short(self) -> str:
        """In a line."""
        figures = self.figures
        wrong = sum(figures[kind] for kind in KINDS)
        return (
            f"{figures['acknowledged']} acknowledged, {figures['deliveries']} deliveries, "
            f"{figures['unknown']} calls cut off, {figures['recovered']} recovered, {wrong} wrong"
        )

    def some(self, most: int) -> list[str]:
        """Some faults of each kind."""
        said: Counter[str] = Counter()
        faults = []
        for fault in self.faults:
            kind = fault.partition(":")[0]
            said[kind] += 1
            if said[kind] <= most:
                faults.append(fault)
        return faults

    def __str__(self) -> str:
        lines = [f"kills: {self.killed} in {self.rounds} rounds"]
        lines += [f"  {kind:32} {times:>9,}" for kind, times in sorted(self.kills.items())]
        lines += [f"{name:34} {self.figures[name]:>9,}" for name in (*FIGURES, *KINDS)]
        return "\n".join([*lines, f"faults: {len(self.faults)}"])
