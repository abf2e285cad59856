"""One store on its way through a history: opened, closed, killed, unable to write."""

import contextlib
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.ids import Ids
from queuesvc.store.interface import Store
from queuesvc.store.sqlite.check.checker import check_store
from tests.model.compare import Difference
from tests.model.terms import Terms

ASKED = "_reply.asked"
NEVER_ASKED = "_reply.never-asked"


class Line:
    """The waiting receives of one store, as a broker keeps them."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[c.Receive]] = {}
        self.fresh: list[str] = []

    def copy(self) -> "Line":
        line = Line()
        line.waiting = {queue: deque(waiting) for queue, waiting in self.waiting.items()}
        line.fresh = list(self.fresh)
        return line

    def join(self, receive: c.Receive) -> None:
        self.waiting.setdefault(receive.queue, deque()).append(receive)
        self.fresh.append(receive.queue)

    def leave(self, receive: c.Receive) -> None:
        if receive in self.all():
            self.waiting[receive.queue].remove(receive)
            self.fresh.append(receive.queue)

    def all(self) -> list[c.Receive]:
        return [receive for queue in sorted(self.waiting) for receive in self.waiting[queue]]

    def new(self) -> Collection[str]:
        fresh, self.fresh = self.fresh, []
        return fresh

    def take(self, queue: str) -> c.Receive | None:
        line = self.waiting.get(queue)
        return line.popleft() if line else None

    def asks(self, address: str) -> bool:
        """One address is always asked at."""
        return address == ASKED

    def count(self, queue: str) -> int:
        return len(self.waiting.get(queue, ()))


Open = Callable[[Path], Store]


class Side(Terms):
    """One store and its terms."""

    def __init__(self, name: str, opener: Open, home: Path) -> None:
        super().__init__(name)
        self._opener, self._home, self._lives = opener, home / name, 0
        self.durable = name != "memory"
        self.path = self._home / "0" / "store"
        self.line = Line()
        self._tag: int | None = None

    async def open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.store = self._opener(self.path)
        opened = await self.store.open()
        if self._tag not in (None, opened.tag):
            raise Difference(f"{self.name}: the tag changed from {self._tag} to {opened.tag}")
        self._tag, self.ids = opened.tag, Ids(opened.tag)

    async def reopen(self, kill: bool) -> None:
        """Close and open; or open a copy of the files as they lie, and only then close the old ones."""
        old = self.store
        if kill:
            self._lives += 1
            whence, self.path = self.path.parent, self._home / str(self._lives) / "store"
            shutil.copytree(whence, self.path.parent)
            self._whole()
            await self.open()
            await old.close()
            shutil.rmtree(whence)
        else:
            await old.close()
            self._whole()
            await self.open()

    def _whole(self) -> None:
        """What lies on the disk between two lives is whole by itself, invariants and counters."""
        if findings := check_store(self.path / "queuesvc.db").findings:
            raise Difference(f"{self.name}: {findings}")

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """While it lasts, the last statement of every batch fails."""
        self._outside("CREATE TRIGGER failing BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'no room'); END")
        yield
        self._outside("DROP TRIGGER failing")

    def _outside(self, sql: str) -> list[Any]:
        connection = sqlite3.connect(self.path / "queuesvc.db")
        try:
            rows = connection.execute(sql).fetchall()
            connection.commit()
        finally:
            connection.close()
        return rows

    async def nothing_left(self) -> None:
        """Of what passed through the file, and is in no queue now, no row is left."""
        while await self.store.maintain():
            pass
        for table in ("message", "body", "lease", "idempotency", "reclaim") if self.durable else ():
            if rows := self._outside(f"SELECT * FROM {table}"):
                raise Difference(f"{self.name}: left in {table}: {rows}")
