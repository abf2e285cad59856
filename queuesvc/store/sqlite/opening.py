"""Before a store is opened: is it one, is it whole, may we write to it? What is refused is left as it is, to the byte.

The file is looked at by a connection that only reads. (One that writes would bring the log into the file when it is
closed, also where it was opened only to be refused.)
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from queuesvc.store.interface import Durability, StoreRefused
from queuesvc.store.sqlite import migrations, wal
from queuesvc.store.sqlite.failures import DAMAGED
from queuesvc.store.sqlite.readers import alone, with_log
from queuesvc.store.sqlite.statements import SQL

CHUNK_BYTES: Final = 1024 * 1024
BACK: Final = (
    "if that can't be done, keep a copy of the directory and go on from a backup (queuesvc restore), because the file "
    "without its log is not what was answered"
)


def look(path: Path, durability: Durability) -> None:
    """Raise `StoreRefused`, saying what to do, where a file is not to be opened. Raises `OSError` and `sqlite3.Error`.

    Of a relaxed store a log that lacks its end is taken, because a power loss may leave that. The rest must be whole.
    """
    for file in (path, wal.log_of(path)):
        if file.exists() and not file.is_file():
            raise StoreRefused(f"{file} is not a file: move it away")
        if file.exists() and not os.access(file, os.W_OK):
            raise StoreRefused(f"{file} can't be written to: it must be writable for the broker's user")
    broken = wal.find_broken(path)
    if broken is not None and not (broken.newest and durability == "relaxed"):
        raise StoreRefused(f"{path}: {broken.what}; {_advice(broken)}")
    if not path.exists() or not path.stat().st_size:
        return
    with reading(path) as connection:
        version = migrations.check(connection)
        found = migrations.schema(connection)
        for name, sql in migrations.expected_schema(version).items():
            if found.get(name) != sql:
                raise StoreRefused(f"{path}: {name} is not as this program's migrations make it: {DAMAGED}")
        if broken is not None and connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
            raise StoreRefused(f"{path}: {broken.what}, and what is left does not fit together: {DAMAGED}")
        _refuse_older(path, connection)


def _advice(broken: wal.Broken) -> str:
    if not broken.newest:
        return BACK
    return (
        f"{BACK}. (If it ran with durability = relaxed and the power failed, start it with that: the newest are lost)"
    )


def _refuse_older(path: Path, connection: sqlite3.Connection) -> None:
    """What the file holds came from its log: a log that makes it older is not the one that belongs there."""
    if not has_log(path):
        return
    with contextlib.closing(alone(path)) as file:
        try:
            before = file.execute(SQL["get_meta"]).fetchone()
        except sqlite3.Error:
            return  # not made yet, or in the middle of a checkpoint that a crash cut off
    now = connection.execute(SQL["get_meta"]).fetchone()
    # The numbers to go on from and the latest moment only ever grow.
    if before and now and any(new < old for new, old in zip(now[3:], before[3:], strict=True)):
        raise StoreRefused(f"{path}: {wal.log_of(path).name} is older than the file: put the newest one there; {BACK}")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a store's file, with its log, by which nothing is written."""
    # Without a log nothing need be made beside the file, and it can lie where nothing may be written.
    connection = with_log(path) if has_log(path) else alone(path)
    try:
        yield connection
    finally:
        connection.close()


def has_log(path: Path) -> bool:
    """Whether there is anything in the log of a file."""
    log = wal.log_of(path)
    return log.exists() and log.stat().st_size > 0


def close_untouched(connection: sqlite3.Connection, path: Path) -> None:
    """Close a connection that writes so that nothing is: the last one to close would bring the log into the file."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(sqlite3.Error):  # there may be nothing yet
            other = stack.enter_context(contextlib.closing(with_log(path)))
            other.execute("PRAGMA schema_version").fetchone()
        connection.close()


def write_log_again(connection: sqlite3.Connection, path: Path) -> None:
    """What a crash left in the log is on the disk when this returns, as it was read. Raises `OSError`.

    A broker whose fsync failed has ended, but its pages count as written: they may be in memory only, where we read
    them. Before the file is built on them they are written once more.
    """
    if not has_log(path):
        return
    connection.execute("BEGIN IMMEDIATE")  # nobody else writes to it now
    try:
        with wal.log_of(path).open("r+b") as log:
            while chunk := log.read(CHUNK_BYTES):
                log.seek(-len(chunk), os.SEEK_CUR)
                log.write(chunk)
            log.flush()
            os.fdatasync(log.fileno())
    finally:
        connection.execute("ROLLBACK")
