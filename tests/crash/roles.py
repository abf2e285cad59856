"""Who does what: each role is a step that a client does again and again, all of them at once on small queues."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.crash.client import Attempt, Client, body_of
from tests.crash.history import Delivery, How, Op, Sent, Settling
from tests.crash.topology import DIRECT, EXCHANGE, KEYS, QUEUES

Step = Callable[[Client], Awaitable[None]]
SIZES, OFTEN = (30, 200, 1500, 9000), (6, 6, 3, 1)
"""Bytes of a body: below and above 1 KiB, from where on copies share it."""
GROUPS = ("g1", "g2", "g3")
SCRATCH = "scratch"
"""A queue that is made and deleted again and again, with what is in it: its messages are nobody's."""


# --- publishers ---------------------------------------------------------------------


async def publishes(client: Client) -> None:
    """One message or a batch, through the exchange or straight into a queue, half of them under a key."""
    chance = client.world.chance
    if client.owed is not None:
        await client.publish(client.owed)
        return
    queue = "" if chance.random() < 0.5 else chance.choice(DIRECT)
    attempt = batch(client, queue) if chance.random() < 0.35 else single(client, queue)
    if chance.random() < 0.5:
        attempt.headers["Idempotency-Key"] = attempt.sent[0].tag
    await client.publish(attempt)
    if "Idempotency-Key" in attempt.headers and chance.random() < 0.1:
        await client.publish(attempt)


def message(client: Client, queue: str, key: str) -> Sent:
    """A message to be sent: to a queue, or else by a routing key."""
    chance = client.world.chance
    return Sent(
        client.world.new_tag(),
        (queue,) if queue else KEYS[key],
        chance.choices(SIZES, OFTEN)[0],
        chance.randrange(4),
        chance.choice(GROUPS) if queue == "groups" else None,
        delayed=chance.random() < 0.05,
    )


def single(client: Client, queue: str) -> Attempt:
    """The body as it is, all else in the query."""
    key = client.world.chance.choice(sorted(KEYS))
    sent = message(client, queue, key)
    query = [f"priority={sent.priority}"]
    query += [] if queue else [f"routing_key={key}"]
    query += [f"group={sent.group}"] if sent.group else []
    query += ["delay_seconds=0.3"] if sent.delayed else []
    return Attempt(f"{target(queue)}/messages?{'&'.join(query)}", body_of(sent), {}, (sent,))


def batch(client: Client, queue: str) -> Attempt:
    """Some at once: all or none."""
    keys = [client.world.chance.choice(sorted(KEYS)) for _ in range(client.world.chance.randrange(1, 12))]
    sent = tuple(message(client, queue, key) for key in keys)
    envelopes = [envelope(one, "" if queue else key) for one, key in zip(sent, keys, strict=True)]
    return Attempt(f"{target(queue)}/messages/batch", {"messages": envelopes}, {}, sent)


def target(queue: str) -> str:
    """Where to publish."""
    return f"/v1/queues/{queue}" if queue else f"/v1/exchanges/{EXCHANGE}"


def envelope(sent: Sent, key: str) -> dict[str, Any]:
    """A message as one of a batch."""
    document: dict[str, Any] = {"body": body_of(sent).decode(), "priority": sent.priority, "group": sent.group}
    if key:
        document["routing_key"] = key
    if sent.delayed:
        document["delay_seconds"] = 0.3
    return document


# --- consumers ----------------------------------------------------------------------


def consumes(queue: str) -> Step:
    """A consumer of a queue: it settles in all the ways there are, and sometimes not at all."""

    async def step(client: Client) -> None:
        chance = client.world.chance
        held, client.held = client.held, []
        # Cut off, these are tried again: the first call may have done it, or not.
        client.held = held if chance.random() < 0.5 else []
        got = await client.receive(queue, chance.choice((1, 5, 20)), chance.choice((0, 0.2, 1)), acks=held)
        client.held = []
        remember(client, held)
        await handle(client, got)
        if client.old and chance.random() < 0.1:
            await shows_again(client)

    return step


async def shows_again(client: Client) -> None:
    """A receipt that should be worth nothing; or its lease was forgotten, and still holds."""
    how = client.world.chance.choice(list(How))
    options = {"lease_seconds": 4} if how is How.EXTEND else {}
    await client.settle(how, client.world.chance.sample(client.old, 1), **options)


