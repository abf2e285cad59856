"""What is read from the file at a start is what was in memory before, whatever had happened."""

import random
import shutil
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.model import Exchange, ExchangeType, QueueSettings, RetryBackoff
from queuesvc.domain.replies import Received
from tests.support.brokers import envelope, receipts, to_queue
from tests.support.picture import picture_of
from tests.support.stores import Hand, Nobody, OneReceive

RETRIES = QueueSettings(lease_seconds=10, retry_backoff=RetryBackoff(2, 2, 60, 0.1), delivery_limit=3, max_priority=5)


async def same_after_restart(hand: Hand) -> dict[str, Any]:
    """Close and open, and also open a copy as a kill would leave it: the pictures are equal."""
    before = picture_of(hand.store)
    killed = Hand(hand.folder.with_name(f"killed-{hand.folder.name}"), hand.now)
    shutil.copytree(hand.folder, killed.folder)
    await killed.open()
    after_kill = picture_of(killed.store)
    await killed.close()
    shutil.rmtree(killed.folder)
    await hand.reopen()
    assert picture_of(hand.store) == before
    assert after_kill == before
    return before


async def test_an_empty_store(hand: Hand) -> None:
    await same_after_restart(hand)


async def test_topology(hand: Hand) -> None:
    for type_ in ExchangeType:
        await hand.do(c.PutExchange(Exchange(f"x.{type_}", type_, "x.fanout", 60)))
    await hand.queue("r", RETRIES)
    await hand.do(
        c.Bind("x.topic", queue="q", routing_key="a.*.#"),
        c.Bind("x.topic", exchange="x.headers"),
        c.Bind("x.headers", queue="r", match="any", headers={"n": 3, "f": 1.5, "t": True, "s": "ü"}),
        c.Bind("x.direct", queue="r", routing_key="ключ"),
        c.PatchQueue("r", {"paused": True, "retry_backoff": None}),
        c.Unbind(2),
    )
    picture = await same_after_restart(hand)
    assert len(picture["exchanges"]) == 4
    assert sorted(picture["bindings"]) == [1, 3, 4]


async def test_numbers_that_were_given_away_are_not_given_again(hand: Hand) -> None:
    await hand.do(to_queue("q", "a", "b"))
    received = await hand.receive("q", 2)
    await hand.ack("q", *receipts(received))
    await hand.queue("r")
    await hand.do(c.DeleteQueue("r"))
    before = await same_after_restart(hand)
    assert before["numbers"] == (3, 2, 3, 1)
    assert before["leases"] == {}


async def test_priorities_and_what_came_back_keep_their_places(hand: Hand) -> None:
    await hand.queue("r", RETRIES)
    for n in range(40):
        await hand.do(c.Publish((envelope(f"{n}", "r", priority=n % 8),), queue="r"))
    received = await hand.receive("r", 20)
    await hand.do(c.Nack("r", receipts(received)[::2], delay_ms=0))
    picture = await same_after_restart(hand)
    assert len(picture["queues"][2]["order"]) == 30


async def test_a_lease_in_every_condition(hand: Hand) -> None:
    """Of one receive: acked, given back, given back with a delay, dead, extended, run out, run out and taken again."""
    await hand.queue("r", RETRIES)
    await hand.do(to_queue("r", *(f"{n}" for n in range(12))))
    received = await hand.receive("r", 10, lease_ms=10_000, consumer="one of them")
    r = receipts(received)
    await hand.do(c.Ack("r", r[:2]))
    await hand.do(c.Nack("r", r[2:3], delay_ms=0), c.Nack("r", r[3:4], delay_ms=50_000))
    await hand.do(c.Nack("r", r[4:5], requeue=False, reason="because"), c.Extend("r", r[5:7], 40_000))
    await same_after_restart(hand)
    hand.now += 10_000
    await hand.tick()
    picture = await same_after_restart(hand)
    # ready: given back and the two never received; delayed: by the nack, and by the backoff three that ran out.
    assert picture["queues"][2]["counts"][:4] == (3, 2, 4, 1)
    assert list(picture["leases"].values()) == [(2, "one of them", [6, 7, 8, 9, 10])]
    await hand.do(c.Extend("r", r[7:8], 15_000))
    await same_after_restart(hand)
    hand.now += 5_000
    await hand.tick()
    picture = await same_after_restart(hand)
    assert picture["queues"][2]["counts"][:4] == (5, 3, 1, 1)
    assert await hand.ack("r", *r) == 5, "the extended two, the one taken again and the two that ran out"
    await same_after_restart(hand)


async def test_a_message_leased_again_after_its_lease_ran_out(hand: Hand) -> None:
    await hand.do(to_queue("q", "x"))
    first = await hand.receive("q", lease_ms=1000)
    hand.now += 1000
    await hand.tick()
    second = await hand.receive("q")
    await same_after_restart(hand)
    assert await hand.ack("q", *receipts(first)) == 0
    assert await hand.ack("q", *receipts(second)) == 1


