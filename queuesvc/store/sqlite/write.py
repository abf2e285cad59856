"""One batch, one transaction, one fsync. Runs on the writer's thread."""

import contextlib
import sqlite3
from array import array
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple, TypeVar

import orjson

from queuesvc.domain.effects import (
    BindingDropped,
    BindingPut,
    Effects,
    ExchangeDropped,
    ExchangePut,
    NewMessage,
    QueueDropped,
    QueuePut,
    TokenDropped,
    TokenPut,
    Topology,
)
from queuesvc.domain.machine.state import Numbers
from queuesvc.domain.messages import Message
from queuesvc.domain.model import Content
from queuesvc.store.interface import StoreBroken, StoreUnavailable
from queuesvc.store.sqlite import rows
from queuesvc.store.sqlite.failures import AGAIN, FAILURES, Damaged, Failure, commit_failed, failed, is_full, told, why
from queuesvc.store.sqlite.statements import SQL, repeated

T = TypeVar("T")

# A step of SQLite's gives the interpreter lock away and must get it back: so many rows share one.
ROWS_AT_ONCE = 32
_ADD_MANY_PLAIN = repeated(SQL["add_plain"], ROWS_AT_ONCE)


class Batch(NamedTuple):
    """What is to be written, and the messages whose contents are to be read along.

    `numbers` are those to go on from after the next start, `last_message` is the newest message's.
    """

    effects: Effects
    totals: list[rows.Row]
    numbers: Numbers
    last_message: int
    now: int
    wanted: list[int]


def write(connection: sqlite3.Connection, batch: Batch) -> dict[int, Content]:
    """Write a batch; returns the contents wanted, by number. Raises as `transact`."""
    return transact(connection, lambda: _write_all(connection, batch))


def transact(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Do work in a transaction of its own.

    Raises `StoreUnavailable` where nothing of it was stored and `StoreBroken` where
    that is unknown, because the commit itself failed.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        done = work()
    except BaseException as error:
        _roll_back(connection)
        if isinstance(error, FAILURES):
            _make_room(connection, error)
            raise failed(error) from error
        raise
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if not is_full(error):
            raise commit_failed(error) from error
        # No room for the log's frames: the last of them, which makes it a commit, was not written.
        _roll_back(connection)
        _make_room(connection, error)
        raise failed(error) from error
    return done


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StoreBroken(f"a batch could not be undone: {AGAIN}. {why(error)}") from error


def _make_room(connection: sqlite3.Connection, error: Failure) -> None:
    """On a full disk, bring what the log holds into the file, where much of it has its place already."""
    if is_full(error):
        with contextlib.suppress(StoreUnavailable), told():
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _write_all(connection: sqlite3.Connection, batch: Batch) -> dict[int, Content]:
    effects = batch.effects
    numbers = batch.numbers
    for change in effects.topology:
        _write_topology(connection, change, batch.last_message)
    if effects.inserts:
        _insert(connection, effects.inserts)
    if effects.updates:
        connection.executemany(SQL["change_message"], effects.updates)
    if effects.deaths:
        connection.executemany(SQL["set_deaths"], ((deaths, number) for number, deaths in effects.deaths.items()))
    contents = read_contents(connection, batch.wanted)
    if effects.deletes:
        _delete(connection, effects.deletes)
    for purged in effects.purges:
        connection.execute(SQL["add_reclaim"], (purged.queue_id, purged.runs.tobytes()))
    if effects.leases:
        connection.executemany(SQL["put_lease"], map(rows.lease_row, effects.leases.values()))
    if effects.leases_ended:
        connection.executemany(SQL["drop_lease"], zip(effects.leases_ended, strict=True))
    # Those that are over first: a key may have been used anew in this very batch.
    if effects.records_ended:
        connection.executemany(SQL["drop_record"], effects.records_ended)
    if effects.scopes_ended:
        connection.executemany(SQL["drop_records"], effects.scopes_ended)
    if effects.records:
        connection.executemany(SQL["put_record"], effects.records)
    connection.executemany(SQL["put_totals"], batch.totals)
    connection.execute(SQL["put_meta"], (numbers.message, numbers.lease, numbers.queue, numbers.binding, batch.now))
    return contents


def _insert(connection: sqlite3.Connection, messages: list[NewMessage]) -> None:
    bodies = rows.body_rows(messages)
    if bodies:
        connection.executemany(SQL["add_body"], bodies)
    plain, others = rows.message_rows(messages)
    rest = len(plain) % ROWS_AT_ONCE
    for at in range(rest, len(plain), ROWS_AT_ONCE):
        connection.execute(_ADD_MANY_PLAIN, tuple(chain.from_iterable(plain[at : at + ROWS_AT_ONCE])))
    connection.executemany(SQL["add_plain"], plain[:rest])
    connection.executemany(SQL["add_message"], others)


def _delete(connection: sqlite3.Connection, messages: list[Message]) -> None:
    """Remove the rows of messages, and each body with the last of its copies."""
    large = [(message.number,) for message in messages if message.size >= rows.SHARED_BYTES]
    if large:
        connection.executemany(SQL["release_body"], large)
        connection.executemany(SQL["drop_body"], large)
    connection.executemany(SQL["delete_messages"], rows.runs_of(message.number for message in messages))


def _write_topology(connection: sqlite3.Connection, change: Topology, last_message: int) -> None:
    match change:
        case ExchangePut(exchange):
            connection.execute(SQL["put_exchange"], rows.exchange_row(exchange))
        case ExchangeDropped(name):
            connection.execute(SQL["drop_exchange"], (name,))
        case QueuePut(id_, name, settings):
            connection.execute(SQL["put_queue"], (id_, name, rows.settings_text(settings)))
        case QueueDropped(id_):
            connection.execute(SQL["drop_queue"], (id_,))
            connection.execute(SQL["add_reclaim"], (id_, array("q", (0, last_message)).tobytes()))
        case BindingPut(binding):
            connection.execute(SQL["put_binding"], rows.binding_row(binding))
        case BindingDropped(id_):
            connection.execute(SQL["drop_binding"], (id_,))
        case TokenPut(token):
            connection.execute(SQL["put_token"], rows.token_row(token))
        case TokenDropped(id_):
            connection.execute(SQL["drop_token"], (id_,))


def read_contents(connection: sqlite3.Connection, numbers: Iterable[int], bodies: bool = True) -> dict[int, Content]:
    """The contents of messages by their numbers. Raises `Damaged` where one is not there, or has lost its body."""
    wanted = list(numbers)
    if not wanted:
        return {}
    if len(wanted) == 1:
        found = connection.execute(SQL["get_content"], wanted).fetchall()
    else:
        statement = SQL["get_contents"] if bodies else SQL["get_heads"]
        found = connection.execute(statement, (orjson.dumps(wanted).decode(),)).fetchall()
    contents = {row[0]: rows.read_content(row) for row in found}
    for number in wanted:
        if number not in contents or contents[number].body is None:
            raise Damaged(f"message {number} is not in the file")
    return contents
