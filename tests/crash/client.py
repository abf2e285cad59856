"""A client: one connection, each call noted in the history before it is sent and when its answer is there."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.crash.history import Delivery, History, How, Op, Outcome, Sent, Settling
from tests.support.calls import Answered, Calls

VERBS = {How.ACK: "ack", How.BACK: "nack", How.REJECT: "nack", How.EXTEND: "extend"}
COUNTS = {How.ACK: "acked", How.BACK: "nacked", How.REJECT: "nacked", How.EXTEND: "extended"}
UNAVAILABLE = 503


class Unanswered(Exception):
    """The connection broke, or a 5xx came: whether the call was done is unknown."""


@dataclass(slots=True)
class World:
    """What all clients share. `up` is set while there is a broker to talk to, `over` when all is done."""

    port: int
    chance: random.Random
    history: History
    up: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    stops: bool = False
    """whether the broker may answer 503, because it was told to stop"""
    dark: bool = False
    """whether the power is gone: a machine without power answers nothing, so nothing that is read counts"""
    faults: list[str] = field(default_factory=list)
    """answers that should not be"""
    tags: int = 0

    def new_tag(self) -> str:
        """A tag that no message had before."""
        self.tags += 1
        return f"m{self.tags}"

    async def live(self, step: Callable[["Client"], Awaitable[None]]) -> None:
        """A client's life: the step, again and again, while there is a broker."""
        client = Client(self, Calls(self.port))
        try:
            while not self.over:
                await self.up.wait()
                try:
                    await step(client)
                except Unanswered:
                    await client.calls.close()
            with contextlib.suppress(Unanswered):
                await client.settle(How.ACK, client.held)
        finally:
            await client.calls.close()


def body_of(sent: Sent) -> bytes:
    """The tag, and dots up to the size."""
    return f"{sent.tag} ".encode().ljust(sent.size, b".")


@dataclass(slots=True)
class Attempt:
    """A call that publishes, as it can be made again under its key."""

    path: str
    body: object
    headers: dict[str, str]
    sent: tuple[Sent, ...]
    settling: tuple[Settling, ...] = ()
    verb: str = "publish"


