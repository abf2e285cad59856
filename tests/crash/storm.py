"""The storm: clients at work, a broker killed again and again, and at the end everything taken out and counted."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.crash import books
from tests.crash.clients import BINDINGS, EXCHANGE, QUEUES, Client, World, consumes, publishes
from tests.crash.judge import judge
from tests.crash.ledger import Outcome
from tests.support.server import Server

HELD = "held"
"""A queue with long leases: what is received from it before a kill is acknowledged after it."""


@dataclass(frozen=True, slots=True)
class Report:
    """How it went."""

    kills: int
    published: int
    unknown: int
    delivered: int
    redelivered: int
    acked: int
    unanswered: int
    tried_again: int
    held_over: int
    problems: list[str]

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.published} messages answered 201 and {self.unknown} unknown, "
            f"{self.delivered} deliveries ({self.redelivered} again), {self.acked} acked, "
            f"{self.held_over} receipts held over a kill, {self.unanswered} calls cut off, "
            f"{self.tried_again} publishes tried again, "
            f"{len(self.problems)} problems"
        )


async def storm(data: Path, kills: int, seed: int, say: Callable[[str], None] = lambda line: None) -> Report:
    """Run it. The report's problems are empty if every promise held."""
    chance = random.Random(seed)
    server = Server(data)
    await asyncio.to_thread(server.start)
    world = World(server.url, chance)
    try:
        await set_up(server)
        steps = [publishes] * 4 + [consumes(queue) for queue in QUEUES for _ in range(2)]
        clients = [asyncio.create_task(world.client_loop(step)) for step in steps]
        world.up.set()
        held_over = 0
        for kill in range(kills):
            held_over += await one_life(server, world)
            say(f"kill {kill + 1}: {len(world.ledger.by_tag)} messages, {world.ledger.unanswered} calls cut off")
        await _pass(chance.uniform(0.3, 1.0))
        world.over = True
        await asyncio.gather(*clients)
        await audit(server, world)
        await empty(world)
        stats = await stats_of(server)
        problems = judge(world.ledger, stats)
        await asyncio.to_thread(server.stop)
        problems += books.audit(data / "queuesvc.db")
    finally:
        server.close()
    if "Traceback" in server.log:
        problems.append(server.log)
    return report(world, kills, held_over, problems)


async def _pass(seconds: float) -> None:
    """The load goes on for so long: the moment of the next kill is drawn, not waited for."""
    moment = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, moment.set_result, None)
    await moment


async def set_up(server: Server) -> None:
    """Exchange, queues, bindings; some messages to be held."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        calls = [http.put(f"/v1/exchanges/{EXCHANGE}", json={"type": "topic"})]
        calls += [http.put(f"/v1/queues/{name}", json=settings) for name, settings in QUEUES.items()]
        calls += [http.put(f"/v1/queues/{HELD}", json={"lease_seconds": 3600})]
        for call in calls:
            assert (await call).status_code == 201
        for queue, key in BINDINGS.items():
            binding = {"queue": queue, "routing_key": key}
            assert (await http.post(f"/v1/exchanges/{EXCHANGE}/bindings", json=binding)).status_code == 201


async def one_life(server: Server, world: World) -> int:
    """Load for a while, take leases to hold, kill, start again, settle what was held. Returns how many."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        envelopes = [{"body": f"{n}"} for n in range(20)]
        assert (await http.post(f"/v1/queues/{HELD}/messages/batch", json={"messages": envelopes})).status_code == 201
        await _pass(world.chance.uniform(0.2, 1.2))
        answer = await http.post(f"/v1/queues/{HELD}/receive", json={"max_messages": 20})
        receipts = [message["receipt"] for message in answer.json()["messages"]]
        assert len(receipts) == 20
        await _pass(world.chance.uniform(0, 0.1))
    server.kill()
    world.up.clear()
    await asyncio.to_thread(server.start)
    world.up.set()
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        answer = await http.post(f"/v1/queues/{HELD}/ack", json={"receipts": receipts})
        if answer.json() != {"acked": 20, "failed": []}:
            world.ledger.problems.append(f"receipts from before the kill: {answer.text}")
    return len(receipts)


async def audit(server: Server, world: World) -> None:
    """Stop properly in the middle of it, recount the file, and compare with what the broker says when it is back."""
    assert await asyncio.to_thread(server.stop) == 0
    file = server.data / "queuesvc.db"
    world.ledger.problems += books.audit(file)
    rows = books.rows_by_queue(file)
    await asyncio.to_thread(server.start)
    world.ledger.problems += books.compare(rows, await stats_of(server))


async def empty(world: World) -> None:
    """Take everything out and acknowledge it, waiting for leases and delays to end."""
    async with httpx2.AsyncClient(base_url=world.url, timeout=30) as http:
        await asyncio.gather(*(_empty_one(Client(world, http), queue) for queue in QUEUES))


async def _empty_one(client: Client, queue: str) -> None:
    while left := await _left(client.http, queue):
        got = await client.receive(queue, 1000, wait_seconds=10)
        await client.settle("ack", got, "acked")
        if not got:
            client.world.ledger.problems.append(f"{queue}: {left} messages that nobody gets, long after every lease")
            return


async def _left(http: httpx2.AsyncClient, queue: str) -> int:
    stats: dict[str, int] = (await http.get(f"/v1/queues/{queue}")).json()["stats"]
    return stats["ready"] + stats["leased"] + stats["delayed"]


async def stats_of(server: Server) -> dict[str, dict[str, Any]]:
    """The statistics of all queues."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        return {queue["name"]: queue["stats"] for queue in (await http.get("/v1/queues")).json()["queues"]}


def report(world: World, kills: int, held_over: int, problems: list[str]) -> Report:
    """The figures."""
    ledger = world.ledger
    deliveries = [delivery for copies in ledger.delivered.values() for delivery in copies]
    return Report(
        kills,
        sum(len(sent.tags) for sent in ledger.sent if sent.outcome is Outcome.DONE),
        sum(len(sent.tags) for sent in ledger.sent if sent.outcome is Outcome.UNKNOWN),
        len(deliveries),
        sum(delivery.delivery_count > 1 for delivery in deliveries),
        len(ledger.settled("acked")),
        ledger.unanswered,
        ledger.tried_again,
        held_over,
        problems,
    )
