"""Exchanges, queues and bindings: declared, changed, listed, deleted (§2, §3)."""

from typing import Any

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import Binding, Exchange, ExchangeType, Headers, Match, QueueSettings
from queuesvc.domain.replies import Declared, Done, Page, Routed
from tests.store.driver import Driver, message

TOPIC = Exchange("x", ExchangeType.TOPIC)


async def refusal(store: Driver, command: Any) -> tuple[Code, dict[str, Any]]:
    with pytest.raises(Refused) as refused:
        await (store.ask(command) if type(command).__name__.startswith(("Get", "List", "Route")) else store.do(command))
    return refused.value.code, refused.value.extra


async def test_declaring_the_same_again_is_no_conflict(store: Driver) -> None:
    assert await store.do(c.PutExchange(TOPIC)) == Declared(TOPIC, True)
    assert await store.do(c.PutExchange(TOPIC)) == Declared(TOPIC, False)
    first = await store.do(c.PutQueue("q", QueueSettings(lease_seconds=5)))
    again = await store.do(c.PutQueue("q", QueueSettings(lease_seconds=5.0)))
    assert (first.created, again.created, again.value) == (True, False, first.value)


async def test_a_conflict_names_the_fields_that_differ(store: Driver) -> None:
    await store.do(c.PutExchange(TOPIC))
    other = Exchange("x", ExchangeType.FANOUT, "y", 60)
    code, extra = await refusal(store, c.PutExchange(other))
    assert code is Code.CONFLICT
    assert sorted(extra["fields"]) == ["alternate_exchange", "deduplication_window_seconds", "type"]
    await store.queue(lease_seconds=5, max_priority=3)
    code, extra = await refusal(store, c.PutQueue("q", QueueSettings(paused=True, max_priority=3)))
    assert code is Code.CONFLICT
    assert sorted(extra["fields"]) == ["lease_seconds", "paused"]
    assert (await store.ask(c.GetQueue("q"))).settings == QueueSettings(lease_seconds=5, max_priority=3)


async def test_a_patch_holds_for_what_comes_and_sorts_nothing_again(store: Driver) -> None:
    await store.queue(max_priority=1)
    await store.publish(message("one"), message("two", priority=5))
    view = await store.do(c.PatchQueue("q", {"max_priority": 9, "delivery_limit": None, "delay_seconds": 1}))
    assert view.settings == QueueSettings(max_priority=9, delivery_limit=None, delay_seconds=1)
    await store.publish(message("three", priority=5, delay_ms=0), message("four"))
    assert await store.bodies() == ["three", "two", "one"]
    assert await store.counts() == {"leased": 3, "delayed": 1}
    await store.do(c.PatchQueue("q", {"max_priority": 0}))
    await store.after(30)
    assert await store.bodies() == ["three", "two", "one", "four"]


async def test_a_deleted_exchange_takes_the_bindings_from_it_and_to_it_along(store: Driver) -> None:
    await store.queue()
    for name in ("x", "y"):
        await store.do(c.PutExchange(Exchange(name, ExchangeType.FANOUT)))
    for command in (c.Bind("x", exchange="y"), c.Bind("y", exchange="x"), c.Bind("y", queue="q")):
        await store.do(command)
    assert await store.do(c.DeleteExchange("x")) == Done()
    page = await store.ask(c.ListBindings(exchange="y"))
    assert [binding.queue for binding in page.items] == ["q"]
    assert await refusal(store, c.DeleteExchange("x")) == (Code.EXCHANGE_NOT_FOUND, {"exchange": "x"})
    await store.do(c.PutExchange(Exchange("x", ExchangeType.DIRECT)))
    assert await store.ask(c.ListBindings(exchange="x")) == Page((), None)


async def test_a_deleted_alternate_reaches_no_queue(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(Exchange("x", ExchangeType.DIRECT, alternate_exchange="rest")))
    assert (await store.publish("one", exchange="x"))[0].queues == ()
    await store.do(c.PutExchange(Exchange("rest", ExchangeType.FANOUT)))
    await store.do(c.Bind("rest", queue="q"))
    assert (await store.publish("two", exchange="x"))[0].queues == ("q",)
    await store.do(c.DeleteExchange("rest"))
    assert (await store.publish("three", exchange="x"))[0].queues == ()


async def test_the_same_binding_again_is_the_one_that_is_there(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(TOPIC))
    first = await store.do(c.Bind("x", queue="q", routing_key="a.*"))
    assert first == Declared(Binding(first.value.id, "x", queue="q", routing_key="a.*"), True)
    assert await store.do(c.Bind("x", queue="q", routing_key="a.*")) == Declared(first.value, False)
    other = await store.do(c.Bind("x", queue="q", routing_key="a.#"))
    assert other.created
    assert other.value.id > first.value.id
    assert await store.do(c.Unbind(first.value.id)) == Done()
    assert (await refusal(store, c.Unbind(first.value.id)))[0] is Code.BINDING_NOT_FOUND
    again = await store.do(c.Bind("x", queue="q", routing_key="a.*"))
    assert again.created
    assert again.value.id > other.value.id


