"""Kill -9 under load (§10.1 to 10.5).

The long form: `pytest -m slow tests/crash`, or `python -m tests.crash --kills 500`.
`CRASH_KILLS` sets the number of kills of the long form, `CRASH_SEED` the seed of both.
"""

import os
import random
from pathlib import Path

import pytest

from tests.crash.storm import storm

SHORT_KILLS = 5
LONG_KILLS = int(os.environ.get("CRASH_KILLS", "60"))


def seed() -> int:
    return int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))


@pytest.mark.timeout(120)
async def test_every_promise_holds_over_five_kills(tmp_path: Path) -> None:
    await hold_out(tmp_path, SHORT_KILLS, seed())


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * LONG_KILLS)
async def test_every_promise_holds_over_many_kills(tmp_path: Path) -> None:
    await hold_out(tmp_path, LONG_KILLS, seed())


async def hold_out(tmp_path: Path, kills: int, seed: int) -> None:
    report = await storm(tmp_path / "data", kills, seed, print)
    print(report)
    assert not report.problems, f"seed {seed}: {report}\n" + "\n".join(report.problems[:20])
    # The storm was one: there was load, calls were cut off, and messages came again.
    assert report.published > 100 * kills
    assert report.held_over == 20 * kills
    assert report.unanswered >= kills
    assert report.redelivered > 0
    assert report.tried_again > 0