@dataclass(slots=True)
class Client:
    """One connection, and what its owner keeps in mind."""

    world: World
    calls: Calls
    held: list[Delivery] = field(default_factory=list)
    """leases that it sits on, also over a kill"""
    old: list[Delivery] = field(default_factory=list)
    """what it has settled: these receipts are worth nothing now"""
    owed: Attempt | None = None
    """what was cut off and will be tried again, under the same key"""

    async def ask(
        self,
        op: Op,
        method: str,
        path: str,
        body: object = b"",
        headers: dict[str, str] | None = None,
        refusals: Sequence[int] = (),
    ) -> Answered | None:
        """Make a call; None where it is refused with one of `refusals`. The caller ends the op if it was done."""
        try:
            answer = await self.calls.call(method, path, body, headers)
        except (OSError, TimeoutError) as error:
            raise Unanswered(str(error)) from error
        if self.world.dark:
            raise Unanswered("the power is gone")
        if answer.status in refusals:
            self.world.history.end(op, Outcome.REFUSED)
            return None
        if answer.status >= 300:
            if answer.status != UNAVAILABLE or not self.world.stops:
                self.world.faults.append(f"answer: {method} {path}: {answer.status} {answer.body.decode()}")
            raise Unanswered(answer.body.decode())
        return answer

    def done(self, op: Op) -> None:
        """What was told is filled in."""
        self.world.history.end(op, Outcome.DONE)

    # --- publishing --------------------------------------------------------------

    async def publish(self, attempt: Attempt) -> None:
        """Publish, or a transaction; what has a key is remembered until it is answered."""
        if "Idempotency-Key" in attempt.headers:
            self.owed = attempt
        op = self.world.history.invoke(attempt.verb, sent=attempt.sent, settling=attempt.settling)
        refusals = (409, 429) if attempt.settling else (429,)
        answer = await self.ask(op, "POST", attempt.path, attempt.body, attempt.headers, refusals)
        self.owed = None
        if answer is None:
            return
        told = answer.json
        results = told.get("results", [told])
        op.ids = tuple(result["id"] for result in results)
        # A transaction that was done before answers as it did then, without a word on it.
        op.duplicate = any("duplicate" in one for one in (told, *results[:1]))
        for sent, result in zip(attempt.sent, results, strict=True):
            if tuple(result["queues"]) != sent.queues:
                self.world.faults.append(f"answer: {sent} went to {result}")
        self.done(op)

    # --- receiving ---------------------------------------------------------------

    async def receive(
        self, queue: str, most: int = 1, wait_seconds: float = 0, acks: Iterable[Delivery] = (), auto_ack: bool = False
    ) -> list[Delivery]:
        """Receive, acknowledging others on arrival."""
        settling = [Settling(delivery.receipt, How.ACK) for delivery in acks]
        op = self.world.history.invoke("receive", queue, settling=settling, auto_ack=most if auto_ack else 0)
        request: dict[str, Any] = {"max_messages": most, "wait_seconds": wait_seconds, "auto_ack": auto_ack}
        if settling:
            request["ack"] = [one.receipt for one in settling]
        answer = await self.ask(op, "POST", f"/v1/queues/{queue}/receive", request)
        assert answer is not None
        told = answer.json
        op.failed = {failure["receipt"]: failure["code"] for failure in told.get("failed", ())}
        op.got = tuple(read_delivery(queue, message, op) for message in told["messages"])
        self.done(op)
        return list(op.got)

    async def settle(self, how: How, deliveries: Sequence[Delivery], **options: Any) -> None:
        """Ack, nack or extend."""
        if not deliveries:
            return
        queue = deliveries[0].queue
        op = self.world.history.invoke(
            VERBS[how], queue, settling=[Settling(delivery.receipt, how) for delivery in deliveries]
        )
        request = {"receipts": [delivery.receipt for delivery in deliveries], **options}
        if how is How.REJECT:
            request["requeue"] = False
        answer = await self.ask(op, "POST", f"/v1/queues/{queue}/{VERBS[how]}", request)
        assert answer is not None
        told = answer.json
        op.failed = {failure["receipt"]: failure["code"] for failure in told["failed"]}
        if how is How.EXTEND and told["lease_expires_at"] is not None:
            op.until = datetime.fromisoformat(told["lease_expires_at"]).timestamp()
        if told[COUNTS[how]] != len(deliveries) - len(op.failed):
            self.world.faults.append(f"answer: {VERBS[how]} of {len(deliveries)} told {told}")
        self.done(op)

    # --- repairing ---------------------------------------------------------------

    async def delete(self, delivery: Delivery) -> None:
        """Remove one message."""
        op = self.world.history.invoke("delete", delivery.queue, removing=[delivery.id])
        path = f"/v1/queues/{delivery.queue}/messages/{delivery.id}"
        if await self.ask(op, "DELETE", path, refusals=(404,)) is not None:
            self.done(op)

    async def purge(self, queue: str, state: str | None) -> None:
        """Remove all in a state."""
        op = self.world.history.invoke("purge", queue)
        path = f"/v1/queues/{queue}/messages" + (f"?state={state}" if state else "")
        answer = await self.ask(op, "DELETE", path)
        assert answer is not None
        op.count = answer.json["purged"]
        self.done(op)

    async def redrive(self, queue: str, **options: Any) -> int:
        """Move what is dead, or has arrived as dead, back. How many were."""
        op = self.world.history.invoke("redrive", queue)
        answer = await self.ask(op, "POST", f"/v1/queues/{queue}/redrive", options)
        assert answer is not None
        op.count = answer.json["moved"]
        self.done(op)
        return op.count

    async def stats(self) -> dict[str, dict[str, int]]:
        """The statistics of all queues."""
        op = self.world.history.invoke("look")
        answer = await self.ask(op, "GET", "/v1/queues")
        assert answer is not None
        self.done(op)
        return {queue["name"]: queue["stats"] for queue in answer.json["queues"]}


def read_delivery(queue: str, message: dict[str, Any], op: Op) -> Delivery:
    """One of a receive's messages."""
    body: str = message["body"]
    receipt: str | None = message["receipt"]
    until: str | None = message["lease_expires_at"]
    return Delivery(
        queue,
        body.partition(" ")[0],
        message["id"],
        # What is taken by auto_ack has none.
        receipt or f"{op.invoked}/{message['id']}",
        message["delivery_count"],
        len(body),
        message["priority"],
        message["group"],
        tuple((death["queue"], death["id"]) for death in message["deaths"]),
        datetime.fromisoformat(until).timestamp() if until else 0,
    )
