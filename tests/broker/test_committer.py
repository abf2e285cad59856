"""Group commit: what waits becomes one batch, in the order it came; the line is bounded."""

import asyncio
from pathlib import Path

import pytest

from queuesvc.broker import committer
from queuesvc.broker.broker import Broker
from queuesvc.broker.line import BACKLOG_BYTES, BACKLOG_COMMANDS, BATCH_BYTES
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.replies import Page, Published, Received
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import (
    ack,
    bodies,
    commits_held_up,
    fill_the_line,
    make_queue,
    publish,
    receipts,
    running,
    stats_of,
    to_queue,
)
from tests.support.until import until


async def test_what_is_submitted_together_is_one_commit(broker: Broker) -> None:
    before = broker.meter.commits
    answers = await asyncio.gather(*(broker.submit(to_queue("q", f"{n}")) for n in range(500)))
    assert broker.meter.commits - before == 1
    assert len({answer.results[0].first for answer in answers}) == 500  # type: ignore[attr-defined]


async def test_what_comes_during_a_commit_is_the_next_one(broker: Broker, folder: Path) -> None:
    before = broker.meter.commits
    with commits_held_up(folder):
        first = broker.submit(to_queue("q", "first"))
        await until(lambda: not broker._committer._line, "the first batch")
        rest = [broker.submit(to_queue("q", f"{n}")) for n in range(100)]
        assert not first.done()
    await asyncio.gather(first, *rest)
    assert broker.meter.commits - before == 2


async def test_busy_publishers_share_commits(broker: Broker) -> None:
    async def publisher(name: str) -> None:
        for n in range(20):
            await publish(broker, "q", f"{name}.{n}")

    before = broker.meter.commits
    await asyncio.gather(*(publisher(f"p{n}") for n in range(64)))
    assert (await stats_of(broker, "q")).published == 64 * 20
    assert broker.meter.commits - before <= 64 * 20 / 10


async def test_messages_come_out_in_the_order_in_which_they_were_submitted(broker: Broker) -> None:
    sent = [f"{n}".encode() for n in range(2500)]
    await asyncio.gather(*(broker.submit(to_queue("q", body)) for body in sent))
    got: list[bytes] = []
    while received := bodies(await broker.receive(c.Receive("q", 700), 0)):
        got += received
    assert got == sent


async def test_answers_come_in_the_order_of_the_submits(broker: Broker) -> None:
    answered: list[int] = []

    def note(n: int) -> None:
        broker.submit(to_queue("q", f"{n}")).add_done_callback(lambda _: answered.append(n))

    for n in range(1500):
        note(n)
    await until(lambda: len(answered) == 1500)
    assert answered == list(range(1500))


async def test_a_refused_command_is_answered_alone(broker: Broker) -> None:
    answers = await asyncio.gather(
        broker.submit(to_queue("q", "good")),
        broker.submit(to_queue("nowhere", "bad")),
        broker.submit(c.Unbind(99)),
        broker.submit(to_queue("q", "good")),
        return_exceptions=True,
    )
    assert isinstance(answers[0], Published)
    assert isinstance(answers[3], Published)
    assert [a.code for a in answers if isinstance(a, Refused)] == [Code.QUEUE_NOT_FOUND, Code.BINDING_NOT_FOUND]
    assert (await stats_of(broker, "q")).published == 2


async def test_a_question_sees_what_was_submitted_before_it(broker: Broker) -> None:
    published = broker.submit(to_queue("q", "one", "two"))
    assert (await stats_of(broker, "q")).ready == 2
    assert published.done()


async def test_a_publish_a_receive_and_an_ack_are_a_commit_each_when_they_come_one_by_one(broker: Broker) -> None:
    before = broker.meter.commits
    await publish(broker, "q", "x")
    received = await broker.receive(c.Receive("q"), 0)
    await ack(broker, "q", *receipts(received))
    assert broker.meter.commits - before == 3


async def test_the_meter_counts_what_happened(broker: Broker) -> None:
    await publish(broker, "q", "a", "b", "c")
    received = await broker.receive(c.Receive("q", 3), 0)
    one, two, three = receipts(received)
    await ack(broker, "q", one, two, two)
    await broker.submit(c.Nack("q", (three,)))
    meter = broker.meter
    assert (meter.published, meter.delivered, meter.acked, meter.nacked, meter.commit_failures) == (3, 3, 2, 1, 0)
    assert sum(meter.batch_commands.counts) == sum(meter.commit_seconds.counts) == meter.commits


# --- the bounds --------------------------------------------------------------------


