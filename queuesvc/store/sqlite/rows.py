"""Between the machine's values and the tables' columns."""

import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from queuesvc.domain.effects import NewMessage, Recorded
from queuesvc.domain.machine.restore import LeaseRow, MessageRow
from queuesvc.domain.messages import LEASED, Lease
from queuesvc.domain.model import Binding, Content, Exchange, ExchangeType, Overflow, QueueSettings, RetryBackoff
from queuesvc.domain.tokens import NAMED, Permissions, Token
from queuesvc.store.sqlite.statements import SQL

Row = tuple[Any, ...]

# Shared by its copies, a body costs a row of its own: worth it from this size on (measured).
SHARED_BYTES = 1024
# The driver binds a bytearray at a fraction of the cost of bytes; above this the copy costs more.
_COPIED_BYTES = 16 * 1024


def exchange_row(exchange: Exchange) -> Row:
    """name, settings"""
    settings = asdict(exchange)
    return settings.pop("name"), orjson.dumps(settings).decode()


def read_exchange(row: Row) -> Exchange:
    """The exchange of a row."""
    settings = orjson.loads(row[1])
    return Exchange(row[0], **settings | {"type": ExchangeType(settings["type"])})


def settings_text(settings: QueueSettings) -> str:
    """A queue's settings as they are stored."""
    return orjson.dumps(asdict(settings)).decode()


def read_settings(text: str) -> QueueSettings:
    """A queue's settings of their stored text."""
    values = orjson.loads(text)
    values["overflow"] = Overflow(values["overflow"])
    if values["retry_backoff"] is not None:
        values["retry_backoff"] = RetryBackoff(**values["retry_backoff"])
    return QueueSettings(**values)


def read_queue(row: Row) -> tuple[int, str, QueueSettings, Row]:
    """id, name, settings, totals"""
    return row[0], row[1], read_settings(row[2]), row[3:]


def binding_row(binding: Binding) -> Row:
    """A binding's columns."""
    headers = None if binding.headers is None else orjson.dumps(dict(binding.headers)).decode()
    return (
        binding.id,
        binding.source,
        binding.queue,
        binding.exchange,
        binding.routing_key,
        binding.match,
        headers,
    )


def read_binding(row: Row) -> Binding:
    """The binding of a row."""
    id_, source, queue, exchange, routing_key, match, headers = row
    wanted = None if headers is None else orjson.loads(headers)
    return Binding(id_, source, queue, exchange, routing_key, match, wanted)


def _is_shared(message: NewMessage) -> bool:
    return message.copies > 1 and len(message.content.body) >= SHARED_BYTES


def message_rows(messages: Iterable[NewMessage]) -> tuple[list[Row], list[Row]]:
    """The columns of new messages: of plain ones, which are nothing but ready (`add_plain`), and of all others."""
    plain: list[Row] = []
    others: list[Row] = []
    for number, queue_id, priority, visible_at, ttl_ms, group, copies, content in messages:
        first, published_at, expires_at, exchange, routing_key, properties, deaths, body = content
        size = len(body)
        bound = bytearray(body) if size <= _COPIED_BYTES else body
        shared = copies > 1 and size >= SHARED_BYTES
        if shared or visible_at or expires_at or ttl_ms or group or deaths:
            row = (number, queue_id, priority, size, published_at, visible_at, expires_at, ttl_ms, group)
            body_id, bound = (first, b"") if shared else (0, bound)
            others.append((*row, first, body_id, exchange, routing_key, properties, deaths, bound))
        else:
            plain.append(
                (number, queue_id, priority, size, published_at, first, exchange, routing_key, properties, bound)
            )
    return plain, others


def runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as runs from-to, in order. What was published together is mostly acknowledged together."""
    runs: list[tuple[int, int]] = []
    low = high = -1
    for number in sorted(numbers):
        if number != high + 1:
            if low >= 0:
                runs.append((low, high))
            low = number
        high = number
    if low >= 0:
        runs.append((low, high))
    return runs


def body_rows(messages: Iterable[NewMessage]) -> list[Row]:
    """The bodies that several of the new messages share, each once."""
    return [
        (message.number, message.copies, message.content.body)
        for message in messages
        if message.number == message.content.first and _is_shared(message)
    ]


def lease_row(lease: Lease) -> Row:
    """A lease's columns, as it stands now."""
    untils = [message.until if message.state is LEASED else 0 for message in lease.held.values()]
    same = untils.count(untils[0]) == len(untils)
    members = array("q", lease.held)
    return (
        lease.number,
        lease.queue_id,
        lease.consumer,
        untils[0] if same else 0,
        bytearray(members),
        bytearray() if same else bytearray(array("q", untils)),
    )


def read_lease(row: Row) -> LeaseRow:
    """The lease of a row."""
    number, queue_id, consumer, until, members, untils = row
    numbers = array("q", members)
    return LeaseRow(number, queue_id, consumer, numbers, array("q", untils) or array("q", [until] * len(numbers)))


def read_messages(connection: sqlite3.Connection) -> Iterator[MessageRow]:
    """What the machine needs of every message, by number; without those that were purged."""
    gone = read_reclaims(connection)
    messages = map(MessageRow._make, connection.execute(SQL["get_messages"]))
    return messages if not gone else (row for row in messages if not _is_gone(gone.get(row.queue_id, ()), row.number))


def _is_gone(runs: Sequence[tuple[int, int]], number: int) -> bool:
    at = bisect_right(runs, number, key=lambda run: run[0])
    return at > 0 and number <= runs[at - 1][1]


def read_reclaims(connection: sqlite3.Connection) -> dict[int, list[tuple[int, int]]]:
    """The numbers that are gone from each queue though their rows may be there: runs from-to, in order."""
    gone: dict[int, list[tuple[int, int]]] = {}
    for queue_id, next_id, runs in connection.execute(SQL["get_reclaims"]):
        numbers = array("q", runs)
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        gone.setdefault(queue_id, []).extend((low, high) for low, high in pairs if high >= next_id)
    return {queue_id: sorted(runs) for queue_id, runs in gone.items()}


def read_record(row: Row) -> Recorded:
    """The idempotency record of a row."""
    return Recorded._make(row)


def read_content(row: Row) -> Content:
    """The content of a row of `get_content`, whose first column is the number."""
    return Content._make(row[1:])


def token_row(token: Token) -> Row:
    """A token's columns."""
    permissions = orjson.dumps(asdict(token.permissions)).decode()
    return token.id, token.name, token.digest, permissions, token.created_at, token.expires_at, token.last_used_at


def read_token(row: Row) -> Token:
    """The token of a row."""
    id_, name, digest, permissions, *moments = row
    given = orjson.loads(permissions)
    return Token(id_, name, digest, Permissions(**given | {name: tuple(given[name]) for name in NAMED}), *moments)
