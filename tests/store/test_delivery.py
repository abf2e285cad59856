"""Order, delays, and receives that wait (§5, §10.6)."""

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.replies import Received
from tests.store.driver import Driver, deliveries, message, receipts, texts


async def test_messages_are_handed_out_in_the_order_of_their_publishes(store: Driver) -> None:
    await store.queue()
    wanted = [str(number) for number in range(100)]
    for number in range(0, 100, 10):
        await store.publish(*wanted[number : number + 10])
    assert await store.bodies(max_messages=37) + await store.bodies(max_messages=63) == wanted


async def test_the_highest_priority_comes_first_and_the_oldest_within(store: Driver) -> None:
    await store.queue(max_priority=2)
    for body, priority in [("low", 0), ("high", 2), ("above the highest", 200), ("middle", 1), ("low too", 0)]:
        await store.publish(message(body, priority=priority))
    assert await store.bodies() == ["high", "above the highest", "middle", "low", "low too"]


async def test_without_max_priority_all_are_equal(store: Driver) -> None:
    await store.queue()
    for body, priority in [("one", 0), ("two", 9), ("three", 255)]:
        await store.publish(message(body, priority=priority))
    assert await store.bodies() == ["one", "two", "three"]


async def test_a_message_given_back_takes_its_old_place(store: Driver) -> None:
    await store.queue(max_priority=1)
    await store.publish(*(message(body, priority=body == "urgent") for body in ["one", "two", "urgent", "three"]))
    received = await store.receive(max_messages=3)
    assert texts(received) == ["urgent", "one", "two"]
    await store.nack(receipts(received)[2])
    await store.nack(receipts(received)[0])
    assert await store.bodies() == ["urgent", "two", "three"]


async def test_a_message_whose_lease_ran_out_or_whose_retry_came_takes_its_old_place(store: Driver) -> None:
    await store.queue()
    await store.publish("one", "two", "three")
    received = await store.receive(max_messages=2, lease_ms=2000)
    await store.nack(receipts(received)[0], delay_ms=1000)
    assert await store.bodies() == ["three"]
    await store.after(2)
    await store.publish("four")
    assert await store.bodies() == ["one", "two", "four"]


async def test_a_new_message_is_ready_only_after_the_queues_delay_or_its_own(store: Driver) -> None:
    await store.queue(delay_seconds=2)
    await store.publish(message("at once", delay_ms=0), message("soon", delay_ms=500), message("by the queue"))
    assert await store.counts() == {"ready": 1, "delayed": 2}
    assert await store.bodies() == ["at once"]
    await store.after(0.499)
    assert await store.bodies() == []
    await store.after(0.001)
    assert await store.bodies() == ["soon"]
    assert store.store.next_due() == store.now + 1500
    await store.after(1.5)
    assert await store.bodies() == ["by the queue"]


async def test_a_receive_takes_what_is_there_up_to_its_maximum(store: Driver) -> None:
    await store.queue()
    await store.publish("one", "two", "three")
    received = await store.receive(max_messages=2)
    assert texts(received) == ["one", "two"]
    assert len({received.lease, 0}) == 2
    assert await store.bodies(max_messages=2) == ["three"]
    assert await store.receive(max_messages=2) == Received()


async def test_the_lease_is_the_receives_own_or_the_queues(store: Driver) -> None:
    await store.queue(lease_seconds=7)
    await store.publish("one", "two")
    assert (await store.receive(max_messages=1)).lease_expires_at == store.now + 7000
    assert (await store.receive(max_messages=1, lease_ms=100)).lease_expires_at == store.now + 100


async def test_what_is_acked_by_itself_is_gone_with_the_answer(store: Driver) -> None:
    await store.queue()
    await store.publish("one", "two")
    received = await store.receive(auto_ack=True)
    assert texts(received) == ["one", "two"]
    assert (received.lease, received.token, received.lease_expires_at) == (0, "", 0)
    stats = await store.stats()
    assert (stats.delivered, stats.acked, stats.ready, stats.leased, stats.bytes) == (2, 2, 0, 0, 0)
    await store.after(60)
    assert await store.bodies() == []


async def test_who_waits_first_is_served_first_by_the_batch_that_brings_the_message(store: Driver) -> None:
    await store.queue()
    first, second, third = [await store.wait() for _ in range(3)]
    assert (await store.stats()).consumers_waiting == 3
    await store.publish("one", "two")
    assert [texts(store.answers[receive]) for receive in (first, second)] == [["one"], ["two"]]
    assert third not in store.answers
    assert (await store.stats()).consumers_waiting == 1
    await store.publish("three")
    assert texts(store.answers[third]) == ["three"]


