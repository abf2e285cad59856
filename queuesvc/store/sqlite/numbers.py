"""Relaxed durability: commits that may be lost, numbers that may not.

With `synchronous = NORMAL` SQLite does not wait for the disk at each commit, so a power loss takes the
newest ones along. The numbers that were given away in them are out in the world all the same, in receipts and
ids: given away again, an old receipt would fit a new lease. So a store that is relaxed keeps in its file
not the next number to give but one far ahead, in a commit that has reached the disk before any number up
to it leaves. What was set aside and not used is skipped at the next start.
"""

import sqlite3
from dataclasses import replace
from typing import Final

from queuesvc.domain.machine.state import Numbers
from queuesvc.store.interface import Durability
from queuesvc.store.sqlite.statements import SQL
from queuesvc.store.sqlite.write import transact

SYNCHRONOUS: Final[dict[Durability, str]] = {"full": "FULL", "relaxed": "NORMAL"}
# Of 48 bits of message numbers, and 31 of queues': enough for millions of starts.
MESSAGES = LEASES = 1_000_000
QUEUES = BINDINGS = 1_000


class Ahead:
    """The numbers set aside: those below `numbers` may be given away."""

    def __init__(self) -> None:
        self.numbers = Numbers()

    def begin(self, next_: Numbers) -> None:
        """The store goes on from these numbers, which are those in its file."""
        self.numbers = replace(next_)

    def covers(self, next_: Numbers) -> bool:
        """Whether everything that was given away, up to these next numbers, is set aside."""
        aside = self.numbers
        return (
            next_.message <= aside.message
            and next_.lease <= aside.lease
            and next_.queue <= aside.queue
            and next_.binding <= aside.binding
        )

    def set_aside(self, connection: sqlite3.Connection, next_: Numbers) -> None:
        """Set more aside; they are on the disk when this returns. Runs on the writer's thread. Raises as `transact`."""
        ahead = Numbers(next_.message + MESSAGES, next_.lease + LEASES, next_.queue + QUEUES, next_.binding + BINDINGS)
        values = (ahead.message, ahead.lease, ahead.queue, ahead.binding)
        connection.execute("PRAGMA synchronous = FULL")
        try:
            transact(connection, lambda: connection.execute(SQL["set_numbers_aside"], values))
        finally:
            connection.execute("PRAGMA synchronous = NORMAL")
        self.numbers = ahead
