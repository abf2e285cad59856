"""Failure: the wait before the next try, and the end of tries."""

import json
from hashlib import blake2b
from typing import Any, Literal

from queuesvc.domain.effects import PARKED, NewMessage
from queuesvc.domain.machine.queue import Queue, milliseconds
from queuesvc.domain.machine.state import State
from queuesvc.domain.messages import DEAD, Message
from queuesvc.domain.model import Content, QueueSettings
from queuesvc.domain.times import rfc3339

Reason = Literal["rejected", "delivery_limit", "expired", "maxlen"]
Death = dict[str, Any]

DELIBERATE = ("rejected", "delivery_limit")


def backoff_ms(settings: QueueSettings, message: Message) -> int:
    """How long a message waits after its latest failure.

    The jitter is a hash of the message's number and its failures: spread over
    messages, the same at every attempt to work it out.
    """
    backoff = settings.retry_backoff
    if backoff is None or message.failures == 0:
        return 0
    try:
        seconds = min(backoff.max_seconds, backoff.initial_seconds * backoff.multiplier ** (message.failures - 1))
    except OverflowError:
        seconds = backoff.max_seconds
    digest = blake2b(b"%d:%d" % (message.number, message.failures), digest_size=4).digest()
    swing = int.from_bytes(digest) / 0xFFFFFFFF * 2 - 1
    return milliseconds(seconds * (1 + backoff.jitter * swing))


def leave_by(state: State, queue: Queue, message: Message, reason: Literal["expired", "maxlen"]) -> None:
    """Expired, or in the way of newer ones: dead-lettered where there is a dead-letter exchange, else removed."""
    if queue.settings.dead_letter_exchange is not None:
        die(state, queue, message, reason, None)
        return
    state.remove(queue, message)
    if reason == "expired":
        queue.totals.expired += 1
    else:
        queue.totals.dropped += 1


def die(state: State, queue: Queue, message: Message, reason: Reason, detail: str | None) -> None:
    """→ dead-lettered, in this very batch; or parked where it is until a person decides."""
    content = state.contents.content(message.number)
    settings = queue.settings
    deaths = _with_death(state, queue, content, reason, detail)
    if settings.dead_letter_exchange is None:
        _park(state, queue, message, deaths)
        return
    key = settings.dead_letter_routing_key
    routing_key = content.routing_key if key is None else key
    targets, why = _targets(state, settings.dead_letter_exchange, routing_key, content, deaths)
    if not targets:
        deaths[0]["detail"] = f"{detail}; {why}" if detail else why
        _park(state, queue, message, deaths)
        return
    state.remove(queue, message)
    queue.totals.dead_lettered += 1
    moved = content._replace(
        exchange=settings.dead_letter_exchange, routing_key=routing_key, deaths=_inside(deaths), expires_at=0
    )
    move(state, queue, targets, moved, 0)


def move(state: State, source: Queue, targets: list[Queue], content: Content, ttl_ms: int) -> None:
    """Copies come into other queues, as new messages there; who calls has removed the old one.

    Length limits do not stop a move, and no delay is put on it. `ttl_ms` is the message's own; the
    target's counts from now.
    """
    properties = json.loads(f"{{{content.properties}}}")
    first = number = state.numbers.message
    source.totals.moved_out += 1
    for target in targets:
        lives_ms = min((ms for ms in (ttl_ms, target.ttl_ms) if ms), default=0)
        expires_at = state.now + lives_ms if lives_ms else 0
        new = NewMessage(
            number,
            target.id,
            min(properties.get("priority") or 0, target.max_priority),
            0,
            ttl_ms,
            properties.get("group") or "",
            len(targets),
            content._replace(first=first, expires_at=expires_at),
        )
        state.insert(target, new)
        target.totals.moved_in += 1
        number += 1
    state.numbers.message = number


def _park(state: State, queue: Queue, message: Message, deaths: list[Death]) -> None:
    state.leave_state(queue, message)
    state.end_lease(message)
    message.state = DEAD
    message.visible_at = message.expires_at = 0
    queue.dead += 1
    state.changed(message, PARKED)
    state.effects.deaths[message.number] = _inside(deaths)
    state.touch(queue)


def _targets(
    state: State, exchange: str, routing_key: str, content: Content, deaths: list[Death]
) -> tuple[list[Queue], str]:
    """The queues a dead letter goes to; or none, and why."""
    if exchange not in state.router.exchanges:
        return [], f"there is no dead-letter exchange {exchange!r}"
    headers = json.loads(f"{{{content.properties}}}").get("headers") or {}
    route = state.route(exchange, routing_key, headers)
    if not route.queues:
        return [], f"the dead-letter exchange {exchange!r} reaches no queue with routing key {routing_key!r}"
    targets = [queue for queue in route.queues if not _loops(queue.name, deaths)]
    return targets, "" if targets else f"it would go round for ever: back to {', '.join(route.names)}"


def _loops(queue: str, deaths: list[Death]) -> bool:
    """Whether a message back in this queue would come round by itself: nobody rejected it since it died there."""
    since = []
    for death in deaths:
        since.append(death["reason"])
        if death["queue"] == queue:
            return not any(reason in DELIBERATE for reason in since)
    return False


def _with_death(state: State, queue: Queue, content: Content, reason: Reason, detail: str | None) -> list[Death]:
    """The message's deaths with this one, newest first; as in RabbitMQ, one entry a queue and reason, counted."""
    earlier: list[Death] = json.loads(f"[{content.deaths}]")
    same = [death for death in earlier if (death["queue"], death["reason"]) == (queue.name, reason)]
    others = [death for death in earlier if (death["queue"], death["reason"]) != (queue.name, reason)]
    death = {
        "queue": queue.name,
        "id": state.ids.make(content.published_at, content.first),
        "reason": reason,
        "detail": detail,
        "count": 1 + sum(death["count"] for death in same),
        "at": rfc3339(state.now),
        "exchange": content.exchange,
        "routing_key": content.routing_key,
    }
    return [death, *others]


def _inside(deaths: list[Death]) -> str:
    """As stored: the inside of a JSON array."""
    return json.dumps(deaths, ensure_ascii=False, separators=(",", ":"))[1:-1]
