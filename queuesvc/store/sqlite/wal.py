"""SQLite's log as it lies there: is it whole, and does it belong to the file?

SQLite reads its log up to the first frame that does not fit and takes that for the end. So a bit that flips in the
middle makes everything vanish that was committed, and answered, after it; and nobody is told. It takes a log that lies
beside a file for the file's own, too. So the log is read here first, by SQLite's rules (https://sqlite.org/walformat.html).

What a crash leaves behind the last commit is no damage: frames of earlier times, which have other salts, and parts of
transactions that did not get to their end. A torn one may have its commit frame and lack another before it, if the
power failed. But nothing is ever written after a commit before that is on the disk: a frame that was, and follows a
torn transaction, says that it was damaged. (What was written with `durability = "relaxed"` is another matter: the power
may have torn several. `Broken.newest` says that it may be this.) Of a broker that was only killed the index beside
the log tells how far it reached.
"""

import sqlite3
import struct
import sys
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from queuesvc.store.sqlite.readers import alone
from queuesvc.store.sqlite.statements import SQL
from queuesvc.store.sqlite.sums import Sums, matrix_of, own_sums, sums_of

HEADER: Final = struct.Struct(">8I")
FRAME: Final = struct.Struct(">6I")
ORDERS: Final = {0x377F0682: "little", 0x377F0683: "big"}
"""by the log's first word, how the words of its checksums are ordered"""
FRAMES_AT_ONCE: Final = 512
SQLITE: Final = b"SQLite format 3\0"
LOCK_BYTE: Final = 0x40000000
"""the page that holds it is never used"""
INDEX_HEADER_BYTES: Final = 48


class Broken(NamedTuple):
    """What is wrong with a log. `newest`: it may only be that the newest commits never reached the disk."""

    what: str
    newest: bool = False


class Frame(NamedTuple):
    """A frame's head: `commit` is the size of the database in pages where it ends a transaction, else 0."""

    page: int
    commit: int
    salts: tuple[int, int]
    sums: tuple[int, int]


class Log(NamedTuple):
    """A log up to its last commit: where in it the newest content of each page stands, and the database's pages."""

    page_size: int
    committed: int
    pages: dict[int, int]
    database_pages: int


def log_of(file: Path) -> Path:
    """The log of a database."""
    return file.with_name(f"{file.name}-wal")


def index_of(file: Path) -> Path:
    """The index of its log."""
    return file.with_name(f"{file.name}-shm")


def find_broken(file: Path) -> Broken | None:
    """What is wrong with the log of a database that nobody has open, if anything is. Reads only."""
    path = log_of(file)
    name = path.name
    index = _read_index(index_of(file))
    if not path.exists():
        # It is the last to go when a store is closed.
        if index is None or not index[0]:
            return None
        return Broken(f"{name}, in which the newest commits are, is missing: put it back")
    size = path.stat().st_size
    if size < HEADER.size:
        # Emptied, it may be; if the power failed then, the index that is on the disk need not know of it.
        return None
    if not file.exists() or file.stat().st_size == 0:
        return Broken(f"there is {name} without the file that it belongs to: put that back")
    with path.open("rb") as log:
        head = log.read(HEADER.size)
        magic, *_, first, second = HEADER.unpack(head)
        if magic not in ORDERS or sums_of(head[:24], (0, 0), ORDERS[magic]) != (first, second):
            return None if not any(head) else Broken(f"{name} is damaged at its beginning")
        reader = _Reader(log, head, size)
        whole = reader.read()
        if reader.goes_on():
            return Broken(f"{name} is damaged in frame {reader.read_up_to + 1}, and commits follow it", newest=True)
        if index is not None and index[1] == head[16:24] and index[0] > whole.committed:
            lost = f"{name} is damaged or cut off: of {index[0]} committed frames only {whole.committed} are there"
            return Broken(lost, newest=True)
        return _find_foreign(name, log, file, whole)


