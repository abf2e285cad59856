"""One client's connection: uvicorn's own, with patience that ends and refusals in our words.

uvicorn waits without end for a request that a client has begun, and takes heads of
any size. Here a request must come at a rate that a real client has, or
its connection is closed, and what cannot be parsed is answered as a problem.

A client that would rather speak HTTP/2 says so in its first request (`Upgrade: h2c`:
curl --http2 and Java's client do). A server may go on in HTTP/1.1, and we do; but
the parser takes what follows the head for that other protocol, and uvicorn would pass
on the request without its body. So here the parser is begun anew at the body.
"""

import asyncio
import functools
import uuid
from typing import Any, Final

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from queuesvc.domain.errors import Code, Refused
from queuesvc.http.data.wire import REQUEST_ID
from queuesvc.http.problems import render, send_problem
from queuesvc.http.request import malformed

HEAD_BYTES: Final = 64 * 1024
"""The most that a request's line and headers may be: four times what a message's headers may."""

LARGE_HEAD: Final = f"the request's line and headers are larger than {HEAD_BYTES} bytes"

SLOWEST_BYTES_PER_SECOND: Final = 1024


FRAMING: Final = (b"content-length", b"transfer-encoding")


class Connection(HttpToolsProtocol):
    """A connection that gives up on a request of which less than 1 KiB a second comes in.

    It looks every `patience_seconds`. A connection on which nothing was asked yet has as long
    to begin. Waiting for our own answer, or for us to take what was sent, is no fault of the client.
    """

    def __init__(self, *args: Any, patience_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience_seconds = patience_seconds
        self.reading = True
        self.in_head = True
        self.head_bytes = 0
        self.window_bytes = 0
        self.refusal = "not an HTTP request"
        self.timer: asyncio.TimerHandle | None = None
        self.served: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is here: it has to say something soon."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. Of pipelined requests uvicorn tells only the newest: we tell the one that is served."""
        self._stop_timer()
        super().connection_lost(exc)
        if self.served is not None and not self.served.response_complete:
            self.served.disconnected = True
            self.served.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Some of a request, or several at once."""
        if self.in_head:
            self.head_bytes += len(data)
        self.window_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self.in_head and self.head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(LARGE_HEAD)
        if not self.reading:
            self._stop_timer()
        elif self.timer is None:
            self._start_timer()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.reading = self.in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.in_head = False
        if self.head_bytes > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self.refusal = LARGE_HEAD
            raise ValueError(self.refusal)  # ends the parsing
        self.head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request is there."""
        self.reading = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, and close."""
        status, headers, body = render(malformed(msg))
        headers = [*self.server_state.default_headers, *headers]
        headers += [(b"x-request-id", uuid.uuid4().hex.encode()), (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.served = cycle
        super()._start_asgi_task(cycle, functools.partial(_serve, app, cycle))

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError:
                self.send_400_response(self.refusal)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if not self._stay_in_http():
                    return

    def _stay_in_http(self) -> bool:
        """Begin the parser anew behind the head of a request that asked for another protocol."""
        method = self.scope["method"].encode()
        if method == b"CONNECT":
            self.send_400_response("this is no proxy")
            return False
        framing = [name + b": " + value + b"\r\n" for name, value in self.headers if name in FRAMING]
        callbacks = AfterHead(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        self.parser.feed_data(b"".join([method, b" / HTTP/1.1\r\n", *framing, b"\r\n"]))
        if callbacks.in_body:
            # We were told of an end that was none. The app has not run since: its task was made just now.
            self.reading = self.cycle.more_body = True
        callbacks.live = True
        return True

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _start_timer(self) -> None:
        self.window_bytes = 0
        self.timer = self.loop.call_later(self.patience_seconds, self._look)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _look(self) -> None:
        waits_for_us = self.flow.read_paused
        if not waits_for_us and self.window_bytes < SLOWEST_BYTES_PER_SECOND * self.patience_seconds:
            self.timer = None
            self.transport.close()
        else:
            self._start_timer()


async def _serve(app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app. Where the server's end comes first, the client is told so, if it can still be told anything."""
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise
        if not cycle.response_started and not cycle.flow.write_paused:
            refused = Refused(Code.UNAVAILABLE, "the broker is shutting down", retry_after_seconds=1)
            await send_problem(send, refused, (scope[REQUEST_ID],) if REQUEST_ID in scope else ())
        cycle.disconnected = True
        cycle.transport.close()


class AfterHead:
    """What a parser begun anew tells of: nothing of the head that it was fed (`live` is false), then all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.live = False
        self.in_body = False

    def on_message_begin(self) -> None:
        """The next request."""
        if self.live:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Some of its address."""
        if self.live:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        if self.live:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        """The end of a head."""
        if self.live:
            self._connection.on_headers_complete()
        self.in_body = True

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self._connection.on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        if self.live:
            self._connection.on_message_complete()
        self.in_body = False
