"""Publishing: every copy or none, and the message as it came (§4, §10.1, §10.5)."""

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import Exchange, ExchangeType, QueueStats
from queuesvc.domain.replies import Published, PublishResult
from tests.model.compare import conserved
from tests.store.driver import Driver, deliveries, message, receipts, texts


async def fanout(store: Driver, *queues: str) -> None:
    """The exchange `x` and queues bound to it."""
    await store.do(c.PutExchange(Exchange("x", ExchangeType.FANOUT)))
    for name in queues:
        await store.queue(name)
        await store.do(c.Bind("x", queue=name))


async def test_each_queue_gets_a_copy_of_its_own(store: Driver) -> None:
    await fanout(store, "b", "a", "c")
    (result,) = await store.publish("shared", exchange="x")
    assert result.queues == ("a", "b", "c")
    seen = []
    for name in result.queues:
        received = await store.receive(name)
        (delivery,) = deliveries(received)
        seen.append((texts(received), delivery.content.first, delivery.number))
        await store.ack(*receipts(received), queue=name)
        assert (await store.stats(name)).acked == 1
    assert seen == [(["shared"], result.first, result.first + copy) for copy in range(3)]


async def test_a_queue_bound_twice_gets_one_copy(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(Exchange("x", ExchangeType.TOPIC)))
    for pattern in ("a.*", "*.b", "#"):
        await store.do(c.Bind("x", queue="q", routing_key=pattern))
    (result,) = await store.publish(message("one", "a.b"), exchange="x")
    assert result.queues == ("q",)
    assert await store.bodies() == ["one"]


async def test_reaching_no_queue_is_no_error_unless_it_is_mandatory(store: Driver) -> None:
    await fanout(store)
    (result,) = await store.publish("one", exchange="x")
    assert result.queues == ()
    with pytest.raises(Refused) as refused:
        await store.publish(message("one", mandatory=True), exchange="x")
    assert refused.value.code is Code.UNROUTABLE
    assert "index" not in refused.value.extra


async def test_one_bad_envelope_and_nothing_of_the_batch_is_stored(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(Exchange("x", ExchangeType.DIRECT)))
    await store.do(c.Bind("x", queue="q", routing_key="q"))
    with pytest.raises(Refused) as refused:
        await store.publish(message("one"), message("two", "nowhere", mandatory=True), message("three"), exchange="x")
    assert (refused.value.code, refused.value.extra["index"]) == (Code.UNROUTABLE, 1)
    assert await store.stats() == QueueStats()
    assert await store.bodies() == []


async def test_a_refused_command_leaves_the_rest_of_its_batch_alone(store: Driver) -> None:
    await store.queue()
    publish = c.Publish((message("one"),), queue="q")
    nowhere = c.Publish((message("two"),), queue="nowhere")
    first, second, third = await store.batch(publish, nowhere, publish)
    assert isinstance(first, Published)
    assert isinstance(second, Refused)
    assert second.code is Code.QUEUE_NOT_FOUND
    assert isinstance(third, Published)
    assert await store.bodies() == ["one", "one"]


async def test_numbers_ascend_in_the_order_of_envelopes_and_of_queues(store: Driver) -> None:
    await fanout(store, "a", "b")
    results = await store.publish("one", "two", exchange="x") + await store.publish("three", queue="a")
    assert [result.queues for result in results] == [("a", "b"), ("a", "b"), ("a",)]
    numbers = [result.first for result in results]
    assert numbers == sorted(numbers)
    assert numbers[1] - numbers[0] >= 2
    assert numbers[2] - numbers[1] >= 2
    published = await store.do(c.Publish((message("four"),), queue="a"))
    assert published == Published(store.now, (PublishResult(published.results[0].first, ("a",)),))


async def test_a_message_is_handed_out_as_it_came(store: Driver) -> None:
    await fanout(store, "a", "b")
    body = bytes(range(256)) * 5
    properties = '"content_type":"text/x-ä€😀\\u0000","headers":{"k":1.50},"priority":3'
    first = message("", "a.b.ä", headers={"k": 1.5}, priority=3)._replace(body=body, properties=properties)
    await store.publish(first, message("", "k"), exchange="x")
    at = store.now
    await store.after(1)
    for name in ("a", "b"):
        one, empty = (delivery.content for delivery in deliveries(await store.receive(name)))
        assert (bytes(one.body), one.properties, one.exchange, one.routing_key) == (body, properties, "x", "a.b.ä")
        assert (one.published_at, one.expires_at, one.deaths) == (at, 0, "")
        assert (bytes(empty.body), empty.properties, empty.routing_key) == (b"", "", "k")


async def test_every_count_by_the_law_of_conservation(store: Driver) -> None:
    await store.queue(lease_seconds=10)
    await store.publish("acked", "rejected", "leased", "retried", "ready", message("delayed", delay_ms=60_000))
    await store.after(2)
    acked, rejected, _, retried = receipts(await store.receive(max_messages=4))
    await store.ack(acked)
    await store.nack(rejected, requeue=False)
    await store.nack(retried, delay_ms=5000)
    stats = await store.stats()
    bodies = len("rejectedleasedretriedreadydelayed")
    assert stats == QueueStats(
        ready=1,
        leased=1,
        delayed=2,
        dead=1,
        bytes=bodies,
        oldest_ready_seconds=2,
        published=6,
        delivered=4,
        acked=1,
        nacked=2,
    )
    conserved(stats)


async def test_a_deleted_queue_takes_its_messages_along_and_no_others(store: Driver) -> None:
    await fanout(store, "a", "b")
    await store.publish("x" * 5000, "small", exchange="x")
    await store.do(c.DeleteQueue("a"))
    while await store.store.maintain():
        pass
    assert await store.bodies("b") == ["x" * 5000, "small"]
    await store.queue("a")
    assert await store.stats("a") == QueueStats()
    assert await store.bodies("a") == []
    assert (await store.publish("after", exchange="x"))[0].queues == ("b",)


@pytest.mark.parametrize("state", ["ready", "leased", "delayed", "dead"])
async def test_a_queue_with_anything_in_it_is_not_empty(store: Driver, state: str) -> None:
    await store.queue()
    await store.publish(message("one", delay_ms=1000 if state == "delayed" else 0))
    if state in ("leased", "dead"):
        received = await store.receive()
        if state == "dead":
            await store.nack(*receipts(received), requeue=False)
    assert await store.counts() == {state: 1}
    with pytest.raises(Refused) as refused:
        await store.do(c.DeleteQueue("q", if_empty=True))
    assert refused.value.code is Code.QUEUE_NOT_EMPTY
    assert await store.counts() == {state: 1}


async def test_an_emptied_queue_is_deleted_if_empty(store: Driver) -> None:
    await store.queue()
    await store.publish("one")
    await store.receive(auto_ack=True)
    await store.do(c.DeleteQueue("q", if_empty=True))
    with pytest.raises(Refused):
        await store.stats()
