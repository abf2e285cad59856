"""Rules of time that meet one another and the rest: TTLs, leases, delays, retries, queues that expire (§3, §5, §8)."""

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code
from queuesvc.domain.model import RetryBackoff, State
from queuesvc.domain.replies import Received, Redriven, Released, Settled
from tests.store.driver import Driver, codes, deliveries, message, receipts, texts
from tests.store.pairs import Pair, all_deaths, counts, deaths

# --- TTL and leases ---------------------------------------------------------------


async def test_a_ttl_that_passes_while_leased_waits_for_the_lease(pair: Pair) -> None:
    await pair.queue(delivery_limit=1)
    await pair.publish(message("mortal", ttl_ms=1000))
    await pair.receive(lease_ms=5000)
    await pair.after(4.999)
    assert await pair.counts() == {"leased": 1}
    await pair.after(0.001)
    assert await pair.counts() == {}  # expired, before the delivery limit
    assert await pair.totals() == {"published": 1, "expired": 1}


async def test_what_expired_while_leased_is_still_extended_and_acked(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(message("mortal", ttl_ms=1000))
    (receipt,) = receipts(await pair.receive(lease_ms=5000))
    await pair.after(4)
    assert (await pair.extend(receipt, seconds=5)).count == 1
    await pair.after(4)
    assert await pair.ack(receipt) == Settled(1)
    assert await pair.totals() == {"published": 1, "acked": 1}


async def test_a_nack_of_what_expired_meanwhile_removes_it_whatever_its_delay(pair: Pair) -> None:
    await pair.queue(retry_backoff=RetryBackoff())
    await pair.publish(message("mortal", ttl_ms=1000))
    (receipt,) = receipts(await pair.receive())
    await pair.after(2)
    assert await pair.nack(receipt, delay_ms=60_000) == Settled(1)
    assert await pair.totals() == {"published": 1, "nacked": 1, "expired": 1}


async def test_a_nack_without_requeue_of_what_expired_meanwhile_rejects_it(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(message("mortal", ttl_ms=1000))
    (receipt,) = receipts(await pair.receive())
    await pair.after(2)
    await pair.nack(receipt, requeue=False, reason="why")
    (dead,) = await pair.browse(state=State.DEAD)
    assert deaths(dead) == [("q", "rejected", 1)]
    assert all_deaths(dead)[0]["detail"] == "why"


async def test_a_lease_that_reached_nobody_until_the_ttl_passed_ends_the_message(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(message("mortal", ttl_ms=1000))
    received = await pair.receive()
    await pair.after(2)
    await pair.do(c.Undeliver("q", received.lease))
    assert await pair.totals() == {"published": 1, "expired": 1}
    assert (await pair.stats()).delivered == 0


async def test_a_release_after_the_ttl_passed_ends_the_message(pair: Pair) -> None:
    await pair.queue(dead_letter_exchange="graves")
    await pair.queue("grave")
    await pair.exchange("graves", "grave")
    await pair.publish(message("mortal", ttl_ms=1000))
    await pair.receive()
    await pair.after(2)
    assert await pair.do(c.Release("q", (await pair.id("mortal"),))) == Released(1)
    assert await pair.counts() == {}
    (delivery,) = deliveries(await pair.receive("grave"))
    assert deaths(delivery) == [("q", "expired", 1)]


async def test_the_receipt_of_a_lease_that_ran_out_ends_with_the_ttl(pair: Pair) -> None:
    await pair.queue()
    await pair.publish(message("mortal", ttl_ms=2000))
    (receipt,) = receipts(await pair.receive(lease_ms=1000))
    await pair.after(1)
    assert await pair.counts() == {"ready": 1}
    await pair.after(1)
    assert codes(await pair.extend(receipt)) == [Code.GONE]
    assert await pair.totals() == {"published": 1, "expired": 1}


# --- TTL, delays and retries --------------------------------------------------------


async def test_a_ttl_within_the_delay_ends_a_message_that_was_never_ready(pair: Pair) -> None:
    await pair.queue(delay_seconds=10)
    await pair.publish(message("mortal", ttl_ms=5000))
    assert await pair.counts() == {"delayed": 1}
    assert pair.store.next_due() == pair.now + 5000
    await pair.after(5)
    assert await pair.totals() == {"published": 1, "expired": 1}


async def test_a_delay_and_a_ttl_that_end_together_hand_nothing_out(pair: Pair) -> None:
    await pair.queue()
    waiting = await pair.wait()
    await pair.publish(message("mortal", delay_ms=1000, ttl_ms=1000))
    await pair.after(1)
    assert waiting not in pair.answers
    assert await pair.totals() == {"published": 1, "expired": 1}


async def test_a_message_expires_while_it_waits_for_its_retry(pair: Pair) -> None:
    await pair.queue(retry_backoff=RetryBackoff(10, 2, 60, 0), message_ttl_seconds=5)
    await pair.publish("mortal")
    await pair.nack(*receipts(await pair.receive()))
    assert await pair.counts() == {"delayed": 1}
    await pair.after(5)
    assert await pair.totals() == {"published": 1, "nacked": 1, "expired": 1}


async def test_of_two_ttls_the_lower_wins_and_a_changed_one_holds_for_what_comes(pair: Pair) -> None:
    await pair.queue(message_ttl_seconds=2)
    await pair.publish(message("queue's", ttl_ms=9000), message("own", ttl_ms=1000))
    await pair.patch(message_ttl_seconds=None)
    await pair.publish("immortal")
    await pair.after(1)
    assert await pair.shown() == ["queue's", "immortal"]
    await pair.after(1)
    assert await pair.shown() == ["immortal"]


async def test_a_nacks_own_delay_stands_for_the_backoff_and_the_failure_counts_all_the_same(pair: Pair) -> None:
    await pair.queue(retry_backoff=RetryBackoff(10, 2, 60, 0), delivery_limit=3)
    await pair.publish("again")
    await pair.nack(*receipts(await pair.receive()), delay_ms=0)
    received = await pair.receive()
    assert counts(received) == [(2, 1)]
    await pair.nack(*receipts(received))
    await pair.after(19.999)
    assert await pair.counts() == {"delayed": 1}  # the second failure's backoff
    await pair.after(0.001)
    await pair.nack(*receipts(await pair.receive()), delay_ms=60_000)
    assert await pair.counts() == {"dead": 1}  # the limit comes before any delay


async def test_unprocessed_work_given_back_waits_for_no_backoff(pair: Pair) -> None:
    await pair.queue(retry_backoff=RetryBackoff(10, 2, 60, 0))
    await pair.publish("again")
    await pair.nack(*receipts(await pair.receive()), delivery_failed=False)
    assert counts(await pair.receive()) == [(2, 0)]


# --- priority and delay -------------------------------------------------------------


async def test_a_high_priority_counts_once_the_delay_is_over(pair: Pair) -> None:
    await pair.queue(max_priority=5)
    await pair.publish(message("high", priority=5, delay_ms=1000), "low")
    assert await pair.bodies(max_messages=1) == ["low"]
    await pair.publish(message("middle", priority=3))
    await pair.after(1)
    assert await pair.bodies() == ["high", "middle"]


async def test_a_delayed_message_takes_its_place_by_its_publish(pair: Pair) -> None:
    await pair.queue(max_priority=1)
    await pair.publish(message("1", delay_ms=1000), message("2"), message("3", priority=1), message("4"))
    await pair.after(1)
    assert await pair.bodies() == ["3", "1", "2", "4"]


async def test_a_retry_takes_its_old_place_within_its_priority(pair: Pair) -> None:
    await pair.queue(max_priority=1, retry_backoff=RetryBackoff(1, 1, 1, 0))
    await pair.publish(message("1", priority=1), message("2", priority=1), message("3"))
    await pair.nack(*receipts(await pair.receive(max_messages=1)))
    await pair.publish(message("4", priority=1))
    await pair.after(1)
    assert await pair.bodies() == ["1", "2", "4", "3"]


# --- TTL and death ------------------------------------------------------------------


async def test_a_ttl_stops_while_dead_and_starts_again_on_redrive(pair: Pair) -> None:
    await pair.queue(delivery_limit=1)
    await pair.publish(message("mortal", ttl_ms=2000))
    await pair.nack(*receipts(await pair.receive()))
    await pair.after(3600)
    assert await pair.counts() == {"dead": 1}
    redriven = await pair.do(c.Redrive("q", 10))
    assert (redriven.moved, redriven.source) == (1, "dead")
    (ready,) = await pair.browse()
    assert (ready.state, ready.content.expires_at) == (State.READY, pair.now + 2000)
    await pair.after(1.999)
    assert await pair.counts() == {"ready": 1}
    await pair.after(0.001)
    assert await pair.totals() == {"published": 1, "nacked": 1, "expired": 1}


async def test_dead_lettering_clears_a_messages_own_ttl_and_the_targets_counts_from_the_move(pair: Pair) -> None:
    await pair.queue("q", dead_letter_exchange="graves")
    await pair.queue("grave", message_ttl_seconds=10, delay_seconds=5)
    await pair.queue("eternal")
    await pair.exchange("graves", "grave", "eternal")
    await pair.publish(message("mortal", ttl_ms=1000))
    await pair.after(3)
    (buried,) = await pair.browse("grave")
    assert (buried.state, buried.content.expires_at) == (State.READY, pair.now + 10_000)  # and no delay
    assert [each.content.expires_at for each in await pair.browse("eternal")] == [0]
    await pair.after(10)
    assert await pair.totals("grave") == {"moved_in": 1, "expired": 1}
    assert await pair.counts("eternal") == {"ready": 1}


async def test_a_redriven_message_has_no_ttl_of_its_own_once_it_was_dead_lettered(pair: Pair) -> None:
    await pair.queue("q", dead_letter_exchange="graves")
    await pair.queue("grave")
    await pair.exchange("graves", "grave")
    await pair.publish(message("mortal", ttl_ms=1000))
    await pair.after(1)
    redriven = await pair.do(c.Redrive("grave", 10))
    assert isinstance(redriven, Redriven)
    assert (redriven.moved, redriven.source) == (1, "arrived")
    assert [each.content.expires_at for each in await pair.browse()] == [0]


# --- time and whoever waits -----------------------------------------------------------


async def test_a_paused_queue_goes_on_with_its_delays_and_ttls_and_serves_when_it_runs_again(pair: Pair) -> None:
    await pair.queue(paused=True)
    waiting = await pair.wait(max_messages=10)
    await pair.publish(message("mortal", ttl_ms=1000), message("later", delay_ms=1000), "ready")
    await pair.after(1)
    assert await pair.counts() == {"ready": 2}
    assert waiting not in pair.answers
    await pair.patch(paused=False)
    assert texts(pair.answers[waiting]) == ["later", "ready"]


async def test_a_lease_taken_before_a_pause_settles_during_it(pair: Pair) -> None:
    await pair.queue()
    await pair.publish("1", "2")
    one, two = receipts(await pair.receive())
    await pair.patch(paused=True)
    assert await pair.ack(one) == Settled(1)
    await pair.nack(two)
    assert await pair.receive() == Received()
    assert await pair.counts() == {"ready": 1}


async def test_a_delay_that_ends_serves_whoever_waits(pair: Pair) -> None:
    await pair.queue()
    waiting = await pair.wait()
    await pair.publish(message("later", delay_ms=1000))
    await pair.after(1)
    assert texts(pair.answers[waiting]) == ["later"]


async def test_an_extend_of_a_retry_that_waits_takes_it_again(pair: Pair) -> None:
    await pair.queue(retry_backoff=RetryBackoff(10, 1, 10, 0))
    await pair.publish("one")
    (receipt,) = receipts(await pair.receive(lease_ms=1000))
    await pair.after(1)
    assert await pair.counts() == {"delayed": 1}
    assert (await pair.extend(receipt, seconds=20)).count == 1
    await pair.after(15)
    assert await pair.counts() == {"leased": 1}
    assert await pair.ack(receipt) == Settled(1)


# --- queues that expire (a restart begins their time anew) ------------------------------


async def test_a_queue_expires_only_once_it_is_empty_in_every_state(store: Driver) -> None:
    await store.queue(expires_seconds=10)
    await store.publish("rejected", message("later", delay_ms=20_000))
    await store.nack(receipts(await store.receive())[0], requeue=False)
    await store.after(20)
    await store.ack(*receipts(await store.receive()))
    await store.after(60)
    assert await store.counts() == {"dead": 1}
    await store.do(c.PurgeQueue("q", State.DEAD))
    await store.after(9.999)
    assert (await store.stats()).purged == 1
    await store.after(0.001)
    assert (await store.ask(c.ListQueues())).items == ()


async def test_a_queue_becomes_unused_when_its_last_message_expires(store: Driver) -> None:
    await store.queue(expires_seconds=10)
    await store.publish(message("mortal", ttl_ms=30_000))
    await store.after(30)
    await store.after(9.999)
    assert (await store.stats()).expired == 1
    await store.after(0.001)
    assert (await store.ask(c.ListQueues())).items == ()


async def test_a_queue_is_in_use_while_somebody_waits_and_until_they_have_left(store: Driver) -> None:
    await store.queue(expires_seconds=60)
    waiting = await store.wait()
    await store.after(59)
    store.line.leave(waiting)
    await store.after(1)
    assert await store.counts() == {}
    await store.after(58)
    assert await store.counts() == {}
    await store.after(3)
    assert (await store.ask(c.ListQueues())).items == ()


async def test_a_declare_or_a_change_of_settings_is_a_use(store: Driver) -> None:
    await store.queue(expires_seconds=10)
    await store.after(9)
    await store.queue(expires_seconds=10)
    await store.after(9)
    await store.do(c.PatchQueue("q", {"expires_seconds": 20}))
    await store.after(19.999)
    assert await store.counts() == {}
    await store.after(0.001)
    assert (await store.ask(c.ListQueues())).items == ()


async def test_a_restart_begins_the_time_of_an_unused_queue_anew(durable: Driver) -> None:
    await durable.queue(expires_seconds=10)
    await durable.after(9)
    await durable.restart(kill=True)
    await durable.batch()
    await durable.after(9)
    assert await durable.counts() == {}
    await durable.after(10)
    assert (await durable.ask(c.ListQueues())).items == ()
