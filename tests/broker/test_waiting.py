"""The long poll: who waits is served by the commit that brings the message, or loses nothing by leaving."""

import asyncio
from pathlib import Path

import pytest

from queuesvc.broker.broker import Broker
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import QueueSettings
from queuesvc.domain.replies import Received
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import (
    Hands,
    ack,
    bodies,
    commits_held_up,
    make_queue,
    publish,
    receipts,
    running,
    stats_of,
    to_queue,
)
from tests.support.until import until

PATIENTLY_MS = 10_000


def wait_for_one(broker: Broker, queue: str = "q", **options: bool) -> asyncio.Task[Received]:
    return asyncio.create_task(broker.receive(c.Receive(queue, **options), PATIENTLY_MS))  # type: ignore[arg-type]


async def leave(task: asyncio.Task[Received]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_answer_leaves_with_the_commit_of_the_publish(broker: Broker) -> None:
    waits = wait_for_one(broker)
    await until(lambda: broker.waiting == 1)
    before = broker.meter.commits
    await publish(broker, "q", "x")
    received = await waits
    assert bodies(received) == [b"x"]
    assert broker.meter.commits - before == 1
    assert broker.waiting == 0


async def test_who_came_first_is_served_first(broker: Broker) -> None:
    line = []
    for n in range(20):
        line.append(wait_for_one(broker))
        await until(lambda n=n: broker.waiting == n + 1)  # type: ignore[misc]
    await asyncio.gather(*(broker.submit(to_queue("q", f"{n}")) for n in range(20)))
    assert [bodies(await waits)[0] for waits in line] == [f"{n}".encode() for n in range(20)]


async def test_a_receive_that_does_not_wait_stands_behind_those_who_do(broker: Broker, folder: Path) -> None:
    patient = wait_for_one(broker)
    await until(lambda: broker.waiting == 1)
    published = broker.submit(to_queue("q", "x"))
    hasty = await broker.receive(c.Receive("q"), 0)
    assert hasty == Received()
    assert published.done()
    assert bodies(await patient) == [b"x"]


async def test_the_wait_ends_empty_when_its_time_is_up(broker: Broker) -> None:
    assert await broker.receive(c.Receive("q"), 20) == Received()
    assert broker.waiting == 0
    await publish(broker, "q", "x")
    assert (await stats_of(broker, "q")).ready == 1


async def test_a_receive_at_no_queue_is_refused_at_once(broker: Broker) -> None:
    with pytest.raises(Refused) as refusal:
        await broker.receive(c.Receive("nowhere"), PATIENTLY_MS)
    assert refusal.value.code is Code.QUEUE_NOT_FOUND


async def test_deleting_the_queue_ends_the_waits_at_it(broker: Broker) -> None:
    line = [wait_for_one(broker) for _ in range(3)]
    await until(lambda: broker.waiting == 3)
    await broker.submit(c.DeleteQueue("q"))
    for ended in await asyncio.gather(*line, return_exceptions=True):
        assert isinstance(ended, Refused)
        assert ended.code is Code.QUEUE_NOT_FOUND


async def test_a_paused_queue_lets_them_wait_until_it_goes_on(broker: Broker) -> None:
    await publish(broker, "q", "x")
    await broker.submit(c.PatchQueue("q", {"paused": True}))
    waits = wait_for_one(broker)
    await until(lambda: broker.waiting == 1)
    await publish(broker, "q", "y")
    assert not waits.done()
    await broker.submit(c.PatchQueue("q", {"paused": False}))
    assert bodies(await waits) == [b"x"]


async def test_many_large_receives_at_once_are_all_served_though_not_by_one_batch(broker: Broker) -> None:
    """Also those that do not wait: there is something for each of them."""
    large = b"x" * (10 * 1024 * 1024)
    for _ in range(10):
        await publish(broker, "q", large)
    before = broker.meter.commits
    all_at_once = (broker.receive(c.Receive("q"), wait_ms) for wait_ms in (0, 1000) * 5)
    assert [len(received.deliveries) for received in await asyncio.gather(*all_at_once)] == [1] * 10
    assert broker.meter.commits - before > 1


# --- leaving, at each moment -------------------------------------------------------


async def test_leaving_before_anything_came(broker: Broker) -> None:
    waits = wait_for_one(broker)
    await until(lambda: broker.waiting == 1)
    await leave(waits)
    assert broker.waiting == 0
    await publish(broker, "q", "x")
    assert (await stats_of(broker, "q")).delivered == 0
    await untouched(broker)


async def test_leaving_before_the_line_was_looked_at(broker: Broker) -> None:
    await publish(broker, "q", "x")
    waits = wait_for_one(broker)
    joined = asyncio.Event()
    asyncio.get_running_loop().call_soon(joined.set)
    await joined.wait()
    assert not waits.done()
    await leave(waits)
    await untouched(broker)


async def test_leaving_during_the_commit_that_serves_it(broker: Broker, folder: Path) -> None:
    waits = wait_for_one(broker)
    await until(lambda: broker.waiting == 1)
    with commits_held_up(folder):
        published = broker.submit(to_queue("q", "x"))
        await until(lambda: broker.waiting == 0, "the receive's batch")
        assert not waits.done()
        await leave(waits)
    await published
    await untouched(broker)


async def test_leaving_after_the_commit_but_before_the_answer_was_taken(broker: Broker) -> None:
    waits = wait_for_one(broker)
    await until(lambda: broker.waiting == 1)
    published = broker.submit(to_queue("q", "x"))
    # The publish is answered in the same turn as the receive: this runs before the receive goes on.
    published.add_done_callback(lambda _: waits.cancel())
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (await stats_of(broker, "q")).ready == 1
    await untouched(broker)


async def test_leaving_once_the_answer_was_there_but_could_not_be_written(broker: Broker) -> None:
    await publish(broker, "q", "x")
    received = await broker.receive(c.Receive("q"), PATIENTLY_MS)
    await broker.undeliver("q", received.lease)
    assert (await ack(broker, "q", *receipts(received))).count == 0
    await untouched(broker)


async def test_what_one_left_goes_to_the_next_in_line(broker: Broker, folder: Path) -> None:
    first, second = wait_for_one(broker), wait_for_one(broker)
    await until(lambda: broker.waiting == 2)
    with commits_held_up(folder):
        published = broker.submit(to_queue("q", "x"))
        await until(lambda: broker.waiting == 1, "the first's batch")
        await leave(first)
    await published
    received = await second
    assert bodies(received) == [b"x"]
    assert received.deliveries[0].delivery_count == 1


async def test_hundreds_leaving_at_any_moment_lose_nothing(broker: Broker) -> None:
    async def one_consumer(n: int) -> int:
        """Gives up after some turns of the loop, or has received and acknowledges."""
        task = wait_for_one(broker)
        turns = asyncio.get_running_loop()
        turn = turns.create_future()
        turns.call_later(n % 40 / 4000, turn.set_result, None)
        await turn
        task.cancel()
        try:
            received = await task
        except asyncio.CancelledError:
            return 0
        assert [d.delivery_count for d in received.deliveries] == [1]
        return (await ack(broker, "q", *receipts(received))).count

    async def publisher(n: int) -> None:
        await publish(broker, "q", f"{n}")

    done = await asyncio.gather(
        *(one_consumer(n) for n in range(400)), *(publisher(n) for n in range(200)), return_exceptions=False
    )
    acked = sum(count for count in done if count)
    stats = await stats_of(broker, "q")
    assert (stats.published, stats.acked) == (200, acked)
    assert (stats.ready, stats.leased) == (200 - acked, 0)
    rest = await broker.receive(c.Receive("q", 1000), 0)
    assert [d.delivery_count for d in rest.deliveries] == [1] * (200 - acked)


async def untouched(broker: Broker) -> None:
    """The one message of the queue is ready as if nobody had ever received it."""
    received = await broker.receive(c.Receive("q"), PATIENTLY_MS)
    assert bodies(received) == [b"x"]
    assert (received.deliveries[0].delivery_count, received.deliveries[0].failed_count) == (1, 0)
    stats = await stats_of(broker, "q")
    assert (stats.ready, stats.leased, stats.delivered) == (0, 1, 1)
    assert (await ack(broker, "q", *receipts(received))).count == 1


# --- time --------------------------------------------------------------------------


async def test_a_delayed_message_is_handed_to_who_waits_when_it_is_due(broker: Broker) -> None:
    await broker.submit(to_queue("q", "later", delay_ms=60))
    began = broker.now()
    received = await broker.receive(c.Receive("q"), PATIENTLY_MS)
    assert bodies(received) == [b"later"]
    assert 55 <= broker.now() - began < PATIENTLY_MS


async def test_a_lease_that_runs_out_hands_its_message_to_who_waits(broker: Broker) -> None:
    await publish(broker, "q", "x")
    await broker.receive(c.Receive("q", lease_ms=100), 0)
    received = await broker.receive(c.Receive("q"), PATIENTLY_MS)
    assert (received.deliveries[0].delivery_count, received.deliveries[0].failed_count) == (2, 1)


async def test_an_earlier_moment_is_not_missed_behind_a_later_one(broker: Broker) -> None:
    await broker.submit(to_queue("q", "much later", delay_ms=3_600_000))
    await broker.submit(to_queue("q", "soon", delay_ms=40))
    assert bodies(await broker.receive(c.Receive("q"), PATIENTLY_MS)) == [b"soon"]
    await broker.submit(to_queue("q", "soon again", delay_ms=40))
    assert bodies(await broker.receive(c.Receive("q"), PATIENTLY_MS)) == [b"soon again"]


async def test_time_alone_commits_nothing_where_nothing_is_due(broker: Broker) -> None:
    await publish(broker, "q", "x")
    before = broker.meter.commits
    await make_queue(broker, "r")
    assert await broker.receive(c.Receive("r"), 300) == Received()
    assert broker.meter.commits - before == 1  # the declaration


async def test_an_hour_by_the_clock_brings_what_is_due_in_the_order_it_fell_due(folder: Path) -> None:
    hands = Hands()
    async with running(SqliteStore(folder), hands) as broker:
        await make_queue(broker, "q")
        for delay_seconds in (1800, 600, 1200):
            await broker.submit(to_queue("q", f"{delay_seconds}", delay_ms=delay_seconds * 1000))
        assert await broker.receive(c.Receive("q", 10), 0) == Received()
        waits = wait_for_one(broker)
        await until(lambda: broker.waiting == 1)
        hands.pass_seconds(599.9)
        await broker.submit(c.Tick())
        assert not waits.done()
        hands.pass_seconds(0.1)
        await broker.submit(c.Tick())
        assert bodies(await waits) == [b"600"]
        hands.pass_seconds(3000)
        # All are due, and the first's lease is long over: they stand in the order of their publishes.
        assert bodies(await broker.receive(c.Receive("q", 10), 0)) == [b"1800", b"600", b"1200"]


@pytest.mark.parametrize("jump_seconds", [3600, -3600])
async def test_a_wall_clock_set_anew_ends_no_lease(folder: Path, jump_seconds: float) -> None:
    hands = Hands()
    async with running(SqliteStore(folder), hands) as broker:
        await make_queue(broker, "q", QueueSettings(lease_seconds=30))
        await publish(broker, "q", "x")
        received = await broker.receive(c.Receive("q"), 0)
        hands.wall += jump_seconds
        hands.pass_seconds(25)
        await broker.submit(c.Tick())
        assert (await stats_of(broker, "q")).leased == 1
        assert (await ack(broker, "q", *receipts(received))).count == 1


async def test_broker_time_does_not_step_back_over_a_restart(folder: Path) -> None:
    hands = Hands()
    async with running(SqliteStore(folder), hands) as broker:
        await make_queue(broker, "q", QueueSettings(lease_seconds=30))
        published = await publish(broker, "q", "x")
        received = await broker.receive(c.Receive("q"), 0)
    hands.wall -= 3600
    async with running(SqliteStore(folder), hands) as broker:
        assert broker.now() >= published.published_at
        later = await publish(broker, "q", "y")
        assert later.published_at >= published.published_at
        hands.pass_seconds(20)
        assert (await ack(broker, "q", *receipts(received))).count == 1
