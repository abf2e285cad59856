"""The SQLite store: the machine in memory is the truth while it runs, the file is what it is built from."""

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import aiosqlite

from queuesvc.domain.commands import GROWING, Command, Query
from queuesvc.domain.effects import Leased
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import TAG_BITS, Ids
from queuesvc.domain.limits import Limits
from queuesvc.domain.machine.machine import Machine
from queuesvc.domain.machine.restore import restore
from queuesvc.domain.machine.state import Numbers
from queuesvc.domain.model import Content
from queuesvc.domain.receipts import Receipts
from queuesvc.domain.replies import Received, Reply
from queuesvc.store.interface import Applied, Durability, Opened, StoreBroken, StoreRefused, StoreUnavailable, Waiting
from queuesvc.store.sqlite import folder, opening, readers, rows, upkeep
from queuesvc.store.sqlite.backup import Backups
from queuesvc.store.sqlite.failures import AGAIN, told, why
from queuesvc.store.sqlite.lock import FileLock
from queuesvc.store.sqlite.migrations import migrate
from queuesvc.store.sqlite.numbers import SYNCHRONOUS, Ahead
from queuesvc.store.sqlite.room import Room
from queuesvc.store.sqlite.statements import SQL
from queuesvc.store.sqlite.write import Batch, read_contents, write

T = TypeVar("T")

FILE = "queuesvc.db"
LOCK = "queuesvc.lock"
WAL_BYTES = 1024 * 1024 * 1024
# The log is brought into the file whenever it has grown by a step. One much larger tells that this does not work.
LOG_STEP_BYTES = 4 * 1024 * 1024
LOG_BYTES = 8 * LOG_STEP_BYTES
# The copies of a publish have numbers in a row, one for each queue it reached.
COPIES_MOST = 10_000


def _connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open the one connection that writes. Runs on the writer's thread, as all that uses it does."""
    opening.look(path, durability)
    connection = sqlite3.connect(path, isolation_level=None, timeout=readers.BUSY_SECONDS)
    try:
        opening.write_log_again(connection, path)
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # What a crash left behind the end of the log must not stand behind the next crash's.
        with contextlib.suppress(StoreUnavailable):
            upkeep.empty_log(connection)
        migrate(connection)
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
        if durability == "relaxed":
            connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    except BaseException:
        opening.close_untouched(connection, path)
        raise
    return connection


