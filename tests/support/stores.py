"""A SQLite store driven by hand, and a look into its file from outside."""

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.model import QueueSettings, QueueStats, QueueView
from queuesvc.domain.replies import Received, Reply, Settled
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import receipts

START = 1_764_000_000_000


class Nobody:
    """Nobody waits."""

    def new(self) -> Collection[str]:
        return ()

    def take(self, queue: str) -> c.Receive | None:
        return None

    def count(self, queue: str) -> int:
        return 0

    def asks(self, address: str) -> bool:
        return False


class OneReceive(Nobody):
    """One receive stands in line."""

    def __init__(self, receive: c.Receive) -> None:
        self.receive: c.Receive | None = receive

    def new(self) -> Collection[str]:
        return [self.receive.queue] if self.receive is not None else []

    def take(self, queue: str) -> c.Receive | None:
        receive, self.receive = self.receive, None
        return receive


class Hand:
    """A store in a folder and the moment it is, in milliseconds: `now` moves when the test moves it."""

    def __init__(self, folder: Path, now: int = START) -> None:
        self.folder = folder
        self.file = folder / "queuesvc.db"
        self.now = now
        self.store = SqliteStore(folder)

    async def open(self) -> None:
        """Open the store."""
        await self.store.open()

    async def close(self) -> None:
        """Close it."""
        await self.store.close()

    async def reopen(self) -> None:
        """Close it and open it again."""
        await self.store.close()
        self.store = SqliteStore(self.folder)
        await self.store.open()

    async def do(self, *commands: c.Command) -> list[Reply]:
        """One batch; raises the first refusal."""
        applied = await self.store.apply(commands, self.now, Nobody())
        for reply in applied.replies:
            if isinstance(reply, Refused):
                raise reply
        return list(applied.replies)

    async def queue(self, name: str, settings: QueueSettings | None = None) -> None:
        """Declare a queue."""
        await self.do(c.PutQueue(name, settings or QueueSettings()))

    async def receive(self, queue: str, most: int = 1, lease_ms: int = 30_000, consumer: str = "") -> Received:
        """Receive what is there."""
        line = OneReceive(c.Receive(queue, most, lease_ms, consumer))
        applied = await self.store.apply((), self.now, line)
        if not applied.served:
            return Received()
        ((_, received),) = applied.served
        assert isinstance(received, Received)
        return received

    async def ack(self, queue: str, *what: str) -> int:
        """Acknowledge receipts; returns how many were."""
        (settled,) = await self.do(c.Ack(queue, what))
        assert isinstance(settled, Settled)
        return settled.count

    async def consume(self, queue: str, most: int = 1000) -> int:
        """Receive once and acknowledge all of it; returns how many."""
        received = await self.receive(queue, most)
        return await self.ack(queue, *receipts(received)) if received.deliveries else 0

    async def tick(self) -> None:
        """Do what is due."""
        await self.do(c.Tick())

    async def stats(self, queue: str) -> QueueStats:
        """A queue's statistics."""
        view = await self.store.ask(c.GetQueue(queue), self.now, Nobody())
        assert isinstance(view, QueueView)
        return view.stats

    async def maintain(self, idle: bool = True, most: int = 10_000) -> int:
        """Housekeeping until nothing is left of it; returns the number of steps."""
        for step in range(1, most):
            if not await self.store.maintain(idle):
                return step
        raise AssertionError(f"housekeeping is not done after {most} steps")

    # --- from outside ---

    def size(self) -> int:
        """Bytes on the disk: the file and SQLite's log beside it."""
        return sum(path.stat().st_size for path in self.folder.glob("queuesvc.db*") if not path.name.endswith("-shm"))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What another, read-only connection sees."""
        return look(self.file, sql)


def look(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a store's file, by a read-only connection of our own."""
    with reading(file) as db:
        return db.execute(sql).fetchall()


@contextlib.contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a store's file."""
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        yield db
    finally:
        db.close()
