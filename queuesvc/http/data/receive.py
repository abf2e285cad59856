"""`POST /v1/queues/{q}/receive`: long poll, lease, answer; nothing is leased to a client that has left (§5)."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from starlette.types import Receive as AsgiReceive
from starlette.types import Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Ack, Receive
from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.replies import Received, Settled
from queuesvc.http import request
from queuesvc.http.data import render, values
from queuesvc.http.data.disconnect import Client, Interruption
from queuesvc.http.data.wire import PIECE_BYTES, Pairs, json_head, refuse_encoded, send_bytes

QUERY: Final[Mapping[str, request.Kind]] = {
    "max_messages": request.integer,
    "wait_seconds": request.number,
    "lease_seconds": request.number,
    "consumer": request.text,
    "auto_ack": request.boolean,
}
FIELDS: Final = frozenset({*QUERY, "ack"})

JSON: Final = "application/json"
RAW: Final = "application/octet-stream"
KEPT_OPTIONS: Final = 1024
KEPT_OPTION_BYTES: Final = 512
KEPT_ACCEPTS: Final = 256


class Options(NamedTuple):
    """What a receive asks for, checked."""

    max_messages: int = 1
    wait_ms: int = 0
    lease_ms: int | None = None
    consumer: str = ""
    auto_ack: bool = False
    ack: tuple[str, ...] | None = None


class Receiving:
    """Hands out messages of queues."""

    def __init__(self, broker: Broker, limits: Limits) -> None:
        self._broker = broker
        self._limits = limits
        # Consumers ask the same again and again.
        self._options: dict[tuple[bytes, bytes], Options] = {}
        self._accepts: dict[bytes, bool] = {}

    async def receive(self, queue: str, scope: Scope, receive: AsgiReceive, send: Send) -> None:
        """200 with messages, perhaps none; in raw mode one message's body, or 204."""
        raw = self._wants_raw(scope)
        refuse_encoded(scope)
        body = await request.read_body(scope, receive, self._limits.request_bytes)
        options = self._read(scope["query_string"], body)
        if raw:
            _check_raw(options)
        client = Client(receive)
        command = Receive(queue, options.max_messages, options.lease_ms, options.consumer, options.auto_ack)
        settled: Settled | None = None
        if options.ack is not None:
            received, settled = await self._acknowledge_and_wait(Ack(queue, options.ack), command, options, receive)
        elif options.wait_ms:
            received = await self._wait(command, options.wait_ms, Interruption(receive))
        else:
            received = await self._broker.receive(command, 0)
        if received is None:
            return
        status, head, answer = self._raw(received) if raw else self._json(received, settled)
        # From this look to the writing of the answer (or its first piece) nothing else runs.
        if client.gone():
            await self._take_back(queue, received)
            return
        await send_bytes(scope, send, status, head, answer)
        if len(answer) > PIECE_BYTES and client.gone():
            # It went out in pieces, and the client left before the end.
            await self._take_back(queue, received)

    async def _wait(self, command: Receive, wait_ms: int, interruption: Interruption) -> Received | None:
        """The broker's answer, or None where the wait was interrupted: then nothing is leased."""
        try:
            received: Received = await self._broker.receive(command, wait_ms)
            return received
        except asyncio.CancelledError:
            if interruption.forgive():
                return None
            raise
        finally:
            interruption.stop()

    async def _acknowledge_and_wait(
        self, ack: Ack, command: Receive, options: Options, receive: AsgiReceive
    ) -> tuple[Received | None, Settled | None]:
        """Acknowledge, then receive, in one commit where that loses nothing. Raises what refuses either."""
        if command.auto_ack:
            # Messages are gone once received so: not before it is certain that the call is a good one.
            try:
                first: Any = await self._broker.submit(ack)
            except Refused as refused:
                raise _of_ack(refused) from None
            return await self._wait(command, options.wait_ms, Interruption(receive)), first
        # It goes into the broker's line here, so ahead of the receive.
        acknowledged = self._broker.submit(ack)
        interruption = Interruption(receive)

        def give_up_if_refused(future: asyncio.Future[Any]) -> None:
            """Nothing is received where the receipts were no good."""
            if future.cancelled() or future.exception() is not None:
                interruption.now()

        acknowledged.add_done_callback(give_up_if_refused)
        received = await self._wait(command, options.wait_ms, interruption)
        if received is None and not acknowledged.done():
            return None, None  # the client left
        try:
            settled: Any = await acknowledged
        except Refused as refused:
            if received is not None:
                await self._take_back(command.queue, received)
            raise _of_ack(refused) from None
        return received, settled

    async def _take_back(self, queue: str, received: Received) -> None:
        if received.lease and received.deliveries:
            try:
                await self._broker.undeliver(queue, received.lease)
            except Refused:
                # The queue is gone, or the store cannot write: then the lease runs out by itself.
                return

    def _json(self, received: Received, settled: Settled | None) -> tuple[int, Pairs, bytes]:
        messages = render.messages(received, self._broker.ids)
        if settled is None:
            answer = b'{"messages":%b}' % messages
        else:
            failed = render.failures(settled.failed)
            answer = b'{"messages":%b,"acked":%d,"failed":%b}' % (messages, settled.count, failed)
        return 200, json_head(answer), answer

    def _raw(self, received: Received) -> tuple[int, Pairs, bytes]:
        if not received.deliveries:
            return 204, [], b""
        delivery = received.deliveries[0]
        return 200, render.raw_head(received, delivery, self._broker.ids), delivery.content.body

    def _wants_raw(self, scope: Scope) -> bool:
        accept = request.header(scope, b"accept")
        if accept is None or accept == b"*/*":
            return False
        raw = self._accepts.get(accept)
        if raw is None:
            raw = request.negotiate(accept, (JSON, RAW)) == RAW
            if len(self._accepts) >= KEPT_ACCEPTS:
                self._accepts.clear()
            self._accepts[accept] = raw
        return raw

    def _read(self, query: bytes, body: bytes) -> Options:
        asked = (query, body)
        options = self._options.get(asked)
        if options is None:
            options = self._parse(query, body)
            if options.ack is None and len(query) + len(body) <= KEPT_OPTION_BYTES:
                if len(self._options) >= KEPT_OPTIONS:
                    self._options.clear()
                self._options[asked] = options
        return options

    def _parse(self, query: bytes, body: bytes) -> Options:
        fields = request.parse_object(body)
        values.refuse_unknown(fields, FIELDS)
        get = values.merged(request.parse_query(query, QUERY), fields).get
        limits = self._limits
        count, wait, lease, consumer, auto_ack, ack = map(
            get, ("max_messages", "wait_seconds", "lease_seconds", "consumer", "auto_ack", "ack")
        )
        return Options(
            1 if count is None else values.integer(count, "max_messages", 1, limits.receive_messages),
            0 if wait is None else values.milliseconds(wait, "wait_seconds", 0, limits.wait_seconds),
            None if lease is None else values.lease_ms(lease),
            "" if consumer is None else values.text(consumer, "consumer"),
            False if auto_ack is None else values.boolean(auto_ack, "auto_ack"),
            None if ack is None else values.receipts(ack, "ack", limits.receive_messages),
        )


def _of_ack(refused: Refused) -> Refused:
    """The same refusal of receipts, which are called `ack` here."""
    if refused.extra.get("field") != "receipts":
        return refused
    more = {**refused.extra, "field": "ack"}
    return Refused(refused.code, f"ack{refused.detail.removeprefix('receipts')}", **more)


def _check_raw(options: Options) -> None:
    if options.max_messages > 1:
        raise invalid("max_messages", f"must be 1 where {RAW} is asked for")
    if options.ack is not None:
        raise invalid("ack", f"cannot be given where {RAW} is asked for")
