"""The flights as events, and what must come out of them, computed straight from the file.

What is expected is worked out here from the rows alone: nothing of it knows how the broker
routes.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WHOLE = ROOT.parent / "shared" / "data" / "flights-2013-01.csv.gz"
SLICE = ROOT / "tests" / "data" / "flights-slice.csv.gz"

Flight = dict[str, Any]


def find_file() -> Path:
    """The whole month where it is at hand, else the slice that is part of the project."""
    return WHOLE if WHOLE.exists() else SLICE


def read_flights(path: Path) -> list[Flight]:
    """All rows, each with its `number` (from 1), whether it was `cancelled`, and numbers as numbers."""
    with gzip.open(path, "rt", newline="") as file:
        return [_flight(number, row) for number, row in enumerate(csv.DictReader(file), 1)]


def _flight(number: int, row: dict[str, str]) -> Flight:
    missing = ("", "NA")
    return {
        "number": number,
        "date": f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}",
        "carrier": row["carrier"],
        "flight": row["flight"],
        "tail": None if row["tailnum"] in missing else row["tailnum"],
        "origin": row["origin"],
        "dest": row["dest"],
        "cancelled": row["dep_time"] in missing,
        "delay_minutes": None if row["dep_delay"] in missing else int(row["dep_delay"]),
    }


def routing_key(flight: Flight) -> str:
    """`flight.<origin>.<carrier>.<departed|cancelled>`."""
    what = "cancelled" if flight["cancelled"] else "departed"
    return f"flight.{flight['origin']}.{flight['carrier']}.{what}"


@dataclass
class Figures:
    """What a consumer makes of the events that it is handed."""

    departed: Counter[str] = field(default_factory=Counter)
    cancelled: Counter[str] = field(default_factory=Counter)
    delay_minutes: Counter[str] = field(default_factory=Counter)

    def add(self, key: str, flight: Flight) -> None:
        """Count one flight under a key."""
        if flight["cancelled"]:
            self.cancelled[key] += 1
        else:
            self.departed[key] += 1
            self.delay_minutes[key] += flight["delay_minutes"]

    def mean_delay(self, key: str) -> float:
        """Mean delay at departure in minutes, of the flights that departed."""
        return self.delay_minutes[key] / self.departed[key]


@dataclass(frozen=True)
class Task:
    """One queue: its pattern, the flights it must get, and by what its consumers count them."""

    queue: str
    pattern: str
    wanted: Callable[[Flight], bool]
    key: Callable[[Flight], str]
    consumers: int = 1

    def expected(self, flights: Iterable[Flight]) -> tuple[set[int], Figures]:
        """The numbers of the flights that must arrive, and the figures that must come out."""
        numbers, figures = set(), Figures()
        for flight in flights:
            if self.wanted(flight):
                numbers.add(flight["number"])
                figures.add(self.key(flight), flight)
        return numbers, figures


TASKS = (
    Task("jfk", "flight.JFK.#", lambda f: bool(f["origin"] == "JFK"), lambda f: str(f["carrier"])),
    Task("united", "flight.*.UA.*", lambda f: bool(f["carrier"] == "UA"), lambda f: str(f["dest"])),
    Task("cancellations", "flight.*.*.cancelled", lambda f: bool(f["cancelled"]), lambda f: str(f["carrier"])),
    Task("everything", "flight.#", lambda f: True, lambda f: str(f["origin"]), consumers=2),
)
