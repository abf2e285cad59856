"""Relaxed durability: what may be lost, and what may not even then. (Real power losses: `tests/crash`.)"""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.replies import Published
from queuesvc.store.interface import Durability
from queuesvc.store.sqlite import numbers
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import receipts, to_queue
from tests.support.picture import picture_of
from tests.support.stores import Hand


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("relaxed", 1)])
async def test_a_commit_waits_for_the_disk_or_not(folder: Path, durability: Durability, level: int) -> None:
    async with opened(folder, durability) as hand:
        await hand.queue("q")
        await hand.do(to_queue("q", "x"))
        assert await hand.store._on_writer(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == level


async def test_a_process_that_dies_loses_nothing(folder: Path) -> None:
    async with opened(folder, "relaxed") as hand:
        await hand.queue("q")
        await hand.do(to_queue("q", *"abc"))
        held = await hand.receive("q")
        dead = killed(folder)
    async with opened(dead, "relaxed") as again:
        assert (await again.stats("q")).ready == 2
        assert await again.ack("q", *receipts(held)) == 1


@pytest.mark.parametrize("then", ["full", "relaxed"])
async def test_a_receipt_of_a_commit_that_was_lost_fits_no_later_lease(folder: Path, then: Durability) -> None:
    async with opened(folder, "relaxed") as hand:
        await hand.queue("q")
        await hand.do(to_queue("q", "x"))
        on_disk = killed(folder)
        lost = await hand.receive("q")
    async with opened(on_disk, then) as again:
        held = await again.receive("q")
        assert held.deliveries[0].number == lost.deliveries[0].number
        assert await again.ack("q", *receipts(lost)) == 0
        assert await again.ack("q", *receipts(held)) == 1


async def test_numbers_of_a_commit_that_was_lost_are_not_given_again(folder: Path) -> None:
    async with opened(folder, "relaxed") as hand:
        await hand.queue("q")
        on_disk = killed(folder)
        await hand.queue("lost")
        (published,) = await hand.do(to_queue("q", "x"))
    async with opened(on_disk, "relaxed") as again:
        await again.queue("later")
        (later,) = await again.do(to_queue("q", "x"))
        assert isinstance(published, Published)
        assert isinstance(later, Published)
        assert later.results[0].first > published.results[0].first
        assert picture_of(again.store)["names"]["later"] > 2


async def test_more_are_set_aside_before_any_is_given_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "MESSAGES", 10)
    async with opened(folder, "relaxed") as hand:
        await hand.queue("q")
        for _ in range(25):
            await hand.do(to_queue("q", *["x"] * 3))
            ((next_message,),) = hand.rows("SELECT next_message FROM meta")
            assert next_message >= picture_of(hand.store)["numbers"][0]


async def test_a_store_is_full_or_relaxed_as_it_is_opened(folder: Path) -> None:
    levels: list[Durability] = ["full", "relaxed", "full", "relaxed"]
    for durability in levels:
        async with opened(folder, durability) as hand:
            await hand.queue("q")
            await hand.do(to_queue("q", "x"))
    async with opened(folder, "full") as hand:
        assert await hand.consume("q") == 4
        await hand.do(to_queue("q", "x"), c.DeleteQueue("q", False))
        assert await hand.maintain() > 1
        assert hand.rows("SELECT count(*) FROM message") == [(0,)]


@contextlib.asynccontextmanager
async def opened(folder: Path, durability: Durability) -> AsyncIterator[Hand]:
    """A store of this durability, open."""
    hand = Hand(folder)
    hand.store = SqliteStore(folder, durability=durability)
    await hand.open()
    try:
        yield hand
    finally:
        await hand.close()


def killed(folder: Path) -> Path:
    """What a process that dies now leaves: the file and its log. What comes later is as if it had never been synced."""
    return shutil.copytree(folder, folder.with_name("killed"))
