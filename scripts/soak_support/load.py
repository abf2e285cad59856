"""The mixed load: every verb there is, at a steady rate, and the books of what was answered."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from scripts.bench_support.pace import Pacer
from tests.support.calls import Answered, Calls

REGIONS = ("eu", "us")
QUEUES = ("eu", "us", "audit", "grouped", "slow", "parked", "asks")
CONSUMERS = ("eu", "eu", "us", "us", "audit", "audit", "grouped", "grouped", "slow", "parked")
WITH_DEATHS = {"dead_letter_exchange": "dead", "retry_backoff": {"initial_seconds": 0.5, "max_seconds": 2}}
DEFINITIONS: dict[str, Any] = {
    "exchanges": [{"name": "orders", "type": "topic"}, {"name": "dead", "type": "fanout"}],
    "queues": [
        {"name": "eu", "lease_seconds": 5, "delivery_limit": 4, **WITH_DEATHS},
        {"name": "us", "lease_seconds": 5, "delivery_limit": 4, **WITH_DEATHS},
        {"name": "audit", "max_messages": 200_000, "overflow": "drop_oldest"},
        {"name": "grouped", "max_priority": 5, "lease_seconds": 5},
        {"name": "slow", "message_ttl_seconds": 4},
        {"name": "parked"},
        {"name": "asks"},
    ],
    "bindings": [
        {"source": "orders", "queue": "eu", "routing_key": "order.eu.#"},
        {"source": "orders", "queue": "us", "routing_key": "order.us.#"},
        {"source": "orders", "queue": "audit", "routing_key": "#"},
        {"source": "orders", "queue": "asks", "routing_key": "ask"},
        {"source": "dead", "queue": "parked"},
    ],
}
REDRIVEN: tuple[tuple[str, dict[str, Any]], ...] = tuple((q, {"from": "dead"}) for q in ("audit", "grouped", "slow"))
SENDERS = 32
LATE_MOST = 2000


class Failed(Exception):
    """The broker answered what it should not."""


class Load:
    """Publishers at `rate` steps a second, and consumers. The books count what was answered."""

    def __init__(self, port: int, rate: float, seed: int) -> None:
        self.published: Counter[str] = Counter()
        self.acked: Counter[str] = Counter()
        self.calls = self.refused = 0
        self.latencies: list[float] = []
        """of publishes since they were last taken: seconds from the moment when they were due"""
        self._port, self._rate = port, rate
        self._chance = random.Random(seed)
        self._number = 0
        self._due: asyncio.Queue[int] = asyncio.Queue()
        self._running = True
        self._producers: list[asyncio.Task[None]] = []
        self._consumers: list[asyncio.Task[None]] = []
        self._pacer: Pacer | None = None
        self._steps: list[Callable[[Calls, int], Awaitable[None]]] = []
        for step, share in (
            (self._order, 70),
            (self._batch, 8),
            (self._slow, 8),
            (self._transaction, 5),
            (self._ask, 3),
            (self._look, 4),
            (self._scratch, 2),
        ):
            self._steps += [step] * share

    async def start(self) -> None:
        """Declare what is needed, and begin."""
        calls = Calls(self._port)
        await self._call(calls, "PUT", "/v1/definitions", DEFINITIONS)
        await calls.close()
        self._producers = [asyncio.create_task(self._produce()) for _ in range(SENDERS)]
        work = [self._consume(queue) for queue in CONSUMERS]
        self._consumers = [asyncio.create_task(one) for one in (*work, self._answer_asks(), self._redrive())]
        self._pacer = Pacer(self._rate, self._due.put_nowait)

    def check(self) -> None:
        """Raise what any of the clients met."""
        for task in (*self._producers, *self._consumers):
            if task.done():
                task.result()
        if self._due.qsize() > LATE_MOST:
            raise Failed(f"{self._due.qsize()} steps are late: the rate is too high for this machine")

    async def stop_publishing(self) -> None:
        """No new steps; those that are due are still done."""
        assert self._pacer is not None
        self._pacer.stop()
        for _ in self._producers:
            self._due.put_nowait(0)
        await asyncio.gather(*self._producers)

    async def stop(self) -> None:
        """The consumers end, each after its call."""
        self._running = False
        await asyncio.gather(*self._consumers)

    # --- publishing -----------------------------------------------------------------

    async def _produce(self) -> None:
        calls = Calls(self._port)
        while due := await self._due.get():
            await self._chance.choice(self._steps)(calls, due)
        await calls.close()

    def _text(self) -> bytes:
        self._number += 1
        size = 65_536 if self._chance.random() < 0.01 else min(8192, int(self._chance.lognormvariate(6, 1)))
        return b"%d " % self._number + b"x" * size

    async def _order(self, calls: Calls, due: int) -> None:
        region = self._chance.choice(REGIONS)
        headers = {"Content-Type": "text/plain", "Message-Header-Region": region}
        if self._chance.random() < 0.5:
            headers["Idempotency-Key"] = f"order-{self._number}"
        path, body = f"/v1/exchanges/orders/messages?routing_key=order.{region}.made", self._text()
        answer = await self._call(calls, "POST", path, body, headers)
        self.latencies.append((time.monotonic_ns() - due) / 1e9)
        self._published(answer)
        if "Idempotency-Key" in headers and self._chance.random() < 0.1:
            again = await self._call(calls, "POST", path, body, headers)
            if not again.json["duplicate"] or again.json["id"] != answer.json["id"]:
                raise Failed(f"a retry was taken for a new message: {again}")

    async def _batch(self, calls: Calls, due: int) -> None:
        group, key = f"g{self._chance.randrange(50)}", f"batch-{self._number}"
        messages = [
            {"body": self._text().decode(), "group": group, "priority": self._chance.randrange(3)} for _ in range(10)
        ]
        path = "/v1/queues/grouped/messages/batch"
        answer = await self._call(calls, "POST", path, {"messages": messages}, {"Idempotency-Key": key})
        self.published["grouped"] += len(answer.json["results"])

    async def _slow(self, calls: Calls, due: int) -> None:
        delay = round(self._chance.random() * 2, 3)
        more = f"&ttl_seconds={delay + 0.2}" if self._chance.random() < 0.2 else ""
        path = f"/v1/queues/slow/messages?delay_seconds={delay}{more}"
        self._published(await self._call(calls, "POST", path, self._text()))

    async def _transaction(self, calls: Calls, due: int) -> None:
        publishes = [
            {"exchange": "orders", "routing_key": f"order.{region}.moved", "json": {"n": 1}} for region in REGIONS
        ]
        answer = await self._call(calls, "POST", "/v1/transactions", {"publishes": publishes})
        for result in answer.json["results"]:
            self.published.update(result["queues"])

    async def _ask(self, calls: Calls, due: int) -> None:
        path = "/v1/exchanges/orders/request?routing_key=ask&wait_seconds=20"
        answer = await self._call(calls, "POST", path, b"what?")
        if answer.body != b"that":
            raise Failed(f"no reply but {answer}")
        self.published.update(("asks", "audit"))

    async def _look(self, calls: Calls, due: int) -> None:
        queue = self._chance.choice(QUEUES)
        paths = (
            f"/v1/queues/{queue}",
            f"/v1/queues/{queue}/messages?limit=20",
            "/v1/definitions",
            "/metrics",
            "/v1/queues",
        )
        await self._call(calls, "GET", self._chance.choice(paths))

    async def _scratch(self, calls: Calls, due: int) -> None:
        """A queue that comes and goes, and is purged before."""
        queue = f"scratch-{self._number}-{self._chance.randrange(10**6)}"
        await self._call(calls, "PUT", f"/v1/queues/{queue}", {"expires_seconds": 600})
        await self._call(calls, "POST", f"/v1/queues/{queue}/messages/batch", {"messages": [{"body": "x" * 2000}] * 20})
        await self._call(calls, "POST", f"/v1/queues/{queue}/receive?max_messages=3")
        purged = await self._call(calls, "DELETE", f"/v1/queues/{queue}/messages")
        if purged.json != {"purged": 17}:
            raise Failed(f"purged {purged}")
        await self._call(calls, "DELETE", f"/v1/queues/{queue}")

    def _published(self, answer: Answered) -> None:
        self.published.update(answer.json["queues"])

    # --- consuming ------------------------------------------------------------------

    async def _consume(self, queue: str) -> None:
        calls, acks = Calls(self._port), list[str]()
        path = f"/v1/queues/{queue}"
        while self._running or acks:
            options = {"max_messages": 20, "wait_seconds": 0.5 if self._running else 0, "lease_seconds": 3, "ack": acks}
            if not self._running:
                self.acked[queue] += (await self._call(calls, "POST", f"{path}/ack", {"receipts": acks})).json["acked"]
                break
            answer = (await self._call(calls, "POST", f"{path}/receive", options)).json
            self.acked[queue] += answer["acked"]
            acks = await self._settle(calls, path, queue, [one["receipt"] for one in answer["messages"]])
        await calls.close()

    async def _settle(self, calls: Calls, path: str, queue: str, receipts: list[str]) -> list[str]:
        """Do this or that with what was received; returns what is to be acked with the next receive."""
        if not receipts:
            return []
        match self._chance.randrange(40):
            case 0:
                await self._call(calls, "POST", f"{path}/nack", {"receipts": receipts})
            case 1 if queue != "parked":
                await self._call(calls, "POST", f"{path}/nack", {"receipts": receipts[:3], "requeue": False})
                return receipts[3:]
            case 2:
                await self._call(calls, "POST", f"{path}/extend", {"receipts": receipts, "lease_seconds": 10})
                return receipts
            case 3:
                pass  # the lease runs out
            case 4:
                acks, publishes = [{"queue": queue, "receipts": receipts}], [{"queue": "slow", "body": "done"}]
                both = {"acks": acks, "publishes": publishes}
                # While publishes are refused it waits, perhaps for longer than its leases last (409).
                if (await self._call(calls, "POST", "/v1/transactions", both, may_be=(409,))).status == 200:
                    self.acked[queue] += len(receipts)
                    self.published["slow"] += 1
            case _:
                return receipts
        return []

    async def _answer_asks(self) -> None:
        calls = Calls(self._port)
        while self._running:
            answer = await self._call(calls, "POST", "/v1/queues/asks/receive?wait_seconds=0.5&auto_ack=true")
            for message in answer.json["messages"]:
                self.acked["asks"] += 1
                await self._call(calls, "POST", f"/v1/queues/{message['reply_to']}/messages", b"that")
        await calls.close()

    async def _redrive(self) -> None:
        """Some of what was parked goes back where it died, and what died where it was is tried again."""
        calls = Calls(self._port)
        while self._running:
            for queue, body in (("parked", {"from": "arrived", "max_messages": 5}), *REDRIVEN):
                await asyncio.sleep(0.2)
                await self._call(calls, "POST", f"/v1/queues/{queue}/redrive", body)
        await calls.close()

    async def _call(
        self,
        calls: Calls,
        method: str,
        path: str,
        body: object = b"",
        headers: dict[str, str] | None = None,
        may_be: tuple[int, ...] = (),
    ) -> Answered:
        """A call that succeeds, or `may_be` so; refused for the moment (429, 503), it is tried again after a second."""
        while True:
            answer = await calls.call(method, path, body, headers)
            self.calls += 1
            if answer.status < 300 or answer.status in may_be:
                return answer
            if answer.status not in (429, 503):
                raise Failed(f"{method} {path}: {answer}")
            self.refused += 1
            await asyncio.sleep(1)
