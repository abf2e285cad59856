"""Check a store's file and say what is wrong with it, line by line. Nothing is written.

First whether the file is whole, then whether it is of our schema, then whether each row can be read,
then the rules: what a rule's statement selects is what breaks it. So a rule is added by writing it down in `rules.sql`.
"""

import contextlib
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from queuesvc.domain.errors import Refused
from queuesvc.domain.limits import check_name
from queuesvc.domain.tokens import Token
from queuesvc.store.interface import StoreRefused
from queuesvc.store.keeping import CannotKeep, Checked, Counts
from queuesvc.store.sqlite import migrations, rows
from queuesvc.store.sqlite.failures import FAILURES, said
from queuesvc.store.sqlite.lock import FileLock
from queuesvc.store.sqlite.opening import reading
from queuesvc.store.sqlite.statements import SQL, read
from queuesvc.store.sqlite.wal import find_broken

RULES: Final = read("queuesvc.store.sqlite.check", "rules.sql")
SETUP: Final = read("queuesvc.store.sqlite.check", "setup.sql")
TOKENS_SINCE: Final = 2
"""the version of the schema that brought tokens"""
DIGEST_BYTES: Final = 32
SAID_MOST: Final = 20
"""How many breaks of one rule are named; the rest are counted."""


def check_store(path: Path) -> Checked:
    """Check a store's file: of a store that is stopped, of a copy, of a backup. Raises `CannotKeep`."""
    if not path.is_file():
        raise CannotKeep(f"there is no file {path}")
    with _nobody_runs_on(path):
        broken = find_broken(path)
        of_log = [] if broken is None else [f"log: {broken.what}"]
        if broken is not None and not broken.newest:
            return Checked(0, of_log, None)
        # Where only the newest commits are missing, the rest can be looked at.
        with _reading(path) as connection:
            checked = _check_whole(path, connection)
            return Checked(checked.version, [*of_log, *checked.findings], checked.counts)


def _check_whole(path: Path, connection: sqlite3.Connection) -> Checked:
    findings: list[str] = []
    try:
        version = migrations.check(connection)
        counts = _check(connection, version, findings)
    except StoreRefused as refused:
        raise CannotKeep(f"{path}: {refused}") from None
    except FAILURES as error:
        return Checked(0, [*findings, f"file: {said(error)}"], None)
    return Checked(version, findings, counts)


