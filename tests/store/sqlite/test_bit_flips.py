"""Any one bit of a store's file flips: it is refused, or it ends the broker, or nothing but a value is another one.

SQLite keeps no checksums of its pages, so a bit in the middle of a value is not noticed by it: `queuesvc check` notices
where the value breaks a rule. What this campaign shows is that nothing worse comes of it: nothing but the two
refusals of a store ever gets out, and no bit of what holds the file together goes unnoticed.

`FLIPS` sets their number, `FLIPS_SEED` the seed.
"""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.replies import Received
from queuesvc.store.interface import StoreBroken, StoreRefused, StoreUnavailable
from queuesvc.store.keeping import CannotKeep
from queuesvc.store.sqlite import wal
from queuesvc.store.sqlite.check.checker import check_store
from tests.store.sqlite.test_damaged import FRAME, flip, killed
from tests.support.lived_in import live
from tests.support.picture import picture_of
from tests.support.stores import Hand, OneReceive

FLIPS = int(os.environ.get("FLIPS", "1500"))
SEED = int(os.environ.get("FLIPS_SEED") or random.SystemRandom().randrange(2**32))


async def outcome(file: Path, now: int, whole: object) -> str:
    """What became of a store of which a bit flipped."""
    try:
        found = "found by check" if check_store(file).findings else "not found by check"
    except CannotKeep:  # it looks like one of another version
        found = "refused by check"
    hand = Hand(file.parent, now)
    try:
        await hand.open()
    except StoreRefused:
        return "refused at the start"
    try:
        same = picture_of(hand.store) == whole
        for queue in list(hand.store._machine.state.queues):
            while await taken(hand, queue):
                pass
        return f"{'the same to the machine' if same else 'another value'}, {found}"
    except StoreBroken:
        return "ended the broker"
    except StoreUnavailable:  # a value is missing that a table must have, and it can't be written to
        return "refused while it ran"
    finally:
        await hand.close()


async def taken(hand: Hand, queue: str) -> bool:
    """Whether a receive was handed something."""
    applied = await hand.store.apply((), hand.now, OneReceive(c.Receive(queue, 100, 30_000, "")))
    return any(isinstance(outcome, Received) and outcome.deliveries for _, outcome in applied.served)


@pytest.mark.slow
@pytest.mark.timeout(30 + FLIPS // 5)
async def test_whatever_bit_flips_nothing_but_the_two_refusals_gets_out(tmp_path: Path) -> None:
    hand = Hand(tmp_path / "whole")
    await hand.open()
    await live(hand)
    await hand.maintain()
    whole = picture_of(hand.store)
    await hand.close()
    chance = random.Random(SEED)
    size = hand.file.stat().st_size
    counted: Counter[str] = Counter()
    data = tmp_path / "data"
    for _ in range(FLIPS):
        at, bit = chance.randrange(size), chance.randrange(8)
        shutil.copytree(hand.folder, data)
        with (data / "queuesvc.db").open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << bit]))
        try:
            counted[await outcome(data / "queuesvc.db", hand.now, whole)] += 1
        except Exception as error:
            raise AssertionError(f"seed {SEED}: bit {bit} of byte {at % 4096} of page {at // 4096 + 1}") from error
        shutil.rmtree(data)
    print(f"seed {SEED}, {FLIPS} flips in {size:,} bytes:", dict(counted.most_common()))
    assert counted["refused at the start"] > 0


@pytest.mark.parametrize("flips", [60, pytest.param(4 * FLIPS, marks=pytest.mark.slow)])
async def test_no_bit_of_the_log_flips_unnoticed(tmp_path: Path, flips: int) -> None:
    """Of what was committed; without the index, which a power loss takes, of all but the end of the last two."""
    file = await killed(tmp_path / "data", batches=60)
    log = wal.log_of(file)
    size = log.stat().st_size
    before_last = commits(log)[-2]
    chance = random.Random(SEED)
    for at in (chance.randrange(size) for _ in range(flips // 2)):
        assert flipped(file, at, chance.randrange(8)), f"seed {SEED}: byte {at} of {size}"
    wal.index_of(file).unlink()
    for at in (chance.randrange(before_last) for _ in range(flips // 2)):
        assert flipped(file, at, chance.randrange(8)), f"seed {SEED}: byte {at} of {size}, without the index"
    assert wal.find_broken(file) is None


def flipped(file: Path, at: int, bit: int) -> wal.Broken | None:
    """What is found of a flip, which is undone again."""
    flip(wal.log_of(file), at, bit)
    try:
        return wal.find_broken(file)
    finally:
        flip(wal.log_of(file), at, bit)


def commits(log: Path) -> list[int]:
    """Where in a log each commit's last frame begins."""
    content = log.read_bytes()
    return [at for at in range(32, len(content), FRAME) if any(content[at + 4 : at + 8])]
