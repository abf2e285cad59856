"""`POST /v1/transactions`: acks, nacks and publishes, all of them or none (§7)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Ack, Nack, Publish, Transaction
from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.needs import needs
from queuesvc.domain.replies import Transacted
from queuesvc.http import request
from queuesvc.http.data import results, settle, values
from queuesvc.http.data.envelopes import Envelopes
from queuesvc.http.data.single import read_head
from queuesvc.http.data.wire import Answer, Begun, Request, json_answer
from queuesvc.http.rates import Rates

PARTS: Final = frozenset({"acks", "nacks", "publishes"})
TARGETS: Final = frozenset({"exchange", "queue"})
"""Where a publish goes: exactly one of them stands beside the fields of its envelope."""

_ACK: Final = settle.ACK | {"queue"}
_NACK: Final = settle.NACK | {"queue"}

Part = TypeVar("Part")


class Transacting:
    """Does several things at once, or nothing."""

    def __init__(self, broker: Broker, limits: Limits, envelopes: Envelopes, rates: Rates | None) -> None:
        self._broker = broker
        self._rates = rates
        self._limits = limits
        self._envelopes = envelopes

    def transact(self, asked: Request) -> Begun:
        """200 `{"acked", "nacked", "results"}`, for the same key again as the first time."""
        request.parse_query(asked.query, {})
        head = read_head(asked.headers)
        if head.message_headers or head.event_headers:
            raise invalid("headers", "the headers of a transaction's messages stand in its publishes")
        transaction = self._read(asked.body, head.idempotency_key or "")
        for permission, name in needs(transaction):
            asked.grant.require(permission, name)
        if self._rates is not None:
            self._rates.publish(asked.grant, len(transaction.publishes))
        return self._broker.submit(transaction), self._done

    def _done(self, done: Transacted) -> Answer:
        published = results.results(done.published, self._broker.ids)
        answer = f'{{"acked":{done.acked},"nacked":{done.nacked},"results":{published}}}'
        return json_answer(200, answer.encode())

    def _read(self, body: bytes, idempotency_key: str) -> Transaction:
        fields = request.parse_object(body)
        values.refuse_unknown(fields, PARTS)
        acks = self._settles(fields, "acks", self._ack)
        nacks = self._settles(fields, "nacks", self._nack)
        publishes = self._publishes(fields)
        count = sum(len(ack.receipts) for ack in acks) + sum(len(nack.receipts) for nack in nacks)
        if not (count or publishes):
            raise invalid("publishes", "a transaction needs something to do: acks, nacks or publishes")
        most = self._limits.receive_messages
        if count > most:
            raise invalid("receipts", f"a transaction settles at most {most} receipts")
        return Transaction(acks, nacks, publishes, idempotency_key)

    def _settles(
        self, fields: Mapping[str, Any], name: str, read: Callable[[dict[str, Any]], Part]
    ) -> tuple[Part, ...]:
        """The acks or nacks. A refusal names the field by its path: `acks.0.receipts`."""
        found: list[Part] = []
        for index, item in enumerate(_items(fields, name, self._limits.receive_messages)):
            place = f"{name}.{index}"
            if type(item) is not dict:
                raise invalid(place, "must be an object")
            try:
                found.append(read(item))
            except Refused as refused:
                more = {**refused.extra, "field": f"{place}.{refused.extra['field']}"}
                raise Refused(refused.code, f"{place}.{refused.detail}", **more) from None
        return tuple(found)

    def _ack(self, item: dict[str, Any]) -> Ack:
        values.refuse_unknown(item, _ACK)
        return Ack(*self._settled(item))

    def _nack(self, item: dict[str, Any]) -> Nack:
        values.refuse_unknown(item, _NACK)
        return settle.nack(*self._settled(item), item, self._limits)

    def _settled(self, item: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
        queue = values.queue_name(item.get("queue"), "queue")
        return queue, values.receipts(item.get("receipts"), "receipts", self._limits.receive_messages)

    def _publishes(self, fields: Mapping[str, Any]) -> tuple[Publish, ...]:
        """The publishes. A refusal names the place among them, as in a batch."""
        items = _items(fields, "publishes", self._limits.batch_messages)
        found: list[Publish] = []
        try:
            for item in items:
                found.append(self._publish(item))
        except Refused as refused:
            raise values.at_index(refused, len(found)) from None
        return tuple(found)

    def _publish(self, item: object) -> Publish:
        if type(item) is not dict:
            raise invalid("publish", "must be an object")
        exchange, queue = item.get("exchange"), item.get("queue")
        if (exchange is None) == (queue is None):
            raise invalid("exchange", "exactly one of exchange and queue must be given")
        if exchange is not None:
            exchange = values.exchange_name(exchange, "exchange")
        else:
            queue = values.queue_name(queue, "queue", or_reply_address=True)
        envelope = {name: value for name, value in item.items() if name not in TARGETS}
        return Publish((self._envelopes.one(envelope, {}, queue),), exchange, queue)


def _items(fields: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """A part's items; left out, there are none."""
    items = fields.get(name)
    if items is None:
        return []
    if type(items) is not list:
        raise invalid(name, "must be a list")
    if len(items) > most:
        raise invalid(name, f"must hold at most {most}")
    return items
