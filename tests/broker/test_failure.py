"""A store that cannot be written to: everybody is told, nothing is half done, and it goes on when there is room."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuesvc.broker import committer
from queuesvc.broker.broker import Broker
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import QueueSettings, QueueView
from queuesvc.domain.replies import Published, Received, Settled
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import (
    Full,
    Hands,
    ack,
    bodies,
    make_queue,
    publish,
    receipts,
    running,
    stats_of,
    to_queue,
)
from tests.support.picture import picture_of
from tests.support.until import until

LARGE = b"x" * 100_000


@pytest.fixture
def tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that failed is tried again by the next publish, not a second later."""
    monkeypatch.setattr(committer, "RETRY_SECONDS", 0.0)


def is_unavailable(answer: object) -> bool:
    return (
        isinstance(answer, Refused) and answer.code is Code.UNAVAILABLE and answer.extra.get("retry_after_seconds") == 1
    )


@pytest.fixture
async def full(broker: Broker, store: SqliteStore) -> AsyncIterator[Full]:
    """The broker's store has no room left; there are 5 messages in `q`."""
    await publish(broker, "q", *(f"{n}" for n in range(5)))
    full = Full(store)
    await full.fill()
    yield full
    await full.make_room()


async def test_all_publishes_of_a_batch_that_finds_no_room_are_unavailable(broker: Broker, full: Full) -> None:
    answers = await asyncio.gather(*(broker.submit(to_queue("q", LARGE)) for _ in range(20)), return_exceptions=True)
    assert all(map(is_unavailable, answers)), answers
    assert broker.meter.commit_failures >= 1
    assert (await stats_of(broker, "q")).published == 5


async def test_memory_stays_equal_to_the_disk(
    broker: Broker, store: SqliteStore, folder: Path, full: Full, tmp_path: Path
) -> None:
    received = await broker.receive(c.Receive("q", 3), 0)
    before = picture_of(store)
    with pytest.raises(Refused):
        await broker.submit(to_queue("q", LARGE, LARGE))
    assert picture_of(store) == before
    assert (await ack(broker, "q", *receipts(received))).count == 3
    shutil.copytree(folder, tmp_path / "copy")
    again = SqliteStore(tmp_path / "copy")
    await again.open()
    assert picture_of(again) == picture_of(store)
    await again.close()


@pytest.mark.usefixtures("tried_at_once")
async def test_publishing_works_again_when_there_is_room(broker: Broker, full: Full) -> None:
    for _ in range(3):
        with pytest.raises(Refused):
            await broker.submit(to_queue("q", LARGE))
    await full.make_room()
    await publish(broker, "q", LARGE)
    received = await broker.receive(c.Receive("q", 10), 0)
    assert bodies(received) == [b"0", b"1", b"2", b"3", b"4", LARGE]


@pytest.mark.usefixtures("tried_at_once")
async def test_acknowledging_makes_the_room(broker: Broker, full: Full) -> None:
    await full.make_room()
    await publish(broker, "q", *[LARGE] * 5)
    await full.fill()
    with pytest.raises(Refused):
        await broker.submit(to_queue("q", LARGE))
    received = await broker.receive(c.Receive("q", 10), 0)
    assert (await ack(broker, "q", *receipts(received))).count == 10
    await publish(broker, "q", LARGE)


async def test_acks_go_through_beside_publishes_that_do_not(broker: Broker, full: Full) -> None:
    received = await broker.receive(c.Receive("q", 5), 0)
    answers = await asyncio.gather(
        *(broker.submit(to_queue("q", LARGE)) for _ in range(5)),
        *(broker.submit(c.Ack("q", (receipt,))) for receipt in receipts(received)),
        *(broker.submit(to_queue("q", LARGE)) for _ in range(5)),
        return_exceptions=True,
    )
    assert all(map(is_unavailable, answers[:5] + answers[-5:]))
    assert answers[5:10] == [Settled(1)] * 5
    assert (await stats_of(broker, "q")).acked == 5


@pytest.mark.usefixtures("tried_at_once")
async def test_a_receive_taken_into_a_batch_that_fails_loses_nothing(broker: Broker, full: Full) -> None:
    """The message of a publish that did not fit is not handed out; one that was there stays there."""
    await make_queue(broker, "r")
    waits = asyncio.create_task(broker.receive(c.Receive("r"), 10_000))
    await until(lambda: broker.waiting == 1)
    with pytest.raises(Refused):
        await broker.submit(to_queue("r", LARGE))
    await full.make_room()
    await publish(broker, "r", "small")
    (answer,) = await asyncio.gather(waits, return_exceptions=True)
    if not isinstance(answer, Received):
        assert is_unavailable(answer)
        answer = await broker.receive(c.Receive("r"), 0)
    assert bodies(answer) == [b"small"]
    assert answer.deliveries[0].delivery_count == 1


