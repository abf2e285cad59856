"""The graph of exchanges and bindings, and the way of a message through it.

As in RabbitMQ, an exchange none of whose bindings match hands the message to
its alternate exchange. Beyond that, a message that reached no queue at
all goes to the alternate of the exchange it was published to. Each exchange is visited once,
so that a cycle of exchanges delivers once.
"""

from collections.abc import Iterable

from queuesvc.domain.model import Binding, Exchange, ExchangeType, Headers
from queuesvc.domain.routing.headers import text_of
from queuesvc.domain.routing.table import Table, table_for


class Router:
    """Exchanges and bindings. It knows queues only by their names."""

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.bindings: dict[int, Binding] = {}
        self._tables: dict[str, Table] = {}
        self._from: dict[str, dict[int, Binding]] = {}
        self._to_queue: dict[str, dict[int, Binding]] = {}
        self._to_exchange: dict[str, dict[int, Binding]] = {}

    def add_exchange(self, exchange: Exchange) -> None:
        """Take in a new exchange."""
        self.exchanges[exchange.name] = exchange
        self._tables[exchange.name] = table_for(exchange.type)
        self._from[exchange.name] = {}

    def remove_exchange(self, name: str) -> list[Binding]:
        """Forget an exchange; returns the bindings from it and to it that went along."""
        gone = {**self._from[name], **self._to_exchange.get(name, {})}
        for binding in gone.values():
            self.remove_binding(binding)
        del self.exchanges[name], self._tables[name], self._from[name]
        return list(gone.values())

    def remove_queue(self, name: str) -> list[Binding]:
        """Forget the bindings to a queue, and return them."""
        gone = self.bindings_to(name)
        for binding in gone:
            self.remove_binding(binding)
        return gone

    def add_binding(self, binding: Binding) -> None:
        """Take in a binding whose ends exist."""
        self.bindings[binding.id] = binding
        self._tables[binding.source].add(binding)
        self._from[binding.source][binding.id] = binding
        self._targets(binding).setdefault(self._target(binding), {})[binding.id] = binding

    def remove_binding(self, binding: Binding) -> None:
        """Forget a binding."""
        del self.bindings[binding.id]
        self._tables[binding.source].remove(binding)
        del self._from[binding.source][binding.id]
        targets = self._targets(binding)
        rest = targets[self._target(binding)]
        del rest[binding.id]
        if not rest:
            del targets[self._target(binding)]

    def _targets(self, binding: Binding) -> dict[str, dict[int, Binding]]:
        return self._to_exchange if binding.queue is None else self._to_queue

    @staticmethod
    def _target(binding: Binding) -> str:
        return binding.queue or binding.exchange or ""

    def bindings_from(self, exchange: str) -> list[Binding]:
        """The bindings of an exchange, by id."""
        return sorted(self._from[exchange].values(), key=lambda binding: binding.id)

    def bindings_to(self, queue: str) -> list[Binding]:
        """The bindings to a queue, by id."""
        return sorted(self._to_queue.get(queue, {}).values(), key=lambda binding: binding.id)

    def same_binding(self, wanted: Binding) -> Binding | None:
        """The binding that is there already and does what this one would."""
        target = self._targets(wanted).get(self._target(wanted), {})
        return next((binding for binding in target.values() if _does(binding) == _does(wanted)), None)

    def route(self, exchange: str, routing_key: str, headers: Headers) -> tuple[list[str], list[Binding], bool]:
        """The queues reached, by name; the bindings that matched, by id; whether headers were looked at."""
        queues: set[str] = set()
        matched: dict[int, Binding] = {}
        seen: set[str] = set()
        looked = False
        start: str | None = exchange
        while start is not None and start in self.exchanges and start not in seen:
            looked |= self._spread(start, routing_key, headers, queues, matched, seen)
            if queues:
                break
            start = self.exchanges[start].alternate_exchange
        return sorted(queues), [matched[id_] for id_ in sorted(matched)], looked

    def _spread(
        self,
        start: str,
        routing_key: str,
        headers: Headers,
        queues: set[str],
        matched: dict[int, Binding],
        seen: set[str],
    ) -> bool:
        looked = False
        steps = [start]
        while steps:
            name = steps.pop()
            if name in seen or name not in self.exchanges:
                continue
            seen.add(name)
            exchange = self.exchanges[name]
            looked |= exchange.type is ExchangeType.HEADERS
            bindings = list(self._tables[name].match(routing_key, headers))
            matched.update((binding.id, binding) for binding in bindings)
            queues.update(binding.queue for binding in bindings if binding.queue is not None)
            steps.extend(self._onward(exchange, bindings))
        return looked

    @staticmethod
    def _onward(exchange: Exchange, bindings: list[Binding]) -> Iterable[str]:
        if not bindings:
            return [exchange.alternate_exchange] if exchange.alternate_exchange else []
        return [binding.exchange for binding in bindings if binding.exchange is not None]


def _does(binding: Binding) -> tuple[str, str, str | None, dict[str, str]]:
    """What a binding to a given target does: two that are equal in this are the same."""
    headers = {name: text_of(value) for name, value in (binding.headers or {}).items()}
    return binding.source, binding.routing_key, binding.match, headers
