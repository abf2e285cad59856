"""Publish: decide about every envelope first, and store copies only once all of them may be stored."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from queuesvc.domain.commands import Publish
from queuesvc.domain.effects import NewMessage, Recorded
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import REPLY_PREFIX
from queuesvc.domain.machine import idempotency
from queuesvc.domain.machine.death import leave_by
from queuesvc.domain.machine.queue import Queue, milliseconds
from queuesvc.domain.machine.state import Route, State
from queuesvc.domain.model import Content, Envelope, Overflow
from queuesvc.domain.replies import Published, PublishResult
from queuesvc.domain.timers import Kind, Timer

# A limit that was lowered is come down to in steps: so many beyond those published at a time.
DROPPED_AT_ONCE = 1000
RECORDS_AT_ONCE = 1000


class Item(NamedTuple):
    """One envelope to be stored, where it comes from and where it goes."""

    exchange: str
    envelope: Envelope
    route: Route
    reply_to: str = ""


class Planned(NamedTuple):
    """What to do for an envelope: store it, give the answer it had before, or that of an earlier one in the batch."""

    item: Item | None = None
    earlier: PublishResult | None = None
    same_as: int = -1
    scope: str = ""
    print_: bytes = b""


def publish(state: State, command: Publish) -> Published:
    """Store the copies of all envelopes, or refuse them all."""
    # Where it goes is looked at once: that is no fault of the first envelope.
    scope, window_ms = _scope(state, command)
    if not command.idempotency_key:
        return store(state, plan(state, [command], command.batch))
    print_ = idempotency.fingerprint(idempotency.publish_parts(command))
    answer = state.records.find(scope, command.idempotency_key, print_, state.now)
    if answer is not None:
        return idempotency.read_published(answer)
    published = store(state, plan(state, [command], command.batch))
    record(state, scope, command.idempotency_key, print_, idempotency.published_answer(published), window_ms)
    return published


def record(state: State, scope: str, key: str, print_: bytes, answer: Any, window_ms: int) -> None:
    """Keep an answer for a while, as part of the batch."""
    recorded = Recorded(scope, key, print_, json.dumps(answer, separators=(",", ":")), state.now + window_ms)
    state.records.add(recorded)
    state.effects.records.append(recorded)
    if not state.records.due or recorded.until < state.records.due:
        state.records.due = recorded.until
        state.timers.add(Timer(recorded.until, Kind.RECORDS_END, 0, 0))


def _scope(state: State, command: Publish) -> tuple[str, int]:
    if command.exchange is not None:
        state.require_exchange(command.exchange)
        window_seconds = state.router.exchanges[command.exchange].deduplication_window_seconds
        return f"x:{command.exchange}", milliseconds(window_seconds)
    if (command.queue or "").startswith(REPLY_PREFIX):
        return idempotency.TRANSACTIONS, milliseconds(idempotency.TRANSACTION_WINDOW_SECONDS)
    queue = state.queue(command.queue or "")
    return f"q:{queue.id}", milliseconds(queue.settings.deduplication_window_seconds)


def records_end(state: State, timer: Timer) -> int:
    """Idempotency records are over. They go together, a second's worth at a time."""
    ended = state.records.end(state.now, RECORDS_AT_ONCE)
    state.effects.records_ended.extend(ended)
    state.records.due = 0
    next_end = state.records.next_end()
    if next_end:
        state.records.due = max(next_end, state.now + 1000) if len(ended) < RECORDS_AT_ONCE else state.now
        state.timers.add(Timer(state.records.due, Kind.RECORDS_END, 0, 0))
    return len(ended)


# --- deciding -------------------------------------------------------------------


def plan(state: State, commands: Sequence[Publish], indexed: bool) -> list[Planned]:
    """What to do for each envelope, or the refusal of them all; nothing is changed yet."""
    planned: list[Planned] = []
    more: dict[str, list[int]] = {}
    seen: dict[tuple[str, str], int] = {}
    for command in commands:
        for envelope in command.envelopes:
            try:
                planned.append(_plan_one(state, command, envelope, planned, seen, more))
            except Refused as refusal:
                if indexed:
                    refusal.extra["index"] = len(planned)
                raise
    return planned


def _plan_one(
    state: State,
    command: Publish,
    envelope: Envelope,
    planned: list[Planned],
    seen: dict[tuple[str, str], int],
    more: dict[str, list[int]],
) -> Planned:
    scope, print_ = "", b""
    if envelope.idempotency_key:
        scope = _scope(state, command)[0]
        print_ = idempotency.fingerprint(idempotency.envelope_parts(envelope))
        answer = state.records.find(scope, envelope.idempotency_key, print_, state.now)
        if answer is not None:
            return Planned(earlier=idempotency.read_result(answer))
        same_as = seen.setdefault((scope, envelope.idempotency_key), len(planned))
        if same_as != len(planned):
            if planned[same_as].print_ != print_:
                raise Refused(
                    Code.IDEMPOTENCY_KEY_REUSED,
                    f"the idempotency key {envelope.idempotency_key!r} is given to two different messages",
                    key=envelope.idempotency_key,
                )
            return Planned(same_as=same_as)
    item = _route(state, command, envelope)
    for queue in item.route.queues:
        if queue.limited or queue.dead > queue.settings.dead_max_messages:
            _check_room(queue, len(envelope.body), more.setdefault(queue.name, [0, 0]))
    return Planned(item, scope=scope, print_=print_)


