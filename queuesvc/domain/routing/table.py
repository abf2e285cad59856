"""What the router asks of an exchange type."""

from collections.abc import Iterable
from typing import Protocol

from queuesvc.domain.model import Binding, ExchangeType, Headers
from queuesvc.domain.routing.direct import DirectTable
from queuesvc.domain.routing.fanout import FanoutTable
from queuesvc.domain.routing.headers import HeadersTable
from queuesvc.domain.routing.topic import TopicTable


class Table(Protocol):
    """The bindings of one exchange, kept so that matching a message is fast."""

    def add(self, binding: Binding) -> None:
        """Take in a binding."""
        ...

    def remove(self, binding: Binding) -> None:
        """Forget a binding that was added."""
        ...

    def match(self, routing_key: str, headers: Headers) -> Iterable[Binding]:
        """The bindings that a message matches, each once, in no order."""
        ...


def table_for(type_: ExchangeType) -> Table:
    """An empty table of this type."""
    match type_:
        case ExchangeType.DIRECT:
            return DirectTable()
        case ExchangeType.FANOUT:
            return FanoutTable()
        case ExchangeType.TOPIC:
            return TopicTable()
        case ExchangeType.HEADERS:
            return HeadersTable()
