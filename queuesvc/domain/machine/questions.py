"""The questions that read the state and change nothing."""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import invalid, no_message
from queuesvc.domain.globs import Globs
from queuesvc.domain.limits import PRIORITY_MOST
from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.machine.state import State
from queuesvc.domain.messages import LEASED, READY
from queuesvc.domain.model import Binding, Content, Exchange, QueueView
from queuesvc.domain.model import State as MessageState
from queuesvc.domain.replies import Definitions, Page, Reply, Routed, Shown
from queuesvc.domain.routing.headers import text_of
from queuesvc.domain.tokens import Token

Count = Callable[[str], int]


def _page_of_names(
    names: Iterable[str], after: str, limit: int, visible: tuple[str, ...] | None = None
) -> tuple[list[str], str | None]:
    ordered = sorted(names)
    start = bisect_right(ordered, after) if after else 0
    if visible is None:
        page = ordered[start : start + limit + 1]
    else:
        page = list(islice(filter(Globs(visible).look, ordered[start:]), limit + 1))
    return page[:limit], page[limit - 1] if len(page) > limit else None


def get_exchange(state: State, query: c.GetExchange, now: int, count: Count) -> Exchange:
    """One exchange."""
    state.require_exchange(query.name)
    return state.router.exchanges[query.name]


def list_exchanges(state: State, query: c.ListExchanges, now: int, count: Count) -> Page[Exchange]:
    """Exchanges by name."""
    names, after = _page_of_names(state.router.exchanges, query.after, query.limit, query.visible)
    return Page(tuple(state.router.exchanges[name] for name in names), after)


def get_queue(state: State, query: c.GetQueue, now: int, count: Count) -> QueueView:
    """One queue."""
    return state.queue(query.name).view(now, count(query.name))


def list_queues(state: State, query: c.ListQueues, now: int, count: Count) -> Page[QueueView]:
    """Queues by name."""
    names, after = _page_of_names(state.queues, query.after, query.limit, query.visible)
    return Page(tuple(state.queues[name].view(now, count(name)) for name in names), after)


def list_bindings(state: State, query: c.ListBindings, now: int, count: Count) -> Page[Binding]:
    """The bindings from an exchange or to a queue, by id."""
    if query.exchange is not None:
        state.require_exchange(query.exchange)
        bindings = state.router.bindings_from(query.exchange)
    else:
        bindings = state.router.bindings_to(state.queue(query.queue or "").name)
    rest = [binding for binding in bindings if binding.id > query.after]
    if query.visible is not None:
        globs = Globs(query.visible)
        rest = [one for one in rest if globs.look(one.source) and globs.look(one.queue or one.exchange or "")]
    page = tuple(rest[: query.limit])
    return Page(page, str(page[-1].id) if len(rest) > len(page) else None)


def get_binding(state: State, query: c.GetBinding, now: int, count: Count) -> Binding:
    """One binding."""
    return state.binding(query.id)


def route(state: State, query: c.Route, now: int, count: Count) -> Routed:
    """Where a publish would go."""
    state.require_exchange(query.exchange)
    queues, bindings, _ = state.router.route(query.exchange, query.routing_key, query.headers or {})
    return Routed(tuple(queues), tuple(bindings))


def get_definitions(state: State, query: c.GetDefinitions, now: int, count: Count) -> Definitions:
    """The whole topology."""
    return Definitions(
        tuple(exchange for _, exchange in sorted(state.router.exchanges.items())),
        tuple((name, queue.settings) for name, queue in sorted(state.queues.items())),
        tuple(binding for _, binding in sorted(state.router.bindings.items())),
    )


def get_token(state: State, query: c.GetToken, now: int, count: Count) -> Token:
    """One token."""
    return state.token(query.name)


def list_tokens(state: State, query: c.ListTokens, now: int, count: Count) -> Page[Token]:
    """Tokens by name."""
    names, after = _page_of_names(state.tokens, query.after, query.limit)
    return Page(tuple(state.tokens[name] for name in names), after)


def get_message(state: State, query: c.GetMessage, now: int, count: Count) -> Shown:
    """One message as it stands."""
    queue = state.queue(query.queue)
    number = state.number_of(queue, query.id)
    if number is None:
        raise no_message(queue.name, query.id)
    return _shown(state, queue, number, state.contents.content(number))


