"""The file holds what is in the queues, each body once, and nothing of what has passed through (§10.8)."""

import os
import time
from pathlib import Path

import pytest

from queuesvc.broker.broker import Broker
from queuesvc.domain import commands as c
from queuesvc.domain.model import Exchange, ExchangeType, QueueSettings
from queuesvc.store.sqlite import upkeep
from queuesvc.store.sqlite.rows import SHARED_BYTES
from queuesvc.store.sqlite.store import SqliteStore
from queuesvc.store.sqlite.write import ROWS_AT_ONCE
from tests.support import brokers
from tests.support.brokers import bodies, envelope, receipts, running, stats_of, to_queue
from tests.support.stores import Hand, reading
from tests.support.until import until

MIB = 1024 * 1024
QUEUES = ("a", "b", "c", "d")


@pytest.fixture
async def fan(hand: Hand) -> Hand:
    """A fanout exchange `fan` to four queues."""
    await hand.do(c.PutExchange(Exchange("fan", ExchangeType.FANOUT)))
    for name in QUEUES:
        await hand.queue(name)
        await hand.do(c.Bind("fan", queue=name))
    return hand


def fan_out(*bodies: bytes) -> c.Publish:
    return c.Publish(tuple(envelope(body, "key") for body in bodies), exchange="fan")


# --- bodies --------------------------------------------------------------------------


async def test_a_large_body_is_stored_once_for_all_copies(fan: Hand) -> None:
    body = os.urandom(MIB)
    before = fan.size()
    await fan.do(fan_out(body))
    assert fan.rows("SELECT refs, length(body) FROM body") == [(4, MIB)]
    assert fan.rows("SELECT count(*), sum(length(body)), sum(size) FROM message") == [(4, 0, 4 * MIB)]
    assert fan.size() - before < 1.2 * MIB


async def test_each_queue_hands_it_out_and_the_last_one_takes_it_away(fan: Hand) -> None:
    body = os.urandom(5000)
    await fan.do(fan_out(body))
    for left, name in zip((3, 2, 1, 0), QUEUES, strict=True):
        received = await fan.receive(name)
        assert bodies(received) == [body]
        assert await fan.ack(name, *receipts(received)) == 1
        assert fan.rows("SELECT refs FROM body") == ([(left,)] if left else [])
    assert fan.rows("SELECT * FROM message") == []


async def test_copies_that_go_in_one_batch_take_the_body_along(fan: Hand) -> None:
    await fan.do(fan_out(b"x" * 5000, b"y" * 5000))
    held = {name: receipts(await fan.receive(name, 2)) for name in QUEUES}
    await fan.do(*(c.Ack(name, held[name]) for name in QUEUES))
    assert fan.rows("SELECT * FROM body") == []


async def test_small_bodies_and_single_copies_stand_in_their_own_rows(fan: Hand) -> None:
    await fan.do(fan_out(b"x" * (SHARED_BYTES - 1)), to_queue("q", b"y" * 100_000))
    assert fan.rows("SELECT * FROM body") == []
    assert fan.rows("SELECT length(body) FROM message ORDER BY id") == [(SHARED_BYTES - 1,)] * 4 + [(100_000,)]


async def test_an_empty_body_is_one_too(fan: Hand) -> None:
    await fan.do(fan_out(b""))
    assert [bodies(await fan.receive(name)) for name in QUEUES] == [[b""]] * 4


async def test_an_auto_ack_and_a_deleted_queue_let_go_of_their_copies(fan: Hand) -> None:
    await fan.do(fan_out(b"x" * 5000))
    await fan.do(c.Receive("a", auto_ack=True), c.DeleteQueue("b"), c.DeleteQueue("c"))
    await fan.maintain()
    assert fan.rows("SELECT refs FROM body") == [(1,)]
    assert bodies(await fan.receive("d")) == [b"x" * 5000]