async def test_a_line_that_is_too_long_is_refused_and_taken_again_when_it_is_worked_off(
    broker: Broker, folder: Path
) -> None:
    with commits_held_up(folder):
        first = broker.submit(to_queue("q", "first"))
        await until(lambda: not broker._committer._line)
        line = [broker.submit(to_queue("q", "x")) for _ in range(BACKLOG_COMMANDS)]
        with pytest.raises(Refused) as refusal:
            broker.submit(to_queue("q", "one too many"))
    assert (refusal.value.code, refusal.value.extra) == (Code.UNAVAILABLE, {"retry_after_seconds": 1})
    await asyncio.gather(first, *line)
    await publish(broker, "q", "again")
    assert (await stats_of(broker, "q")).published == BACKLOG_COMMANDS + 2


async def test_a_line_that_holds_too_many_bytes_is_refused(broker: Broker, folder: Path) -> None:
    large = b"x" * (1024 * 1024)
    with commits_held_up(folder):
        first = broker.submit(to_queue("q", "first"))
        await until(lambda: not broker._committer._line)
        line = fill_the_line(broker, to_queue("q", large))
        assert len(line) == BACKLOG_BYTES // (len(large) + 1000)
        small = broker.submit(c.Ack("q", ()))
    await asyncio.gather(first, small, *line)
    assert (await stats_of(broker, "q")).published == len(line) + 1


async def test_a_lease_nobody_wants_is_given_back_even_when_the_line_is_full(broker: Broker, folder: Path) -> None:
    await publish(broker, "q", "x")
    with commits_held_up(folder):
        waits = asyncio.create_task(broker.receive(c.Receive("q"), 10_000))
        await until(lambda: bool(broker._waiters._by_receive), "the receive's batch")
        waits.cancel()
        line = fill_the_line(broker, c.Tick())
        assert len(line) <= BACKLOG_COMMANDS
    with pytest.raises(asyncio.CancelledError):
        await waits
    received = await asyncio.wait_for(broker.receive(c.Receive("q"), 10_000), 10)
    assert [delivery.delivery_count for delivery in received.deliveries] == [1]


async def test_a_batch_is_bounded_by_bytes(broker: Broker) -> None:
    before = broker.meter.commits
    size = BATCH_BYTES // 4
    await asyncio.gather(*(broker.submit(to_queue("q", b"x" * size)) for _ in range(12)))
    assert broker.meter.commits - before == 3


async def test_large_pages_are_read_one_at_a_time(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """All those asked for at once used to be in memory at once, and kept everybody else waiting."""
    monkeypatch.setattr(committer, "ASKED_SECONDS", 0)
    await publish(broker, "q", "first")
    questions = [broker.ask(c.BrowseMessages("q", None, 10, "")) for _ in range(3)]
    questions[0].add_done_callback(lambda _: broker.submit(to_queue("q", "second")))
    pages = [await question for question in questions]
    assert [len(page.items) for page in pages if isinstance(page, Page)] == [1, 2, 2]


# --- the end -----------------------------------------------------------------------


async def test_closing_finishes_what_was_submitted(folder: Path) -> None:
    async with running(SqliteStore(folder)) as broker:
        await make_queue(broker, "q")
        answers = [broker.submit(to_queue("q", f"{n}")) for n in range(3000)]
    assert all(isinstance(answer.result(), Published) for answer in answers)
    async with running(SqliteStore(folder)) as broker:
        assert (await stats_of(broker, "q")).ready == 3000


async def test_shutting_down_refuses_publishes_and_still_settles(broker: Broker) -> None:
    await publish(broker, "q", "x")
    received = await broker.receive(c.Receive("q"), 0)
    broker.shut_down()
    assert not broker.accepting
    with pytest.raises(Refused) as refusal:
        broker.submit(to_queue("q", "late"))
    assert (refusal.value.code, refusal.value.extra) == (Code.UNAVAILABLE, {"retry_after_seconds": 1})
    assert (await ack(broker, "q", *receipts(received))).count == 1


async def test_shutting_down_answers_every_waiting_receive_with_nothing(broker: Broker) -> None:
    waits = [asyncio.create_task(broker.receive(c.Receive("q"), 60_000)) for _ in range(50)]
    await until(lambda: broker.waiting == 50)
    broker.shut_down()
    assert await asyncio.wait_for(asyncio.gather(*waits), 5) == [Received()] * 50
    assert await asyncio.wait_for(broker.receive(c.Receive("q"), 60_000), 5) == Received()
