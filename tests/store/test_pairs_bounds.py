"""Bounds, death, keys and transactions where they meet (§3, §4, §7, §8)."""

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code
from queuesvc.domain.model import Envelope, Exchange, ExchangeType, Overflow, State
from queuesvc.domain.replies import Published, Settled, Transacted
from tests.model.side import ASKED
from tests.store.driver import codes, deliveries, message, receipts, texts
from tests.store.pairs import Pair, all_deaths, counts, deaths, keyed

DROP = Overflow.DROP_OLDEST

# --- overflow, death and fan-out ----------------------------------------------------


async def test_what_makes_room_is_dead_lettered_to_all_targets_even_full_ones(pair: Pair) -> None:
    await pair.queue(max_messages=1, overflow=DROP, dead_letter_exchange="graves")
    await pair.queue("full", max_messages=1)
    await pair.queue("grave")
    await pair.exchange("graves", "full", "grave")
    await pair.publish("there", queue="full")
    await pair.publish("old")
    await pair.publish("new")
    assert await pair.shown() == ["new"]
    assert await pair.shown("full") == ["there", "old"]  # length limits do not stop a move
    (buried,) = deliveries(await pair.receive("grave"))
    assert deaths(buried) == [("q", "maxlen", 1)]
    assert await pair.totals() == {"published": 2, "dead_lettered": 1, "moved_out": 1}
    assert await pair.totals("full") == {"published": 1, "moved_in": 1}


async def test_one_full_target_refuses_a_fan_out_and_nothing_makes_room_elsewhere(pair: Pair) -> None:
    await pair.queue("a", max_messages=1, overflow=DROP)
    await pair.queue("b", max_messages=1)
    await pair.exchange("x", "a", "b")
    await pair.publish("1", exchange="x")
    refused = await pair.refused(c.Publish((message("2"),), exchange="x"))
    assert refused.code is Code.QUEUE_FULL
    assert await pair.shown("a") == await pair.shown("b") == ["1"]
    assert await pair.totals("a") == {"published": 1}


async def test_what_makes_room_and_reaches_no_queue_is_parked_and_counts_as_dead(pair: Pair) -> None:
    await pair.queue(max_messages=1, overflow=DROP, dead_letter_exchange="nowhere", dead_max_messages=0)
    await pair.publish("old")
    await pair.publish("new")
    (dead,) = await pair.browse(state=State.DEAD)
    assert deaths(dead) == [("q", "maxlen", 1)]
    assert all_deaths(dead)[0]["detail"]
    assert (await pair.refused(c.Publish((message("more"),), queue="q"))).code is Code.QUEUE_FULL
    await pair.do(c.PurgeQueue("q", State.DEAD))
    await pair.publish("more")
    assert await pair.shown(state=State.READY) == ["more"]


async def test_a_loop_of_overflow_alone_ends_parked_and_a_rejection_may_loop(pair: Pair) -> None:
    await pair.queue(max_messages=1, overflow=DROP, dead_letter_exchange="again")
    await pair.exchange("again", "q")
    await pair.publish("old")
    await pair.publish("new")
    assert await pair.counts() == {"ready": 1, "dead": 1}
    await pair.nack(*receipts(await pair.receive()), requeue=False)
    (back,) = deliveries(await pair.receive())
    assert deaths(back) == [("q", "rejected", 1)]
    assert (back.delivery_count, back.failed_count) == (1, 0)


async def test_without_a_dead_letter_exchange_the_dropped_are_counted_and_leased_ones_are_safe(pair: Pair) -> None:
    await pair.queue(max_messages=1, overflow=DROP)
    await pair.publish("leased")
    (receipt,) = receipts(await pair.receive())
    await pair.publish("1", "2", "3")
    assert await pair.shown(state=State.READY) == ["3"]
    await pair.nack(receipt)  # never refused, though it is one too many
    assert await pair.shown() == ["leased", "3"]
    assert await pair.totals() == {"published": 4, "nacked": 1, "dropped": 2}


async def test_a_redrive_into_a_full_queue_is_never_refused(pair: Pair) -> None:
    await pair.queue(max_messages=1)
    await pair.publish("dead")
    await pair.nack(*receipts(await pair.receive()), requeue=False)
    await pair.publish("there")
    assert (await pair.do(c.Redrive("q", 10))).moved == 1
    assert await pair.bodies() == ["there", "dead"]


@pytest.mark.parametrize("overflow", Overflow)
async def test_one_message_above_max_bytes_is_refused_with_its_batch(pair: Pair, overflow: Overflow) -> None:
    await pair.queue(max_bytes=3, overflow=overflow)
    refused = await pair.refused(c.Publish((message("1"), message("four")), queue="q", batch=True))
    assert (refused.code, refused.extra["index"]) == (Code.INVALID_REQUEST, 1)
    assert await pair.totals() == {}


