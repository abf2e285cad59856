"""One client's connection: uvicorn's own, with patience that ends, refusals in our words and a short way.

uvicorn waits without end for a request that a client has begun, and takes heads of
any size. Here a request must come at a rate that a real client has, or
its connection is closed, and what cannot be parsed is answered as a problem.

A plain request of the data plane's takes the short way (`direct.py`); any other is the ASGI app's, on the
same connection. Requests are answered one after the other: one that was pipelined behind another is
begun when that one is answered, and none while the client does not read its answers.

A client that would rather speak HTTP/2 says so in its first request (`Upgrade: h2c`:
curl --http2 and Java's client do). A server may go on in HTTP/1.1, and we do; but
the parser takes what follows the head for that other protocol, and uvicorn would pass
on the request without its body. So here the parser is begun anew at the body.
"""

import asyncio
import functools
import math
import uuid
from typing import Any, Final

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from queuesvc.http.direct import Direct, Edge
from queuesvc.http.guard import HEADERS as OF_BROWSERS
from queuesvc.http.problems import render, send_problem, shutting_down
from queuesvc.http.request import malformed
from queuesvc.http.request_ids import REQUEST_ID

HEAD_BYTES: Final = 64 * 1024
"""The most that a request's line and headers may be: four times what a message's headers may."""

LARGE_HEAD: Final = f"the request's line and headers are larger than {HEAD_BYTES} bytes"

SLOWEST_BYTES_PER_SECOND: Final = 1024


FRAMING: Final = (b"content-length", b"transfer-encoding")

PIPELINED_MOST: Final = 16
"""So many requests may wait behind the one that is served before no more are read."""

NOT_PLAIN: Final = frozenset({b"connection", b"expect", b"transfer-encoding", b"upgrade", *OF_BROWSERS})
"""With one of these headers there is more to a request than a head and a body of a known length."""


KEEP_ALIVE: Final = (b"connection", b"keep-alive")
"""But this says only what goes without saying."""


