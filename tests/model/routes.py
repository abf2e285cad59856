"""Where a message goes, naively: recursion over lists, written from the contract's §3 alone."""

import json
from collections.abc import Iterable, Mapping

from queuesvc.domain.model import Binding, Exchange, ExchangeType, Headers, HeaderValue


def words(text: str) -> list[str]:
    """The words of a routing key or a pattern: parted by dots, the empty key has none."""
    return text.split(".") if text else []


def topic_matches(pattern: list[str], key: list[str]) -> bool:
    """`*` is exactly one word, `#` is zero or more: tried one word after the other."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(topic_matches(pattern[1:], key[skipped:]) for skipped in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and topic_matches(pattern[1:], key[1:])


def header_text(value: HeaderValue) -> str:
    """A header's value as it is compared: a string is itself, anything else its JSON text."""
    return value if isinstance(value, str) else json.dumps(value)


def headers_match(match: str, wanted: Headers, given: Headers) -> bool:
    """`all` of no headers matches everything, `any` of none matches nothing."""
    hits = [name in given and header_text(given[name]) == header_text(value) for name, value in wanted.items()]
    return all(hits) if match == "all" else any(hits)


def matches(exchange: Exchange, binding: Binding, key: str, headers: Headers) -> bool:
    """Whether one binding of the exchange takes the message."""
    if exchange.type is ExchangeType.FANOUT:
        return True
    if exchange.type is ExchangeType.DIRECT:
        return binding.routing_key == key
    if exchange.type is ExchangeType.TOPIC:
        return topic_matches(words(binding.routing_key), words(key))
    return headers_match(binding.match or "all", binding.headers or {}, headers)


def route(
    exchanges: Mapping[str, Exchange], bindings: Iterable[Binding], start: str, key: str, headers: Headers
) -> tuple[list[str], list[Binding]]:
    """The queues reached, by name, and the bindings that matched, by id.

    An exchange none of whose bindings match passes the message on to its
    alternate. Where no queue was reached at all, it is as if it had been published to the
    alternate. Each exchange is visited once, a missing one reaches nothing.
    """
    of = {name: [b for b in bindings if b.source == name] for name in exchanges}
    visited: set[str] = set()
    queues: set[str] = set()
    matched: list[Binding] = []

    def visit(name: str | None) -> None:
        if name is None or name in visited or name not in exchanges:
            return
        visited.add(name)
        exchange = exchanges[name]
        hits = [binding for binding in of[name] if matches(exchange, binding, key, headers)]
        matched.extend(hits)
        for binding in hits:
            if binding.queue is not None:
                queues.add(binding.queue)
            visit(binding.exchange)
        if not hits:
            visit(exchange.alternate_exchange)

    while start in exchanges and start not in visited and not queues:
        visit(start)
        start = exchanges[start].alternate_exchange or ""
    return sorted(queues), sorted(matched, key=lambda binding: binding.id)
