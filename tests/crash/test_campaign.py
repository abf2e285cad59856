"""Brokers killed under load (§10.1 to 10.6): a life of each kind by default, hundreds with `-m slow`.

`CRASH_KILLS` is the number of kills of the long form, `CRASH_SEED` the seed of both; `scripts/crash_campaign` is the
same with figures.
"""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.campaign import campaign, play
from tests.crash.checker import KINDS
from tests.crash.kills import WAYS, Kill, Kind, draw, possible
from tests.crash.report import Report

LONG_KILLS = int(os.environ.get("CRASH_KILLS", "150"))
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))


@pytest.mark.timeout(120)
async def test_killed_once_in_each_way_it_keeps_what_it_promised(tmp_path: Path) -> None:
    kinds, _ = possible(WAYS["all"])
    chance = random.Random(SEED)
    kills = [replace(draw(chance, (kind,)), seconds=0.3, lull=0) for kind in kinds]
    report = await play(tmp_path, kills, chance)
    nothing_wrong(report)
    assert report.killed >= len(kinds)
    assert report.figures["deliveries"] > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_it_finds_what_a_relaxed_broker_loses_with_the_power(tmp_path: Path) -> None:
    kinds, missing = possible(WAYS["power"])
    if not kinds:
        pytest.skip(missing[0])
    report = await play(tmp_path, [Kill(Kind.POWER, seconds=0.5)] * 3, random.Random(SEED), "relaxed")
    assert report.figures["lost"] > 0, report
    assert not [fault for fault in report.faults if fault.startswith("check")], "what is there is whole"


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * LONG_KILLS)
@pytest.mark.parametrize("how", ["random", "syscall", "power"])
async def test_killed_again_and_again_it_keeps_what_it_promised(how: str, tmp_path: Path) -> None:
    kinds, missing = possible(WAYS[how])
    if not kinds:
        pytest.skip(missing[0])
    report = await campaign(tmp_path, LONG_KILLS // 3, kinds, SEED, print)
    nothing_wrong(report)
    # There was load, calls were cut off, and messages came again.
    figures = report.figures
    assert figures["acknowledged"] > 10 * report.killed
    assert figures["deliveries"] > figures["delivered"] > 0
    assert figures["unknown"] > 0
    assert figures["duplicated"] > 0


def nothing_wrong(report: Report) -> None:
    assert not report.faults, f"seed {SEED}: {report}\n" + "\n".join(report.some(5))
    assert {report.figures[kind] for kind in KINDS} == {0}
