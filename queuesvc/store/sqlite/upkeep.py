"""Housekeeping in short steps: rows of deleted queues, free pages, the log.

Each step is bounded, so that it holds up nobody who publishes or receives.
"""

import sqlite3

from queuesvc.store.sqlite.statements import SQL

RECLAIM_ROWS = 2000
VACUUM_PAGES = 256


def step(connection: sqlite3.Connection, idle: bool) -> bool:
    """Do one step; True if more is left. Space is given back only when the broker is idle."""
    if _reclaim(connection):
        return True
    return idle and _give_back(connection)


def _reclaim(connection: sqlite3.Connection) -> bool:
    """Remove some rows of a queue that was deleted."""
    pending = connection.execute(SQL["get_reclaims"]).fetchone()
    if pending is None:
        return False
    queue_id, next_id, last_id = pending
    connection.execute("BEGIN IMMEDIATE")
    try:
        end = connection.execute(SQL["reclaim_end"], (next_id, last_id, RECLAIM_ROWS)).fetchone()[0]
        if end is None:
            connection.execute(SQL["drop_reclaim"], (queue_id,))
        else:
            connection.execute(SQL["reclaim_messages"], (next_id, end, queue_id))
            connection.execute(SQL["put_reclaim"], (end + 1, queue_id))
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True


def _give_back(connection: sqlite3.Connection) -> bool:
    """Return some free pages to the file system and, once none are left, empty the log."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free:
        # The pragma frees a page a step, and its rows have no columns: `execute` would stop at the first.
        connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return True
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return False
