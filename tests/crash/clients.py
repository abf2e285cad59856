"""Concurrent clients over HTTP: they publish, receive and settle, and write down what they are told."""

import asyncio
import base64
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2

from tests.crash.ledger import Delivered, Ledger, Outcome, Sent

EXCHANGE = "x"
BINDINGS = {"all": "#", "red": "red.*", "some": "*.even"}
QUEUES: dict[str, dict[str, Any]] = {
    "all": {"lease_seconds": 2, "delivery_limit": None},
    "red": {
        "lease_seconds": 0.4,
        "delivery_limit": None,
        "retry_backoff": {"initial_seconds": 0.1, "max_seconds": 0.5},
    },
    "some": {"lease_seconds": 2, "delivery_limit": None, "max_priority": 3},
    "direct": {"lease_seconds": 1, "delivery_limit": None},
}
KEYS = {
    "red.even": ("all", "red", "some"),
    "red.odd": ("all", "red"),
    "blue.odd": ("all",),
    "blue.even": ("all", "some"),
}


class Unanswered(Exception):
    """The connection broke: whether the call was done is unknown."""


@dataclass(slots=True)
class World:
    """What all clients share: the broker's address, whether they go on, and the ledger."""

    url: str
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    async def client_loop(self, step: Callable[["Client"], Awaitable[None]]) -> None:
        """Do a step again and again until it is over, waiting while the broker is down."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=30) as http:
            client = Client(self, http)
            while not self.over:
                await self.up.wait()
                try:
                    await step(client)
                except Unanswered:
                    self.ledger.unanswered += 1
            await client.try_again()
            await client.settle("ack", client.held, "acked")


@dataclass(slots=True)
class Attempt:
    """A publish call."""

    sent: Sent
    path: str
    request: dict[str, Any]


@dataclass(slots=True)
class Client:
    """One connection."""

    world: World
    http: httpx2.AsyncClient
    held: list[Delivered] = field(default_factory=list)
    unanswered: Attempt | None = None

    async def call(self, path: str, **request: Any) -> httpx2.Response:
        """POST. Raises `Unanswered`."""
        try:
            answer = await self.http.post(path, **request)
        except httpx2.TransportError as error:
            raise Unanswered(str(error)) from error
        if answer.status_code >= 500:
            # Nothing but the end of a broker excuses it; what it did is unknown.
            self.world.ledger.problems.append(f"{path}: {answer.status_code} {answer.text}")
            raise Unanswered(answer.text)
        return answer

    # --- publishing --------------------------------------------------------------

    async def publish(self) -> None:
        """One message, through the exchange or straight into a queue."""
        chance = self.world.chance
        params = {"priority": str(chance.randrange(5))}
        if chance.random() < 0.3:
            path, sent = "/v1/queues/direct/messages", self._prepare(1, ("direct",))
        else:
            params["routing_key"] = chance.choice(sorted(KEYS))
            path, sent = f"/v1/exchanges/{EXCHANGE}/messages", self._prepare(1, KEYS[params["routing_key"]])
        await self._send(Attempt(sent, path, {"params": params, "content": self._body(sent, 0)}))

    async def publish_batch(self) -> None:
        """Many at once: all or none of them."""
        key = self.world.chance.choice(sorted(KEYS))
        sent = self._prepare(self.world.chance.randrange(2, 60), KEYS[key])
        envelopes = [
            {"routing_key": key, "body_base64": base64.b64encode(self._body(sent, n)).decode()}
            for n in range(len(sent.tags))
        ]
        await self._send(Attempt(sent, f"/v1/exchanges/{EXCHANGE}/messages/batch", {"json": {"messages": envelopes}}))

    async def publish_bad(self) -> None:
        """A batch whose last envelope is bad: nothing of it may ever come out."""
        sent = self._prepare(3, KEYS["red.even"])
        sent.outcome = Outcome.REFUSED
        envelopes: list[dict[str, Any]] = [
            {"routing_key": "red.even", "body": self._body(sent, n).decode()} for n in range(3)
        ]
        envelopes[-1]["priority"] = -1
        answer = await self.call(f"/v1/exchanges/{EXCHANGE}/messages/batch", json={"messages": envelopes})
        if answer.status_code != 422:
            self.world.ledger.problems.append(f"a bad batch was answered {answer.status_code}")

    def _prepare(self, count: int, queues: tuple[str, ...]) -> Sent:
        ledger = self.world.ledger
        sizes = self.world.chance.choices((30, 200, 1500, 9000), (6, 6, 3, 1), k=count)
        sent = Sent([ledger.new_tag() for _ in range(count)], queues, sizes)
        ledger.will_send(sent)
        return sent

    @staticmethod
    def _body(sent: Sent, index: int) -> bytes:
        return f"{sent.tags[index]} ".encode().ljust(sent.sizes[index], b".")

    async def _send(self, attempt: Attempt) -> None:
        """Publish; half of the time with a key, to try it again where the answer does not come."""
        if self.world.chance.random() < 0.5:
            attempt.request["headers"] = {"Idempotency-Key": attempt.sent.tags[0]}
            self.unanswered = attempt
        self._note(attempt.sent, await self.call(attempt.path, **attempt.request), first=True)
        self.unanswered = None

    async def try_again(self) -> bool:
        """Send again what was not answered, under the same key; whether there was such a thing."""
        attempt = self.unanswered
        if attempt is None:
            return False
        self._note(attempt.sent, await self.call(attempt.path, **attempt.request), first=False)
        self.world.ledger.tried_again += 1
        self.unanswered = None
        return True

    def _note(self, sent: Sent, answer: httpx2.Response, first: bool) -> None:
        told = answer.json()
        duplicate = not first and answer.status_code == 200 and told["duplicate"] is True
        if answer.status_code != 201 and not duplicate:
            self.world.ledger.problems.append(f"a publish was answered {answer.status_code} {answer.text}")
            return
        results = told.get("results", [told])
        sent.outcome = Outcome.DONE
        sent.ids = [result["id"] for result in results]
        if any(tuple(result["queues"]) != sent.queues for result in results):
            self.world.ledger.problems.append(f"{sent.tags} went to {told}, not to {sent.queues}")

    # --- receiving ---------------------------------------------------------------

    async def receive(self, queue: str, most: int, wait_seconds: float = 0.2, **options: Any) -> list[Delivered]:
        """Receive, and note what came."""
        options |= {"max_messages": most, "wait_seconds": wait_seconds}
        answer = await self.call(f"/v1/queues/{queue}/receive", json=options)
        got = []
        for message in answer.json()["messages"]:
            body = message["body"]
            delivery = Delivered(
                queue,
                body.partition(" ")[0],
                message["id"],
                message["receipt"],
                message["delivery_count"],
                message["failed_count"],
                datetime.fromisoformat(message["lease_expires_at"]).timestamp(),
                time.time(),
            )
            sent = self.world.ledger.by_tag.get(delivery.tag)
            if sent is None or len(body) != sent.sizes[sent.tags.index(delivery.tag)]:
                self.world.ledger.wrong(delivery, f"has another body: {body[:40]!r}")
            self.world.ledger.was_delivered(delivery)
            got.append(delivery)
        return got

    async def settle(self, verb: str, deliveries: list[Delivered], how: str, **options: Any) -> None:
        """Ack, nack or extend, and note for each what is known of it now."""
        if not deliveries:
            return
        for delivery in deliveries:
            delivery.settled, delivery.unknown, delivery.asked_at = how + "?", True, time.time()
        request = {"receipts": [delivery.receipt for delivery in deliveries], **options}
        answer = await self.call(f"/v1/queues/{deliveries[0].queue}/{verb}", content=json.dumps(request))
        told = answer.json()
        if answer.status_code != 200:
            self.world.ledger.problems.append(f"{verb} was answered {answer.status_code} {told}")
            return
        failed = {failure["receipt"]: failure["code"] for failure in told["failed"]}
        for delivery in deliveries:
            delivery.settled, delivery.unknown = failed.get(delivery.receipt, how), False
            delivery.told_at = time.time()
            if delivery.settled == "extended":
                delivery.until = datetime.fromisoformat(told["lease_expires_at"]).timestamp()
        if told[{"ack": "acked", "nack": "nacked", "extend": "extended"}[verb]] != len(deliveries) - len(failed):
            self.world.ledger.problems.append(f"{verb} of {len(deliveries)} told {told}")


# --- what a client does in a step ----------------------------------------------------


async def publishes(client: Client) -> None:
    """A publisher."""
    chance = client.world.chance.random()
    if await client.try_again():
        return
    if chance < 0.05:
        await client.publish_bad()
    elif chance < 0.4:
        await client.publish_batch()
    else:
        await client.publish()


def consumes(queue: str) -> Callable[[Client], Awaitable[None]]:
    """A consumer of a queue: it settles in all the ways there are, and sometimes not at all."""

    async def step(client: Client) -> None:
        chance = client.world.chance
        # What is left of the receive before: some sit on their leases for a while, also over a crash.
        held, client.held = client.held, []
        await client.settle("ack", held, "acked")
        got = await client.receive(queue, chance.choice((1, 5, 50)))
        await client.settle("ack", client.world.ledger.outdated(got), "acked")
        chance.shuffle(got)
        parts = sorted(chance.randrange(len(got) + 1) for _ in range(4))
        back, dead, longer, left = (got[a:b] for a, b in zip([0, *parts[:3]], parts, strict=True))
        await client.settle("nack", back[:3], "back", delay_seconds=chance.choice((0, 0.2)))
        if queue == "direct":
            await client.settle("nack", dead[:2], "dead", requeue=False, reason="no good")
        await client.settle("extend", longer, "extended", lease_seconds=2)
        client.held = longer + left[:5]
        await client.settle("ack", got[parts[3] :], "acked")

    return step
