"""One store on its way through a history, and what was learnt of how it numbers things.

Numbers, leases and binding ids of a store need not equal the model's: they are learnt as
they are handed out, and must keep to the promised order and uniqueness from then on.
"""

import contextlib
import json
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.model import Binding, Content
from queuesvc.domain.replies import Declared, Delivery, Page, Published, PublishResult, Received, Routed, Settled, Shown
from queuesvc.store.interface import Opened, Store
from tests.model.steps import Receipt, Settling


class Difference(AssertionError):
    """A store and the model do not agree."""


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
        """Nobody asks for replies here."""
        return False

    def count(self, queue: str) -> int:
        return len(self.waiting.get(queue, ()))


Open = Callable[[Path], Store]


class Side:
    """One store with what was learnt of its numbers: `theirs` by the model's, `ours` by the store's."""

    def __init__(self, name: str, opener: Open, home: Path) -> None:
        self.name, self._opener, self._home, self._lives = name, opener, home / name, 0
        self.durable = name != "memory"
        self.path = self._home / "0" / "store"
        self.line = Line()
        self.theirs: dict[tuple[str, int], Any] = {}
        self.ours: dict[tuple[str, Any], int] = {}
        self.opened: Opened | None = None
        self.latest = {"number": 0, "binding": 0}

    async def open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.store = self._opener(self.path)
        opened = await self.store.open()
        if self.opened is not None and opened.tag != self.opened.tag:
            raise Difference(f"{self.name}: the tag changed from {self.opened.tag} to {opened.tag}")
        self.opened = opened

    async def reopen(self, kill: bool) -> None:
        """Close and open; or open a copy of the files as they lie, and only then close the old ones."""
        old = self.store
        if kill:
            self._lives += 1
            whence, self.path = self.path.parent, self._home / str(self._lives) / "store"
            shutil.copytree(whence, self.path.parent)
            await self.open()
            await old.close()
            shutil.rmtree(whence)
        else:
            await old.close()
            await self.open()

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
        for table in ("message", "body", "lease", "reclaim") if self.durable else ():
            if rows := self._outside(f"SELECT * FROM {table}"):
                raise Difference(f"{self.name}: left in {table}: {rows}")

    # --- into the store's terms ---

    def receipt(self, receipt: Receipt) -> str:
        token = self.theirs["token", receipt.lease]
        number = self.theirs.get(("number", receipt.number), 2**40 + receipt.number)
        return receipt.text(token, number)

    def command(self, command: Any) -> Any:
        if isinstance(command, Settling):
            return replace(command, receipts=tuple(self.receipt(receipt) for receipt in command.receipts))  # type: ignore[arg-type]
        if isinstance(command, c.Undeliver):
            return replace(command, lease=self.theirs.get(("lease", command.lease), 2**40 + command.lease))
        if isinstance(command, c.Unbind):
            return replace(command, id=self.theirs.get(("binding", command.id), 2**40 + command.id))
        if isinstance(command, c.ListBindings):
            return replace(command, after=self.theirs.get(("binding", command.after), 0))
        return command

    # --- out of the store's terms ---

    def learn(self, kind: str, ours: int, theirs: Any) -> None:
        """`theirs` was handed out now for the first time."""
        if (kind, theirs) in self.ours:
            raise Difference(f"{self.name}: {kind} {theirs} was used before")
        if kind in self.latest:
            if theirs <= self.latest[kind]:
                raise Difference(f"{self.name}: {kind} {theirs} is not above {self.latest[kind]}")
            self.latest[kind] = theirs
        self.ours[kind, theirs] = ours
        self.theirs[kind, ours] = theirs

    def known(self, kind: str, theirs: Any) -> int:
        if (kind, theirs) not in self.ours:
            raise Difference(f"{self.name}: {kind} {theirs} was never handed out")
        return self.ours[kind, theirs]

    def reply(self, command: Any, got: Any, wanted: Any) -> Any:
        """The store's reply in the model's terms; where the model's says something new, it is learnt."""
        if isinstance(got, Published) and isinstance(wanted, Published) and len(got.results) == len(wanted.results):
            return replace(got, results=tuple(map(self.published, wanted.results, got.results)))
        if isinstance(got, Declared) and isinstance(got.value, Binding):
            if got.created and isinstance(wanted, Declared) and wanted.created:
                self.learn("binding", wanted.value.id, got.value.id)
            return replace(got, value=self.binding(got.value))
        if isinstance(got, Settled):
            names = {self.receipt(receipt): receipt.model_text() for receipt in command.receipts}
            return replace(got, failed=tuple(f._replace(receipt=names.get(f.receipt, f.receipt)) for f in got.failed))
        if isinstance(got, Routed):
            return replace(got, bindings=tuple(map(self.binding, got.bindings)))
        if isinstance(got, Page) and isinstance(command, c.BrowseMessages):
            return replace(got, items=tuple(map(self.shown, got.items)))
        if isinstance(got, Page) and isinstance(command, c.ListBindings):
            after = None if got.next is None else str(self.known("binding", int(got.next)))
            return Page(tuple(map(self.binding, got.items)), after)
        return got

    def published(self, wanted: PublishResult, got: PublishResult) -> PublishResult:
        """Copies are numbered in a row, in the order of the queues' names."""
        for copy in range(max(1, len(wanted.queues))):
            self.learn("number", wanted.first + copy, got.first + copy)
        return got._replace(first=self.known("number", got.first))

    def binding(self, binding: Binding) -> Binding:
        return replace(binding, id=self.known("binding", binding.id))

    def received(self, got: Received | Refused, wanted: Received | Refused) -> Received | Refused:
        if isinstance(got, Refused):
            return got
        if got.token and isinstance(wanted, Received) and wanted.token:
            self.learn("lease", wanted.lease, got.lease)
            self.learn("token", wanted.lease, got.token)
            got = replace(got, lease=wanted.lease, token=wanted.token)
        return replace(got, deliveries=tuple(map(self.delivery, got.deliveries)))

    def delivery(self, delivery: Delivery) -> Delivery:
        return delivery._replace(number=self.known("number", delivery.number), content=self.content(delivery.content))

    def shown(self, shown: Shown) -> Shown:
        return replace(shown, number=self.known("number", shown.number), content=self.content(shown.content))

    def content(self, content: Content) -> Content:
        """In the model's numbers; of its deaths the ids, which are made of them, are checked here."""
        assert self.opened is not None
        deaths = json.loads(f"[{content.deaths}]")
        for death in deaths:
            if death.pop("id") != Ids(self.opened.tag).make(content.published_at, content.first):
                raise Difference(f"{self.name}: the death of {content} names another id")
        text = json.dumps(deaths)[1:-1]
        return content._replace(first=self.known("number", content.first), body=bytes(content.body), deaths=text)


def plain(value: Any) -> Any:
    """A reply as it is compared: of a refusal the code and what the contract names, no wording."""
    if isinstance(value, Refused):
        named = {name: value.extra[name] for name in ("field", "index", "receipt") if name in value.extra}
        return "Refused", value.code.value, named, sorted(value.extra.get("fields", ()))
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return repr(value) if isinstance(value, bool) else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if is_dataclass(value):
        return type(value).__name__, {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return repr(value)


def difference(wanted: Any, got: Any, place: str = "") -> str:
    """Where two plain values differ first, and how; empty where they do not."""
    if wanted == got:
        return ""
    if isinstance(wanted, dict) and isinstance(got, dict) and wanted.keys() == got.keys():
        return next(filter(None, (difference(wanted[key], got[key], f"{place}.{key}") for key in wanted)))
    if isinstance(wanted, tuple) and isinstance(got, tuple) and len(wanted) == len(got):
        return next(
            filter(None, (difference(*pair, f"{place}.{at}") for at, pair in enumerate(zip(wanted, got, strict=True))))
        )
    return f"\n  expected {place} = {wanted!r}\n  got      {place} = {got!r}"
