"""Make a store of a backup: a new life, which must not be taken for the old one.

What happened after the backup is not in it, but is out in the world: ids and receipts that were handed out. So

- a new epoch: no receipt of the old life fits, whatever lease it names. It is drawn anew, so that two stores
  restored from one backup don't take each other's receipts either;
- leases are ended, since nobody can settle them: their messages are ready again, no failure counted;
- numbers go on far behind those of the backup, so that none that was given after it is given again. The tag stays:
  messages keep their ids;
- broker time goes on from now, not from the backup's moment.
"""

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from queuesvc.store.interface import StoreRefused, StoreUnavailable
from queuesvc.store.keeping import CannotKeep, Restored
from queuesvc.store.sqlite import folder
from queuesvc.store.sqlite.backup import copy_store
from queuesvc.store.sqlite.check.checker import check_store, unpack
from queuesvc.store.sqlite.failures import FAILING
from queuesvc.store.sqlite.lock import FileLock
from queuesvc.store.sqlite.migrations import migrate
from queuesvc.store.sqlite.statements import SQL, read
from queuesvc.store.sqlite.store import FILE, LOCK
from queuesvc.store.sqlite.wal import find_broken

RESTORING: Final = read("queuesvc.store.sqlite", "restoring.sql")
# Of 48 bits of message numbers, 63 of leases', 31 of queues': some thousand restores, one after another.
MESSAGES: Final = 2**36
LEASES: Final = 2**40
QUEUES: Final = 2**20
BINDINGS: Final = 2**20
NEW: Final = "restoring.tmp"
REPLACED: Final = f"{FILE}.replaced"


def copy_stopped(data: Path, copy: Path) -> None:
    """Copy the store in a directory, on which no broker runs, over an empty file. Raises `CannotKeep`."""
    source = data / FILE
    if not source.is_file():
        raise CannotKeep(f"there is no file {source}")
    lock = FileLock(data / LOCK)
    try:
        lock.keep_out()
        if (broken := find_broken(source)) is not None:
            raise CannotKeep(f"{source} is damaged, and a backup of it would be: {broken.what}")
        copy_store(source, copy, at_rest=True)
    except StoreRefused as refused:
        raise CannotKeep(f"{refused}; or back that one up: leave --data out, and say by --url where it is") from None
    except (StoreUnavailable, sqlite3.Error, OSError) as error:
        raise CannotKeep(f"{source} could not be copied: {error}") from None
    finally:
        lock.release()


def restore(file: Path, data: Path, force: bool, wall: Callable[[], float] = time.time) -> Restored:
    """Make a store of a backup in a directory. Raises `CannotKeep`.

    Then it has changed nothing, but where all was done and the directory could not be synced: that is said.
    """
    checked = check_store(file)
    if checked.findings:
        raise CannotKeep(f"{file} is damaged, and is not restored: {checked.findings[0]}")
    lock = FileLock(data / LOCK)
    new = data / NEW
    try:
        folder.make(data)
        lock.acquire()
        _refuse_other(data, force)
        new.unlink(missing_ok=True)
        new.touch(0o600)
        copy_store(file, new, at_rest=True)
        restored = _begin_anew(new, data / FILE, int(wall() * 1000))
        _put_in_place(new, data)
        return restored
    except (StoreRefused, StoreUnavailable) as error:
        raise CannotKeep(str(error)) from None
    except (sqlite3.Error, OSError) as error:
        raise CannotKeep(f"{file} could not be restored to {data}: {error}") from None
    finally:
        if lock.held:
            new.unlink(missing_ok=True)
        lock.release()


def _refuse_other(data: Path, force: bool) -> None:
    there = [path.name for path in sorted(data.glob(f"{FILE}*")) if path.name != REPLACED]
    if there and not force:
        raise CannotKeep(f"there is a store in {data} already ({', '.join(there)}): choose another --data, or --force")


def _begin_anew(new: Path, file: Path, moment: int) -> Restored:
    connection = sqlite3.connect(new, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
        unpack(connection, [])
        connection.execute("BEGIN IMMEDIATE")
        leased = connection.execute(RESTORING["end_leases"]).rowcount
        connection.execute(RESTORING["drop_leases"])
        (old_epoch,) = (row[1] for row in connection.execute(SQL["get_meta"]))
        epoch = old_epoch
        while epoch == old_epoch:
            epoch = 1 + secrets.randbelow(2**32 - 1)
        # Not by the same step each time: two stores of one backup give different numbers.
        ahead = (MESSAGES + secrets.randbelow(MESSAGES), LEASES, QUEUES, BINDINGS)
        connection.execute(RESTORING["begin_anew"], (epoch, *ahead, moment))
        messages, tokens = connection.execute(RESTORING["count_restored"]).fetchone()
        connection.execute("COMMIT")
    return Restored(file, messages, leased, tokens)


def _put_in_place(new: Path, data: Path) -> None:
    """The old store, if there is one, is whole until the new one is in its place."""
    file = data / FILE
    if file.exists():
        # What its log holds belongs to it alone: into the file with it, or, if that can't be, out of the way.
        # (Of a damaged one that would be only what comes before the damage.)
        if find_broken(file) is None:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as old:
                old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for ending in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(data / f"{FILE}{ending}", data / f"{REPLACED}{ending}")
        (data / REPLACED).unlink(missing_ok=True)
        os.link(file, data / REPLACED)
    else:
        for ending in ("-wal", "-shm"):
            (data / f"{FILE}{ending}").unlink(missing_ok=True)
    os.replace(new, file)
    try:
        folder.sync(data)
    except OSError as error:
        raise CannotKeep(
            f"{file} was restored, but may be gone after a power loss: {data} could not be synced ({error.strerror}); "
            f"{FAILING}, and restore again (--force)"
        ) from None
