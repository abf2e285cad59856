"""Message groups where they meet leases, retries, death, time, priorities and repair (§5)."""

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code
from queuesvc.domain.model import Overflow, RetryBackoff, State
from queuesvc.domain.replies import Released, Settled
from tests.store.driver import codes, deliveries, message, receipts, texts
from tests.store.pairs import Pair, counts, deaths, grouped


async def test_a_group_waits_for_its_heads_retry_and_goes_on_when_it_dies(pair: Pair) -> None:
    await pair.queue(delivery_limit=2, retry_backoff=RetryBackoff(10, 1, 10, 0), dead_letter_exchange="graves")
    await pair.queue("grave")
    await pair.exchange("graves", "grave")
    await pair.publish(grouped("1"), grouped("2"), message("alone"))
    await pair.nack(*receipts(await pair.receive(max_messages=1)))
    assert await pair.bodies() == ["alone"]  # the retry's delay holds up its group, and nobody else
    await pair.after(10)
    head = await pair.receive(max_messages=1)
    assert (texts(head), counts(head)) == (["1"], [(2, 1)])
    await pair.nack(*receipts(head), reason="enough")
    assert await pair.bodies() == ["2"]
    (buried,) = deliveries(await pair.receive("grave"))
    assert deaths(buried) == [("q", "delivery_limit", 1)]
    assert await pair.totals() == {"published": 3, "nacked": 2, "dead_lettered": 1, "moved_out": 1}


async def test_a_dead_lettered_group_is_a_group_in_the_target(pair: Pair) -> None:
    await pair.queue(dead_letter_exchange="graves")
    await pair.queue("grave")
    await pair.exchange("graves", "grave")
    await pair.publish(grouped("1"), grouped("2"), grouped("other", "h"))
    await pair.nack(*receipts(await pair.receive()), requeue=False)
    assert await pair.bodies("grave", 1) == ["1"]
    assert await pair.bodies("grave") == ["other"]