async def test_a_waiting_receive_takes_all_a_batch_brings_but_does_not_wait_to_fill(store: Driver) -> None:
    await store.queue()
    first, second = await store.wait(max_messages=10), await store.wait(max_messages=10)
    await store.publish("one", "two", "three")
    assert texts(store.answers[first]) == ["one", "two", "three"]
    assert second not in store.answers


@pytest.mark.parametrize("how", ["lease end", "delay", "nack", "undeliver"])
async def test_what_becomes_ready_again_goes_to_who_waits(store: Driver, how: str) -> None:
    await store.queue(lease_seconds=5)
    await store.publish(message("one", delay_ms=5000) if how == "delay" else "one")
    received = await store.receive()
    waiting = await store.wait()
    assert waiting not in store.answers
    if how == "nack":
        await store.nack(*receipts(received))
    elif how == "undeliver":
        await store.do(c.Undeliver("q", received.lease))
    else:
        assert store.store.next_due() == store.now + 5000
        await store.after(5)
    assert texts(store.answers[waiting]) == ["one"]


async def test_a_paused_queue_takes_publishes_and_hands_out_nothing(store: Driver) -> None:
    await store.queue(paused=True)
    waiting = await store.wait()
    await store.publish("one")
    assert waiting not in store.answers
    assert await store.bodies() == []
    await store.do(c.PatchQueue("q", {"paused": False}))
    assert texts(store.answers[waiting]) == ["one"]


async def test_a_paused_queue_still_settles(store: Driver) -> None:
    await store.queue()
    await store.publish("one", "two")
    one, two = receipts(await store.receive())
    await store.do(c.PatchQueue("q", {"paused": True}))
    assert (await store.ack(one)).count == 1
    assert (await store.nack(two)).count == 1
    assert await store.counts() == {"ready": 1}


async def test_who_waits_at_a_queue_that_is_deleted_is_told_at_once(store: Driver) -> None:
    await store.queue()
    waiting = [await store.wait(), await store.wait()]
    await store.do(c.DeleteQueue("q"))
    assert [store.answers[receive] for receive in waiting] == [Refused(Code.QUEUE_NOT_FOUND, "", queue="q")] * 2


async def test_who_waits_at_a_deleted_queue_gets_nothing_of_one_made_in_the_same_batch(store: Driver) -> None:
    await store.queue()
    waiting = await store.wait()
    again = c.PutQueue("q", (await store.ask(c.GetQueue("q"))).settings)
    _, declared, _ = await store.batch(c.DeleteQueue("q"), again, c.Publish((message("new"),), queue="q"))
    answer = store.answers[waiting]
    assert isinstance(answer, Refused)
    assert answer.code is Code.QUEUE_NOT_FOUND
    assert declared.value.stats.consumers_waiting == 0
    assert await store.bodies() == ["new"]


async def test_a_receive_at_no_queue_is_refused(store: Driver) -> None:
    with pytest.raises(Refused) as refused:
        await store.receive("nowhere")
    assert refused.value.code is Code.QUEUE_NOT_FOUND


async def test_who_left_the_line_takes_no_message_along(store: Driver) -> None:
    await store.queue()
    gone, stays = await store.wait(), await store.wait()
    store.line.leave(gone)
    await store.publish("one")
    assert gone not in store.answers
    assert texts(store.answers[stays]) == ["one"]


async def test_delivery_counts_count_leases_and_failures_count_failures(store: Driver) -> None:
    await store.queue(lease_seconds=1)
    await store.publish("one")
    seen = []
    for ending in ("nack", "give back", "run out", "undeliver", "look"):
        received = await store.receive()
        seen.append((ending, deliveries(received)[0].delivery_count, deliveries(received)[0].failed_count))
        if ending == "nack":
            await store.nack(*receipts(received))
        elif ending == "give back":
            await store.nack(*receipts(received), delivery_failed=False)
        elif ending == "run out":
            await store.after(1)
        elif ending == "undeliver":
            await store.do(c.Undeliver("q", received.lease))
    assert seen == [("nack", 1, 0), ("give back", 2, 1), ("run out", 3, 1), ("undeliver", 4, 2), ("look", 4, 2)]
