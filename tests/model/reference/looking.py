"""Every question (§3, §8)."""

from collections.abc import Iterable
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import State
from queuesvc.domain.replies import Definitions, Page, Reply, Routed, Shown
from tests.model.reference import tokens
from tests.model.reference.contents import Message
from tests.model.reference.world import World
from tests.model.routes import header_text, route


def ask(world: World, query: c.Query) -> Reply:
    """Answer a question. Raises `Refused`."""
    kept = world.kept
    if isinstance(query, c.GetExchange):
        return world.exchange(query.name)
    if isinstance(query, c.GetQueue):
        return world.queue(query.name).view(world.now, world.waiting.count(query.name))
    if isinstance(query, c.ListExchanges):
        shown = (e for e in kept.exchanges.values() if tokens.fits(query.visible, e.name))
        return page(((e.name, e) for e in shown), query.after, query.limit)
    if isinstance(query, c.ListQueues):
        queues_ = [queue for queue in kept.queues.values() if tokens.fits(query.visible, queue.name)]
        views = [queue.view(world.now, world.waiting.count(queue.name)) for queue in queues_]
        return page(((view.name, view) for view in views), query.after, query.limit)
    if isinstance(query, c.Route):
        world.exchange(query.exchange)
        key, headers = query.routing_key, query.headers or {}
        queues, matched = route(kept.exchanges, kept.bindings, query.exchange, key, headers)
        return Routed(tuple(queues), tuple(matched))
    if isinstance(query, c.GetDefinitions):
        exchanges = tuple(kept.exchanges[name] for name in sorted(kept.exchanges))
        settings = tuple((name, kept.queues[name].settings) for name in sorted(kept.queues))
        return Definitions(exchanges, settings, tuple(kept.bindings))
    if isinstance(query, c.BrowseMessages):
        return browse(world, query)
    if isinstance(query, c.GetMessage):
        message = world.queue(query.queue).named(query.id)
        if message is None:
            raise Refused(Code.MESSAGE_NOT_FOUND, query.id)
        return show(world, message)
    if isinstance(query, c.GetBinding):
        for binding in kept.bindings:
            if binding.id == query.id:
                return binding
        raise Refused(Code.BINDING_NOT_FOUND, str(query.id))
    if isinstance(query, c.GetToken):
        return tokens.find(world, query.name)
    if isinstance(query, c.ListTokens):
        return page(((token.name, token) for token in kept.tokens), query.after, query.limit)
    seen = [b for b in kept.bindings if tokens.fits(query.visible, b.source, b.queue or b.exchange or "")]
    if query.exchange is not None:
        world.exchange(query.exchange)
        return page(((b.id, b) for b in seen if b.source == query.exchange), query.after, query.limit)
    world.queue(str(query.queue))
    return page(((b.id, b) for b in seen if b.queue == query.queue), query.after, query.limit)


def page(items: Iterable[tuple[Any, Any]], after: str | int, limit: int) -> Page[Any]:
    """The items whose key comes after `after`, sorted, and the last one's key where more are left."""
    rest = sorted((item for item in items if item[0] > after), key=lambda item: item[0])
    shown = rest[:limit]
    return Page(tuple(item for _, item in shown), str(shown[-1][0]) if len(rest) > limit else None)


def browse(world: World, query: c.BrowseMessages) -> Page[Shown]:
    """All of them: whoever compares walks the pages of the other side to their end."""
    queue = world.queue(query.queue)
    messages = queue.messages if query.state is None else queue.in_state(query.state)
    fitting = [message for message in messages if fits(message, query)]
    fitting.sort(key=lambda message: (-message.priority, message.number))
    return Page(tuple(show(world, message) for message in fitting), None)


def fits(message: Message, query: c.BrowseMessages) -> bool:
    """Whether it is what is looked for."""
    headers = message.properties().get("headers") or {}
    texts = {name: header_text(value) for name, value in headers.items()}
    return (
        query.routing_key in (None, message.content.routing_key)
        and query.group in (None, message.group)
        and all(texts.get(name) == value for name, value in (query.headers or {}).items())
    )


def show(world: World, message: Message) -> Shown:
    """As it stands."""
    leased = message.state is State.LEASED
    return Shown(
        message.number,
        message.state,
        message.deliveries,
        message.failures,
        message.shown(),
        message.until if leased else 0,
        world.consumer(message) if leased else "",
    )