class Connection(HttpToolsProtocol):
    """A connection that gives up on a request of which less than 1 KiB a second comes in.

    It looks every `patience_seconds`. A connection on which nothing was asked yet has as long
    to begin. Waiting for our own answer, or for us to take what was sent, is no fault of the client.
    Without an `edge` every request is the ASGI app's.
    """

    def __init__(self, *args: Any, patience_seconds: float, edge: Edge | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience_seconds = patience_seconds
        self.edge = edge
        self.reading = True
        self.in_head = True
        self.plain = True
        self.host: bytes | None = None
        self.known_host: bytes | None = None
        """the last `Host` that was found to be ours: it hardly ever changes"""
        self.declared_bytes = b"0"
        self.head_bytes = 0
        self.window_bytes = 0
        self.refusal = "not an HTTP request"
        self.refusal_due = False
        self.timer: asyncio.TimerHandle | None = None
        self.idle_since = math.inf
        self.served: Any = None
        """the request whose turn it is: uvicorn's cycle or a `Direct`"""
        self.held: tuple[Any, Any] | None = None
        """`served`, and the app that it is for, until the client reads"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is here: it has to say something soon."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. Of pipelined requests uvicorn tells only the newest: we tell the one that is served."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        if isinstance(self.cycle, Direct):
            self.cycle = None
        super().connection_lost(exc)
        if self.served is None or self.served.response_complete:
            return
        if isinstance(self.served, Direct):
            self.served.lose()
        else:
            self.served.disconnected = True
            self.served.message_event.set()

    def cut_off(self) -> None:
        """The server's end has come. (uvicorn has told those that are the ASGI app's.)"""
        if isinstance(self.served, Direct):
            self.served.cut_off()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self.held is not None:
            held, self.held = self.held, None
            self._start_asgi_task(*held)
        elif isinstance(self.served, Direct):
            self.served.go_on()

    def data_received(self, data: bytes) -> None:
        """Some of a request, or several at once."""
        if self.refusal_due:
            return
        if self.in_head:
            self.head_bytes += len(data)
        self.window_bytes += len(data)
        self.idle_since = math.inf
        self._parse(data)
        if self.in_head and self.head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(LARGE_HEAD)
        if not self.reading:
            self._stop_timer()
        elif self.timer is None:
            self._start_timer()

    # --- what the parser tells --------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.reading = self.in_head = self.plain = True
        self.declared_bytes = b"0"
        self.host = None
        self.expect_100_continue = False
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        name = name.lower()
        self.headers.append((name, value))
        if name == b"content-length":
            self.declared_bytes = value
        elif name == b"host":
            self.plain = self.plain and self.host is None
            self.host = value
        elif name in NOT_PLAIN and (name, value.lower()) != KEEP_ALIVE:
            self.plain = False
            self.expect_100_continue = self.expect_100_continue or value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self.head_bytes > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self.refusal = LARGE_HEAD
            raise ValueError(self.refusal)  # ends the parsing
        if self.parser.get_method() == b"CONNECT":
            self.refusal = "this is no proxy"
            raise ValueError(self.refusal)
        direct = self._direct() if self.plain and self.edge is not None else None
        if direct is None:
            self._make_scope()
            super().on_headers_complete()
        else:
            before, self.cycle = self.cycle, direct
            if before is None or before.response_complete:
                self._start_asgi_task(direct, self.app)
            else:
                self.pipeline.appendleft((direct, self.app))
        # While there is room for more we read on, for only one who reads learns that the client has left.
        if len(self.pipeline) >= PIPELINED_MOST:
            self.flow.pause_reading()
        elif self.pipeline:
            self.flow.resume_reading()
        self.in_head = False
        self.head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        if isinstance(self.cycle, Direct):
            self.cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of a request is there."""
        self.reading = False
        if not isinstance(self.cycle, Direct):
            super().on_message_complete()
            return
        self.cycle.end()
        if self.cycle is self.served:
            self.cycle.go_on()

    def on_response_complete(self) -> None:
        """A request is answered: the next one's turn, or that of a refusal that had to wait."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.refusal_due:
            self.send_400_response(self.refusal)
            return
        self.flow.resume_reading()
        # One timer for as long as requests keep coming, rather than one for each.
        self.idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing was asked for long; else look again when that may be."""
        self.timeout_keep_alive_task = None
        if self.idle_since == math.inf:
            return  # the next answer starts it again
        rest = self.idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self.timeout_keep_alive_task = self.loop.call_later(rest, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    # --- from head to app -------------------------------------------------------------

    def _direct(self) -> Any:
        """The request whose head was read, if it may take the short way: a `Direct`, where uvicorn has its cycle."""
        assert self.edge is not None
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return None
        if int(self.declared_bytes) > self.edge.plane.always_bytes:
            return None
        if self.host is None or (self.host != self.known_host and not self._is_for_us(self.host)):
            return None  # the app says what is wrong with it
        found = self.edge.find(self.url)
        return None if found is None else Direct(self, self.edge, *found, self.headers)

    def _is_for_us(self, host: bytes) -> bool:
        assert self.edge is not None
        known = self.edge.guard.knows(host)
        if known:
            self.known_host = host
        return known

    def _make_scope(self) -> None:
        """What uvicorn makes for each request when it begins, and only those need that are the ASGI app's."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.served = cycle
        if isinstance(cycle, Direct):
            cycle.go_on()
        elif self.flow.write_paused:
            self.held = cycle, app
        else:
            super()._start_asgi_task(cycle, functools.partial(_serve, app, cycle))

    # --- refusals ---------------------------------------------------------------------

    def _refuse(self, why: str) -> None:
        """Answer what is not HTTP with a problem, after the answers that are owed, and close."""
        self.refusal = why
        broken = self.cycle if self.reading and not self.in_head else None
        if self.served is None or self.served is broken or self.served.response_complete:
            self.send_400_response(why)
            return
        if broken is not None:
            self.pipeline.popleft()
        self.refusal_due = True
        self.reading = False

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, and close."""
        status, headers, body = render(malformed(msg))
        headers = [*self.server_state.default_headers, *headers]
        headers += [(b"x-request-id", uuid.uuid4().hex.encode()), (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError:
                self._refuse(self.refusal)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._stay_in_http()

    def _stay_in_http(self) -> None:
        """Begin the parser anew behind the head of a request that asked for another protocol."""
        method = self.scope["method"].encode()
        framing = [name + b": " + value + b"\r\n" for name, value in self.headers if name in FRAMING]
        callbacks = AfterHead(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        self.parser.feed_data(b"".join([method, b" / HTTP/1.1\r\n", *framing, b"\r\n"]))
        if callbacks.in_body:
            # We were told of an end that was none. The app has not run since: its task was made just now.
            self.reading = self.cycle.more_body = True
        callbacks.live = True

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
            await send_problem(send, shutting_down(), (scope[REQUEST_ID],) if REQUEST_ID in scope else ())
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
