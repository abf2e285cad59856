"""A broker in lists and loops: slow, and plain enough to be checked against the contract by eye.

It takes the commands that a store takes and answers with the same replies. It
was written from the contract and the interfaces, apart from the machine; the
random histories (`test_histories`) hold every store against it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.model import (
    Binding,
    Content,
    Envelope,
    Exchange,
    ExchangeType,
    QueueSettings,
    QueueView,
    State,
)
from queuesvc.domain.replies import (
    Declared,
    Delivery,
    Done,
    Failure,
    Page,
    Published,
    PublishResult,
    Received,
    Reply,
    Routed,
    Settled,
)
from queuesvc.store.interface import Applied, Waiting
from tests.model.contents import Message, Queue, backoff_ms, bury, give_back
from tests.model.routes import header_text, route

RECEIPT = re.compile(r"lease([0-9]+)\.(0|[1-9a-f][0-9a-f]*)")


class Model:
    """The whole broker. `now` comes in and never steps back."""

    def __init__(self, receive_bytes: int) -> None:
        self.receive_bytes = receive_bytes
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.bindings: list[Binding] = []
        self.last_number = 0
        self.last_lease = 0
        self.leases: dict[int, Queue] = {}  # where each was handed out
        self.last_binding = 0

    def apply(self, commands: Sequence[c.Command], now: int, waiting: Waiting) -> Applied:
        """What is due, the commands one by one, then the waiting receives."""
        applied = Applied([], [], True)
        self._do_due(now)
        for command in commands:
            try:
                reply: Reply | Refused = self._do(command, now, waiting, applied)
            except Refused as refused:
                reply = refused
            applied.replies.append(reply)
        self._serve(now, waiting, applied)
        return applied

    def next_due(self) -> int | None:
        """The earliest end of a lease or a delay."""
        timed = (State.LEASED, State.DELAYED)
        return min((m.until for q in self.queues.values() for m in q.messages if m.state in timed), default=None)

    # --- time and delivery ----------------------------------------------------

    def _do_due(self, now: int) -> None:
        for queue in self.queues.values():
            for message in queue.messages:
                if message.state is State.DELAYED and message.until <= now:
                    message.state = State.READY
                elif message.state is State.LEASED and message.until <= now:
                    message.failures += 1
                    give_back(message, now + backoff_ms(queue, message), now)  # and its receipt still settles
                    self._bury_at_limit(queue, message, now, "the lease ran out")

    @staticmethod
    def _bury_at_limit(queue: Queue, message: Message, now: int, reason: str | None) -> None:
        limit = queue.settings.delivery_limit
        if limit is not None and message.failures >= limit:
            bury(queue, message, now, "delivery_limit", reason)

    def _serve(self, now: int, waiting: Waiting, applied: Applied) -> None:
        for name in set(waiting.new()) - set(self.queues):
            self._refuse_waiting(name, waiting, applied)
        for queue in self.queues.values():
            while waiting.count(queue.name) and not queue.settings.paused and queue.in_state(State.READY):
                receive = waiting.take(queue.name)
                assert receive is not None
                applied.served.append((receive, self._receive(queue, receive, now)))

    @staticmethod
    def _refuse_waiting(name: str, waiting: Waiting, applied: Applied) -> None:
        while (receive := waiting.take(name)) is not None:
            applied.served.append((receive, Refused(Code.QUEUE_NOT_FOUND, name)))

    def _receive(self, queue: Queue, receive: c.Receive, now: int) -> Received:
        taken: list[Message] = []
        for message in [each for each in queue.in_order() if each.state is State.READY][: receive.max_messages]:
            bytes_ = sum(len(each.content.body) for each in [*taken, message])
            if taken and bytes_ > self.receive_bytes:
                break
            taken.append(message)
        lease_ms = round(queue.settings.lease_seconds * 1000) if receive.lease_ms is None else receive.lease_ms
        for message in taken:
            message.deliveries += 1
            queue.totals["delivered"] += 1
        deliveries = tuple(Delivery(m.number, m.deliveries, m.failures, m.content) for m in taken)
        if receive.auto_ack:
            for message in taken:
                self._remove_acked(queue, message)
            return Received(deliveries=deliveries)
        self.last_lease += 1
        self.leases[self.last_lease] = queue
        for message in taken:
            message.state, message.until, message.lease = State.LEASED, now + lease_ms, self.last_lease
            message.consumer = receive.consumer
        return Received(self.last_lease, f"lease{self.last_lease}", now + lease_ms, deliveries)

    @staticmethod
    def _remove_acked(queue: Queue, message: Message) -> None:
        queue.messages.remove(message)
        queue.totals["acked"] += 1

    # --- commands ---------------------------------------------------------------

    def _do(self, command: c.Command, now: int, waiting: Waiting, applied: Applied) -> Reply:
        if isinstance(command, c.Publish):
            return self._publish(command, now)
        if isinstance(command, c.Ack | c.Nack | c.Extend):
            return self._settle(command, now)
        if isinstance(command, c.Undeliver):
            return self._undeliver(command)
        if isinstance(command, c.PutExchange):
            return self._put_exchange(command.exchange)
        if isinstance(command, c.DeleteExchange):
            self._exchange(command.name)
            del self.exchanges[command.name]
            self.bindings = [b for b in self.bindings if command.name not in (b.source, b.exchange)]
        if isinstance(command, c.PutQueue):
            return self._put_queue(command, now, waiting)
        if isinstance(command, c.PatchQueue):
            queue = self._queue(command.name)
            queue.settings = replace(queue.settings, **command.changes)
            return queue.view(now, waiting.count(command.name))
        if isinstance(command, c.DeleteQueue):
            if self._queue(command.name).messages and command.if_empty:
                raise Refused(Code.QUEUE_NOT_EMPTY, command.name)
            del self.queues[command.name]
            self.bindings = [binding for binding in self.bindings if binding.queue != command.name]
            self._refuse_waiting(command.name, waiting, applied)
        if isinstance(command, c.Bind):
            return self._bind(command)
        if isinstance(command, c.Unbind):
            if command.id not in [binding.id for binding in self.bindings]:
                raise Refused(Code.BINDING_NOT_FOUND, str(command.id))
            self.bindings = [binding for binding in self.bindings if binding.id != command.id]
        return Done()

    def _exchange(self, name: str) -> Exchange:
        if name not in self.exchanges:
            raise Refused(Code.EXCHANGE_NOT_FOUND, name)
        return self.exchanges[name]

    def _queue(self, name: str) -> Queue:
        if name not in self.queues:
            raise Refused(Code.QUEUE_NOT_FOUND, name)
        return self.queues[name]

    def _put_exchange(self, exchange: Exchange) -> Declared[Exchange]:
        there = self.exchanges.get(exchange.name)
        if there is not None:
            refuse_difference(there, exchange)
            return Declared(there, False)
        self.exchanges[exchange.name] = exchange
        return Declared(exchange, True)

    def _put_queue(self, command: c.PutQueue, now: int, waiting: Waiting) -> Declared[QueueView]:
        there = self.queues.get(command.name)
        if there is not None:
            refuse_difference(there.settings, command.settings)
        queue = self.queues.setdefault(command.name, Queue(command.name, command.settings))
        return Declared(queue.view(now, waiting.count(command.name)), there is None)

    def _bind(self, command: c.Bind) -> Declared[Binding]:
        by_headers = self._exchange(command.source).type is ExchangeType.HEADERS
        if command.exchange is not None:
            self._exchange(command.exchange)
        if command.queue is not None:
            self._queue(command.queue)
        for name in ["routing_key"] if by_headers else ["match", "headers"]:
            if getattr(command, name) is not None:
                raise invalid(name, "does not fit the exchange's type")
        route_of = Binding(0, command.source, command.queue, command.exchange, command.routing_key or "")
        if by_headers:
            route_of = replace(route_of, match=command.match or "all", headers=command.headers or {})
        for binding in self.bindings:
            if as_compared(binding) == as_compared(route_of):
                return Declared(binding, False)
        self.last_binding += 1
        self.bindings.append(replace(route_of, id=self.last_binding))
        return Declared(self.bindings[-1], True)

    def _publish(self, command: c.Publish, now: int) -> Published:
        if command.exchange is not None:
            self._exchange(command.exchange)
        else:
            self._queue(str(command.queue))
        targets = [self._targets(command, envelope) for envelope in command.envelopes]
        for index, (envelope, names) in enumerate(zip(command.envelopes, targets, strict=True)):
            if envelope.mandatory and not names:
                raise Refused(Code.UNROUTABLE, "no queue", **({"index": index} if command.batch else {}))
        results = []
        for envelope, names in zip(command.envelopes, targets, strict=True):
            first = self.last_number + 1
            self.last_number += max(1, len(names))
            for place, name in enumerate(names):
                self._store(command, envelope, self.queues[name], first, first + place, now)
            results.append(PublishResult(first, tuple(names)))
        return Published(now, tuple(results))

    def _targets(self, command: c.Publish, envelope: Envelope) -> list[str]:
        if command.exchange is None:
            return [str(command.queue)]
        return route(self.exchanges, self.bindings, command.exchange, envelope.routing_key, envelope.headers)[0]

    @staticmethod
    def _store(command: c.Publish, envelope: Envelope, queue: Queue, first: int, number: int, now: int) -> None:
        exchange = command.exchange or ""
        key = envelope.routing_key if exchange else queue.name
        content = Content(first, now, 0, exchange, key, envelope.properties, "", envelope.body)
        priority = min(envelope.priority, queue.settings.max_priority)
        delay_ms = round(queue.settings.delay_seconds * 1000) if envelope.delay_ms is None else envelope.delay_ms
        message = Message(number, content, priority, State.READY)
        give_back(message, now + delay_ms, now)
        queue.messages.append(message)
        queue.totals["published"] += 1

    # --- settling -----------------------------------------------------------------

    def _settle(self, command: c.Ack | c.Nack | c.Extend, now: int) -> Settled:
        queue = self._queue(command.queue)
        for index, receipt in enumerate(command.receipts):
            if RECEIPT.fullmatch(receipt) is None:
                raise invalid("receipts", "malformed", index=index)
        settled, failed = [], []
        for receipt in dict.fromkeys(command.receipts):  # all judged by what was before the call
            lease, number = RECEIPT.fullmatch(receipt).groups()  # type: ignore[union-attr]
            message = queue.find(int(number, 16))
            if message is None or self.leases[int(lease)] is not queue:
                failed.append(Failure(receipt, Code.GONE))
            elif message.lease != int(lease):
                failed.append(Failure(receipt, Code.LEASE_LOST))
            else:
                settled.append(message)
        for message in settled:
            self._settle_one(command, queue, message, now)
        expires_at = now + command.lease_ms if isinstance(command, c.Extend) else 0
        return Settled(len(settled), tuple(failed), expires_at)

    def _settle_one(self, command: c.Ack | c.Nack | c.Extend, queue: Queue, message: Message, now: int) -> None:
        if isinstance(command, c.Ack):
            self._remove_acked(queue, message)
        elif isinstance(command, c.Extend):
            message.state, message.until = State.LEASED, now + command.lease_ms
        else:
            counts = command.delivery_failed and message.state is State.LEASED
            message.lease = None
            message.failures += counts
            queue.totals["nacked"] += 1
            delay_ms = command.delay_ms
            if delay_ms is None:
                delay_ms = backoff_ms(queue, message) if command.delivery_failed else 0
            give_back(message, now + delay_ms, now)
            if not command.requeue:
                bury(queue, message, now, "rejected", command.reason)
            elif counts:
                self._bury_at_limit(queue, message, now, command.reason)

    def _undeliver(self, command: c.Undeliver) -> Done:
        queue = self.queues.get(command.queue)  # if it is gone, so is the lease
        for message in queue.in_state(State.LEASED) if queue else []:
            if queue and message.lease == command.lease:
                message.state, message.lease = State.READY, None
                message.deliveries -= 1
                queue.totals["delivered"] -= 1
        return Done()

    # --- questions ------------------------------------------------------------------

    def ask(self, query: c.Query, now: int, waiting: Waiting) -> Reply:
        """Answer a question. Raises `Refused`."""
        if isinstance(query, c.GetExchange):
            return self._exchange(query.name)
        if isinstance(query, c.GetQueue):
            return self._queue(query.name).view(now, waiting.count(query.name))
        if isinstance(query, c.ListExchanges):
            return page(((e.name, e) for e in self.exchanges.values()), query.after, query.limit)
        if isinstance(query, c.ListQueues):
            views = [queue.view(now, waiting.count(queue.name)) for queue in self.queues.values()]
            return page(((view.name, view) for view in views), query.after, query.limit)
        if isinstance(query, c.Route):
            self._exchange(query.exchange)
            key, headers = query.routing_key, query.headers or {}
            queues, matched = route(self.exchanges, self.bindings, query.exchange, key, headers)
            return Routed(tuple(queues), tuple(matched))
        if isinstance(query, c.BrowseMessages):
            queue = self._queue(query.queue)
            shown = [message for message in queue.in_order() if query.state in (None, message.state)]
            return Page(tuple(message.shown() for message in shown[: query.limit]), None)
        assert isinstance(query, c.ListBindings)
        if query.exchange is not None:
            self._exchange(query.exchange)
            return page(((b.id, b) for b in self.bindings if b.source == query.exchange), query.after, query.limit)
        self._queue(str(query.queue))
        return page(((b.id, b) for b in self.bindings if b.queue == query.queue), query.after, query.limit)


def as_compared(binding: Binding) -> list[object]:
    """All that makes a binding what it is: headers as the texts they are compared by, so that true is not 1."""
    texts = {name: header_text(value) for name, value in (binding.headers or {}).items()}
    return [binding.source, binding.queue, binding.exchange, binding.routing_key, binding.match, texts]


def refuse_difference(there: Exchange | QueueSettings, wanted: Exchange | QueueSettings) -> None:
    """`conflict` with the names of the fields that differ, if any."""
    names = [item.name for item in fields(there) if getattr(there, item.name) != getattr(wanted, item.name)]
    if names:
        raise Refused(Code.CONFLICT, "differs", fields=names)


def page(items: Iterable[tuple[Any, Any]], after: str | int, limit: int) -> Page[Any]:
    """The items whose key comes after `after`, sorted, and the last one's key where more are left."""
    rest = sorted((item for item in items if item[0] > after), key=lambda item: item[0])
    shown = rest[:limit]
    return Page(tuple(item for _, item in shown), str(shown[-1][0]) if len(rest) > limit else None)
