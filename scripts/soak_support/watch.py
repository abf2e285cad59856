"""What is looked at while the load runs, and what is made of it."""

import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression, mean, quantiles
from typing import Any

from scripts.bench_support.machine import process_seconds, resident_mib
from scripts.soak_support.load import Load

MIB = 1024 * 1024
WARM_SHARE = 0.4
"""The share of the run that is warm-up: idempotency records are kept for five minutes, caches fill."""

GROWTH_SHARE = 0.05
GROWTH_MIB = 8.0
"""Flat is what grows by no more than these from the warm-up's end to the end of the run, whichever is more."""

WAL_MIB = 64.0
"""The most that SQLite's log is when nobody reads for long: a checkpoint is due every 4 MiB."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Latencies are milliseconds from the moment a publish was due."""

    seconds: float
    memory_mib: float
    file_mib: float
    log_mib: float
    p50_ms: float
    p99_ms: float
    cores: float
    published: int
    acked: int
    calls: int
    refused: int
    reader: bool


class Watch:
    """Takes samples of a broker under a load."""

    def __init__(self, pid: int, data: Path, load: Load) -> None:
        self.samples: list[Sample] = []
        self._pid, self._data, self._load = pid, data, load
        self._began = self._last_at = time.monotonic()
        self._used = process_seconds(pid)
        self._reader: sqlite3.Connection | None = None

    def sample(self) -> Sample:
        """Look now."""
        load, now, used = self._load, time.monotonic(), process_seconds(self._pid)
        taken, load.latencies = sorted(load.latencies) or [0.0], []
        cuts = quantiles(taken, n=100) if len(taken) > 1 else taken * 99
        sample = Sample(
            round(now - self._began, 1),
            round(resident_mib(self._pid), 1),
            self._size("queuesvc.db"),
            self._size("queuesvc.db-wal"),
            round(cuts[49] * 1e3, 2),
            round(cuts[98] * 1e3, 2),
            round((used - self._used) / max(now - self._last_at, 1e-9), 2),
            load.published.total(),
            load.acked.total(),
            load.calls,
            load.refused,
            self._reader is not None,
        )
        self._last_at, self._used = now, used
        self.samples.append(sample)
        return sample

    def begin_reading(self) -> None:
        """Open the file like another program, and look into it for long: one read transaction."""
        if self._reader is not None:
            return
        self._reader = sqlite3.connect(f"file:{self._data / 'queuesvc.db'}?mode=ro", uri=True, isolation_level=None)
        self._reader.execute("BEGIN")
        self._reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def end_reading(self) -> None:
        """Look no more."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _size(self, name: str) -> float:
        path = self._data / name
        return round(path.stat().st_size / MIB, 1) if path.exists() else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through the later samples (least squares): `growth` is its rise over them."""

    what: str
    mean: float
    growth: float
    most: float

    @property
    def flat(self) -> bool:
        """Whether it hardly rises."""
        return self.growth <= max(GROWTH_MIB, GROWTH_SHARE * self.mean)


def trend(samples: list[Sample], what: str) -> Trend:
    """The trend of one figure, in MiB."""
    later = [sample for sample in samples if sample.seconds >= WARM_SHARE * samples[-1].seconds]
    values = [float(getattr(sample, what)) for sample in later]
    times = [sample.seconds for sample in later]
    slope = linear_regression(times, values).slope if len(set(times)) > 1 else 0.0
    return Trend(what, round(mean(values), 1), round(slope * (times[-1] - times[0]), 1), max(values))


def problems(samples: list[Sample], stats: dict[str, dict[str, int]], load: Load) -> list[str]:
    """What is not as it should be. `stats` are the queues' after everything was drained."""
    found = [
        f"{one.what} grows: {one}" for what in ("memory_mib", "file_mib") if not (one := trend(samples, what)).flat
    ]
    settled, held = [], False
    for sample in samples:
        if not sample.reader and not held:
            settled.append(sample.log_mib)
        held = sample.reader  # the first look after the reader left may still find what it kept
    if settled and max(settled) > WAL_MIB:
        found.append(f"the log is up to {max(settled)} MiB with nobody reading")
    for queue, numbers in stats.items():
        here = sum(numbers[name] for name in ("ready", "leased", "delayed", "dead"))
        left = sum(numbers[name] for name in ("acked", "expired", "dropped", "purged", "moved_out"))
        if numbers["published"] + numbers["moved_in"] != here + left:
            found.append(f"{queue}: {numbers} do not add up")
        if here:
            found.append(f"{queue}: {here} messages are left")
        if numbers["published"] != load.published[queue]:
            found.append(f"{queue}: {load.published[queue]} publishes were answered, {numbers['published']} counted")
        if numbers["acked"] != load.acked[queue]:
            found.append(f"{queue}: {load.acked[queue]} acks were answered, {numbers['acked']} counted")
    return found


def document(samples: list[Sample], found: list[str]) -> dict[str, Any]:
    """All of it, for a file."""
    trends = [asdict(trend(samples, what)) for what in ("memory_mib", "file_mib", "log_mib")]
    return {"samples": [asdict(sample) for sample in samples], "trends": trends, "problems": found}
