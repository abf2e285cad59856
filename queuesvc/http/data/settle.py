"""`POST /v1/queues/{q}/ack`, `/nack` and `/extend`: settle leases by their receipts (§6)."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Ack, Extend, Nack
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import Limits
from queuesvc.http import request
from queuesvc.http.data import render, values
from queuesvc.http.data.wire import refuse_encoded, send_json
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

    async def ack(self, queue: str, scope: Scope, receive: Receive, send: Send) -> None:
        """200 `{"acked", "failed"}`."""
        fields = await self._fields(scope, receive, ACK)
        settled: Any = await self._broker.submit(Ack(queue, self._receipts(fields)))
        failed = render.failures(settled.failed)
        await send_json(scope, send, 200, b'{"acked":%d,"failed":%b}' % (settled.count, failed))

    async def nack(self, queue: str, scope: Scope, receive: Receive, send: Send) -> None:
        """200 `{"nacked", "failed"}`."""
        fields = await self._fields(scope, receive, NACK)
        receipts = self._receipts(fields)
        settled: Any = await self._broker.submit(nack(queue, receipts, fields, self._limits))
        failures = render.failures(settled.failed)
        await send_json(scope, send, 200, b'{"nacked":%d,"failed":%b}' % (settled.count, failures))

    async def extend(self, queue: str, scope: Scope, receive: Receive, send: Send) -> None:
        """200 `{"extended", "lease_expires_at", "failed"}`."""
        fields = await self._fields(scope, receive, _EXTEND)
        receipts = self._receipts(fields)
        lease = fields.get("lease_seconds")
        if lease is None:
            raise invalid("lease_seconds", "must be given")
        settled: Any = await self._broker.submit(Extend(queue, receipts, values.lease_ms(lease)))
        until = b'"%b"' % rfc3339(settled.lease_expires_at).encode() if settled.lease_expires_at else b"null"
        failed = render.failures(settled.failed)
        answer = b'{"extended":%d,"lease_expires_at":%b,"failed":%b}' % (settled.count, until, failed)
        await send_json(scope, send, 200, answer)

    async def _fields(self, scope: Scope, receive: Receive, known: frozenset[str]) -> dict[str, Any]:
        if scope["query_string"]:
            request.parse_query(scope["query_string"], {})
        refuse_encoded(scope)
        body = await request.read_body(scope, receive, self._limits.request_bytes)
        fields = request.parse_object(body)
        values.refuse_unknown(fields, known)
        return fields

    def _receipts(self, fields: dict[str, Any]) -> tuple[str, ...]:
        return values.receipts(fields.get("receipts"), "receipts", self._limits.receive_messages)


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