# --- death, redrive and priority ------------------------------------------------------


async def test_a_dead_letter_has_the_priority_that_was_asked_for_as_the_target_allows(pair: Pair) -> None:
    await pair.queue(max_priority=1, dead_letter_exchange="graves")
    await pair.queue("grave", max_priority=5)
    await pair.exchange("graves", "grave")
    for text, priority in (("low", 2), ("high", 9)):
        await pair.publish(Envelope(text.encode(), f'"priority":{priority}', "q", priority=priority))
    await pair.nack(*receipts(await pair.receive()), requeue=False)
    assert await pair.bodies("grave") == ["high", "low"]


async def test_a_redrive_of_what_arrived_brings_it_home_as_it_was_but_for_its_counts(pair: Pair) -> None:
    await pair.queue(dead_letter_exchange="graves", dead_letter_routing_key="buried")
    await pair.queue("grave")
    await pair.do(c.PutExchange(Exchange("graves", ExchangeType.DIRECT)))
    await pair.do(c.Bind("graves", "grave", routing_key="buried"))
    await pair.exchange("x", "q")
    await pair.publish(message("one", "its.key"), exchange="x")
    await pair.nack(*receipts(await pair.receive()), requeue=False, reason="why")
    (buried,) = await pair.browse("grave")
    assert (buried.content.exchange, buried.content.routing_key) == ("graves", "buried")
    assert (await pair.do(c.Redrive("grave", 10))).moved == 1
    received = await pair.receive()
    (home,) = deliveries(received)
    assert (home.content.exchange, home.content.routing_key) == ("x", "its.key")
    assert (counts(received), deaths(home)) == ([(1, 0)], [("q", "rejected", 1)])
    assert await pair.totals() == {"published": 1, "nacked": 1, "dead_lettered": 1, "moved_out": 1, "moved_in": 1}


async def test_what_died_in_a_queue_that_is_gone_stays_and_says_so(pair: Pair) -> None:
    await pair.queue(dead_letter_exchange="graves")
    await pair.queue("grave")
    await pair.exchange("graves", "grave")
    await pair.publish("orphan")
    await pair.nack(*receipts(await pair.receive()), requeue=False)
    await pair.do(c.DeleteQueue("q"))
    redriven = await pair.do(c.Redrive("grave", 10))
    assert (redriven.moved, [id_ for id_, _ in redriven.failed]) == (0, [await pair.id("orphan", "grave")])
    assert await pair.shown("grave") == ["orphan"]


# --- idempotency and refusals ---------------------------------------------------------


async def test_a_refused_publish_leaves_no_key_and_a_duplicate_needs_no_room(pair: Pair) -> None:
    await pair.queue(max_messages=1)
    await pair.publish(keyed("1", "k1"))
    assert (await pair.refused(c.Publish((keyed("2", "k2"),), queue="q"))).code is Code.QUEUE_FULL
    (again,) = await pair.publish(keyed("1", "k1"))
    assert again.original_at
    await pair.bodies(auto_ack=True)
    (fresh,) = await pair.publish(keyed("another", "k2"))
    assert not fresh.original_at
    assert await pair.totals() == {"published": 2, "acked": 1}


async def test_one_bad_envelope_leaves_no_key_of_the_whole_batch(pair: Pair) -> None:
    await pair.queue(max_messages=1)
    batch = c.Publish((keyed("1", "k1"), keyed("2", "k2")), queue="q", batch=True, idempotency_key="b")
    refused = await pair.refused(batch)
    assert (refused.code, refused.extra["index"]) == (Code.QUEUE_FULL, 1)
    await pair.patch(max_messages=None)
    first = await pair.do(batch)
    again = await pair.do(batch)
    assert isinstance(first, Published)
    assert (again.results, first.duplicate, again.duplicate) == (first.results, False, True)
    assert await pair.shown() == ["1", "2"]


async def test_a_key_with_another_body_is_refused_until_the_window_is_over(pair: Pair) -> None:
    await pair.queue(deduplication_window_seconds=10)
    await pair.publish(keyed("1", "k"))
    await pair.bodies(auto_ack=True)
    await pair.after(9.999)
    assert (await pair.refused(c.Publish((keyed("2", "k"),), queue="q"))).code is Code.IDEMPOTENCY_KEY_REUSED
    await pair.after(0.001)
    await pair.publish(keyed("2", "k"))
    assert await pair.shown() == ["2"]


# --- transactions -----------------------------------------------------------------------


