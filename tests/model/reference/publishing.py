"""Publishing: all or nothing, bounded, once (§4), and transactions (§7)."""

import json
from dataclasses import replace
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.limits import REPLY_PREFIX
from queuesvc.domain.model import Content, Envelope, Overflow, State
from queuesvc.domain.replies import Published, PublishResult, Transacted
from tests.model.reference.contents import Message, Queue, expiry
from tests.model.reference.failing import die
from tests.model.reference.settling import judge_parts, settle_parts
from tests.model.reference.world import Record, World
from tests.model.routes import header_text, route

TRANSACTION_WINDOW_MS = 300_000
REPLY_WINDOW_MS = 300_000


def publish(world: World, command: c.Publish) -> Published:
    """All of it, or `Refused`; then room is made for it."""
    touched: list[Queue] = []
    published = publish_all(world, command, touched)
    make_room(world, touched)
    return published


def publish_all(world: World, command: c.Publish, touched: list[Queue], index: int | None = None) -> Published:
    """All of it, or `Refused`. `index` is its place in a transaction, `touched` the queues that get something."""
    alone = {} if index is None else {"index": index}
    scope, window_ms = target(world, command, alone)
    whole = (command.batch, fingerprints(command))
    before = recorded(world, ("whole", scope), command.idempotency_key, whole, alone)
    if isinstance(before, Published):
        return before._replace(duplicate=True)
    refuse_used(world, scope, command.idempotency_key, alone)
    results = []
    for place, envelope in enumerate(command.envelopes):
        where = {"index": place} if command.batch else alone
        results.append(publish_one(world, command, envelope, (scope, window_ms), where, touched))
    published = Published(world.now, tuple(results))
    remember(world, ("whole", scope), command.idempotency_key, whole, published, window_ms)
    return published


def target(world: World, command: c.Publish, where: Any) -> tuple[Any, float]:
    """Where its idempotency keys count, and for how many milliseconds."""
    if command.exchange is not None:
        seconds = world.exchange(command.exchange, **where).deduplication_window_seconds
        return ("exchange", command.exchange), seconds * 1000
    name = str(command.queue)
    if name.startswith(REPLY_PREFIX):
        return ("reply", name), REPLY_WINDOW_MS
    queue = world.queue(name, **where)
    return ("queue", queue.id), queue.settings.deduplication_window_seconds * 1000


def publish_one(
    world: World, command: c.Publish, envelope: Envelope, keyed: tuple[Any, float], where: Any, touched: list[Queue]
) -> PublishResult:
    """One envelope, unless its own key was there before."""
    scope, window_ms = keyed
    before = recorded(world, scope, envelope.idempotency_key, fingerprint(envelope), where)
    if isinstance(before, Published):
        return before.results[0]._replace(original_at=before.published_at)
    refuse_used(world, ("whole", scope), envelope.idempotency_key, where)
    names = targets(world, command, envelope)
    if envelope.mandatory and not names and command.exchange is not None:
        raise Refused(Code.UNROUTABLE, "no queue", **where)
    first = world.numbers(max(1, len(names)))
    content = Content(
        first,
        world.now,
        0,
        command.exchange or "",
        envelope.routing_key,
        envelope.properties,
        "",
        envelope.body,
    )
    if command.queue is not None and command.queue.startswith(REPLY_PREFIX):
        world.kept.answers += [(name, content) for name in names]
    else:
        queues = [world.queue(name) for name in names]
        for queue in [] if world.unbounded else queues:
            refuse_full(queue, envelope, where)
        for place, queue in enumerate(queues):
            store(world, queue, envelope, content, first + place)
            touched += [] if queue in touched else [queue]
    result = PublishResult(first, tuple(names))
    remember(
        world,
        scope,
        envelope.idempotency_key,
        fingerprint(envelope),
        Published(world.now, (result,)),
        window_ms,
    )
    return result


def targets(world: World, command: c.Publish, envelope: Envelope) -> list[str]:
    """The names of the queues that get a copy, or of the address at which somebody waits for it."""
    if command.exchange is not None:
        kept = world.kept
        return route(kept.exchanges, kept.bindings, command.exchange, envelope.routing_key, envelope.headers)[0]
    name = str(command.queue)
    if name.startswith(REPLY_PREFIX):
        answered = any(name == other for other, _ in world.kept.answers)
        return [name] if world.waiting.asks(name) and not answered else []
    return [name]


# --- bounds ---


