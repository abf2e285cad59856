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
from urllib.parse import quote

from queuesvc.store.sqlite.statements import SQL

HEADER: Final = struct.Struct(">8I")
FRAME: Final = struct.Struct(">6I")
MAGIC: Final = (0x377F0682, 0x377F0683)
"""the checksums' words are little or big in their order"""
SQLITE: Final = b"SQLite format 3\0"
LOCK_BYTE: Final = 0x40000000
"""the page that holds it is never used"""
INDEX_HEADER_BYTES: Final = 48
MASK: Final = 0xFFFFFFFF


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
        magic, _, page_size, *_, first, second = HEADER.unpack(head)
        if magic not in MAGIC or _sums(head[:24], (0, 0), magic) != (first, second):
            return None if not any(head) else Broken(f"{name} is damaged at its beginning")
        reader = _Reader(log, magic, page_size, (first, second), (size - HEADER.size) // (FRAME.size + page_size))
        whole = reader.read()
        if reader.goes_on(whole.committed):
            return Broken(f"{name} is damaged in frame {reader.read_up_to + 1}, and commits follow it", newest=True)
        if index is not None and index[1] == head[16:24] and index[0] > whole.committed:
            lost = f"{name} is damaged or cut off: of {index[0]} committed frames only {whole.committed} are there"
            return Broken(lost, newest=True)
        return _find_foreign(name, log, file, whole)


class _Reader:
    """Reads the frames of a log. `read_up_to` is the number of those that fit each other."""

    def __init__(self, log: BinaryIO, magic: int, page_size: int, sums: tuple[int, int], frames: int) -> None:
        self._log = log
        self._magic = magic
        self._page_size = page_size
        self._sums = sums
        self._frames = frames
        log.seek(16)
        self._salts = struct.unpack(">2I", log.read(8))
        self.read_up_to = 0

    def read(self) -> Log:
        """All that is committed."""
        pages: dict[int, int] = {}
        changed: dict[int, int] = {}
        committed = size = 0
        sums = self._sums
        for number in range(self._frames):
            frame, head, content = self._frame(number)
            sums = _sums(content, _sums(head[:8], sums, self._magic), self._magic)
            if frame.salts != self._salts or frame.page == 0 or frame.sums != sums:
                break
            self.read_up_to = number + 1
            changed[frame.page] = HEADER.size + number * (FRAME.size + self._page_size) + FRAME.size
            if frame.commit:
                pages |= changed
                changed.clear()
                committed, size = number + 1, frame.commit
        return Log(self._page_size, committed, pages, size)

    def goes_on(self, committed: int) -> bool:
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
        frame, head, content = self._frame(number)
        return _sums(content, _sums(head[:8], before.sums, self._magic), self._magic) == frame.sums

    def _head(self, number: int) -> Frame:
        self._log.seek(HEADER.size + number * (FRAME.size + self._page_size))
        return _frame(self._log.read(FRAME.size))

    def _frame(self, number: int) -> tuple[Frame, bytes, bytes]:
        self._log.seek(HEADER.size + number * (FRAME.size + self._page_size))
        head = self._log.read(FRAME.size)
        return _frame(head), head, self._log.read(self._page_size)


def _frame(head: bytes) -> Frame:
    page, commit, *rest = FRAME.unpack(head)
    return Frame(page, commit, (rest[0], rest[1]), (rest[2], rest[3]))


def _sums(content: bytes, sums: tuple[int, int], magic: int) -> tuple[int, int]:
    """The checksums that go on from these over a content."""
    first, second = sums
    words = iter(struct.unpack(f"{'><'[magic == MAGIC[0]]}{len(content) // 4}I", content))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & MASK
        second = (second + two + first) & MASK
    return first, second


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
    magic = MAGIC[sys.byteorder == "big"]
    sums = struct.pack("=2I", *_sums(head[:40], (0, 0), magic))
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
    connection = sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)
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
