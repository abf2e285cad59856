"""`POST /v1/queues/{q}/receive`: long poll, lease, answer; nothing is leased to a client that has left (§5)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Ack, Receive
from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.replies import Received, Settled
from queuesvc.http import request
from queuesvc.http.data import render, values
from queuesvc.http.data.interruption import Departure
from queuesvc.http.data.wire import Answer, Begun, Request, json_answer, refuse_encoded
from queuesvc.http.rates import Rates, until

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

    def __init__(self, broker: Broker, limits: Limits, rates: Rates | None) -> None:
        self._broker = broker
        self._rates = rates
        self._limits = limits
        # Consumers ask the same again and again.
        self._options: dict[tuple[bytes, bytes], Options] = {}
        self._accepts: dict[bytes, bool] = {}

    def receive(self, queue: str, asked: Request) -> Begun:
        """200 with messages, perhaps none; in raw mode one message's body, or 204."""
        raw = self._wants_raw(asked.headers)
        refuse_encoded(asked.headers)
        options = self._read(asked.query, asked.body)
        command = Receive(
            queue, options.max_messages, options.lease_ms, options.consumer, options.auto_ack, asked.grant.id
        )
        if raw:
            _check_raw(options)
        end = self._rates.wait(asked.grant) if self._rates is not None and options.wait_ms else None
        work: Awaitable[Any]
        make_answer: Callable[[str, Any], Answer]
        try:
            if options.ack is not None:
                work, make_answer = self._acknowledge(options.ack, command, options.wait_ms, asked), self._acknowledged
            else:
                work, make_answer = self._wait(command, options.wait_ms, asked), self._raw if raw else self._json
        except Refused:
            if end is not None:
                end()
            raise
        return work if end is None else until(end, work), partial(make_answer, queue)

    def _acknowledge(
        self, receipts: tuple[str, ...], command: Receive, wait_ms: int, asked: Request
    ) -> Awaitable[tuple[Received, Settled]]:
        """Acknowledge, then receive, in one commit where that loses nothing. Raises what refuses either."""
        # It goes into the broker's line here, so ahead of the receive.
        acknowledged = self._broker.submit(Ack(command.queue, receipts))
        if command.auto_ack:
            return self._receive_after(acknowledged, command, wait_ms, asked)
        return self._with(acknowledged, command, wait_ms, asked)

    def _wait(self, command: Receive, wait_ms: int, asked: Request) -> asyncio.Future[Received]:
        """The broker's answer. Raises `ClientGone` where the client left meanwhile: then nothing is leased."""
        received = self._broker.wait(command, wait_ms)
        if wait_ms:
            Departure(asked, received)
        return received

    async def _receive_after(
        self, acknowledged: asyncio.Future[Any], command: Receive, wait_ms: int, asked: Request
    ) -> tuple[Received, Settled]:
        """Messages are gone once received so: not before it is certain that the call is a good one."""
        try:
            settled: Settled = await acknowledged
        except Refused as refused:
            raise _of_ack(refused) from None
        return await self._wait(command, wait_ms, asked), settled

    def _with(
        self, acknowledged: asyncio.Future[Any], command: Receive, wait_ms: int, asked: Request
    ) -> asyncio.Future[tuple[Received, Settled]]:
        """Both. Where either is refused, or the client leaves, nothing is leased."""
        received = self._broker.wait(command, wait_ms)
        both: asyncio.Future[tuple[Received, Settled]] = asyncio.get_running_loop().create_future()

        def one_is_done(one: asyncio.Future[Any]) -> None:
            """The first refusal is that of both."""
            error = None if one.cancelled() else one.exception()
            if both.done():
                return
            if error is not None:
                both.set_exception(_of_ack(error) if one is acknowledged and isinstance(error, Refused) else error)
            elif acknowledged.done() and received.done():
                both.set_result((received.result(), acknowledged.result()))

        def both_are_done(_: asyncio.Future[Any]) -> None:
            """Where it was refused, or the client left, nothing is received."""
            if both.cancelled() or both.exception() is not None:
                if not received.done():
                    received.cancel()
                elif not received.cancelled() and received.exception() is None:
                    self._take_back(command.queue, received.result())

        acknowledged.add_done_callback(one_is_done)
        received.add_done_callback(one_is_done)
        both.add_done_callback(both_are_done)
        Departure(asked, both)
        return both

    def _unsent(self, queue: str, received: Received) -> Callable[[], None] | None:
        """What takes the messages back if their answer cannot be written."""
        return partial(self._take_back, queue, received) if received.lease else None

    def _take_back(self, queue: str, received: Received) -> None:
        if received.lease:
            # (Where the store cannot write any more, the lease runs out by itself.)
            with suppress(Refused):
                self._broker.undeliver(queue, received.lease)

    def _json(self, queue: str, received: Received) -> Answer:
        answer = b'{"messages":%b}' % render.messages(received, self._broker.ids)
        return json_answer(200, answer, self._unsent(queue, received))

    def _acknowledged(self, queue: str, both: tuple[Received, Settled]) -> Answer:
        received, settled = both
        messages, failed = render.messages(received, self._broker.ids), render.failures(settled.failed)
        answer = b'{"messages":%b,"acked":%d,"failed":%b}' % (messages, settled.count, failed)
        return json_answer(200, answer, self._unsent(queue, received))

    def _raw(self, queue: str, received: Received) -> Answer:
        if not received.deliveries:
            return Answer(204, [], b"")
        delivery = received.deliveries[0]
        head = render.raw_head(received, delivery, self._broker.ids)
        return Answer(200, head, delivery.content.body, self._unsent(queue, received))

    def _wants_raw(self, headers: request.Pairs) -> bool:
        accept = request.header(headers, b"accept")
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