def _shown(state: State, queue: Queue, number: int, content: Content) -> Shown:
    message = queue.messages.get(number)
    if message is None:
        return Shown(number, READY, 0, 0, content)
    assert message.state is not None  # it is only while a command is at work
    content = content._replace(expires_at=message.expires_at)
    if message.state is not LEASED or message.lease is None:
        return Shown(number, message.state, message.deliveries, message.failures, content)
    return Shown(number, LEASED, message.deliveries, message.failures, content, message.until, message.lease.consumer)


# --- browsing -------------------------------------------------------------------

BROWSED = 10_000
LOOKED_AT_ONCE = 500


def browse(state: State, query: c.BrowseMessages, now: int, count: Count) -> Page[Shown]:
    """Messages in the order of delivery: priority, then number. At most `BROWSED` are looked at."""
    queue = state.queue(query.queue)
    start = _read_cursor(query.after)
    places = nsmallest(BROWSED + 1, _places(queue, query.state, start))
    found: list[Shown] = []
    size = 0
    looked = 0
    for chunk in _chunks(places[:BROWSED]):
        matching = _matching(state, query, [number for _, number in chunk])
        for place in chunk:
            if len(found) >= query.limit or size > state.limits.receive_bytes:
                return Page(tuple(found), _cursor(places[looked - 1]))
            looked += 1
            if place[1] in matching:
                shown = _shown(state, queue, place[1], state.contents.content(place[1]))
                found.append(shown)
                size += len(shown.content.body)
    return Page(tuple(found), _cursor(places[looked - 1]) if looked < len(places) else None)


def _places(queue: Queue, state: MessageState | None, start: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Priority (negative) and number of the messages in a state behind a place, in no order."""
    for message in queue.messages.values():
        place = (-message.priority, message.number)
        if place > start and (state is None or message.state is state):
            yield place
    if state is None or state is READY:
        for priority in queue.ready.fresh_priorities():
            if -priority >= start[0]:
                after = start[1] if -priority == start[0] else 0
                fresh = queue.ready.fresh_after(priority, after)
                yield from islice(((-priority, number) for number, _, _ in fresh), BROWSED + 1)


def _chunks(places: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    return (places[at : at + LOOKED_AT_ONCE] for at in range(0, len(places), LOOKED_AT_ONCE))


def _matching(state: State, query: c.BrowseMessages, numbers: list[int]) -> Collection[int]:
    if query.routing_key is None and query.group is None and not query.headers:
        return numbers
    contents = state.contents.contents(numbers, bodies=False)
    return {number for number, content in contents.items() if _fits(query, content)}


def _fits(query: c.BrowseMessages, content: Content) -> bool:
    if query.routing_key is not None and content.routing_key != query.routing_key:
        return False
    if query.group is None and not query.headers:
        return True
    properties = json.loads(f"{{{content.properties}}}")
    if query.group is not None and (properties.get("group") or "") != query.group:
        return False
    headers = {name: text_of(value) for name, value in (properties.get("headers") or {}).items()}
    return all(headers.get(name) == value for name, value in (query.headers or {}).items())


def _cursor(place: tuple[int, int]) -> str:
    return f"{-place[0]}.{place[1]}"


def _read_cursor(text: str) -> tuple[int, int]:
    if not text:
        return (-PRIORITY_MOST - 1, 0)
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,18})", text, re.ASCII)
    if match is None:
        raise invalid("after", "is not the `next` of an earlier answer")
    return (-int(match[1]), int(match[2]))


ANSWERS: dict[type, Callable[[State, Any, int, Count], Reply]] = {
    c.GetExchange: get_exchange,
    c.ListExchanges: list_exchanges,
    c.GetQueue: get_queue,
    c.ListQueues: list_queues,
    c.ListBindings: list_bindings,
    c.GetBinding: get_binding,
    c.Route: route,
    c.GetDefinitions: get_definitions,
    c.GetMessage: get_message,
    c.BrowseMessages: browse,
    c.GetToken: get_token,
    c.ListTokens: list_tokens,
}