class _Reader:
    """Reads the frames of a log. `read_up_to` is the number of those that fit each other."""

    def __init__(self, log: BinaryIO, head: bytes, size: int) -> None:
        magic, _, page_size, _, *salts, first, second = HEADER.unpack(head)
        self._log = log
        self._order = ORDERS[magic]
        self._page_size: int = page_size
        self._bytes: int = FRAME.size + self._page_size
        self._salts = tuple(salts)
        self._sums = first, second
        self._matrix = matrix_of((8 + page_size) // 8)
        self._frames = (size - HEADER.size) // self._bytes
        self.read_up_to = 0

    def read(self) -> Log:
        """All that is committed."""
        pages: dict[int, int] = {}
        changed: dict[int, int] = {}
        committed = size = 0
        while (frame := self._next()) is not None:
            changed[frame.page] = self._place(self.read_up_to) + FRAME.size
            self.read_up_to += 1
            if frame.commit:
                pages |= changed
                changed.clear()
                committed, size = self.read_up_to, frame.commit
        return Log(self._page_size, committed, pages, size)

    def _next(self) -> Frame | None:
        """The next frame, if it fits those before."""
        at = self.read_up_to % FRAMES_AT_ONCE
        if at == 0:
            self._block = self._read(self.read_up_to, FRAMES_AT_ONCE)
        if at >= len(self._block):
            return None
        frame, own = self._block[at]
        self._sums = self._matrix.apply(self._sums, own)
        return frame if frame.page and frame.salts == self._salts and frame.sums == self._sums else None

    def goes_on(self) -> bool:
        """Whether, after the transaction that does not end well, another one was begun."""
        ended = False
        before: Frame | None = None
        for number in range(self.read_up_to, self._frames):
            frame = self._head(number)
            if frame.salts == self._salts:
                if ended and before is not None and (before.commit or frame.commit) and self._fits(number, before):
                    return True
                ended = ended or frame.commit > 0
            before = frame if frame.salts == self._salts else None
        return False

    def _fits(self, number: int, before: Frame) -> bool:
        ((frame, own),) = self._read(number, 1)
        return self._matrix.apply(before.sums, own) == frame.sums

    def _place(self, number: int) -> int:
        return HEADER.size + number * self._bytes

    def _head(self, number: int) -> Frame:
        self._log.seek(self._place(number))
        return _frame(self._log.read(FRAME.size))

    def _read(self, number: int, most: int) -> list[tuple[Frame, Sums]]:
        """Some frames from this one on, and their own sums."""
        count = min(most, self._frames - number)
        if count <= 0:
            return []
        self._log.seek(self._place(number))
        content = self._log.read(count * self._bytes)
        heads = (_frame(content[at : at + FRAME.size]) for at in range(0, len(content), self._bytes))
        return list(zip(heads, own_sums(content, count, self._order), strict=True))


def _frame(head: bytes) -> Frame:
    page, commit, *rest = FRAME.unpack(head)
    return Frame(page, commit, (rest[0], rest[1]), (rest[2], rest[3]))


def _read_index(path: Path) -> tuple[int, bytes] | None:
    """How many frames of a log were committed, and the log's salts, by the index that a killed broker leaves.

    None where there is none, or it can't be relied on.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        head, copy = file.read(INDEX_HEADER_BYTES), file.read(INDEX_HEADER_BYTES)
    if len(copy) < INDEX_HEADER_BYTES or head != copy or not head[12]:
        return None
    frames = int.from_bytes(head[16:20], sys.byteorder)
    sums = struct.pack("=2I", *sums_of(head[:40], (0, 0), sys.byteorder))
    return (frames, head[32:40]) if sums == head[40:48] else None


# --- does it belong to the file ------------------------------------------------------


def _find_foreign(name: str, log: BinaryIO, file: Path, whole: Log) -> Broken | None:
    with file.open("rb") as database:
        head = database.read(100)
        size = file.stat().st_size
        if not head.startswith(SQLITE) or not whole.committed:
            return None  # SQLite itself will say what is wrong
        other = Broken(f"{name} belongs to another database: put the file's own there, if there was one, or remove it")
        if _page_size(head) != whole.page_size:
            return other
        mark, first = head[68:72], _page(log, whole, 1)[68:72]
        if any(mark) and first and mark != first:
            return other
        number, secret = _secret(file)
        content = _page(log, whole, number)
        if secret and content and secret not in content:
            return other
        lost = _lost_pages(log, database, size, whole)
        return Broken(f"{file.name} is cut off: {lost} pages are missing") if lost else None


def _page_size(head: bytes) -> int:
    size = int.from_bytes(head[16:18], "big")
    return 65_536 if size == 1 else size


def _page(log: BinaryIO, whole: Log, number: int) -> bytes:
    """The newest content of a page in the log, empty if it is not in it."""
    if number not in whole.pages:
        return b""
    log.seek(whole.pages[number])
    return log.read(whole.page_size)


def _secret(file: Path) -> tuple[int, bytes]:
    """The page in which the store's secret is, and the secret, as the file alone has them: once made both stay."""
    connection = alone(file)
    try:
        (page,) = connection.execute(SQL["get_meta_page"]).fetchone()
        secret, *_ = connection.execute(SQL["get_meta"]).fetchone()
        return page, secret
    except (sqlite3.Error, TypeError):
        return 0, b""  # not made yet, or in the middle of a checkpoint that a crash cut off
    finally:
        connection.close()


def _lost_pages(log: BinaryIO, database: BinaryIO, size: int, whole: Log) -> int:
    """How many pages are neither in the file nor in the log, though they are in use."""
    there = size // whole.page_size
    unused = LOCK_BYTE // whole.page_size + 1
    beyond = set(range(there + 1, whole.database_pages + 1)) - whole.pages.keys() - {unused}
    if not beyond:
        return 0

    def read(number: int) -> bytes:
        """A page as it is now: the log's, or else the file's."""
        database.seek((number - 1) * whole.page_size)
        return _page(log, whole, number) or database.read(whole.page_size)

    # Free pages need not have been written ever.
    trunk = int.from_bytes(read(1)[32:36], "big")
    seen: set[int] = set()
    while trunk and trunk not in seen and beyond:
        seen.add(trunk)
        content = read(trunk)
        words = struct.unpack(f">{len(content) // 4}I", content)
        trunk = words[0] if words else 0
        beyond -= set(words[2 : 2 + words[1]]) if words else set()
    return len(beyond)
