"""Publish: decide about every envelope first, and store copies only once all of them may be stored."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from queuesvc.domain import effects
from queuesvc.domain.commands import Publish
from queuesvc.domain.effects import NewMessage
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import REPLY_PREFIX
from queuesvc.domain.machine import idempotency
from queuesvc.domain.machine.death import leave_by
from queuesvc.domain.machine.queue import Queue, Route, milliseconds
from queuesvc.domain.machine.state import State
from queuesvc.domain.model import Content, Envelope, Overflow
from queuesvc.domain.replies import Published, PublishResult
from queuesvc.domain.timers import Kind, Timer

# A limit that was lowered is come down to in steps: so many beyond those published at a time.
DROPPED_AT_ONCE = 1000
RECORDS_AT_ONCE = 1000
NOWHERE = Route((), ())

# Tuples by name at the price of tuples: a batch makes one of each a message.
make_content = partial(tuple.__new__, Content)
make_new = partial(tuple.__new__, NewMessage)
make_result = partial(tuple.__new__, PublishResult)


class Repeated(NamedTuple):
    """An envelope that is not stored: it was answered before, or is that of another place in the batch."""

    earlier: PublishResult | None = None
    same_as: int = -1


class Recorded(NamedTuple):
    """An envelope that is stored, and whose answer is kept under its idempotency key."""

    route: Route
    scope: str
    print_: bytes


Planned = Route | Repeated | Recorded


def publish(state: State, command: Publish) -> Published:
    """Store the copies of all envelopes, or refuse them all."""
    # Where it goes is looked at once: that is no fault of the first envelope.
    scope, window_ms = _scope(state, command)
    if not command.idempotency_key:
        return store(state, [command], plan(state, [command], command.batch))
    key, alone, scope = command.idempotency_key, scope, idempotency.whole(scope)
    print_ = idempotency.fingerprint(idempotency.publish_parts(command))
    answer = state.records.find(scope, key, print_, state.now)
    if answer is not None:
        return idempotency.read_published(answer)
    state.records.refuse_if_used(alone, key, state.now)
    published = store(state, [command], plan(state, [command], command.batch))
    record(state, scope, key, print_, idempotency.published_answer(published), window_ms)
    return published


def record(state: State, scope: str, key: str, print_: bytes, answer: Any, window_ms: int) -> None:
    """Keep an answer for a while, as part of the batch."""
    recorded = effects.Recorded(scope, key, print_, json.dumps(answer, separators=(",", ":")), state.now + window_ms)
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
        return f"r:{command.queue}", milliseconds(idempotency.TRANSACTION_WINDOW_SECONDS)
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
    keys: dict[tuple[str, str], tuple[int, bytes]] = {}
    for command in commands:
        for envelope in command.envelopes:
            try:
                if envelope.idempotency_key:
                    planned.append(_plan_keyed(state, command, envelope, len(planned), keys, more))
                else:
                    planned.append(_plan_one(state, command, envelope, more))
            except Refused as refusal:
                if indexed:
                    refusal.extra["index"] = len(planned)
                raise
    return planned


def _plan_keyed(
    state: State,
    command: Publish,
    envelope: Envelope,
    index: int,
    keys: dict[tuple[str, str], tuple[int, bytes]],
    more: dict[str, list[int]],
) -> Planned:
    key = envelope.idempotency_key
    scope = _scope(state, command)[0]
    print_ = idempotency.fingerprint(idempotency.envelope_parts(envelope))
    answer = state.records.find(scope, key, print_, state.now)
    if answer is not None:
        return Repeated(earlier=idempotency.read_result(answer))
    state.records.refuse_if_used(idempotency.whole(scope), key, state.now)
    same_as, same_print = keys.setdefault((scope, key), (index, print_))
    if same_as == index:
        return Recorded(_plan_one(state, command, envelope, more), scope, print_)
    if same_print != print_:
        why = f"the idempotency key {key!r} is given to two different messages"
        raise Refused(Code.IDEMPOTENCY_KEY_REUSED, why, key=key)
    return Repeated(same_as=same_as)


def _plan_one(state: State, command: Publish, envelope: Envelope, more: dict[str, list[int]]) -> Route:
    if command.exchange is not None:
        route = state.route(command.exchange, envelope.routing_key, envelope.headers)
        if envelope.mandatory and not route.queues:
            raise Refused(Code.UNROUTABLE, f"routing key {envelope.routing_key!r} reaches no queue")
    elif command.queue is not None and not command.queue.startswith(REPLY_PREFIX):
        route = state.queue(command.queue).route
    else:
        route = NOWHERE
    for queue in route.queues:
        if queue.limited or queue.dead > queue.settings.dead_max_messages:
            _check_room(queue, len(envelope.body), more.setdefault(queue.name, [0, 0]))
    return route


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


def store(state: State, commands: Sequence[Publish], planned: Sequence[Planned]) -> Published:
    """Store what was planned for the envelopes of these commands."""
    results: list[PublishResult] = []
    dropping: dict[str, Queue] = {}
    for command in commands:
        plans = planned[len(results) : len(results) + len(command.envelopes)]
        route = _alike(command.envelopes, plans) if len(plans) > 1 else None
        if route is not None:
            results += _store_alike(state, command, route)
            continue
        for envelope, plan_ in zip(command.envelopes, plans, strict=True):
            if type(plan_) is Route:
                results.append(_store(state, command, envelope, plan_, dropping))
            elif isinstance(plan_, Recorded):
                results.append(_store(state, command, envelope, plan_.route, dropping))
                kept = idempotency.result_answer(state.now, results[-1])
                record(state, plan_.scope, envelope.idempotency_key, plan_.print_, kept, _scope(state, command)[1])
            elif isinstance(plan_, Repeated):
                results.append(plan_.earlier or _again(state, results[plan_.same_as]))
    # By name: what one drops may be dead-lettered into another.
    for name in sorted(dropping):
        _drop_oldest(state, dropping[name], len(planned))
    return Published(state.now, tuple(results))


def _alike(envelopes: Sequence[Envelope], planned: Sequence[Planned]) -> Route | None:
    """The one route of envelopes that are nothing but ready where they go, as those of most batches; None otherwise."""
    route = planned[0]
    if not isinstance(route, Route) or not all(queue.plain and not queue.limited for queue in route.queues):
        return None
    for envelope, plan_ in zip(envelopes, planned, strict=True):
        if plan_ is not route or envelope.priority or envelope.group or envelope.delay_ms or envelope.ttl_ms:
            return None
    return route if route.queues else None


def _store_alike(state: State, command: Publish, route: Route) -> list[PublishResult]:
    """The same as `_store` of each envelope, queue by queue rather than message by message."""
    now, copies, exchange = state.now, len(route.queues), command.exchange or ""
    first = state.numbers.message
    firsts = range(first, first + len(command.envelopes) * copies, copies)
    state.numbers.message = firsts.stop
    contents = [
        make_content((number, now, 0, exchange, routing_key, properties, "", body))
        for number, (body, properties, routing_key, *_) in zip(firsts, command.envelopes, strict=True)
    ]
    sizes = [len(envelope.body) for envelope in command.envelopes]
    ids = [queue.id for queue in route.queues]
    state.effects.inserts += [
        make_new((content.first + at, id_, 0, 0, 0, "", copies, content))
        for content in contents
        for at, id_ in enumerate(ids)
    ]
    for at, queue in enumerate(route.queues):
        queue.totals.published += len(sizes)
        state.insert_fresh_run(queue, range(first + at, firsts.stop, copies), sizes)
    names = route.names
    return [make_result((number, names, 0)) for number in firsts]


def _again(state: State, result: PublishResult) -> PublishResult:
    return result._replace(original_at=result.original_at or state.now)


def _store(
    state: State, command: Publish, envelope: Envelope, route: Route, dropping: dict[str, Queue]
) -> PublishResult:
    """A copy for each queue of the route, numbered in a row."""
    body, properties, routing_key, _, priority, group, delay_ms, ttl_ms, _, _ = envelope
    now = state.now
    copies = len(route.queues)
    first = number = state.numbers.message
    state.numbers.message = first + (copies or 1)
    content = Content(first, now, 0, command.exchange or "", routing_key, properties, "", body)
    plain = not (delay_ms or ttl_ms or group)
    for queue in route.queues:
        rank = min(priority, queue.max_priority)
        queue.totals.published += 1
        if plain and queue.plain:
            state.insert_fresh(queue, NewMessage(number, queue.id, rank, 0, 0, "", copies, content))
        else:
            delays_ms = queue.delay_ms if delay_ms is None else delay_ms
            lives_ms = shorter(ttl_ms or 0, queue.ttl_ms)
            new = content._replace(expires_at=now + lives_ms) if lives_ms else content
            visible_at = now + delays_ms if delays_ms else 0
            state.insert(queue, NewMessage(number, queue.id, rank, visible_at, ttl_ms or 0, group, copies, new))
        if queue.limited and queue.settings.overflow is Overflow.DROP_OLDEST:
            dropping[queue.name] = queue
        number += 1
    if copies:
        return PublishResult(first, route.names)
    state.effects.numbered = True
    return PublishResult(first, _reply(state, command.queue, content) if command.queue else ())


def _reply(state: State, address: str, content: Content) -> tuple[str, ...]:
    # An asker takes one reply, also of those in one batch.
    if not state.waiting.asks(address) or any(address == other for other, _ in state.effects.replies):
        return ()
    state.effects.replies.append((address, content))
    return (address,)


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
