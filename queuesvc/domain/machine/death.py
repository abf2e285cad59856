"""Failure: the wait before the next try, and the end of tries."""

import json
from hashlib import blake2b
from typing import Any, Literal

from queuesvc.domain.effects import PARKED
from queuesvc.domain.machine.queue import Queue, milliseconds
from queuesvc.domain.machine.state import State
from queuesvc.domain.messages import DEAD, Message
from queuesvc.domain.model import Content, QueueSettings
from queuesvc.domain.times import rfc3339

Reason = Literal["rejected", "delivery_limit", "expired", "maxlen"]


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


def die(state: State, queue: Queue, message: Message, reason: Reason, detail: str | None) -> None:
    """→ dead: parked where it is until a person decides."""
    content = state.lookup(message.number)
    state.leave_state(queue, message)
    state.end_lease(message)
    message.state = DEAD
    message.visible_at = 0
    queue.dead += 1
    deaths = _deaths(state, queue, content, reason, detail)
    state.changed(message, PARKED)
    state.effects.deaths.append((json.dumps(deaths, ensure_ascii=False, separators=(",", ":"))[1:-1], message.number))
    state.touch(queue)


def _deaths(state: State, queue: Queue, content: Content, reason: Reason, detail: str | None) -> list[dict[str, Any]]:
    """The message's deaths with this one, newest first; as in RabbitMQ, one entry a queue and reason, counted."""
    earlier: list[dict[str, Any]] = json.loads(f"[{content.deaths}]")
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
