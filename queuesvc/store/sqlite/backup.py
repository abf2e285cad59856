"""A consistent copy of a store's file while it is written to.

SQLite's backup API, from a read-only connection of its own on a thread of its own, in steps inside one read
transaction: the copy is what was on the disk at one moment, and neither the writer nor its commits wait for it.
What is written meanwhile stays in SQLite's log, which is used again once the copy is done. (A copy without that
transaction begins anew whenever something was written: beside a busy broker it would never end. VACUUM INTO takes
1.4 times as long, and cannot stop on the way.)

The copy is a file in the store's directory until it is whole and checked, and has no name from then on: it is gone when
it is closed, however that happens. What a broker that was killed left is removed at the next start.
"""

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, Final

from queuesvc.store.interface import StoreUnavailable
from queuesvc.store.sqlite.migrations import APPLICATION_ID
from queuesvc.store.sqlite.opening import reading
from queuesvc.store.sqlite.readers import alone, with_log
from queuesvc.store.sqlite.statements import SQL

PREFIX: Final = "backup-"
SUFFIX: Final = ".tmp"
STEP_PAGES: Final = 256
"""A megabyte: between two steps a copy that nobody wants any more is given up."""


class Backups:
    """Copies of one store's file, one at a time. `close` gives up the one under way and waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._stop = threading.Event()

    def tidy(self) -> None:
        """Remove what a killed broker left. The store's lock must be held."""
        for left in self._path.parent.glob(f"{PREFIX}*{SUFFIX}*"):
            with contextlib.suppress(OSError):
                left.unlink()

    async def take(self, kept_free: int) -> BinaryIO:
        """A copy, checked, as a file that nobody else can open; `kept_free` bytes are left on the disk.

        Raises `StoreUnavailable` where another is being made, or there is no room.
        """
        if self._lock.locked():
            raise StoreUnavailable("another backup is being made")
        async with self._lock:
            # Who asked may leave: the thread ends by itself, and what it brings is closed when nobody takes it.
            work = asyncio.ensure_future(asyncio.to_thread(self._make, kept_free))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                self._stop.set()
                with contextlib.suppress(Exception):
                    (await work).close()
                raise
            finally:
                self._stop.clear()

    async def close(self) -> None:
        """Give up what is being made, and wait until it is gone."""
        self._stop.set()
        async with self._lock:
            pass

    def _make(self, kept_free: int) -> BinaryIO:
        handle, name = tempfile.mkstemp(SUFFIX, PREFIX, self._path.parent)
        os.close(handle)
        copy = Path(name)
        try:
            copy_store(self._path, copy, kept_free, self._stop)
            return copy.open("rb")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the backup could not be made: {error}") from error
        except OSError as error:
            raise StoreUnavailable(f"the backup could not be made: {error.strerror}") from error
        finally:
            copy.unlink()


def copy_store(
    source: Path, copy: Path, kept_free: int = 0, stop: threading.Event | None = None, *, at_rest: bool = False
) -> None:
    """Copy a store's file, with what is in its log, over an empty file, and check the copy.

    One that is `at_rest` nobody writes to meanwhile: it may lie where nothing can be written, and no trace is left
    beside it. The copy is on the disk when this returns. Raises `StoreUnavailable` for want of room (`kept_free` bytes
    are left) or when told to stop, and what `sqlite3` and the system raise.
    """

    def go_on(status: int, left: int, total: int) -> None:
        """Asked after each piece; raises to end it."""
        if stop is not None and stop.is_set():
            raise StoreUnavailable("the broker is shutting down")
        _check_room(copy, kept_free)

    opened = reading(source) if at_rest else contextlib.closing(with_log(source))
    with opened as old, contextlib.closing(_writing(copy)) as new:
        # Holds what is read at one moment, from the first page to the last.
        old.execute("BEGIN")
        epoch = old.execute(SQL["get_meta"]).fetchone()
        pages = old.execute("PRAGMA page_count").fetchone()[0]
        _check_room(copy, kept_free + pages * old.execute("PRAGMA page_size").fetchone()[0])
        old.backup(new, pages=STEP_PAGES, progress=go_on)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    check_copy(copy)
    with contextlib.closing(alone(copy)) as new:
        if new.execute(SQL["get_meta"]).fetchone() != epoch:
            raise sqlite3.DatabaseError("the copy is of another moment than was read")


def check_copy(copy: Path) -> None:
    """Whether a file is a queuesvc store whose pages are all right. Raises `sqlite3.DatabaseError`."""
    with contextlib.closing(alone(copy)) as connection:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise sqlite3.DatabaseError("this is no queuesvc store")
        if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(said)


def _check_room(copy: Path, wanted: int) -> None:
    disk = os.statvfs(copy)
    free = disk.f_bavail * disk.f_frsize
    if free < wanted:
        raise StoreUnavailable(f"a backup needs {wanted >> 20} MiB on the disk, of which {free >> 20} MiB are free")


def _writing(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    # A copy that was not finished is thrown away: nothing to roll back, one fsync at the end.
    connection.execute("PRAGMA journal_mode = OFF").fetchall()
    connection.execute("PRAGMA synchronous = OFF")
    return connection
