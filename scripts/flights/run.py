"""The publisher, the consumers and whoever kills the broker between them."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.flights.events import Figures, Flight, Task, routing_key
from scripts.flights.link import Broken, Link, NotReached
from tests.support.server import Server

PUBLISH_BATCH = 100
RECEIVE_BATCH = 100
WAIT_SECONDS = 1
LEASE_SECONDS = 3


class Inexact(Exception):
    """Something came out that cannot be: the text says what."""


@dataclass
class Published:
    """How publishing went.

    `unknown` batches were cut off before their answer; each of them was then `found` in the store or sent `again`.
    """

    events: int = 0
    unknown: int = 0
    found: int = 0
    again: int = 0


@dataclass
class Handled:
    """What the consumers of one queue did: the message id of each flight, by its number, and the figures."""

    ids: dict[int, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    deliveries: int = 0
    redeliveries: int = 0
    acked: int = 0


class Run:
    """One run of the demo on a broker, under names that begin with `prefix`."""

    def __init__(
        self, link: Link, tasks: Sequence[Task], flights: Sequence[Flight], prefix: str, report: Callable[[], None]
    ) -> None:
        self.link = link
        self.tasks = tasks
        self.flights = flights
        self.prefix = prefix
        self.report = report
        self.killed = 0
        self.last_at = time.monotonic()
        self.moved = asyncio.Event()
        self.exchange = f"{prefix}flights"
        self.published = Published()
        self.handled = {task.queue: Handled() for task in tasks}
        self.done_publishing = False

    async def declare(self) -> None:
        """Make the exchange, the queues and the bindings."""
        await self.link.insist("PUT", f"/v1/exchanges/{self.exchange}", {"type": "topic"})
        for task in self.tasks:
            queue = self.prefix + task.queue
            await self.link.insist("PUT", f"/v1/queues/{queue}", {"lease_seconds": LEASE_SECONDS})
            binding = {"queue": queue, "routing_key": task.pattern}
            await self.link.insist("POST", f"/v1/exchanges/{self.exchange}/bindings", binding)

    async def clear(self) -> None:
        """Delete what `declare` made."""
        await self.link.call("DELETE", f"/v1/exchanges/{self.exchange}")
        for task in self.tasks:
            await self.link.call("DELETE", f"/v1/queues/{self.prefix}{task.queue}")

    def _progress(self) -> None:
        self.last_at = time.monotonic()
        self.moved.set()
        self.report()

    async def stats(self, queue: str) -> dict[str, Any]:
        """The broker's own counts of a queue."""
        view: dict[str, Any] = await self.link.insist("GET", f"/v1/queues/{self.prefix}{queue}")
        stats: dict[str, Any] = view["stats"]
        return stats

    async def publish(self) -> None:
        """Publish all flights in order, in batches, each exactly once."""
        for start in range(0, len(self.flights), PUBLISH_BATCH):
            flights = self.flights[start : start + PUBLISH_BATCH]
            await self._publish_once({"messages": [_envelope(flight) for flight in flights]}, len(flights))
            self.published.events += len(flights)
            self._progress()
        self.done_publishing = True

    async def _publish_once(self, batch: dict[str, Any], size: int) -> None:
        """There is only this publisher, and a batch is stored whole or not at all: so where an answer was
        cut off, the count of the queue that gets every flight says whether the batch is in the store."""
        while True:
            try:
                await self.link.call("POST", f"/v1/exchanges/{self.exchange}/messages/batch", batch)
                return
            except NotReached:
                await self.link.back()
                continue
            except Broken:
                self.published.unknown += 1
            stored = (await self.stats("everything"))["published"] - self.published.events
            if stored == size:
                self.published.found += 1
                return
            if stored != 0:
                raise Inexact(f"{stored} of a batch of {size} are stored: a batch must be stored whole or not at all")
            self.published.again += 1

    async def consume(self, task: Task) -> None:
        """Handle the flights of one queue until all are published and none is left."""
        queue, handled = f"/v1/queues/{self.prefix}{task.queue}", self.handled[task.queue]
        wanted = {"max_messages": RECEIVE_BATCH, "wait_seconds": WAIT_SECONDS}
        while True:
            try:
                messages = (await self.link.call("POST", f"{queue}/receive", wanted))["messages"]
            except Broken:
                await self.link.back()
                continue
            if not messages:
                if self.done_publishing and left(await self.stats(task.queue)) == 0:
                    return
                continue
            for message in messages:
                self._handle(task, handled, message)
            receipts = {"receipts": [message["receipt"] for message in messages]}
            # Leases outlive a crash: an ack that was cut off is simply sent again, and is harmless twice.
            handled.acked += (await self.link.insist("POST", f"{queue}/ack", receipts))["acked"]
            self._progress()

    def _handle(self, task: Task, handled: Handled, message: dict[str, Any]) -> None:
        """Count a flight once, however often it is delivered; only a redelivery may bring it again."""
        number = int(message["correlation_id"])
        again = number in handled.ids
        if handled.ids.setdefault(number, message["id"]) != message["id"]:
            raise Inexact(f"flight {number} is in {task.queue} as {handled.ids[number]} and as {message['id']}")
        if again and message["delivery_count"] == 1:
            raise Inexact(f"flight {number} came twice from {task.queue}, and not as a redelivery")
        handled.deliveries += 1
        handled.redeliveries += message["delivery_count"] > 1
        if not again:
            flight: Flight = json.loads(message["body"])
            handled.figures.add(task.key(flight), flight)

    async def all(self, server: Server | None, kills: int, seed: int) -> None:
        """Publish, consume and kill at the same time, until all is handled."""
        async with asyncio.TaskGroup() as group:
            for task in self.tasks:
                for _ in range(task.consumers):
                    group.create_task(self.consume(task))
            group.create_task(self.publish())
            if server is not None and kills:
                group.create_task(self._kill(server, kills, random.Random(seed)))

    async def _kill(self, server: Server, kills: int, chance: random.Random) -> None:
        """Kill the broker at even stretches of the way, a few random milliseconds into whatever it does then."""
        for turn in range(1, kills + 1):
            while self.published.events < len(self.flights) * turn // (kills + 1):
                await self.moved.wait()
                self.moved.clear()
            await asyncio.sleep(chance.uniform(0, 0.02))
            server.kill()
            self.killed += 1
            await asyncio.to_thread(server.start)


def _envelope(flight: Flight) -> dict[str, Any]:
    return {"routing_key": routing_key(flight), "correlation_id": str(flight["number"]), "json": flight}


def left(stats: dict[str, Any]) -> int:
    """How many messages are in a queue, in whatever state."""
    return sum(stats[state] for state in ("ready", "leased", "delayed", "dead"))
