"""Brokers and stores inside the test's own process, and the commands to feed them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from queuesvc.broker.broker import Broker
from queuesvc.broker.clock import Clock
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.model import Envelope, QueueSettings, QueueStats, QueueView
from queuesvc.domain.replies import Published, Received, Reply, Settled
from queuesvc.store.sqlite.store import SqliteStore

PROPERTIES = '"content_type":"text/plain","headers":{},"priority":0,"group":null,"correlation_id":null,"reply_to":null'


class Hands:
    """A clock whose hands the test moves: `wall` and `monotonic` in seconds, apart or together."""

    def __init__(self, wall: float = 1_764_000_000.0, monotonic: float = 1000.0) -> None:
        self.wall = wall
        self.monotonic = monotonic

    def pass_seconds(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def clock(self, not_before: int = 0) -> Clock:
        return Clock(not_before, lambda: self.wall, lambda: self.monotonic)


class Full:
    """No room in a store's file: the database may not grow, as on a full disk, until `make_room`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def fill(self) -> None:
        await self._store._on_writer(lambda db: db.execute(f"PRAGMA max_page_count = {_pages(db)}").fetchall())

    async def make_room(self) -> None:
        await self._store._on_writer(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())


def _pages(db: sqlite3.Connection) -> int:
    pages: int = db.execute("PRAGMA page_count").fetchone()[0]
    return pages


@contextlib.contextmanager
def commits_held_up(folder: Path) -> Iterator[None]:
    """While inside, no batch of the store there reaches the disk: another connection holds the write lock."""
    other = sqlite3.connect(folder / "queuesvc.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextlib.asynccontextmanager
async def running(store: SqliteStore, hands: Hands | None = None) -> AsyncIterator[Broker]:
    """A broker over the store, opened and closed."""
    broker = Broker(store) if hands is None else Broker(store, hands.clock)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


# --- commands -------------------------------------------------------------------


def envelope(
    body: bytes | str,
    routing_key: str = "",
    *,
    priority: int = 0,
    delay_ms: int | None = None,
    group: str = "",
    ttl_ms: int | None = None,
    properties: str = PROPERTIES,
) -> Envelope:
    """A message as a publisher hands it in."""
    data = body.encode() if isinstance(body, str) else body
    return Envelope(data, properties, routing_key, priority=priority, group=group, delay_ms=delay_ms, ttl_ms=ttl_ms)


def to_queue(queue: str, *bodies: bytes | str, priority: int = 0, delay_ms: int | None = None) -> c.Publish:
    """A publish straight into a queue."""
    return c.Publish(tuple(envelope(body, queue, priority=priority, delay_ms=delay_ms) for body in bodies), queue=queue)


def receipts(received: Received) -> tuple[str, ...]:
    """The receipts of a receive."""
    return tuple(f"{received.token}.{delivery.number:x}" for delivery in received.deliveries)


def bodies(received: Received) -> list[bytes]:
    """The bodies of a receive."""
    return [delivery.content.body for delivery in received.deliveries]


async def make_queue(broker: Broker, name: str, settings: QueueSettings | None = None) -> None:
    """Declare a queue."""
    await broker.submit(c.PutQueue(name, settings or QueueSettings()))


async def publish(broker: Broker, queue: str, *bodies: bytes | str) -> Published:
    """Publish straight into a queue."""
    published = await broker.submit(to_queue(queue, *bodies))
    assert isinstance(published, Published)
    return published


async def ack(broker: Broker, queue: str, *receipts: str) -> Settled:
    """Acknowledge."""
    settled = await broker.submit(c.Ack(queue, receipts))
    assert isinstance(settled, Settled)
    return settled


async def stats_of(broker: Broker, queue: str) -> QueueStats:
    """A queue's statistics."""
    view = await broker.ask(c.GetQueue(queue))
    assert isinstance(view, QueueView)
    return view.stats


def fill_the_line(broker: Broker, command: c.Command) -> list[asyncio.Future[Reply]]:
    """Submit until it is refused; returns the answers of those that were not."""
    line: list[asyncio.Future[Reply]] = []
    while True:
        try:
            line.append(broker.submit(command))
        except Refused:
            return line