async def test_a_purge_lets_go_of_its_copies_and_of_bodies_that_nobody_else_has(fan: Hand) -> None:
    await fan.do(c.PutQueue("e", QueueSettings()), c.Bind("fan", queue="e"))
    await fan.do(fan_out(b"x" * 5000))
    await fan.do(c.PurgeQueue("e"), c.PurgeQueue("a"))
    await fan.maintain()
    assert fan.rows("SELECT refs FROM body") == [(3,)]
    await fan.do(*(c.PurgeQueue(name) for name in ("b", "c", "d")))
    await fan.maintain()
    assert fan.rows("SELECT count(*) FROM body") == fan.rows("SELECT count(*) FROM message") == [(0,)]


@pytest.mark.parametrize("count", [ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
async def test_many_of_all_kinds_are_stored_as_they_came_and_only_those_acknowledged_go(fan: Hand, count: int) -> None:
    """Plain ones go many to a statement, and are removed in runs of their numbers; others stand between them."""
    plain = [envelope(f"plain {number}", "q") for number in range(count)]
    special = [envelope("in a group", "q", group="g"), envelope("that ends", "q", ttl_ms=60_000)]
    await fan.queue("q")
    await fan.do(c.Publish((*plain[:2], *special, *plain[2:]), queue="q"), fan_out(b"z" * 5000))
    received = await fan.receive("q", 1000)
    expected = [e.body for e in (*plain[:2], *special, *plain[2:])]
    assert bodies(received) == expected
    kept = {1, 2, count}
    settled = [receipt for at, receipt in enumerate(receipts(received)) if at not in kept]
    assert await fan.ack("q", *settled) == count - 1
    await fan.reopen()
    fan.now += 30_001
    await fan.tick()
    assert bodies(await fan.receive("q", 1000)) == [expected[at] for at in sorted(kept)]
    assert [bodies(await fan.receive(name)) for name in QUEUES] == [[b"z" * 5000]] * 4


# --- what has passed through ------------------------------------------------------------


async def test_200_mb_pass_through_a_file_that_stays_small(hand: Hand) -> None:
    """At no time more than 10 MB are in it."""
    slice_ = [os.urandom(10_000)] * 1000
    largest = 0
    for _ in range(20):
        await hand.do(to_queue("q", *slice_))
        while await hand.consume("q"):
            pass
        largest = max(largest, hand.file.stat().st_size)
    assert (await hand.stats("q")).acked == 20_000
    assert largest < 25 * MIB
    await hand.maintain()
    assert hand.size() < MIB


async def test_a_backlog_that_was_worked_off_gives_its_space_back(hand: Hand) -> None:
    for _ in range(10):
        await hand.do(to_queue("q", *[os.urandom(5000)] * 1000))
    full = hand.file.stat().st_size
    assert full > 40 * MIB
    for _ in range(5):
        assert await hand.consume("q") == 1000
    await hand.maintain()
    assert hand.size() < full * 0.6
    for _ in range(5):
        assert await hand.consume("q") == 1000
    await hand.maintain()
    assert hand.size() < MIB
    assert hand.rows("PRAGMA integrity_check") == [("ok",)]


async def test_a_busy_broker_gives_nothing_back(hand: Hand) -> None:
    await hand.do(to_queue("q", *[os.urandom(10_000)] * 1000))
    assert await hand.consume("q") == 1000
    ((free,),) = hand.rows("PRAGMA freelist_count")
    assert free > 1000
    await hand.maintain(idle=False)
    assert hand.rows("PRAGMA freelist_count") == [(free,)]


async def test_space_is_given_back_in_short_steps(hand: Hand) -> None:
    await hand.do(to_queue("q", *[os.urandom(10_000)] * 1000))
    assert await hand.consume("q") == 1000
    ((free,),) = hand.rows("PRAGMA freelist_count")
    assert await hand.store.maintain()
    ((left,),) = hand.rows("PRAGMA freelist_count")
    assert 0 < free - left <= upkeep.VACUUM_PAGES
    await hand.do(to_queue("q", "in between"))
    await hand.maintain()
    assert bodies(await hand.receive("q")) == [b"in between"]


async def test_another_program_that_reads_the_file_holds_up_no_housekeeping(hand: Hand) -> None:
    await hand.do(to_queue("q", *[b"x" * 10_000] * 100))
    with reading(hand.file) as db:
        db.execute("BEGIN")
        assert db.execute("SELECT count(*) FROM message").fetchone() == (100,)
        await hand.consume("q")
        began = time.monotonic()
        await hand.maintain()
        assert time.monotonic() - began < 2
        assert db.execute("SELECT count(*) FROM message").fetchone() == (100,)
    await hand.do(to_queue("q", "x"))
    await hand.maintain()
    assert hand.size() < MIB


async def test_a_running_broker_shrinks_its_file_by_itself_when_idle(tmp_path: Path) -> None:
    file = tmp_path / "data" / "queuesvc.db"
    async with running(SqliteStore(tmp_path / "data")) as broker:
        await brokers.make_queue(broker, "q")
        for _ in range(3):
            await broker.submit(to_queue("q", *[os.urandom(10_000)] * 1000))
        assert file.stat().st_size > 20 * MIB
        while received := receipts(await broker.receive(c.Receive("q", 1000), 0)):
            await brokers.ack(broker, "q", *received)
        await until(lambda: file.stat().st_size < MIB, "a small file")
        await _still_works(broker)


async def _still_works(broker: Broker) -> None:
    await brokers.publish(broker, "q", "x")
    assert (await stats_of(broker, "q")).ready == 1


# --- deleted queues -------------------------------------------------------------------


async def test_a_deleted_queue_is_gone_at_once_and_reclaimed_in_slices(hand: Hand) -> None:
    for _ in range(5):
        await hand.do(to_queue("q", *[b"x" * 100] * 1000))
    await hand.queue("other")
    await hand.do(to_queue("other", *[b"y" * 100] * 10))
    await hand.do(c.DeleteQueue("q"))
    await hand.queue("q")
    assert (await hand.stats("q")).ready == 0
    left = []
    while await hand.store.maintain(idle=False):
        left.append(hand.rows("SELECT count(*) FROM message WHERE queue_id = 1")[0][0])
        await hand.do(to_queue("q", "new"))
    assert left == [3000, 1000, 0]
    assert hand.rows("SELECT * FROM reclaim") == []
    assert (await hand.stats("q")).ready == len(left)
    assert (await hand.stats("other")).ready == 10
    assert await hand.consume("q") == len(left)
    assert await hand.consume("other") == 10


async def test_reclaiming_goes_on_after_a_restart(hand: Hand) -> None:
    for _ in range(5):
        await hand.do(to_queue("q", *[b"x" * 100] * 1000))
    await hand.receive("q", 10)
    await hand.do(c.DeleteQueue("q"))
    await hand.store.maintain(idle=False)
    await hand.reopen()
    await hand.queue("q")
    assert (await hand.stats("q")).ready == 0
    await hand.maintain()
    assert hand.rows("SELECT count(*) FROM message") == hand.rows("SELECT count(*) FROM lease") == [(0,)]
    assert hand.size() < MIB


async def test_what_came_in_the_batch_of_the_delete_is_reclaimed_too(hand: Hand) -> None:
    await hand.do(to_queue("q", "x"), c.DeleteQueue("q"), c.PutQueue("q", QueueSettings()), to_queue("q", "y"))
    await hand.maintain()
    assert hand.rows("SELECT cast(body AS TEXT) FROM message") == [("y",)]
    await hand.reopen()
    assert bodies(await hand.receive("q", 10)) == [b"y"]


async def test_many_deleted_queues(hand: Hand) -> None:
    for n in range(10):
        await hand.queue(f"d{n}")
    for _ in range(50):
        await hand.do(*(to_queue(f"d{n}", *[b"x" * 50] * 10) for n in range(10)))
    await hand.do(*(c.DeleteQueue(f"d{n}") for n in range(0, 10, 2)))
    await hand.maintain()
    assert hand.rows("SELECT queue_id, count(*) FROM message GROUP BY queue_id") == [(2 * n + 3, 500) for n in range(5)]