async def test_what_ran_out_settles_after_a_restart(hand: Hand) -> None:
    await hand.do(to_queue("q", "a", "b", "c"))
    received = await hand.receive("q", 3, lease_ms=1000)
    hand.now += 2000
    await hand.tick()
    await same_after_restart(hand)
    one, two, three = receipts(received)
    await hand.do(c.Ack("q", (one,)), c.Extend("q", (two,), 5000), c.Nack("q", (three,)))
    picture = await same_after_restart(hand)
    assert picture["queues"][1]["counts"][:4] == (1, 1, 0, 0)
    again = await hand.receive("q")
    assert (again.deliveries[0].delivery_count, again.deliveries[0].failed_count) == (2, 1)


async def test_a_lease_that_ends_while_the_broker_is_down(hand: Hand) -> None:
    await hand.do(to_queue("q", "x"))
    received = await hand.receive("q", lease_ms=1000)
    await same_after_restart(hand)
    hand.now += 60_000
    await hand.tick()
    assert (await hand.stats("q")).ready == 1
    assert await hand.ack("q", *receipts(received)) == 1


async def test_delays_that_end_before_and_after_a_restart(hand: Hand) -> None:
    for delay_ms in (1000, 5000, 20_000):
        await hand.do(to_queue("q", f"{delay_ms}", delay_ms=delay_ms))
    await same_after_restart(hand)
    hand.now += 3000
    await hand.tick()
    assert (await same_after_restart(hand))["queues"][1]["counts"][:4] == (1, 0, 2, 0)
    hand.now += 3000
    await hand.reopen()
    await hand.tick()
    assert (await same_after_restart(hand))["queues"][1]["counts"][:4] == (2, 0, 1, 0)


async def test_what_was_undelivered(hand: Hand) -> None:
    await hand.do(to_queue("q", *"abc"))
    received = await hand.receive("q", 3)
    await hand.ack("q", receipts(received)[1])
    await hand.do(c.Undeliver("q", received.lease))
    picture = await same_after_restart(hand)
    assert picture["leases"] == {}
    again = await hand.receive("q", 3)
    assert [d.delivery_count for d in again.deliveries] == [1, 1]


async def test_dead_ones_stay_dead_with_their_reasons(hand: Hand) -> None:
    await hand.queue("r", RETRIES)
    await hand.do(to_queue("r", "x"))
    for _ in range(3):
        received = await hand.receive("r")
        await hand.do(c.Nack("r", receipts(received), delay_ms=0, reason="füüü"))
    picture = await same_after_restart(hand)
    assert picture["queues"][2]["counts"][:4] == (0, 0, 0, 1)
    assert '"reason":"delivery_limit","detail":"füüü","count":1' in hand.rows("SELECT deaths FROM message")[0][0]


async def test_time_does_not_step_back(hand: Hand) -> None:
    await hand.do(to_queue("q", "x"))
    latest = hand.now
    await hand.reopen()
    assert hand.store._machine.state.now >= latest


async def test_random_histories(tmp_path: Path) -> None:
    """Anything, in any order; after each step the store is opened anew from a copy of its files now and then."""
    for seed in range(6):
        await _history(Hand(tmp_path / f"{seed}"), random.Random(seed))


async def _history(hand: Hand, chance: random.Random) -> None:
    await hand.open()
    await hand.do(c.PutExchange(Exchange("x", ExchangeType.FANOUT)))
    for name, settings in (
        ("a", RETRIES),
        ("b", QueueSettings(lease_seconds=1)),
        ("c", QueueSettings(delay_seconds=3)),
    ):
        await hand.queue(name, settings)
        await hand.do(c.Bind("x", queue=name))
    held: list[tuple[str, str]] = []
    for step in range(120):
        hand.now += chance.choice((0, 1, 400, 3000))
        await _one_step(hand, chance, held)
        if step % 10 == 9:
            await same_after_restart(hand)
    await hand.close()


async def _one_step(hand: Hand, chance: random.Random, held: list[tuple[str, str]]) -> None:
    queue = chance.choice("abc")
    some = tuple(receipt for at, receipt in chance.sample(held, min(len(held), 6)) if at == queue)
    made = tuple(
        envelope(
            b"x" * chance.choice((0, 10, 3000)),
            "k",
            priority=chance.randrange(7),
            group=chance.choice(("", "", "g", "h")),
            ttl_ms=chance.choice((None, None, 5000)),
        )
        for _ in range(4)
    )
    settle: list[c.Command] = [
        c.Ack(queue, some),
        c.Nack(queue, some, delay_ms=chance.choice((None, 0, 2000)), delivery_failed=chance.random() < 0.7),
        c.Nack(queue, some, requeue=False),
        c.Extend(queue, some, chance.choice((500, 5000))),
    ]
    publish = [c.Publish(made, exchange="x"), c.Publish(made, queue=queue)]
    receive = c.Receive(queue, chance.randrange(1, 6), chance.choice((None, 400, 4000)), auto_ack=chance.random() < 0.1)
    batch = [chance.choice((chance.choice(settle), chance.choice(publish))) for _ in range(chance.randrange(4))]
    applied = await hand.store.apply(batch, hand.now, OneReceive(receive) if chance.random() < 0.7 else Nobody())
    for receive, received in applied.served:
        assert isinstance(received, Received)
        if received.lease and chance.random() < 0.1:
            await hand.do(c.Undeliver(receive.queue, received.lease))
        held += [(receive.queue, receipt) for receipt in receipts(received) if received.lease]
