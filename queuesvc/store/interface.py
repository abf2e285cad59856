"""What a store is to the broker above it: commands in, replies out, time as data.

Nothing here speaks of one process or of SQLite; every store passes the same
suite (`tests/store`) and the same random histories (`tests/model`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, Protocol

from queuesvc.domain.commands import Command, Query, Receive
from queuesvc.domain.errors import Refused
from queuesvc.domain.model import Content
from queuesvc.domain.replies import Received, Reply
from queuesvc.domain.waiting import Waiting

__all__ = [
    "Applied",
    "Durability",
    "Opened",
    "Store",
    "StoreBroken",
    "StoreInUse",
    "StoreRefused",
    "StoreUnavailable",
    "Waiting",
]


Durability = Literal["full", "relaxed"]
"""What a commit that was answered survives: everything, or everything but a power loss or a crash of the system."""


class StoreUnavailable(Exception):
    """The batch was not stored (disk full, busy): nothing of it happened. Try again later."""


class StoreBroken(Exception):
    """Whether the batch was stored is unknown (fsync failed), or the file is damaged: stop, restart from the file."""


class StoreRefused(Exception):
    """The store cannot be opened; the message tells the operator why and what to do."""


class StoreInUse(StoreRefused):
    """A broker is running on it."""


@dataclass(slots=True)
class Applied:
    """A batch that is on the disk: a reply or refusal for each command, and each receive served.

    `wrote` tells whether there was anything to write. `answers` are for those who
    asked, at their reply addresses. `unserved` are the queues at which more could have been handed
    out than one batch may: the next goes on there.
    """

    replies: list[Reply | Refused]
    served: list[tuple[Receive, Received | Refused]]
    wrote: bool
    answers: list[tuple[str, Content]] = field(default_factory=list)
    unserved: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """What a store tells when it opens: the latest moment it knows, and its mark in message ids."""

    latest_at: int
    tag: int


class Store(Protocol):
    """Commands in, replies out. One call of `apply` at a time; `now` never steps back."""

    async def open(self) -> Opened:
        """Open, migrate and rebuild. Raises `StoreRefused`."""
        ...

    async def apply(self, commands: Sequence[Command], now: int, waiting: Waiting) -> Applied:
        """Do what is due, then each command, then serve waiting receives: one durable step.

        Returns after the commit has reached the disk. Raises `StoreUnavailable` or `StoreBroken`.
        """
        ...

    async def ask(self, query: Query, now: int, waiting: Waiting) -> Reply:
        """Answer a question from the committed state. Raises `Refused`, and as `apply`. Not during an `apply`."""
        ...

    def next_due(self) -> int | None:
        """The moment at which the next `apply` has something to do by itself, if any."""
        ...

    async def maintain(self, idle: bool = True) -> bool:
        """One short step of housekeeping (reclaim rows; when idle, give space back); True if more is left.

        Raises as `apply`.
        """
        ...

    async def backup(self) -> BinaryIO:
        """A copy of all that is on the disk at one moment, as a file that is gone when it is closed.

        Goes on beside everything else but `close`, which ends it. Raises `StoreUnavailable`.
        """
        ...

    async def close(self) -> None:
        """Checkpoint and close. Nothing may follow."""
        ...