async def test_when_a_lease_runs_out_the_first_fails_and_the_later_ones_go_back_uncounted(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3"), message("alone"))
    one, two, three, alone = receipts(await pair.receive(lease_ms=1000))
    await pair.after(1)
    assert codes(await pair.ack(two, three)) == [Code.LEASE_LOST, Code.LEASE_LOST]
    assert await pair.ack(alone) == Settled(1)
    assert counts(await pair.receive()) == [(2, 1), (2, 0), (2, 0)]
    assert codes(await pair.ack(one)) == [Code.LEASE_LOST]  # leased again by now


async def test_a_nack_of_the_first_takes_the_later_ones_with_it_and_holds_them_up(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3"))
    one, two, three = receipts(await pair.receive())
    assert await pair.nack(one, delay_ms=5000) == Settled(1)
    assert codes(await pair.extend(two, three)) == [Code.LEASE_LOST, Code.LEASE_LOST]
    assert await pair.counts() == {"ready": 2, "delayed": 1}
    assert await pair.bodies() == []
    await pair.after(5)
    again = await pair.receive()
    assert (texts(again), counts(again)) == (["1", "2", "3"], [(2, 1), (2, 0), (2, 0)])


async def test_a_nack_that_names_several_counts_each_of_them(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3"))
    one, two, three = receipts(await pair.receive())
    assert await pair.nack(two, one) == Settled(2)
    assert codes(await pair.ack(three)) == [Code.LEASE_LOST]
    assert counts(await pair.receive()) == [(2, 1), (2, 1), (2, 0)]
    assert (await pair.totals())["nacked"] == 2


async def test_an_ack_of_a_later_one_leaves_the_earlier_ones_leased(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3"))
    one, two = receipts(await pair.receive(max_messages=2))
    assert await pair.ack(two) == Settled(1)
    assert await pair.bodies() == []
    assert await pair.ack(one) == Settled(1)
    assert await pair.bodies() == ["3"]


async def test_when_one_dies_the_later_ones_stay_leased(pair: Pair) -> None:
    await pair.queue(delivery_limit=1)
    await pair.publish(grouped("1"), grouped("2"), grouped("3"), grouped("4"))
    one, two, three = receipts(await pair.receive(max_messages=3))
    await pair.nack(one, requeue=False)
    await pair.nack(two)  # its first failure is its last
    assert await pair.counts() == {"dead": 2, "leased": 1, "ready": 1}
    assert await pair.bodies() == []
    assert await pair.ack(three) == Settled(1)
    assert await pair.bodies() == ["4"]


async def test_a_delay_at_publish_holds_up_no_group_and_a_give_back_does(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1", delay_ms=5000), grouped("2"), grouped("3"))
    (receipt,) = receipts(await pair.receive(max_messages=1))
    await pair.nack(receipt, delay_ms=1000, delivery_failed=False)
    assert await pair.bodies() == []
    await pair.after(5)
    again = await pair.receive()
    assert (texts(again), counts(again)) == (["1", "2", "3"], [(1, 0), (2, 0), (1, 0)])


async def test_a_groups_priority_is_its_heads(pair: Pair) -> None:
    await pair.queue(max_priority=9)
    await pair.publish(grouped("low head", priority=1), grouped("high, behind it", priority=9))
    await pair.publish(message("middle", priority=5), grouped("head of h", "h", priority=6))
    assert await pair.bodies() == ["head of h", "middle", "low head", "high, behind it"]


async def test_a_lease_that_reached_nobody_gives_the_group_back_in_order(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3"))
    received = await pair.receive(max_messages=2)
    waiting = await pair.wait(max_messages=3)
    assert waiting not in pair.answers
    await pair.do(c.Undeliver("q", received.lease))
    again = pair.answers[waiting]
    assert texts(again) == ["1", "2", "3"]
    assert [delivery.delivery_count for delivery in deliveries(again)] == [1, 1, 1]


async def test_a_release_of_the_first_takes_the_later_ones_along(pair: Pair) -> None:
    await pair.queue(delivery_limit=1)
    await pair.publish(grouped("1"), grouped("2"), grouped("other", "h"))
    one, two, other = receipts(await pair.receive())
    assert await pair.do(c.Release("q", (await pair.id("1"),))) == Released(1)
    assert codes(await pair.ack(one, two)) == [Code.LEASE_LOST, Code.LEASE_LOST]
    assert await pair.ack(other) == Settled(1)
    assert counts(await pair.receive()) == [(2, 0), (2, 0)]


async def test_an_expired_head_lets_its_group_go_on(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1", ttl_ms=1000), grouped("2"))
    waiting = await pair.wait()
    assert texts(pair.answers[waiting]) == ["1"]
    await pair.after(2)
    assert await pair.bodies() == []
    await pair.nack(*receipts(pair.answers[waiting]), delay_ms=60_000)
    assert await pair.bodies() == ["2"]
    assert await pair.totals() == {"published": 2, "nacked": 1, "expired": 1}


async def test_an_expired_later_one_leaves_when_the_group_goes_back(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3", ttl_ms=500), grouped("4"))
    await pair.receive(lease_ms=1000)
    await pair.after(1)
    again = await pair.receive()
    assert (texts(again), counts(again)) == (["1", "2", "4"], [(2, 1), (2, 0), (2, 0)])
    assert await pair.totals() == {"published": 4, "expired": 1}


async def test_an_extend_after_the_lease_ran_out_holds_the_group_again(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"))
    (receipt,) = receipts(await pair.receive(max_messages=1, lease_ms=1000))
    await pair.after(1)
    assert (await pair.extend(receipt, seconds=10)).count == 1
    assert await pair.bodies() == []
    assert await pair.ack(receipt) == Settled(1)
    assert await pair.bodies() == ["2"]


async def test_a_later_one_that_ran_out_first_loses_its_receipt_with_the_earlier_one(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"))
    one, two = receipts(await pair.receive(lease_ms=1000))
    await pair.extend(one, seconds=2)
    await pair.after(1)
    assert await pair.counts() == {"leased": 1, "ready": 1}
    assert await pair.bodies() == []
    await pair.after(1)
    assert codes(await pair.ack(two)) == [Code.LEASE_LOST]
    assert counts(await pair.receive()) == [(2, 1), (2, 1)]


async def test_a_later_one_that_ran_out_loses_its_receipt_when_the_lease_turns_out_to_have_reached_nobody(
    pair: Pair,
) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"))
    received = await pair.receive(lease_ms=1000)
    one, two = receipts(received)
    await pair.extend(one, seconds=5)
    await pair.after(1)
    await pair.do(c.Undeliver("q", received.lease))
    assert codes(await pair.ack(two)) == [Code.LEASE_LOST]
    assert counts(await pair.receive()) == [(1, 0), (2, 1)]


async def test_a_purge_of_the_leased_or_a_single_delete_sets_the_group_free(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), grouped("3"))
    (receipt,) = receipts(await pair.receive(max_messages=1))
    await pair.do(c.PurgeQueue("q", State.LEASED))
    assert codes(await pair.ack(receipt)) == [Code.GONE]
    assert await pair.bodies(max_messages=1) == ["2"]
    await pair.do(c.RemoveMessage("q", await pair.id("2")))
    assert await pair.bodies() == ["3"]
    assert await pair.totals() == {"published": 3, "purged": 2}


async def test_a_purge_of_the_ready_leaves_the_one_that_holds_the_group(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"), message("alone"))
    (receipt,) = receipts(await pair.receive(max_messages=1))
    assert (await pair.do(c.PurgeQueue("q"))).purged == 2
    await pair.publish(grouped("4"))
    assert await pair.bodies() == []
    await pair.ack(receipt)
    assert await pair.bodies() == ["4"]


async def test_a_redriven_one_goes_behind_its_group(pair: Pair) -> None:
    await pair.queue(delivery_limit=1)
    await pair.publish(grouped("1"), grouped("2"))
    await pair.nack(*receipts(await pair.receive(max_messages=1)))
    await pair.publish(grouped("3"))
    before = await pair.id("1")
    assert (await pair.do(c.Redrive("q", 10))).moved == 1
    assert await pair.id("1") != before
    again = await pair.receive()
    assert (texts(again), counts(again)) == (["2", "3", "1"], [(1, 0), (1, 0), (1, 0)])
    assert deaths(deliveries(again)[2]) == [("q", "delivery_limit", 1)]
    assert await pair.totals() == {"published": 3, "nacked": 1}


async def test_drop_oldest_takes_a_blocked_one_but_not_the_leased_that_blocks_it(pair: Pair) -> None:
    await pair.queue(max_messages=2, overflow=Overflow.DROP_OLDEST, max_priority=9)
    await pair.publish(grouped("1"))
    (receipt,) = receipts(await pair.receive())
    await pair.publish(grouped("2", priority=9), message("3"), message("4"))
    assert await pair.shown(state=State.READY) == ["3", "4"]
    assert await pair.ack(receipt) == Settled(1)
    assert await pair.totals() == {"published": 4, "acked": 1, "dropped": 1}


async def test_messages_acked_on_receipt_hold_up_nobody(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"))
    assert await pair.bodies(max_messages=1, auto_ack=True) == ["1"]
    assert await pair.bodies() == ["2"]


async def test_whoever_waits_gets_the_next_of_a_group_in_the_commit_of_the_ack(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"))
    (receipt,) = receipts(await pair.receive(max_messages=1))
    waiting = await pair.wait()
    assert waiting not in pair.answers
    await pair.ack(receipt)
    assert texts(pair.answers[waiting]) == ["2"]


async def test_a_paused_queue_keeps_its_groups_and_goes_on_where_they_were(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(grouped("1"), grouped("2"))
    (receipt,) = receipts(await pair.receive(max_messages=1))
    await pair.patch(paused=True)
    waiting = await pair.wait()
    await pair.ack(receipt)
    assert waiting not in pair.answers
    await pair.patch(paused=False)
    assert texts(pair.answers[waiting]) == ["2"]
