"""The state of the model, and what its parts need of one another."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import Binding, Content, Exchange
from queuesvc.domain.tokens import Token
from queuesvc.store.interface import Waiting
from tests.model.reference.contents import Message, Queue


class Record(NamedTuple):
    """What an idempotency key stood for, the first answer, and until when it is remembered."""

    fingerprint: Any
    answer: Any
    until: int


class Lease(NamedTuple):
    """Where a lease was handed out, and to whom."""

    queue_id: int
    consumer: str


@dataclass
class Kept:
    """Everything there is: what a refused command leaves as it was."""

    exchanges: dict[str, Exchange] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)  # in the order in which they were made
    bindings: list[Binding] = field(default_factory=list)
    leases: dict[int, Lease] = field(default_factory=dict)
    records: dict[Any, Record] = field(default_factory=dict)
    tokens: list[Token] = field(default_factory=list)
    last_number: int = 0
    last_queue: int = 0
    last_binding: int = 0
    answers: list[tuple[str, Content]] = field(default_factory=list)


class World:
    """What is kept, and the moment: `now` and `waiting` of the `apply` that is under way.

    `number_of` tells by which number the stores know a message: the jitter goes by it.
    """

    def __init__(self, receive_bytes: int, number_of: Callable[[int], int]) -> None:
        self.receive_bytes = receive_bytes
        self.number_of = number_of
        self.kept = Kept()
        self.unbounded = False  # while a transaction publishes what was found to have room
        self.now = 0
        self.waiting: Waiting

    def all_or_nothing(self, doing: Callable[[], Any]) -> Any:
        """What `doing` answers; where it refuses, everything is as it was."""
        before = copy.deepcopy(self.kept)
        try:
            return doing()
        except Refused:
            self.kept = before
            raise

    def tried(self, doing: Callable[[], Any]) -> None:
        """Refuses what `doing` refuses, and nothing else comes of it."""
        before = self.kept
        self.kept = copy.deepcopy(before)
        try:
            doing()
        finally:
            self.kept = before

    def exchange(self, name: str, **where: int) -> Exchange:
        if name not in self.kept.exchanges:
            raise Refused(Code.EXCHANGE_NOT_FOUND, name, **where)
        return self.kept.exchanges[name]

    def queue(self, name: str, **where: int) -> Queue:
        if name not in self.kept.queues:
            raise Refused(Code.QUEUE_NOT_FOUND, name, **where)
        return self.kept.queues[name]

    def numbers(self, count: int) -> int:
        """The first of so many new numbers."""
        self.kept.last_number += count
        return self.kept.last_number - count + 1

    def consumer(self, message: Message) -> str:
        return "" if message.lease is None else self.kept.leases[message.lease].consumer