@pytest.mark.parametrize("other", [{"k": 1}, {"k": 1.0}, {"k": "True"}, {"k": True, "l": True}, {}])
async def test_header_bindings_of_different_texts_are_different(store: Driver, other: Headers) -> None:
    await store.queue()
    await store.do(c.PutExchange(Exchange("x", ExchangeType.HEADERS)))
    assert (await store.do(c.Bind("x", queue="q", match="all", headers={"k": True}))).created
    assert (await store.do(c.Bind("x", queue="q", match="all", headers=other))).created
    assert (await store.do(c.Bind("x", queue="q", match="any", headers=other))).created


@pytest.mark.parametrize(
    ("match", "headers", "reached"),
    [
        ("all", {"a": "1", "b": "true"}, True),
        ("all", {"a": 1, "b": True}, True),
        ("all", {"a": 1}, False),
        ("all", {"a": 1.0, "b": True}, False),  # its text is 1.0
        ("any", {"a": 1}, True),
        ("any", {"a": 2, "b": 1}, False),
        ("any", {}, False),
    ],
)
async def test_headers_match_by_the_text_of_their_values(
    store: Driver, match: Match, headers: Headers, reached: bool
) -> None:
    await store.queue()
    await store.do(c.PutExchange(Exchange("x", ExchangeType.HEADERS)))
    await store.do(c.Bind("x", queue="q", match=match, headers={"a": 1, "b": True}))
    (result,) = await store.publish(message("one", headers=headers), exchange="x")
    assert result.queues == (("q",) if reached else ())
    assert (await store.ask(c.Route("x", "", headers))).queues == result.queues


async def test_what_does_not_fit_the_exchanges_type_is_refused(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(TOPIC))
    await store.do(c.PutExchange(Exchange("h", ExchangeType.HEADERS)))
    for command, field in [
        (c.Bind("x", queue="q", match="all"), "match"),
        (c.Bind("x", queue="q", headers={"k": 1}), "headers"),
        (c.Bind("h", queue="q", routing_key="k"), "routing_key"),
        (c.Bind("h", queue="q", routing_key=""), "routing_key"),
    ]:
        code, extra = await refusal(store, command)
        assert (code, extra["field"]) == (Code.INVALID_REQUEST, field)


async def test_what_is_not_there_is_named(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(TOPIC))
    exchanges: list[c.Query | c.Command] = [
        c.GetExchange("no"),
        c.ListBindings(exchange="no"),
        c.Route("no"),
        c.Bind("no", queue="q"),
        c.Bind("x", exchange="no"),
        c.Publish((message("one"),), exchange="no"),
    ]
    for question in exchanges:
        assert (await refusal(store, question))[0] is Code.EXCHANGE_NOT_FOUND
    queues: list[c.Query | c.Command] = [
        c.GetQueue("no"),
        c.ListBindings(queue="no"),
        c.PatchQueue("no", {}),
        c.DeleteQueue("no"),
        c.Bind("x", queue="no"),
        c.Publish((message("one"),), queue="no"),
        c.Ack("no", ()),
    ]
    for question in queues:
        assert (await refusal(store, question))[0] is Code.QUEUE_NOT_FOUND


async def test_lists_are_sorted_and_paged(store: Driver) -> None:
    names = ["b", "B", "a.1", "a-1", "a", "10", "9"]
    await store.do(c.PutExchange(TOPIC))
    for name in names:
        await store.queue(name)
        await store.do(c.PutExchange(Exchange(name, ExchangeType.FANOUT)))
        await store.do(c.Bind("x", queue=name))
    for ask in (c.ListQueues, c.ListExchanges):
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await store.ask(ask(after=after, limit=3))
            assert 1 <= len(page.items) <= 3
            seen += [item.name for item in page.items]
            after = page.next
        assert [name for name in seen if name != "x"] == sorted(names)
    ids: list[int] = []
    place: int | None = 0
    while place is not None:
        page = await store.ask(c.ListBindings(exchange="x", after=place, limit=2))
        ids += [binding.id for binding in page.items]
        place = None if page.next is None else int(page.next)
    assert ids == sorted(ids)
    assert len(ids) == len(names)


async def test_the_dry_run_stores_nothing_and_names_the_bindings(store: Driver) -> None:
    await store.queue()
    await store.do(c.PutExchange(TOPIC))
    await store.do(c.PutExchange(Exchange("y", ExchangeType.FANOUT)))
    bound = [
        (await store.do(command)).value
        for command in (
            c.Bind("y", queue="q"),
            c.Bind("x", exchange="y", routing_key="a.#"),
            c.Bind("x", queue="q", routing_key="*.b"),
            c.Bind("x", queue="q", routing_key="c"),
        )
    ]
    assert await store.ask(c.Route("x", "a.b")) == Routed(("q",), tuple(bound[:3]))
    assert await store.ask(c.Route("x", "z")) == Routed((), ())
    assert await store.counts() == {}
