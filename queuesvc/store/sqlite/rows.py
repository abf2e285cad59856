"""Between the machine's values and the tables' columns."""

import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import orjson

from queuesvc.domain.effects import NewMessage
from queuesvc.domain.machine.restore import LeaseRow, MessageRow
from queuesvc.domain.messages import LEASED, Lease
from queuesvc.domain.model import Binding, Content, Exchange, ExchangeType, Overflow, QueueSettings, RetryBackoff
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


def message_rows(messages: Iterable[NewMessage]) -> Iterator[Row]:
    """The columns of new messages."""
    for message in messages:
        envelope = message.envelope
        body = envelope.body
        size = len(body)
        body_id = message.first if message.copies > 1 and size >= SHARED_BYTES else 0
        yield (
            message.number,
            message.queue_id,
            message.priority,
            size,
            message.published_at,
            message.visible_at,
            message.expires_at,
            message.first,
            body_id,
            envelope.group,
            message.exchange,
            message.routing_key,
            envelope.properties,
            b"" if body_id else body if size > _COPIED_BYTES else bytearray(body),
        )


def body_rows(messages: Iterable[NewMessage]) -> list[Row]:
    """The bodies that several of the new messages share, each once."""
    return [
        (message.first, message.copies, message.envelope.body)
        for message in messages
        if message.copies > 1 and message.number == message.first and len(message.envelope.body) >= SHARED_BYTES
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
    """What the machine needs of every message, by number."""
    return map(MessageRow._make, connection.execute(SQL["get_messages"]))


def read_content(row: Row) -> Content:
    """The content of a row of `get_content`, whose first column is the number."""
    return Content._make(row[1:])
