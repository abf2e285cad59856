"""The soak tells truly: of a short one that all is well, and of figures that are not that they are not."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.soak_support.watch import Sample, problems, trend

STEADY = [Sample(30.0 * n, 60.0 + n % 2, 3.0, 4.1, 1.0, 5.0, 0.2, n, n, n, 0, reader=False) for n in range(1, 41)]
STATES = ["ready", "leased", "delayed", "dead"]
STATS = dict.fromkeys([*STATES, "published", "moved_in", "acked", "expired", "dropped", "purged", "moved_out"], 0)


def found(samples: list[Sample], **stats: int) -> list[str]:
    """The problems after five publishes and acks were answered, and the queue has these numbers."""
    load: Any = SimpleNamespace(published=Counter(q=5), acked=Counter(q=5))
    return problems(samples, {"q": {**STATS, "published": 5, "acked": 5, **stats}}, load)


def test_what_is_flat_and_adds_up_is_well() -> None:
    assert found(STEADY) == []
    warming = [replace(sample, memory_mib=min(90.0, 30 + sample.seconds / 6)) for sample in STEADY]
    assert found(warming) == []


def test_what_grows_is_told() -> None:
    growing = [replace(sample, memory_mib=60 + sample.seconds / 60) for sample in STEADY]
    assert trend(growing, "memory_mib").growth == pytest.approx(12, abs=0.5)
    [told] = found(growing)
    assert "memory_mib grows" in told


def test_a_log_that_nobody_holds_must_be_small() -> None:
    [told] = found([*STEADY[:-1], replace(STEADY[-1], log_mib=65.0)])
    assert "the log is up to 65.0 MiB" in told
    read = [*STEADY[:20], *(replace(one, log_mib=500.0, reader=True) for one in STEADY[20:30]), *STEADY[30:]]
    assert found(read) == []


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"acked": 4, "purged": 1}, "acks were answered"),
        ({"acked": 4}, "do not add up"),
        ({"acked": 4, "ready": 1}, "1 messages are left"),
        ({"published": 6, "purged": 1}, "publishes were answered"),
    ],
)
def test_what_is_lost_is_told(numbers: dict[str, int], told: str) -> None:
    assert any(told in problem for problem in found(STEADY, **numbers))


@pytest.mark.slow
def test_a_short_soak(tmp_path: Path) -> None:
    """Twenty seconds, with another program reading in the middle."""
    command = [sys.executable, "-m", "scripts.soak_support", "--minutes", "0.34", "--every", "2", "--rate", "150"]
    done = subprocess.run([*command, "--directory", str(tmp_path)], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "another program reads the file" in done.stdout
    assert done.stdout.endswith("flat, adds up, drained\n")
