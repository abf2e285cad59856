"""The memory store: the machine with a dict of contents. Nothing of it survives a close."""

import secrets
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from queuesvc.domain.commands import Command, Query
from queuesvc.domain.effects import Leased, QueueDropped
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import TAG_BITS, Ids
from queuesvc.domain.limits import Limits
from queuesvc.domain.machine.machine import Machine
from queuesvc.domain.model import Content
from queuesvc.domain.receipts import Receipts
from queuesvc.domain.replies import Received, Reply
from queuesvc.store.interface import Applied, Opened, StoreUnavailable, Waiting


class MemoryStore:
    """A `Store` for tests and for brokers that may forget."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._tag = secrets.randbits(TAG_BITS)
        self._contents: dict[int, Content] = {}
        self._queue_ids: dict[int, int] = {}
        self._machine = Machine(Receipts(secrets.token_bytes(32), 1), Ids(self._tag), self, limits)

    async def open(self) -> Opened:
        """There is nothing to open."""
        return Opened(0, self._tag)

    async def apply(self, commands: Sequence[Command], now: int, waiting: Waiting) -> Applied:
        """One batch, kept in memory."""
        self._machine.begin(now)
        outcomes, served = self._machine.apply(commands, waiting)
        effects = self._machine.effects
        for message in effects.inserts:
            self._contents[message.number] = message.content
            self._queue_ids[message.number] = message.queue_id
        for number, deaths in effects.deaths.items():
            self._contents[number] = self._contents[number]._replace(deaths=deaths)
        applied = Applied(
            [self._filled(outcome) for outcome in outcomes],
            [(receive, self._received(outcome)) for receive, outcome in served],
            bool(effects),
            effects.replies,
            self._machine.unserved,
        )
        gone = {change.id for change in effects.topology if isinstance(change, QueueDropped)}
        dropped = [number for number, queue_id in self._queue_ids.items() if queue_id in gone] if gone else []
        purged = [number for purge in effects.purges for number in _numbers(purge.runs)]
        deleted = [message.number for message in effects.deletes]
        for number in {*deleted, *dropped, *purged}:
            del self._contents[number], self._queue_ids[number]
        return applied

    def _filled(self, outcome: Reply | Refused) -> Reply | Refused:
        if isinstance(outcome, Leased):
            return outcome.with_contents(self._contents[pick[0]] for pick in outcome.picks)
        return outcome

    def _received(self, outcome: Reply | Refused) -> Received | Refused:
        filled = self._filled(outcome)
        assert isinstance(filled, Received | Refused)
        return filled

    def content(self, number: int) -> Content:
        """The content of one message, in the middle of a batch."""
        message = self._machine.effects.inserted(number)
        content = self._contents[number] if message is None else message.content
        deaths = self._machine.effects.deaths.get(number)
        return content if deaths is None else content._replace(deaths=deaths)

    def contents(self, numbers: Iterable[int], bodies: bool = True) -> dict[int, Content]:
        """The contents of several."""
        return {number: self.content(number) for number in numbers}

    def copy_in(self, queue_id: int, first: int) -> int | None:
        """The number of a publish's copy in a queue."""
        new = ((message.number, message.content.first, message.queue_id) for message in self._machine.effects.inserts)
        old = ((number, content.first, self._queue_ids[number]) for number, content in self._contents.items())
        return next((number for number, *place in (*new, *old) if place == [first, queue_id]), None)

    async def ask(self, query: Query, now: int, waiting: Waiting) -> Reply:
        """Answer a question."""
        return self._machine.ask(query, now, waiting)

    def next_due(self) -> int | None:
        """The earliest moment at which something is due."""
        return self._machine.next_due()

    async def maintain(self, idle: bool = True) -> bool:
        """There is nothing to keep in order but memory."""
        return self._machine.tidy()

    async def backup(self) -> BinaryIO:
        """There is no file to copy."""
        raise StoreUnavailable("what is kept in memory only can't be backed up")

    async def close(self) -> None:
        """Forget everything."""
        self._contents.clear()


def _numbers(runs: "array[int]") -> Iterator[int]:
    for low, high in zip(runs[::2], runs[1::2], strict=True):
        yield from range(low, high + 1)