def _route(state: State, command: Publish, envelope: Envelope) -> Item:
    if command.exchange is not None:
        route = state.route(command.exchange, envelope.routing_key, envelope.headers)
        if envelope.mandatory and not route.queues:
            raise Refused(Code.UNROUTABLE, f"routing key {envelope.routing_key!r} reaches no queue")
        return Item(command.exchange, envelope, route)
    name = command.queue or ""
    if name.startswith(REPLY_PREFIX):
        return Item("", envelope, Route((), ()), name)
    queue = state.queue(name)
    return Item("", envelope, Route((name,), (queue,)))


def _check_room(queue: Queue, size: int, more: list[int]) -> None:
    settings = queue.settings
    if settings.max_bytes is not None and size > settings.max_bytes:
        raise Refused(
            Code.INVALID_REQUEST,
            f"body: {size} bytes are more than the queue {queue.name!r} may hold in all ({settings.max_bytes})",
            field="body",
            queue=queue.name,
        )
    more[0] += 1
    more[1] += size
    if queue.dead > settings.dead_max_messages:
        why = f"holds {queue.dead} dead messages that wait for a person"
    elif settings.overflow is Overflow.REJECT_PUBLISH and queue.overfull(*more):
        why = "is full"
    else:
        return
    raise Refused(Code.QUEUE_FULL, f"the queue {queue.name!r} {why}", queue=queue.name, retry_after_seconds=1)


# --- storing --------------------------------------------------------------------


def store(state: State, planned: list[Planned]) -> Published:
    """Store what was planned."""
    results: list[PublishResult] = []
    full: dict[int, Queue] = {}
    for plan_ in planned:
        if plan_.item is not None:
            results.append(_store(state, plan_.item, full))
            if plan_.scope:
                _record_one(state, plan_, results[-1])
        elif plan_.earlier is not None:
            results.append(plan_.earlier)
        else:
            first = results[plan_.same_as]
            results.append(first._replace(original_at=first.original_at or state.now))
    for queue in full.values():
        _drop_oldest(state, queue, len(planned))
    return Published(state.now, tuple(results))


def _record_one(state: State, planned: Planned, result: PublishResult) -> None:
    assert planned.item is not None
    key = planned.item.envelope.idempotency_key
    if planned.scope.startswith("x:"):
        window_seconds = state.router.exchanges[planned.item.exchange].deduplication_window_seconds
    elif planned.item.route.queues:
        window_seconds = planned.item.route.queues[0].settings.deduplication_window_seconds
    else:
        window_seconds = idempotency.TRANSACTION_WINDOW_SECONDS
    answer = idempotency.result_answer(state.now, result)
    record(state, planned.scope, key, planned.print_, answer, milliseconds(window_seconds))


def _store(state: State, item: Item, full: dict[int, Queue]) -> PublishResult:
    envelope, route = item.envelope, item.route
    now = state.now
    first = number = state.numbers.message
    content = Content(first, now, 0, item.exchange, envelope.routing_key, envelope.properties, "", envelope.body)
    for queue in route.queues:
        delay_ms = queue.delay_ms if envelope.delay_ms is None else envelope.delay_ms
        ttl_ms = shorter(envelope.ttl_ms or 0, queue.ttl_ms)
        new = NewMessage(
            number,
            queue.id,
            min(envelope.priority, queue.max_priority),
            now + delay_ms if delay_ms else 0,
            envelope.ttl_ms or 0,
            envelope.group,
            len(route.queues),
            content._replace(expires_at=now + ttl_ms) if ttl_ms else content,
        )
        state.insert(queue, new)
        queue.totals.published += 1
        if queue.limited and queue.overfull():
            full[queue.id] = queue
        number += 1
    if number == first:
        number += 1
        state.effects.numbered = True
    state.numbers.message = number
    if item.reply_to:
        return _reply(state, item, content)
    return PublishResult(first, route.names)


def _reply(state: State, item: Item, content: Content) -> PublishResult:
    waits = state.waiting.asks(item.reply_to)
    if waits:
        state.effects.replies.append((item.reply_to, content))
    return PublishResult(content.first, (item.reply_to,) if waits else ())


def shorter(one_ms: int, other_ms: int) -> int:
    """The shorter of two times to live, of which 0 is none."""
    return min(one_ms, other_ms) if one_ms and other_ms else one_ms or other_ms


def _drop_oldest(state: State, queue: Queue, published: int) -> None:
    """The oldest ready ones make room."""
    for _ in range(published + DROPPED_AT_ONCE):
        oldest = queue.ready.oldest(state.now) if queue.overfull() else None
        if oldest is None:
            return
        message = queue.ready.materialise(oldest[0])
        assert message is not None
        leave_by(state, queue, message, "maxlen")