async def handle(client: Client, got: list[Delivery]) -> None:
    """Settle what came, each in one of the ways there are."""
    chance = client.world.chance
    ways = {acks: 10, gives_back: 2, extends: 2, transacts: 2, deletes: 0.3, leaves: 0.5}
    if got and QUEUES[got[0].queue].rejects:
        ways[rejects] = 3
    chosen = chance.choices(list(ways), list(ways.values()), k=len(got))
    for way in ways:
        mine = [delivery for delivery, how in zip(got, chosen, strict=True) if how is way]
        if mine:
            await way(client, mine)


async def acks(client: Client, mine: list[Delivery]) -> None:
    """Acknowledge; a call that is cut off is made again, or left."""
    await client.settle(How.ACK, mine)
    remember(client, mine)


async def gives_back(client: Client, mine: list[Delivery]) -> None:
    """As a failure or not, at once or after a while."""
    chance = client.world.chance
    delay = chance.choice((None, 0, 0.2))
    await client.settle(How.BACK, mine, delay_seconds=delay, delivery_failed=chance.random() < 0.7)
    remember(client, mine)


async def rejects(client: Client, mine: list[Delivery]) -> None:
    """They die."""
    await client.settle(How.REJECT, mine, reason="no good")
    remember(client, mine)


async def extends(client: Client, mine: list[Delivery]) -> None:
    """Keep them until the next receive, which acknowledges them: perhaps of another broker process."""
    await client.settle(How.EXTEND, mine, lease_seconds=4)
    client.held += mine


async def transacts(client: Client, mine: list[Delivery]) -> None:
    """Acknowledge and publish what comes of it, as one."""
    sent = Sent(client.world.new_tag(), ("sink",), 100)
    settling = tuple(Settling(delivery.receipt, How.ACK) for delivery in mine)
    request = {
        "acks": [{"queue": mine[0].queue, "receipts": [one.receipt for one in settling]}],
        "publishes": [{"queue": "sink", "body": body_of(sent).decode()}],
    }
    attempt = Attempt("/v1/transactions", request, {"Idempotency-Key": sent.tag}, (sent,), settling, "transaction")
    await client.publish(attempt)
    remember(client, mine)


async def deletes(client: Client, mine: list[Delivery]) -> None:
    """One by one."""
    for delivery in mine:
        await client.delete(delivery)


async def leaves(client: Client, mine: list[Delivery]) -> None:
    """Forget about them: the leases run out."""
    remember(client, mine)


def remember(client: Client, settled: list[Delivery]) -> None:
    """Keep some receipts to show again when they are worth nothing."""
    client.old = [*client.old, *settled][-20:]


async def takes(client: Client) -> None:
    """A consumer that trusts itself."""
    await client.receive("auto", 3, 0.5, auto_ack=True)


# --- operators ----------------------------------------------------------------------


async def repairs(client: Client) -> None:
    """Redrive what is dead, and purge."""
    chance = client.world.chance
    await client.redrive(
        "graves", **{"from": chance.choice(("arrived", "dead"))}, max_messages=chance.choice((5, None))
    )
    await client.redrive("park", **{"from": "dead"})
    if chance.random() < 0.3:
        await client.purge("purged", chance.choice((None, "leased", "ready", "delayed")))
    await scratches(client)


async def scratches(client: Client) -> None:
    """Make a queue, fill it, delete it: rows and bodies must go with it, whenever the broker dies."""
    queue = f"/v1/queues/{SCRATCH}"
    envelopes = [{"body": "x" * size} for size in (10, 2000) for _ in range(20)]
    for method, path, body in (
        ("PUT", queue, {}),
        ("POST", f"{queue}/messages/batch", {"messages": envelopes}),
        ("DELETE", queue, b""),
    ):
        op: Op = client.world.history.invoke("scratch")
        await client.ask(op, method, path, body if isinstance(body, bytes) else json.dumps(body).encode())
        client.done(op)


STEPS: list[Step] = [publishes] * 4 + [consumes(queue) for queue in QUEUES if queue != "auto"] + [takes, repairs]
STEPS += [consumes(queue) for queue in ("all", "work", "groups", "graves")]
"""The clients of the campaign."""
