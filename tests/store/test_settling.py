"""Receipts, leases and failures (§5, §6, §10.2 to §10.4)."""

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.replies import Failure, Settled
from tests.store.driver import Driver, codes, deliveries, receipts


async def test_an_acked_message_is_gone_and_a_retried_ack_is_harmless(store: Driver) -> None:
    await store.queue()
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    assert await store.ack(receipt) == Settled(1)
    assert await store.ack(receipt) == Settled(0, (Failure(receipt, Code.GONE),))
    stats = await store.stats()
    assert (stats.acked, stats.delivered, stats.ready, stats.leased) == (1, 1, 0, 0)


async def test_a_receipt_given_twice_in_one_call_counts_once(store: Driver) -> None:
    await store.queue()
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    assert await store.extend(receipt, receipt, seconds=1) == Settled(1, (), store.now + 1000)
    assert await store.ack(receipt, receipt) == Settled(1)
    assert await store.ack(receipt, receipt) == Settled(0, (Failure(receipt, Code.GONE),))


async def test_only_the_newest_leases_receipt_settles(store: Driver) -> None:
    await store.queue(lease_seconds=1)
    await store.publish("one")
    (stale,) = receipts(await store.receive())
    await store.after(1)
    (fresh,) = receipts(await store.receive())
    assert stale != fresh
    for settle in (store.ack, store.nack, store.extend):
        assert codes(await settle(stale)) == [Code.LEASE_LOST]
    assert await store.counts() == {"leased": 1}
    assert await store.ack(fresh) == Settled(1)
    assert codes(await store.ack(stale)) == [Code.GONE]


async def test_another_queues_receipt_is_gone_and_touches_nothing(store: Driver) -> None:
    for name in ("a", "b"):
        await store.queue(name)
        await store.publish("one", queue=name)
    (of_a,) = receipts(await store.receive("a"))
    await store.receive("b")
    for settle in (store.ack, store.nack, store.extend):
        assert codes(await settle(of_a, queue="b")) == [Code.GONE]
    assert await store.counts("a") == await store.counts("b") == {"leased": 1}


async def test_a_lease_does_not_settle_a_message_that_another_lease_holds(store: Driver) -> None:
    await store.queue()
    await store.publish("one", "two")
    first, second = await store.receive(max_messages=1), await store.receive(max_messages=1)
    mixed = f"{first.token}.{second.deliveries[0].number:x}"
    assert codes(await store.ack(mixed)) == [Code.LEASE_LOST]
    never = f"{first.token}.{second.deliveries[0].number + 1000:x}"
    assert codes(await store.ack(never)) == [Code.GONE]
    assert await store.counts() == {"leased": 2}


async def test_a_malformed_receipt_refuses_the_whole_call(store: Driver) -> None:
    await store.queue()
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    forged = ("B" if receipt[0] != "B" else "C") + receipt[1:]
    for wrong in ("", "receipt", receipt + "z", forged):
        for command in (
            c.Ack("q", (receipt, wrong)),
            c.Nack("q", (receipt, wrong)),
            c.Extend("q", (receipt, wrong), 1),
        ):
            with pytest.raises(Refused) as refused:
                await store.do(command)
            assert refused.value.code is Code.INVALID_REQUEST
            assert (refused.value.extra["field"], refused.value.extra["index"]) == ("receipts", 1)
    assert await store.counts() == {"leased": 1}
    assert (await store.ack(receipt)).count == 1


async def test_no_receipt_fits_a_queue_made_later_by_the_same_name(store: Driver) -> None:
    await store.queue()
    await store.publish("old")
    (receipt,) = receipts(await store.receive())
    await store.do(c.DeleteQueue("q"))
    with pytest.raises(Refused) as refused:
        await store.ack(receipt)
    assert refused.value.code is Code.QUEUE_NOT_FOUND
    await store.queue()
    await store.publish("new")
    await store.receive()
    assert codes(await store.ack(receipt)) == [Code.GONE]
    assert await store.counts() == {"leased": 1}


async def test_a_lease_runs_out_at_its_end_and_not_before(store: Driver) -> None:
    await store.queue()
    await store.publish("one")
    received = await store.receive(lease_ms=1500)
    assert received.lease_expires_at == store.now + 1500 == store.store.next_due()
    await store.after(1.499)
    assert await store.bodies() == []
    await store.after(0.001)
    (delivery,) = deliveries(await store.receive())
    assert (delivery.delivery_count, delivery.failed_count) == (2, 1)


async def test_a_lease_that_ran_out_is_still_acked(store: Driver) -> None:
    await store.queue(lease_seconds=1)
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    await store.after(5)
    assert await store.counts() == {"ready": 1}
    assert await store.ack(receipt) == Settled(1)
    assert await store.counts() == {}
    assert await store.bodies() == []