def refuse_full(queue: Queue, envelope: Envelope, where: Any) -> None:
    settings, bytes_ = queue.settings, len(envelope.body)
    if settings.max_bytes is not None and bytes_ > settings.max_bytes:
        raise invalid("body", "larger than max_bytes", **where)
    too_many_dead = len(queue.in_state(State.DEAD)) > settings.dead_max_messages
    if too_many_dead or (settings.overflow is Overflow.REJECT_PUBLISH and queue.over(1, bytes_)):
        raise Refused(Code.QUEUE_FULL, queue.name, **where)


def make_room(world: World, queues: list[Queue]) -> None:
    """The oldest ready ones go where there are too many."""
    for queue in sorted(queues, key=lambda queue: queue.name):
        drops = queue.settings.overflow is Overflow.DROP_OLDEST
        while drops and queue.over() and (ready := queue.in_state(State.READY)):
            if queue.settings.dead_letter_exchange is None:
                queue.remove(ready[0], "dropped", world.now)
            else:
                die(world, queue, ready[0], "maxlen", None)


def store(world: World, queue: Queue, envelope: Envelope, content: Content, number: int) -> None:
    delay_ms = round(queue.settings.delay_seconds * 1000) if envelope.delay_ms is None else envelope.delay_ms
    content = content._replace(expires_at=expiry(envelope.ttl_ms, queue, world.now))
    message = Message(
        number,
        content,
        envelope.priority,
        min(envelope.priority, queue.settings.max_priority),
        envelope.group,
        envelope.ttl_ms,
        State.DELAYED if delay_ms > 0 else State.READY,
        world.now + delay_ms,
    )
    queue.add(message)
    queue.totals["published"] += 1


# --- once ---


def fingerprint(envelope: Envelope) -> Any:
    """All that makes an envelope what it is, but its key; the order of JSON's members does not matter."""
    properties = json.dumps(json.loads("{" + envelope.properties + "}"), sort_keys=True)
    headers = {name: header_text(value) for name, value in envelope.headers.items()}
    return envelope._replace(properties=properties, headers=headers, idempotency_key="")


def fingerprints(command: c.Publish) -> Any:
    """Of a whole publish, in which the keys of its envelopes count."""
    return [(fingerprint(envelope), envelope.idempotency_key) for envelope in command.envelopes]


def recorded(world: World, scope: Any, key: str, fingerprint: Any, where: Any = None) -> Any:
    """The first answer to this key, if it is remembered."""
    record = world.kept.records.get((scope, key)) if key else None
    if record is None or record.until <= world.now:
        return None
    if record.fingerprint != fingerprint:
        raise Refused(Code.IDEMPOTENCY_KEY_REUSED, key, **(where or {}))
    return record.answer


def refuse_used(world: World, scope: Any, key: str, where: Any) -> None:
    """A key that covered a whole batch is not one message's, nor the other way round."""
    record = world.kept.records.get((scope, key)) if key else None
    if record is not None and record.until > world.now:
        raise Refused(Code.IDEMPOTENCY_KEY_REUSED, key, **where)


def remember(world: World, scope: Any, key: str, fingerprint: Any, answer: Any, window_ms: float) -> None:
    if key:
        world.kept.records[scope, key] = Record(fingerprint, answer, world.now + round(window_ms))


# --- transactions ---


def transact(world: World, command: c.Transaction) -> Transacted:
    """All of it, or `Refused` (the caller undoes)."""
    whole = (
        command.acks,
        command.nacks,
        [(each.exchange, each.queue, fingerprints(each)) for each in command.publishes],
    )
    before = recorded(world, "transactions", command.idempotency_key, whole)
    if isinstance(before, Transacted):
        return replace(before, published=before.published._replace(duplicate=True))

    seen: set[str] = set()
    parts: tuple[c.Ack | c.Nack, ...] = (*command.acks, *command.nacks)
    for part in parts:
        for receipt in part.receipts:
            if receipt in seen:
                raise invalid("receipts", "in two parts of the transaction", receipt=receipt)
        seen |= set(part.receipts)
    judged = judge_parts(world, parts)
    # Whether there is room is judged by what was before, too.
    world.tried(lambda: [publish_all(world, each, [], index) for index, each in enumerate(command.publishes)])
    counts = settle_parts(world, judged)
    acked, nacked = sum(counts[: len(command.acks)]), sum(counts[len(command.acks) :])
    world.unbounded = True
    try:
        touched: list[Queue] = []
        published = [publish_all(world, each, touched, index) for index, each in enumerate(command.publishes)]
        make_room(world, touched)
    finally:
        world.unbounded = False
    results = [result for each in published for result in each.results]
    done = Transacted(acked, nacked, Published(world.now, tuple(results)))
    remember(world, "transactions", command.idempotency_key, whole, done, TRANSACTION_WINDOW_MS)
    return done
