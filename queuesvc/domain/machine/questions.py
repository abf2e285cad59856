"""The questions that read the state and change nothing."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.machine.state import State
from queuesvc.domain.model import Binding, Exchange, QueueView
from queuesvc.domain.replies import Page, Reply, Routed

Count = Callable[[str], int]


def _page_of_names(names: Iterable[str], after: str, limit: int) -> tuple[list[str], str | None]:
    ordered = sorted(names)
    start = bisect_right(ordered, after) if after else 0
    page = ordered[start : start + limit]
    return page, page[-1] if start + limit < len(ordered) else None


def get_exchange(state: State, query: c.GetExchange, now: int, count: Count) -> Exchange:
    """One exchange."""
    state.require_exchange(query.name)
    return state.router.exchanges[query.name]


def list_exchanges(state: State, query: c.ListExchanges, now: int, count: Count) -> Page[Exchange]:
    """Exchanges by name."""
    names, after = _page_of_names(state.router.exchanges, query.after, query.limit)
    return Page(tuple(state.router.exchanges[name] for name in names), after)


def get_queue(state: State, query: c.GetQueue, now: int, count: Count) -> QueueView:
    """One queue."""
    return state.queue(query.name).view(now, count(query.name))


def list_queues(state: State, query: c.ListQueues, now: int, count: Count) -> Page[QueueView]:
    """Queues by name."""
    names, after = _page_of_names(state.queues, query.after, query.limit)
    return Page(tuple(state.queues[name].view(now, count(name)) for name in names), after)


def list_bindings(state: State, query: c.ListBindings, now: int, count: Count) -> Page[Binding]:
    """The bindings from an exchange or to a queue, by id."""
    if query.exchange is not None:
        state.require_exchange(query.exchange)
        bindings = state.router.bindings_from(query.exchange)
    else:
        bindings = state.router.bindings_to(state.queue(query.queue or "").name)
    rest = [binding for binding in bindings if binding.id > query.after]
    page = tuple(rest[: query.limit])
    return Page(page, str(page[-1].id) if len(rest) > len(page) else None)


def route(state: State, query: c.Route, now: int, count: Count) -> Routed:
    """Where a publish would go."""
    state.require_exchange(query.exchange)
    queues, bindings, _ = state.router.route(query.exchange, query.routing_key, query.headers or {})
    return Routed(tuple(queues), tuple(bindings))


ANSWERS: dict[type, Callable[[State, Any, int, Count], Reply]] = {
    c.GetExchange: get_exchange,
    c.ListExchanges: list_exchanges,
    c.GetQueue: get_queue,
    c.ListQueues: list_queues,
    c.ListBindings: list_bindings,
    c.Route: route,
}
