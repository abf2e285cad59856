"""Publish: route every envelope first, and store copies only once all of them may be stored."""

from queuesvc.domain.commands import Publish
from queuesvc.domain.effects import NewMessage
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.machine.state import Route, State
from queuesvc.domain.messages import Message
from queuesvc.domain.model import Envelope
from queuesvc.domain.replies import Published, PublishResult


def publish(state: State, command: Publish) -> Published:
    """Store the copies of all envelopes, or refuse them all."""
    routes = [_route(state, command, index) for index in range(len(command.envelopes))]
    results = tuple(
        _store(state, command.exchange or "", envelope, route)
        for envelope, route in zip(command.envelopes, routes, strict=True)
    )
    return Published(state.now, results)


def _route(state: State, command: Publish, index: int) -> Route:
    envelope = command.envelopes[index]
    if command.exchange is None:
        queue = state.queue(command.queue or "")
        return Route((queue.name,), (queue,))
    route = state.route(command.exchange, envelope.routing_key, envelope.headers)
    if envelope.mandatory and not route.queues:
        extra = {"index": index} if command.batch else {}
        raise Refused(Code.UNROUTABLE, f"routing key {envelope.routing_key!r} reaches no queue", **extra)
    return route


def _store(state: State, exchange: str, envelope: Envelope, route: Route) -> PublishResult:
    first = number = state.numbers.message
    copies = len(route.queues)
    size = len(envelope.body)
    for queue in route.queues:
        priority = min(envelope.priority, queue.max_priority)
        delay_ms = queue.delay_ms if envelope.delay_ms is None else envelope.delay_ms
        visible_at = state.now + delay_ms if delay_ms else 0
        state.effects.inserts.append(
            NewMessage(
                number,
                first,
                queue.id,
                priority,
                visible_at,
                state.now,
                0,
                exchange,
                envelope.routing_key,
                copies,
                envelope,
            )
        )
        if visible_at:
            _delay(state, queue, Message(number, size, state.now, priority), visible_at)
        else:
            queue.ready.add_fresh(number, size, state.now, priority)
            queue.ready_count += 1
            state.gained[queue.name] = None
        queue.bytes += size
        queue.totals.published += 1
        state.effects.touched.add(queue.id)
        number += 1
    if not copies:
        number += 1
        state.effects.numbered = True
    state.numbers.message = number
    return PublishResult(first, route.names)


def _delay(state: State, queue: Queue, message: Message, visible_at: int) -> None:
    queue.messages[message.number] = message
    state.make_delayed(queue, message, visible_at)