@contextlib.contextmanager
def _nobody_runs_on(path: Path) -> Iterator[None]:
    """Keep brokers off a store while it is looked at; a copy that lies elsewhere has no lock."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.keep_out()
    except StoreRefused as refused:
        raise CannotKeep(f"{refused}, or check a backup of it (queuesvc backup FILE)") from None
    except OSError as error:
        raise CannotKeep(f"can't read {path}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(reading(path))
        except sqlite3.Error as error:
            raise CannotKeep(f"can't open {path}: {error}") from None
        connection.execute("PRAGMA temp_store = MEMORY")
        yield connection


def _check(connection: sqlite3.Connection, version: int, findings: list[str]) -> Counts | None:
    said = [line for (text,) in connection.execute("PRAGMA integrity_check(20)") for line in text.splitlines()]
    if said != ["ok"]:
        findings += [f"file: {line}" for line in said if not line.startswith("***")]
    if version == 0:
        findings.append("schema: the file is empty")
        return None
    findings += _differences(migrations.schema(connection), migrations.expected_schema(version))
    if findings:
        # Rows of a damaged file, or of other tables than we know, would only bring more lines of the same.
        return None
    findings += _unreadable(connection, version)
    unpack(connection, findings)
    for name, statement in RULES.items():
        findings += _broken(connection, name, statement)
    return Counts(*connection.execute(SETUP["counts"]).fetchone())


def _differences(found: dict[str, str], expected: Mapping[str, str]) -> list[str]:
    names = sorted(found.keys() | expected.keys())
    differing = [name for name in names if found.get(name) != expected.get(name)]
    return [f"schema: {name} is not as this program's migrations make it" for name in differing]


def _broken(connection: sqlite3.Connection, name: str, statement: str) -> list[str]:
    found = connection.execute(statement)
    said = [f"{name}: {text}" for (text,) in found.fetchmany(SAID_MOST)]
    more = sum(1 for _ in found)
    return [*said, f"{name}: and {more} more"] if more else said


# --- what no statement can look into ----------------------------------------------


def _unreadable(connection: sqlite3.Connection, version: int) -> list[str]:
    """Rows that the broker could not make sense of at its start."""
    findings: list[str] = []

    def try_all(what: str, statement: str, reader: Callable[[Any], object]) -> None:
        """Read all rows of a statement, and note those that the reader refuses."""
        for row in connection.execute(SQL[statement]).fetchall():
            try:
                reader(row)
            except Refused as refused:
                findings.append(f"{what}: {row[0]!r}: {refused.detail}")
            except (ValueError, KeyError, TypeError) as error:
                findings.append(f"{what}: {row[0]!r} can't be read: {error}")

    try_all("exchanges", "get_exchanges", lambda row: check_name(rows.read_exchange(row).name, "name"))
    try_all("queues", "get_queues", lambda row: check_name(rows.read_queue(row)[1], "name"))
    try_all("bindings", "get_bindings", rows.read_binding)
    if version >= TOKENS_SINCE:
        try_all("tokens", "get_tokens", lambda row: _check_token(rows.read_token(row)))
    return findings


def _check_token(token: Token) -> None:
    if len(token.digest) != DIGEST_BYTES:
        raise ValueError(f"its digest is of {len(token.digest)} bytes")


def unpack(connection: sqlite3.Connection, findings: list[str]) -> None:
    """Fill the temporary tables that the rules look into: `held`, `span`, `gone` and `live`."""
    connection.executescript(SETUP["unpack"])
    connection.execute("BEGIN")
    for id_, queue_id, members, untils, until in connection.execute(SETUP["leases"]).fetchall():
        whole = members and len(members) % 8 == 0 and len(untils) in (0, len(members))
        # Without any moment it ran out for all of them, and was written again since.
        if not whole or not (untils or until or _ran_out(connection, id_, members)):
            findings.append(f"leases: lease {id_} has members or moments that can't be read")
            continue
        connection.executemany(SETUP["add_held"], ((id_, queue_id, number) for number in array("q", members)))
    for spans in _spans(connection, findings).values():
        connection.executemany(SETUP["add_span"], spans)
    connection.executescript(SETUP["index"])
    if connection.execute(SETUP["add_gone"]).rowcount:
        connection.execute(SETUP["some_live"])
    else:
        connection.execute(SETUP["all_live"])


def _ran_out(connection: sqlite3.Connection, lease: int, members: bytes) -> bool:
    """Whether the lease ran out for all of these messages."""
    return all(connection.execute(SETUP["ran_out"], (number, lease)).fetchone()[0] for number in array("q", members))


Span = tuple[int, int, int, int]


def _spans(connection: sqlite3.Connection, findings: list[str]) -> dict[int, list[Span]]:
    """What is to be reclaimed from each queue, in order and without overlaps: id, queue, from, to."""
    by_queue: dict[int, list[Span]] = {}
    for id_, queue_id, next_id, runs in connection.execute(SETUP["reclaims"]).fetchall():
        numbers = array("q", runs) if len(runs) % 16 == 0 else array("q")
        if not numbers or list(numbers) != sorted(numbers):
            findings.append(f"reclaim: reclaim {id_} has runs that can't be read")
            continue
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        spans = ((id_, queue_id, max(low, next_id), high) for low, high in pairs if high >= next_id)
        by_queue.setdefault(queue_id, []).extend(spans)
    return {queue_id: list(_merged(sorted(spans, key=lambda span: span[2:]))) for queue_id, spans in by_queue.items()}


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    last: Span | None = None
    for span in spans:
        if last is not None and span[2] <= last[3] + 1:
            last = (*last[:3], max(last[3], span[3]))
        else:
            if last is not None:
                yield last
            last = span
    if last is not None:
        yield last
