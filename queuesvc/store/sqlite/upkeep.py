"""Housekeeping in short steps: rows of deleted queues and purged messages, free pages, the log.

Each step is bounded, so that it holds up nobody who publishes or receives.
"""

import sqlite3
from array import array
from bisect import bisect_left

from queuesvc.store.sqlite.failures import told
from queuesvc.store.sqlite.statements import SQL
from queuesvc.store.sqlite.write import transact

RECLAIM_ROWS = 2000
VACUUM_PAGES = 1024


def step(connection: sqlite3.Connection, idle: bool) -> bool:
    """Do one step; True if more is left. Space is given back only when the broker is idle. Raises as `transact`."""
    with told():
        return _reclaim(connection) or (idle and _give_back(connection))


def _reclaim(connection: sqlite3.Connection) -> bool:
    """Remove some rows of messages that are gone: of a deleted queue, or purged."""
    pending = connection.execute(SQL["next_reclaim"]).fetchone()
    if pending is None:
        return False
    id_, queue_id, next_id, runs = pending
    transact(connection, lambda: _reclaim_rows(connection, id_, queue_id, next_id, array("q", runs)))
    return True


def _reclaim_rows(connection: sqlite3.Connection, id_: int, queue_id: int, next_id: int, numbers: "array[int]") -> None:
    left = RECLAIM_ROWS
    at = bisect_left(numbers[1::2], next_id) * 2
    while left > 0 and at < len(numbers):
        low, high = max(numbers[at], next_id), numbers[at + 1]
        end = connection.execute(SQL["reclaim_end"], (low, high, left)).fetchone()[0]
        if end is None:
            at += 2
            left -= 1
        else:
            # A queue has at most one copy of a publish, so each body loses one.
            for statement in (SQL["reclaim_refs"], SQL["reclaim_bodies"], SQL["reclaim_messages"]):
                connection.execute(statement, (low, end, queue_id))
            left -= end - low + 1
            next_id = end + 1
    if at >= len(numbers):
        connection.execute(SQL["drop_reclaim"], (id_,))
    else:
        connection.execute(SQL["put_reclaim"], (max(next_id, numbers[at]), id_))


def _give_back(connection: sqlite3.Connection) -> bool:
    """Return some free pages to the file system and, once none are left, empty the log."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free:
        transact(connection, lambda: _free_pages(connection, min(free, VACUUM_PAGES)))
        return True
    empty_log(connection)
    return False


def _free_pages(connection: sqlite3.Connection, pages: int) -> None:
    # The pragma frees a page a step, and its rows have no columns: `execute` stops at the first.
    for _ in range(pages):
        connection.execute("PRAGMA incremental_vacuum(1)")


def empty_log(connection: sqlite3.Connection) -> bool:
    """Bring the log into the file and truncate it, if nobody reads in it: a backup must not hold up the broker.

    Whether it is empty now. Raises `StoreUnavailable` where it could not be, and `StoreBroken` where an fsync failed.
    """
    with told():
        patience = connection.execute("PRAGMA busy_timeout").fetchone()[0]
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
            return not busy
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience}")
