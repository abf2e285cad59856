"""A restored store is a new life: nothing that the old one handed out fits it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from queuesvc.domain.model import QueueStats
from queuesvc.domain.replies import Published
from queuesvc.store.sqlite.check.checker import check_store
from queuesvc.store.sqlite.restoring import copy_stopped, restore
from tests.support.brokers import receipts, to_queue
from tests.support.lived_in import make
from tests.support.picture import picture_of
from tests.support.stores import Hand, look


async def test_a_store_that_was_lived_in_comes_back_whole_without_its_leases(tmp_path: Path) -> None:
    hand, held = await make(tmp_path / "data")
    before = await stats(hand)
    backup = copied(hand, tmp_path)
    restored = restore(backup, tmp_path / "new", False, lambda: hand.now / 1000)
    assert (restored.messages, restored.leased) == (65, 14)
    assert check_store(restored.file).findings == []
    assert look(restored.file, "SELECT count(*) FROM lease") == [(0,)]
    again = Hand(tmp_path / "new", hand.now)
    after = await stats(again)
    for queue, was in before.items():
        now = after[queue]
        assert now.leased == 0
        assert now.ready == was.ready + was.leased
        assert (now.delayed, now.dead, now.published, now.delivered) == (
            was.delayed,
            was.dead,
            was.published,
            was.delivered,
        )
    async with opened(again):
        for queue in ("plain", "failing", "ranked"):
            for some in held.values():
                assert await again.ack(queue, *some) == 0


async def test_no_trace_is_left_beside_a_store_or_a_backup(tmp_path: Path) -> None:
    """SQLite's log and its index, both empty, lay there afterwards; and what lay on a read-only disk was not read."""
    hand = Hand(tmp_path / "data")
    async with opened(hand):
        await hand.queue("q")
    before = sorted(hand.folder.iterdir())
    backup = copied(hand, tmp_path)
    restore(backup, tmp_path / "new", False)
    assert sorted(hand.folder.iterdir()) == before
    assert sorted(tmp_path.iterdir()) == [backup, hand.folder, tmp_path / "new"]


async def test_what_the_old_life_gave_after_the_backup_is_not_given_again(tmp_path: Path) -> None:
    old = Hand(tmp_path / "data")
    async with opened(old):
        await old.queue("q")
        await old.do(to_queue("q", "x"))
    backup = copied(old, tmp_path)
    async with opened(old):
        late = await old.receive("q")
        (published,) = await old.do(to_queue("q", "late"))
        await old.queue("late")
        last = picture_of(old.store)["numbers"]
    restore(backup, tmp_path / "new", False)
    new = Hand(tmp_path / "new", old.now)
    async with opened(new):
        assert all(number > gone for number, gone in zip(picture_of(new.store)["numbers"], last, strict=True))
        held = await new.receive("q")
        assert await new.ack("q", *receipts(late)) == 0
        (again,) = await new.do(to_queue("q", "x"))
        assert isinstance(published, Published)
        assert isinstance(again, Published)
        assert again.results[0].first > published.results[0].first
        assert await new.ack("q", *receipts(held)) == 1


async def test_two_stores_of_one_backup_do_not_take_each_others_receipts(tmp_path: Path) -> None:
    hand = Hand(tmp_path / "data")
    async with opened(hand):
        await hand.queue("q")
        await hand.do(to_queue("q", "x"))
    backup = copied(hand, tmp_path)
    one, two = (Hand(tmp_path / name, hand.now) for name in ("one", "two"))
    for each in (one, two):
        restore(backup, each.folder, False)
    async with opened(one), opened(two):
        from_one, from_two = await one.receive("q"), await two.receive("q")
        assert from_one.lease == from_two.lease
        assert await two.ack("q", *receipts(from_one)) == 0
        assert await two.ack("q", *receipts(from_two)) == 1


async def test_broker_time_goes_on_from_now(tmp_path: Path) -> None:
    hand, _ = await make(tmp_path / "data")
    restore(copied(hand, tmp_path), tmp_path / "new", False)
    assert look(tmp_path / "new" / "queuesvc.db", f"SELECT latest_at > {hand.now} + 86400000 FROM meta") == [(1,)]


def copied(hand: Hand, home: Path) -> Path:
    """A backup of a closed store."""
    backup = home / "backup.db"
    backup.touch()
    copy_stopped(hand.folder, backup)
    return backup


@contextlib.asynccontextmanager
async def opened(hand: Hand) -> AsyncIterator[Hand]:
    """The store, open."""
    hand.store = type(hand.store)(hand.folder)
    await hand.open()
    try:
        yield hand
    finally:
        await hand.close()


async def stats(hand: Hand) -> dict[str, QueueStats]:
    """All queues' statistics."""
    async with opened(hand):
        names = [name for (name,) in hand.rows("SELECT name FROM queue")]
        return {name: await hand.stats(name) for name in names}