class SqliteStore:
    """A `Store` in a folder: `queuesvc.db`, SQLite's log beside it, and the lock.

    While less than `reserve_bytes` (None: 64 MiB, or a quarter of a small disk) is free, what needs
    room is refused as `StoreUnavailable`. So it is while SQLite's log is larger than `wal_bytes`: it can't be
    emptied while another program reads the file. With `durability="relaxed"` a commit is not waited for to
    reach the disk: the newest ones are lost when the system goes down, each wholly or not at all, but not when only
    the process does.
    """

    def __init__(
        self,
        directory: Path | str,
        limits: Limits | None = None,
        reserve_bytes: int | None = None,
        durability: Durability = "full",
        wal_bytes: int = WAL_BYTES,
    ) -> None:
        self._folder = Path(directory)
        self._path = self._folder / FILE
        self._room = Room(self._folder, self._folder / f"{FILE}-wal", reserve_bytes)
        self._limits = limits
        self._durability = durability
        self._wal_bytes = wal_bytes
        self._ahead = Ahead() if durability == "relaxed" else None
        self._lock = FileLock(self._folder / LOCK)
        self._backups = Backups(self._path)
        self._writer: aiosqlite.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._machine: Machine
        self._latest_at = 0
        self._log_left = 0
        self._broken = False

    # --- opening and closing ------------------------------------------------------

    async def open(self) -> Opened:
        """Lock, open, migrate, rebuild. Raises `StoreRefused`."""
        try:
            folder.make(self._folder)
            self._lock.acquire()
        except OSError as error:
            raise StoreRefused(f"can't use the folder {self._folder}: {why(error)}") from error
        try:
            opened = await self._open()
            folder.sync(self._folder)
            return opened
        except (StoreBroken, StoreUnavailable, sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            # The last three where a row does not hold what this program writes.
            await self.close()
            raise StoreRefused(f"can't open the store {self._path}: {why(error)}") from error
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> Opened:
        self._backups.tidy()
        writer = aiosqlite.Connection(lambda: _connect(self._path, self._durability), iter_chunk_size=64)
        try:
            self._writer = await writer
        except BaseException:
            # The driver's thread tells the loop of its own end: the loop must be there until then.
            await asyncio.to_thread(writer._thread.join)
            raise
        # The machine looks contents up in the middle of a batch, which must not wait for the writer.
        self._reader = readers.with_log(self._path)
        # Only one that has read holds the file open: see `close`.
        self._reader.execute(SQL["get_meta"]).fetchone()
        tag = await self._load()
        return Opened(self._latest_at, tag)

    async def _load(self) -> int:
        """Build the machine from the file; returns the store's tag."""
        machine, self._latest_at, tag = await self._on_writer(self._build)
        self._machine = machine
        if self._ahead is not None:
            self._ahead.begin(machine.state.numbers)
        return tag

    async def _load_again(self) -> None:
        try:
            await self._load()
        except Exception as error:
            self._broken = True
            raise StoreBroken(f"the store can't be read: {AGAIN}. {why(error)}") from error

    def _build(self, connection: sqlite3.Connection) -> tuple[Machine, int, int]:
        meta = connection.execute(SQL["get_meta"]).fetchone()
        if meta is None:
            new = (secrets.token_bytes(32), secrets.randbits(TAG_BITS))
            connection.execute(SQL["init_meta"], new)
            meta = connection.execute(SQL["get_meta"]).fetchone()
        secret, epoch, tag, *numbers, latest_at = meta
        machine = Machine(Receipts(secret, epoch), Ids(tag), self, self._limits)
        restore(
            machine.state,
            latest_at,
            Numbers(*numbers),
            map(rows.read_exchange, connection.execute(SQL["get_exchanges"]).fetchall()),
            map(rows.read_queue, connection.execute(SQL["get_queues"]).fetchall()),
            map(rows.read_binding, connection.execute(SQL["get_bindings"]).fetchall()),
            map(rows.read_lease, connection.execute(SQL["get_leases"]).fetchall()),
            rows.read_messages(connection),
            map(rows.read_record, connection.execute(SQL["get_records"]).fetchall()),
            map(rows.read_token, connection.execute(SQL["get_tokens"]).fetchall()),
        )
        return machine, latest_at, tag

    async def close(self) -> None:
        """Close both connections and let go of the lock.

        Closed last, the one that writes empties SQLite's log. After a failure it is not: then nothing is written any
        more, and the next start looks at the log as it is.
        """
        await self._backups.close()
        if not self._broken:
            self._close_reader()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await writer.close()
        self._close_reader()
        self._lock.release()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _on_writer(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run work on the writer's thread with its connection: one hop, whatever the work.

        aiosqlite offers a hop a statement in public and a hop a function in `_execute`. A
        batch has a dozen statements, and each hop hands the interpreter lock over twice.
        """
        assert self._writer is not None, "the store is not open"
        connection = self._writer._conn
        with self._noting():
            return await self._writer._execute(work, connection, *arguments)  # type: ignore[no-any-return, no-untyped-call]

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except StoreBroken:
            self._broken = True
            raise

    # --- commands and questions ---------------------------------------------------

    async def apply(self, commands: Sequence[Command], now: int, waiting: Waiting) -> Applied:
        """One batch in one transaction; the replies are given once it is on the disk."""
        if any(isinstance(command, GROWING) for command in commands):
            self._room.check(commands)
            await self._check_log()
        if self._ahead is not None:
            await self._sync_log()
        machine = self._machine
        contents: dict[int, Content] = {}
        try:
            machine.begin(now)
            outcomes, served = machine.apply(commands, waiting)
            wrote = bool(machine.effects)
            if wrote:
                leased = [o for o in (*outcomes, *(outcome for _, outcome in served)) if isinstance(o, Leased)]
                contents = await self._write(machine, leased)
        except StoreBroken:
            raise
        except Exception:
            # Memory must not stay ahead of the disk.
            await self._load_again()
            raise
        return Applied(
            [_filled(outcome, contents) for outcome in outcomes],
            [(receive, _received(outcome, contents)) for receive, outcome in served],
            wrote,
            machine.effects.replies,
            machine.unserved,
        )

    async def backup(self) -> BinaryIO:
        """A copy of the file as it is now."""
        return await self._backups.take(self._room.reserve())

    async def _check_log(self) -> None:
        """Refuse what grows while somebody's long look into the file keeps the log from being used again."""
        size = self._room.log_bytes()
        if size > self._wal_bytes and not await self._on_writer(upkeep.empty_log):
            raise StoreUnavailable(
                f"SQLite's log has grown to {size >> 20} MiB, because another program has been reading {FILE} for long"
            )

    async def _sync_log(self) -> None:
        """Bring every 4 MiB of a relaxed store's log into the file.

        SQLite would do so, but would tell nobody of an fsync that failed: then a commit on which the file is built
        already may be missing in the log after a power loss. Where commits wait for the disk there is no such moment.
        """
        size = self._room.log_bytes()
        self._log_left = min(self._log_left, size)
        if size - self._log_left >= LOG_STEP_BYTES:
            with contextlib.suppress(StoreUnavailable):
                await self._on_writer(upkeep.empty_log)
            self._log_left = self._room.log_bytes()

    async def _write(self, machine: Machine, leased: list[Leased]) -> dict[int, Content]:
        effects, state = machine.effects, machine.state
        contents: dict[int, Content] = {}
        wanted: list[int] = []
        for number in (pick[0] for receive in leased for pick in receive.picks):
            message = effects.inserted(number)
            if message is None:
                wanted.append(number)
            else:
                contents[number] = message.content
        totals = [(*state.queues_by_id[id_].totals.values(), id_) for id_ in effects.touched]
        numbers = state.numbers
        if self._ahead is not None:
            if not self._ahead.covers(numbers):
                await self._on_writer(self._ahead.set_aside, numbers)
            numbers = self._ahead.numbers
        batch = Batch(effects, totals, numbers, state.numbers.message - 1, state.now, wanted)
        contents |= await self._on_writer(write, batch)
        self._latest_at = state.now
        return contents

    # --- what the machine looks up (`domain.machine.state.Contents`) ----------------

    def content(self, number: int) -> Content:
        """The content of one message, in the middle of a batch."""
        return self.contents((number,))[number]

    def contents(self, numbers: Iterable[int], bodies: bool = True) -> dict[int, Content]:
        """The contents of several."""
        assert self._reader is not None, "the store is not open"
        inserted = self._machine.effects.inserted
        fresh = {number: message.content for number in numbers if (message := inserted(number)) is not None}
        stored = [number for number in numbers if number not in fresh]
        with self._noting(), told():
            contents = fresh | read_contents(self._reader, stored, bodies)
        deaths = self._machine.effects.deaths
        for number in contents.keys() & deaths.keys():
            contents[number] = contents[number]._replace(deaths=deaths[number])
        return contents

    def copy_in(self, queue_id: int, first: int) -> int | None:
        """The number of a publish's copy in a queue."""
        assert self._reader is not None, "the store is not open"
        for message in self._machine.effects.inserts:
            if message.content.first == first and message.queue_id == queue_id:
                return message.number
        last = first + max(COPIES_MOST, len(self._machine.state.queues_by_id))
        with self._noting(), told():
            found = self._reader.execute(SQL["get_copy"], (first, last, queue_id, first)).fetchall()
        return found[0][0] if found else None

    # --- the rest -------------------------------------------------------------------

    async def ask(self, query: Query, now: int, waiting: Waiting) -> Reply:
        """Answer a question from memory."""
        return self._machine.ask(query, now, waiting)

    def next_due(self) -> int | None:
        """The earliest moment at which something is due."""
        return self._machine.next_due()

    async def maintain(self, idle: bool = True) -> bool:
        """One step of housekeeping; True if more is left."""
        more = self._machine.tidy()
        if not idle and self._room.log_bytes() > LOG_BYTES:
            # SQLite tells nobody why its own hand does not bring it in.
            await self._on_writer(upkeep.empty_log)
        return await self._on_writer(upkeep.step, idle) or more


def _filled(outcome: Reply | Refused, contents: dict[int, Content]) -> Reply | Refused:
    if isinstance(outcome, Leased):
        return outcome.with_contents(contents[pick[0]] for pick in outcome.picks)
    return outcome


def _received(outcome: Reply | Refused, contents: dict[int, Content]) -> Received | Refused:
    filled = _filled(outcome, contents)
    assert isinstance(filled, Received | Refused)
    return filled
