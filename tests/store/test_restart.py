"""What outlives a restart, clean or by kill -9 (§10.1 to §10.4), for every store that is durable."""

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code
from queuesvc.domain.model import Exchange, ExchangeType, QueueSettings, QueueView
from queuesvc.domain.replies import Page, Settled
from tests.store.driver import Driver, codes, deliveries, message, receipts

pytestmark = pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])


async def everything(store: Driver) -> list[object]:
    """All that can be asked for."""
    exchanges = await store.ask(c.ListExchanges())
    bindings = [await store.ask(c.ListBindings(exchange=exchange.name)) for exchange in exchanges.items]
    return [exchanges, bindings, await store.ask(c.ListQueues()), store.store.next_due()]


async def test_topology_counts_and_due_moments_stay_as_they_were(durable: Driver, kill: bool) -> None:
    await durable.do(c.PutExchange(Exchange("x", ExchangeType.HEADERS, "y", 60)))
    await durable.do(c.PutExchange(Exchange("y", ExchangeType.TOPIC)))
    await durable.queue(lease_seconds=0.5, delivery_limit=None, max_priority=7)
    await durable.do(c.Bind("x", queue="q", match="any", headers={"a": 1, "b": 1.0, "c": True, "d": "ä"}))
    await durable.do(c.Bind("x", exchange="y", match="all", headers={}))
    await durable.do(c.Bind("y", queue="q", routing_key="#.ä"))
    await durable.publish("acked", "rejected", "leased", "ready", message("later", delay_ms=9000))
    acked, rejected, _ = receipts(await durable.receive(max_messages=3, lease_ms=5000))
    await durable.ack(acked)
    await durable.nack(rejected, requeue=False)
    before = await everything(durable)
    await durable.restart(kill)
    assert await everything(durable) == before
    for headers in ({"a": "1"}, {"b": 1.0}, {"c": "true"}):
        assert (await durable.ask(c.Route("x", "k.ä", headers))).queues == ("q",)
        assert len((await durable.ask(c.Route("x", "k.ä", headers))).bindings) == 3


async def test_a_consumer_acks_after_the_broker_came_back(durable: Driver, kill: bool) -> None:
    await durable.queue()
    await durable.publish("one", "two", "three")
    one, two, three = receipts(await durable.receive())
    await durable.ack(two)
    await durable.restart(kill)
    assert await durable.bodies() == []  # they are leased still
    assert codes(await durable.ack(two)) == [Code.GONE]
    assert (await durable.ack(one)).count == 1
    assert (await durable.extend(three, seconds=60)).count == 1
    await durable.restart(kill)
    await durable.after(59.999)
    assert await durable.counts() == {"leased": 1}
    await durable.after(0.001)
    (delivery,) = deliveries(await durable.receive())
    assert (delivery.delivery_count, delivery.failed_count) == (2, 1)


async def test_a_lease_that_ran_out_before_still_settles_and_a_stale_one_does_not(durable: Driver, kill: bool) -> None:
    await durable.queue(lease_seconds=1)
    await durable.publish("one", "two")
    one, two = receipts(await durable.receive())
    await durable.after(1)
    (again,) = receipts(await durable.receive(max_messages=1))
    await durable.restart(kill)
    await durable.batch()
    assert codes(await durable.ack(one)) == [Code.LEASE_LOST]
    assert await durable.ack(two) == Settled(1)
    assert await durable.ack(again) == Settled(1)
    assert await durable.counts() == {}


async def test_a_lease_and_a_delay_that_end_during_the_outage(durable: Driver, kill: bool) -> None:
    await durable.queue(delivery_limit=2)
    await durable.publish("leased", message("delayed", delay_ms=1000))
    (receipt,) = receipts(await durable.receive(lease_ms=1000))
    await durable.restart(kill)
    durable.now += 5000
    received = await durable.receive()
    assert [(d.delivery_count, d.failed_count) for d in deliveries(received)] == [(2, 1), (1, 0)]
    assert codes(await durable.ack(receipt)) == [Code.LEASE_LOST]
    await durable.nack(*receipts(received))
    assert await durable.counts() == {"dead": 1, "ready": 1}


async def test_order_and_priorities(durable: Driver, kill: bool) -> None:
    await durable.queue(max_priority=2)
    for number in range(9):
        await durable.publish(message(str(number), priority=number % 3))
    received = await durable.receive(max_messages=4)
    await durable.nack(receipts(received)[1], receipts(received)[3])
    await durable.restart(kill)
    await durable.publish(message("new", priority=2))
    assert await durable.bodies() == ["5", "new", "1", "4", "7", "0", "3", "6"]


async def test_no_number_lease_or_binding_id_is_given_twice(durable: Driver, kill: bool) -> None:
    await durable.do(c.PutExchange(Exchange("x", ExchangeType.FANOUT)))
    await durable.queue()
    numbers, tokens, bindings = [], [], []
    for round_ in range(4):
        numbers.append((await durable.publish("nowhere", exchange="x"))[0].first)
        if round_ % 2:
            binding = (await durable.do(c.Bind("x", queue="q"))).value
            bindings.append(binding.id)
            await durable.do(c.Unbind(binding.id))
        numbers.append((await durable.publish("one"))[0].first)
        received = await durable.receive()
        tokens.append(received.token)
        await durable.ack(*receipts(received))
        await durable.restart(kill)
    assert numbers == sorted(set(numbers))
    assert bindings == sorted(set(bindings))
    assert len(set(tokens)) == 4


async def test_receipts_of_a_deleted_queue_stay_worthless(durable: Driver, kill: bool) -> None:
    await durable.queue()
    await durable.publish("one")
    (receipt,) = receipts(await durable.receive())
    await durable.do(c.DeleteQueue("q"))
    await durable.restart(kill)
    await durable.queue()
    await durable.publish("two")
    await durable.receive()
    assert codes(await durable.ack(receipt)) == [Code.GONE]


async def test_a_large_queue_that_was_deleted_never_comes_back(durable: Driver, kill: bool) -> None:
    await durable.queue()
    for _ in range(6):
        await durable.publish(*(str(number) for number in range(1000)))
    await durable.batch(c.DeleteQueue("q"), c.PutQueue("q", QueueSettings()), c.Publish((message("new"),), queue="q"))
    await durable.restart(kill)
    await durable.store.maintain()
    await durable.restart(kill)
    page = await durable.ask(c.ListQueues())
    assert isinstance(page, Page)
    view = page.items[0]
    assert isinstance(view, QueueView)
    assert (view.stats.ready, view.stats.published, view.stats.bytes) == (1, 1, 3)
    while await durable.store.maintain():
        pass
    await durable.restart(kill)
    assert await durable.bodies() == ["new"]


async def test_the_store_knows_the_time_and_its_mark(durable: Driver, kill: bool) -> None:
    first = await durable.restart(kill)
    await durable.queue()
    await durable.after(100)
    await durable.publish("one")
    opened = await durable.restart(kill)
    assert opened.tag == first.tag
    assert opened.latest_at == durable.now