async def test_a_lease_that_ran_out_is_taken_again_by_an_extend(store: Driver) -> None:
    await store.queue(lease_seconds=1)
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    await store.after(5)
    assert await store.extend(receipt, seconds=2) == Settled(1, (), store.now + 2000)
    assert await store.bodies() == []
    await store.after(2)
    (delivery,) = deliveries(await store.receive())
    assert (delivery.delivery_count, delivery.failed_count) == (2, 2)
    assert (await store.stats()).delivered == 2


async def test_a_nack_of_a_lease_that_ran_out_counts_no_second_failure(store: Driver) -> None:
    await store.queue(lease_seconds=1)
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    await store.after(1)
    assert await store.nack(receipt, delay_ms=3000) == Settled(1)
    assert await store.counts() == {"delayed": 1}
    assert codes(await store.ack(receipt)) == [Code.LEASE_LOST]
    await store.after(3)
    assert deliveries(await store.receive())[0].failed_count == 1


async def test_a_nack_gives_back_and_its_receipt_is_lost(store: Driver) -> None:
    await store.queue()
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    assert await store.nack(receipt) == Settled(1)
    assert codes(await store.ack(receipt)) == [Code.LEASE_LOST]
    (delivery,) = deliveries(await store.receive())
    assert (delivery.delivery_count, delivery.failed_count) == (2, 1)
    assert (await store.stats()).nacked == 1


async def test_a_nack_of_unprocessed_work_counts_no_failure(store: Driver) -> None:
    await store.queue(delivery_limit=1)
    await store.publish("one")
    await store.nack(*receipts(await store.receive()), delivery_failed=False)
    (delivery,) = deliveries(await store.receive())
    assert (delivery.delivery_count, delivery.failed_count) == (2, 0)


async def test_the_delivery_limit_parks_a_message_dead(store: Driver) -> None:
    await store.queue(delivery_limit=2, lease_seconds=1)
    await store.publish("one")
    await store.nack(*receipts(await store.receive()))
    (receipt,) = receipts(await store.receive())
    await store.after(1)
    assert await store.counts() == {"dead": 1}
    assert await store.bodies() == []
    for settle in (store.ack, store.nack, store.extend):
        assert codes(await settle(receipt)) == [Code.LEASE_LOST]


async def test_no_delivery_limit_means_never(store: Driver) -> None:
    await store.queue(delivery_limit=None)
    await store.publish("one")
    for failures in range(50):
        received = await store.receive()
        assert deliveries(received)[0].failed_count == failures
        await store.nack(*receipts(received))
    assert await store.counts() == {"ready": 1}


async def test_a_rejected_message_is_dead_at_once(store: Driver) -> None:
    await store.queue()
    await store.publish("one", "two")
    first, second = receipts(await store.receive())
    assert await store.nack(first, requeue=False, reason="no such customer", delay_ms=1000) == Settled(1)
    await store.ack(second)
    assert await store.counts() == {"dead": 1}
    stats = await store.stats()
    assert (stats.nacked, stats.acked, stats.dead_lettered) == (1, 1, 0)


async def test_an_extend_counts_from_now_and_tells_until_when(store: Driver) -> None:
    await store.queue(lease_seconds=10)
    await store.publish("one")
    (receipt,) = receipts(await store.receive())
    await store.after(9)
    assert (await store.extend(receipt, seconds=5)).lease_expires_at == store.now + 5000
    await store.after(4.999)
    assert await store.counts() == {"leased": 1}
    assert (await store.extend(receipt, seconds=0.1)).count == 1  # shorter, too
    await store.after(0.1)
    assert await store.counts() == {"ready": 1}
    assert codes(await store.ack(receipt, receipt)) == []
    assert await store.extend(receipt, seconds=5) == Settled(0, (Failure(receipt, Code.GONE),), store.now + 5000)


async def test_an_undelivered_lease_is_ready_again_and_counts_nothing(store: Driver) -> None:
    await store.queue(delivery_limit=1)
    await store.publish("one", "two")
    received = await store.receive()
    await store.ack(receipts(received)[0])
    await store.do(c.Undeliver("q", received.lease))
    stats = await store.stats()
    assert (stats.ready, stats.leased, stats.delivered) == (1, 0, 1)
    assert codes(await store.ack(receipts(received)[1])) == [Code.LEASE_LOST]
    again = await store.receive()
    assert (deliveries(again)[0].delivery_count, deliveries(again)[0].failed_count) == (1, 0)
    await store.do(c.Undeliver("q", received.lease))  # again, too late: it is leased anew
    assert await store.counts() == {"leased": 1}


async def test_the_leases_of_one_receive_end_each_at_its_own_moment(store: Driver) -> None:
    await store.queue(lease_seconds=1)
    await store.publish("one", "two", "three")
    one, _, three = receipts(await store.receive())
    assert (await store.extend(one, seconds=1.001)).count == 1
    assert (await store.extend(three, seconds=0.999)).count == 1
    for passed, bodies in [(0.998, []), (0.001, ["three"]), (0.001, ["two"]), (0.001, ["one"])]:
        await store.after(passed)
        assert await store.bodies() == bodies