async def test_a_lost_lease_or_a_full_queue_undoes_the_whole_transaction(pair: Pair) -> None:
    await pair.queue(dead_letter_exchange="graves")
    await pair.queue("grave")
    await pair.queue("full", max_messages=1)
    await pair.exchange("graves", "grave")
    await pair.publish("there", queue="full")
    await pair.publish("1", "2", "3")
    one, two, three = receipts(await pair.receive())
    await pair.nack(three, delivery_failed=False)
    ack, reject = c.Ack("q", (one,)), c.Nack("q", (two,), requeue=False)
    ok, full = (c.Publish((message("out", name),), queue=name) for name in ("grave", "full"))
    lost = await pair.refused(c.Transaction((ack, c.Ack("q", (three,))), (reject,), (ok,)))
    assert (lost.code, lost.extra["receipt"]) == (Code.LEASE_LOST, three)
    refused = await pair.refused(c.Transaction((ack,), (reject,), (ok, full)))
    assert (refused.code, refused.extra["index"]) == (Code.QUEUE_FULL, 1)
    assert (await pair.counts(), await pair.counts("grave")) == ({"leased": 2, "ready": 1}, {})
    done = await pair.do(c.Transaction((ack,), (reject,), (ok,)))
    assert isinstance(done, Transacted)
    assert (done.acked, done.nacked) == (1, 1)
    assert await pair.shown("grave") == ["2", "out"]
    assert codes(await pair.ack(one, two)) == [Code.GONE, Code.GONE]


async def test_a_transaction_tried_again_answers_as_before_though_its_receipts_are_spent(pair: Pair) -> None:
    await pair.queue()
    await pair.publish("1")
    (receipt,) = receipts(await pair.receive())
    publish = c.Publish((message("out"),), queue="q")
    transaction = c.Transaction((c.Ack("q", (receipt,)),), (), (publish,), idempotency_key="k")
    first, again = await pair.do(transaction), await pair.do(transaction)
    assert (again.acked, again.published.results) == (1, first.published.results)
    assert again.published.duplicate
    assert await pair.shown() == ["out"]


async def test_a_refused_transaction_leaves_no_key_and_answers_nobody(pair: Pair) -> None:
    await pair.queue(max_messages=1)
    await pair.publish("there")
    reply = c.Publish((message("reply", ASKED),), queue=ASKED)
    more = c.Publish((message("more"),), queue="q")
    transaction = c.Transaction((), (), (reply, more), idempotency_key="k")
    applied = await pair.store.apply([transaction], pair.now, pair.line)
    assert applied.answers == []
    await pair.bodies(auto_ack=True)
    applied = await pair.store.apply([transaction], pair.now, pair.line)
    assert [address for address, _ in applied.answers] == [ASKED]
    assert await pair.shown() == ["more"]


async def test_a_lease_that_ran_out_still_settles_in_a_transaction_and_its_publish_is_served(pair: Pair) -> None:
    await pair.queue()
    await pair.queue("out")
    await pair.publish("1")
    (receipt,) = receipts(await pair.receive(lease_ms=1000))
    waiting = await pair.wait("out")
    await pair.after(1)
    publish = c.Publish((message("result", "out"),), queue="out")
    await pair.do(c.Transaction((c.Ack("q", (receipt,)),), (), (publish,)))
    assert texts(pair.answers[waiting]) == ["result"]
    assert await pair.totals() == {"published": 1, "acked": 1}


async def test_a_transaction_that_gives_back_and_publishes_to_one_queue_drops_nothing(pair: Pair) -> None:
    await pair.queue(max_messages=2)
    await pair.publish("1")
    (receipt,) = receipts(await pair.receive())
    await pair.publish("2")
    publish = c.Publish((message("3"),), queue="q")
    await pair.do(c.Transaction((), (c.Nack("q", (receipt,)),), (publish,)))
    assert await pair.shown() == ["1", "2", "3"]  # there was room for one, and what is given back is never refused
    assert await pair.totals() == {"published": 3, "nacked": 1}


# --- definitions ------------------------------------------------------------------------


async def test_definitions_that_are_refused_change_nothing_and_others_change_a_queue_in_use(pair: Pair) -> None:
    await pair.queue()
    await pair.exchange("x", "q")
    await pair.publish("1")
    (receipt,) = receipts(await pair.receive())
    before = await pair.ask(c.GetDefinitions())
    settings = before.queues[0][1]
    other = Exchange("x", ExchangeType.TOPIC)
    assert (await pair.refused(c.PutDefinitions((other,), (("new", settings),)))).code is Code.CONFLICT
    assert await pair.ask(c.GetDefinitions()) == before
    await pair.do(c.PutDefinitions(before.exchanges, (("new", settings),), (c.Bind("x", "new", routing_key=""),)))
    assert await pair.ack(receipt) == Settled(1)
    (result,) = await pair.publish("2", exchange="x")
    assert result.queues == ("new", "q")
