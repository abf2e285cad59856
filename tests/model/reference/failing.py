"""How a message is given back, fails and dies (§3, §5, §8)."""

from hashlib import blake2b
from typing import Any

from queuesvc.domain.model import Content, State
from tests.model.reference.contents import WHY, Message, Queue, expiry, moment
from tests.model.reference.world import World
from tests.model.routes import route

STOPS_A_LOOP = ("rejected", "delivery_limit")


def give_back(world: World, queue: Queue, message: Message, delay_ms: int = 0) -> None:
    """A lease ended, by whatever: ready again, or after a delay that holds up its group; or expired by now."""
    message.state = State.DELAYED if delay_ms > 0 else State.READY
    message.until = world.now + delay_ms
    message.holds = delay_ms > 0
    expire(world, queue, message)


def give_back_later_ones(world: World, queue: Queue, message: Message, lease: int | None, named: Any = ()) -> None:
    """Those of its group behind it, under the same lease, go back with it, uncounted; their receipts are lost.

    Also that of one whose lease ran out before: it stays as it is.
    """
    for other in list(queue.messages):
        behind = message.group and other.group == message.group and other.number > message.number
        if behind and lease is not None and other.lease == lease and other not in named:
            other.lease = None
            if other.state is State.LEASED:
                give_back(world, queue, other)


def expire(world: World, queue: Queue, message: Message) -> None:
    """If its time to live has passed: removed, or dead-lettered where there is somewhere to."""
    if not message.expired(world.now):
        return
    if queue.settings.dead_letter_exchange is None:
        queue.remove(message, "expired", world.now)
    else:
        die(world, queue, message, "expired", None)


def fail(world: World, queue: Queue, message: Message, delay_ms: int | None, reason: str | None) -> bool:
    """One more failure. `delay_ms` None is the backoff. Whether it lives on."""
    message.failures += 1
    if message.expired(world.now):  # before the limit
        give_back(world, queue, message)
        return False
    limit = queue.settings.delivery_limit
    if limit is not None and message.failures >= limit:
        die(world, queue, message, "delivery_limit", reason)
        return False
    give_back(world, queue, message, backoff_ms(world, queue, message) if delay_ms is None else delay_ms)
    return True


def backoff_ms(world: World, queue: Queue, message: Message) -> int:
    """How long a message waits after its latest failure."""
    backoff = queue.settings.retry_backoff
    if backoff is None:
        return 0
    seconds = backoff.initial_seconds
    for _ in range(message.failures - 1):
        seconds = min(seconds * backoff.multiplier, backoff.max_seconds)
    text = f"{world.number_of(message.number)}:{message.failures}".encode()
    swing = int.from_bytes(blake2b(text, digest_size=4).digest(), "big") / 0xFFFFFFFF * 2 - 1
    return round(1000 * min(seconds, backoff.max_seconds) * (1 + backoff.jitter * swing))


def die(world: World, queue: Queue, message: Message, reason: str, detail: str | None) -> None:
    """For good: to the dead-letter exchange, or parked in its queue."""
    note_death(world, queue, message, reason, detail)
    message.lease, message.holds = None, False
    settings = queue.settings
    key = settings.dead_letter_routing_key
    key = message.content.routing_key if key is None else key
    exchange = settings.dead_letter_exchange
    if exchange is None:
        park(message)
        return
    headers = message.properties().get("headers") or {}
    reached = route(world.kept.exchanges, world.kept.bindings, exchange, key, headers)[0]
    targets = [world.queue(name) for name in reached if not loops(message, name)]
    if not targets:
        message.deaths[0]["detail"] = WHY
        park(message)
        return
    queue.totals["dead_lettered"] += 1
    content = message.content._replace(exchange=exchange, routing_key=key)
    move(world, queue, message, content, targets, dead_lettered=True)


def park(message: Message) -> None:
    """Dead, in place. Its time to live stops."""
    message.state = State.DEAD
    message.content = message.content._replace(expires_at=0)


def note_death(world: World, queue: Queue, message: Message, reason: str, detail: str | None) -> None:
    """The newest first; one of the same queue and reason is the same death once more."""
    before = [death for death in message.deaths if (death["queue"], death["reason"]) == (queue.name, reason)]
    death = {
        "queue": queue.name,
        "id": message.id,
        "reason": reason,
        "detail": detail,
        "count": 1 + sum(each["count"] for each in before),
        "at": moment(world.now),
        "exchange": message.content.exchange,
        "routing_key": message.content.routing_key,
    }
    message.deaths = [death, *(each for each in message.deaths if each not in before)]


def loops(message: Message, name: str) -> bool:
    """Whether it died in that queue, and only of its age or of too little room from then on."""
    names = [death["queue"] for death in message.deaths]
    if name not in names:
        return False
    since = message.deaths[: names.index(name) + 1]
    return not any(death["reason"] in STOPS_A_LOOP for death in since)


def move(
    world: World, queue: Queue, message: Message, content: Content, targets: list[Queue], dead_lettered: bool
) -> None:
    """Out of this queue, into those: a new message in each, at the tail, all with one id."""
    own_ttl_ms = None if dead_lettered else message.own_ttl_ms
    first = world.numbers(len(targets))
    within = targets == [queue]
    queue.remove(message, "" if within and not dead_lettered else "moved_out", world.now)
    for place, target in enumerate(targets):
        copy = Message(
            first + place,
            content._replace(first=first, expires_at=expiry(own_ttl_ms, target, world.now)),
            message.wanted_priority,
            min(message.wanted_priority, target.settings.max_priority),
            message.group,
            own_ttl_ms,
            deaths=[dict(death) for death in message.deaths],
        )
        target.add(copy)
        if dead_lettered or not within:
            target.totals["moved_in"] += 1
