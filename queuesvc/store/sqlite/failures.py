"""What SQLite's errors mean: whether it is known what the file holds, and what the operator is to do.

- A COMMIT that failed may be on the disk or not. So may anything be after an fsync that failed, wherever that was: the
  system takes the pages for written then, and the next fsync succeeds. Both end the broker (`StoreBroken`).
- A damaged file ends it, too: whatever it went on to say could be wrong. So does a page that the disk can't read,
  because SQLite gives the same answer to both.
- Everything else, before a COMMIT, is undone and may pass (`StoreUnavailable`): no room, a lock, a write that failed.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from typing import Final

from queuesvc.store.interface import StoreBroken, StoreUnavailable

DAMAGED: Final = (
    "the file is damaged, or the disk can't read it: look for disk errors in the system's log, ask queuesvc check what "
    "is wrong, and if it is damaged keep a copy of the directory and go on from a backup (queuesvc restore)"
)
FAILING: Final = "look for disk errors in the system's log, and move the store to a disk that is sound"
AGAIN: Final = "start the broker again, it goes on from what is on the disk"

ADVICE: Final = {
    sqlite3.SQLITE_IOERR: FAILING,
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: "this is no database, or its beginning is damaged: go on from a backup (queuesvc restore)",
    sqlite3.SQLITE_BUSY: "another program has the file locked: end it (fuser names it), only the broker may open it",
    sqlite3.SQLITE_READONLY: "the file, its directory or the file system must be made writable for the broker's user",
    sqlite3.SQLITE_CANTOPEN: "directory and files must be readable and writable for the broker's user",
    sqlite3.SQLITE_NOMEM: "the machine has no memory left for the broker",
}
SYSTEM_ADVICE: Final = {
    errno.EIO: FAILING,
    errno.ENOSPC: ADVICE[sqlite3.SQLITE_FULL],
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ADVICE[sqlite3.SQLITE_READONLY]),
}
FATAL: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Damaged(sqlite3.DatabaseError):
    """What must be in the file is not there."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


# What SQLite and its driver raise. The latter where a text, or one in SQLite's own message, is no UTF-8.
Failure = sqlite3.Error | UnicodeDecodeError
FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)


def why(error: Exception) -> str:
    """An error in a line: what happened, by SQLite's name for it too, and what to do. Nothing of what is stored."""
    if isinstance(error, FAILURES):
        return f"{said(error)}: {ADVICE[_primary(error)]}" if _primary(error) in ADVICE else said(error)
    if isinstance(error, OSError):
        advice = SYSTEM_ADVICE.get(error.errno or 0)
        return f"{error.strerror or error}{f': {advice}' if advice else ''}"
    if isinstance(error, StoreBroken | StoreUnavailable):
        return str(error)
    # What a row holds is not what this program writes.
    return f"{error!r}: {DAMAGED}"


def said(error: Failure) -> str:
    """An error in SQLite's words. Nothing of what is stored."""
    if _is_no_text(error):
        return "a text in it can't be read"  # and the driver quotes it
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)


def failed(error: Failure) -> StoreUnavailable | StoreBroken:
    """What an error before a COMMIT is to the broker."""
    return StoreBroken(why(error)) if is_fatal(error) else StoreUnavailable(why(error))


def commit_failed(error: Failure) -> StoreBroken:
    """What an error in a COMMIT is to the broker."""
    return StoreBroken(f"a commit failed, and whether it was stored is unknown: {AGAIN}. {why(error)}")


def is_fatal(error: Failure) -> bool:
    """Whether nothing can be relied on any more."""
    return _primary(error) in FATAL or _code(error) == sqlite3.SQLITE_IOERR_FSYNC


def is_full(error: Failure) -> bool:
    """Whether there is no room. (That an fsync fails for want of room is another code.)"""
    return _code(error) == sqlite3.SQLITE_FULL


@contextlib.contextmanager
def told() -> Iterator[None]:
    """SQLite's errors inside, which is before a COMMIT, become the store's."""
    try:
        yield
    except FAILURES as error:
        raise failed(error) from error


def _is_no_text(error: Failure) -> bool:
    if isinstance(error, UnicodeDecodeError):
        return True
    return not hasattr(error, "sqlite_errorcode") and str(error).startswith("Could not decode to UTF-8")


def _code(error: Failure) -> int:
    if _is_no_text(error):
        return sqlite3.SQLITE_CORRUPT
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code


def _primary(error: Failure) -> int:
    return _code(error) & 0xFF