async def test_everyone_who_waits_is_served_once_writing_works_again(
    broker: Broker, store: SqliteStore, folder: Path
) -> None:
    await publish(broker, "q", "x")
    await cannot_write(store)
    line = [asyncio.create_task(broker.receive(c.Receive("q"), 10_000)) for _ in range(2)]
    (refused,), _ = await asyncio.wait(line, return_when=asyncio.FIRST_EXCEPTION)
    assert is_unavailable(refused.exception())
    await can_write(store)
    (other,) = (waits for waits in line if waits is not refused)
    received = await asyncio.wait_for(other, 5)
    assert bodies(received) == [b"x"]
    assert received.deliveries[0].delivery_count == 1


@pytest.mark.usefixtures("tried_at_once")
async def test_questions_are_answered_while_nothing_can_be_written(broker: Broker, store: SqliteStore) -> None:
    await publish(broker, "q", "x")
    await cannot_write(store)
    answers = await asyncio.gather(
        broker.submit(to_queue("q", "y")), broker.ask(c.GetQueue("q")), return_exceptions=True
    )
    assert is_unavailable(answers[0])
    assert isinstance(answers[1], QueueView)
    assert answers[1].stats.ready == 1
    await can_write(store)
    assert isinstance(await broker.submit(to_queue("q", "y")), Published)


async def test_what_is_due_while_nothing_can_be_written_is_tried_again_without_haste(
    broker: Broker, store: SqliteStore
) -> None:
    await publish(broker, "q", "x")
    await broker.receive(c.Receive("q", lease_ms=100), 0)
    await cannot_write(store)
    await until(lambda: broker.meter.commit_failures > 0, "the lease's end")
    began = asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() > began + 0.5)
    assert broker.meter.commit_failures <= 5
    await can_write(store)
    received = await asyncio.wait_for(broker.receive(c.Receive("q"), 10_000), 10)
    assert (received.deliveries[0].delivery_count, received.deliveries[0].failed_count) == (2, 1)


async def test_a_broker_opens_on_a_store_it_cannot_write_to_and_goes_on_when_it_can(folder: Path) -> None:
    """E.g. the disk is full: reads and acks are wanted then more than ever."""
    hands = Hands()
    async with running(SqliteStore(folder), hands) as broker:
        await make_queue(broker, "q", QueueSettings(lease_seconds=1))
        await publish(broker, "q", "x")
        await broker.receive(c.Receive("q"), 0)
    hands.pass_seconds(10)
    store = SqliteStore(folder)
    opened = store.open

    async def open_read_only() -> object:
        result = await opened()
        await cannot_write(store)
        return result

    store.open = open_read_only  # type: ignore[method-assign,assignment]
    async with running(store, hands) as broker:
        assert (await stats_of(broker, "q")).published == 1
        with pytest.raises(Refused) as refusal:  # at once: it is tried once a second, not for each publish
            await broker.submit(to_queue("q", "y"))
        assert is_unavailable(refusal.value)
        await can_write(store)
        received = await asyncio.wait_for(broker.receive(c.Receive("q"), 10_000), 10)
        assert received.deliveries[0].failed_count == 1


async def test_a_disk_with_little_room_takes_acks_but_no_publishes(folder: Path) -> None:
    """An ack, too, must be written before it frees anything: so publishes stop before the disk is full."""
    async with running(SqliteStore(folder)) as broker:
        await make_queue(broker, "q")
        await publish(broker, "q", "x")
    async with running(SqliteStore(folder, reserve_bytes=2**62)) as broker:
        received = await broker.receive(c.Receive("q"), 0)
        with pytest.raises(Refused) as refusal:
            await broker.submit(to_queue("q", "y"))
        assert is_unavailable(refusal.value)
        await broker.submit(c.Ack("q", (f"{received.token}.{received.deliveries[0].number:x}",)))
        assert (await stats_of(broker, "q")).acked == 1


async def test_a_command_the_store_chokes_on_harms_no_other_batch(
    broker: Broker, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The edge lets no such thing through; should it ever, it must not spoil what memory says."""
    await publish(broker, "q", "x")
    before = picture_of(store)
    with caplog.at_level(logging.CRITICAL, "queuesvc"):
        answers = await asyncio.gather(
            broker.submit(to_queue("q", "fine")), broker.submit(to_queue("q", "late", delay_ms=2**70)),
            return_exceptions=True,
        )  # fmt: skip
    assert all(isinstance(answer, Exception) for answer in answers)
    assert picture_of(store) == before
    await publish(broker, "q", "y")
    assert bodies(await broker.receive(c.Receive("q", 10), 0)) == [b"x", b"y"]


async def cannot_write(store: SqliteStore) -> None:
    """As on a file system that became read-only: SQLite refuses every write."""
    await store._on_writer(lambda db: db.execute("PRAGMA query_only = ON").fetchall())


async def can_write(store: SqliteStore) -> None:
    await store._on_writer(lambda db: db.execute("PRAGMA query_only = OFF").fetchall())
