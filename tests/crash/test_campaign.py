"""Brokers killed under load (§10.1 to 10.6): a life of each kind by default, hundreds with `-m slow`.

`CRASH_KILLS` is the number of kills of the long form, `CRASH_SEED` the seed of both; `scripts/crash_campaign` is the
same with figures.
"""

import os
import random
from pathlib import Path

import pytest

from tests.crash.campaign import campaign, play
from tests.crash.checker import KINDS
from tests.crash.kills import WAYS, draw, possible
from tests.crash.report import Report

LONG_KILLS = int(os.environ.get("CRASH_KILLS", "150"))
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))


@pytest.mark.timeout(120)
async def test_killed_once_in_each_way_it_keeps_what_it_promised(tmp_path: Path) -> None:
    kinds, _ = possible(WAYS["all"])
    chance = random.Random(SEED)
    report = await play(tmp_path, [draw(chance, (kind,)) for kind in kinds], chance)
    nothing_wrong(report)
    assert report.killed >= len(kinds)


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * LONG_KILLS)
@pytest.mark.parametrize("how", ["random", "syscall", "power"])
async def test_killed_again_and_again_it_keeps_what_it_promised(how: str, tmp_path: Path) -> None:
    kinds, missing = possible(WAYS[how])
    if not kinds:
        pytest.skip(missing[0])
    nothing_wrong(await campaign(tmp_path, LONG_KILLS // 3, kinds, SEED, print))


def nothing_wrong(report: Report) -> None:
    assert not report.faults, f"seed {SEED}: {report}\n" + "\n".join(report.some(5))
    figures = report.figures
    assert {figures[kind] for kind in KINDS} == {0}
    # There was load, calls were cut off, and messages came again.
    assert figures["acknowledged"] > 100
    assert figures["deliveries"] > figures["delivered"] > 100
    assert figures["unknown"] > 0
    assert figures["duplicated"] > 0
