"""`POST /v1/queues/{q}/ack`, `/nack` and `/extend`: settle leases by their receipts (§6)."""

from collections.abc import Mapping
from typing import Any, Final

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Ack, Extend, Nack
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.replies import Settled
from queuesvc.http import request
from queuesvc.http.data import render, values
from queuesvc.http.data.wire import Answer, Begun, Request, json_answer, refuse_encoded
from queuesvc.http.times import rfc3339

REASON_BYTES: Final = 1024
"""The longest reason that a nack may give. It travels with the message."""

ACK: Final = frozenset({"receipts"})
NACK: Final = frozenset({"receipts", "requeue", "delay_seconds", "reason", "delivery_failed"})
_EXTEND: Final = frozenset({"receipts", "lease_seconds"})


class Settling:
    """Settles leases of queues."""

    def __init__(self, broker: Broker, limits: Limits) -> None:
        self._broker = broker
        self._limits = limits

    def ack(self, queue: str, asked: Request) -> Begun:
        """200 `{"acked", "failed"}`."""
        receipts = self._receipts(self._fields(asked, ACK))
        return self._broker.submit(Ack(queue, receipts)), _acked

    def nack(self, queue: str, asked: Request) -> Begun:
        """200 `{"nacked", "failed"}`."""
        fields = self._fields(asked, NACK)
        receipts = self._receipts(fields)
        return self._broker.submit(nack(queue, receipts, fields, self._limits)), _nacked

    def extend(self, queue: str, asked: Request) -> Begun:
        """200 `{"extended", "lease_expires_at", "failed"}`."""
        fields = self._fields(asked, _EXTEND)
        receipts = self._receipts(fields)
        lease = fields.get("lease_seconds")
        if lease is None:
            raise invalid("lease_seconds", "must be given")
        return self._broker.submit(Extend(queue, receipts, values.lease_ms(lease))), _extended

    def _fields(self, asked: Request, known: frozenset[str]) -> dict[str, Any]:
        if asked.query:
            request.parse_query(asked.query, {})
        refuse_encoded(asked.headers)
        fields = request.parse_object(asked.body)
        values.refuse_unknown(fields, known)
        return fields

    def _receipts(self, fields: dict[str, Any]) -> tuple[str, ...]:
        return values.receipts(fields.get("receipts"), "receipts", self._limits.receive_messages)


def _acked(settled: Settled) -> Answer:
    return json_answer(200, b'{"acked":%d,"failed":%b}' % (settled.count, render.failures(settled.failed)))


def _nacked(settled: Settled) -> Answer:
    return json_answer(200, b'{"nacked":%d,"failed":%b}' % (settled.count, render.failures(settled.failed)))


def _extended(settled: Settled) -> Answer:
    until = b'"%b"' % rfc3339(settled.lease_expires_at).encode() if settled.lease_expires_at else b"null"
    answer = b'{"extended":%d,"lease_expires_at":%b,"failed":%b}'
    return json_answer(200, answer % (settled.count, until, render.failures(settled.failed)))


def nack(queue: str, receipts: tuple[str, ...], fields: Mapping[str, Any], limits: Limits) -> Nack:
    """The command of a nack with these options (`NACK`). Raises `invalid-request`."""
    requeue, delay, reason, failed = map(fields.get, ("requeue", "delay_seconds", "reason", "delivery_failed"))
    return Nack(
        queue,
        receipts,
        True if requeue is None else values.boolean(requeue, "requeue"),
        None if delay is None else values.milliseconds(delay, "delay_seconds", 0, limits.delay_seconds),
        None if reason is None else _reason(reason),
        True if failed is None else values.boolean(failed, "delivery_failed"),
    )


def _reason(value: object) -> str:
    if type(value) is not str:
        raise invalid("reason", "must be a string")
    if len(value.encode()) > REASON_BYTES:
        raise invalid("reason", f"must be at most {REASON_BYTES} bytes of UTF-8")
    return value
