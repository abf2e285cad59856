"""One client's connection: uvicorn's own, with patience that ends, refusals in our words and a short way.

uvicorn waits without end for a request that a client has begun and for one that reads nothing, and takes
heads of any size. Here a request must come, and an answer be read, at a rate that a real client has, or the
connection is closed; what all of them hold in memory is bounded (`held.py`); what cannot be
parsed, or could be understood in two ways, is answered as a problem.

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
from typing import Any, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from queuesvc.domain.errors import Code, Refused
from queuesvc.http.after_head import parser_after_head
from queuesvc.http.direct import Direct, Edge
from queuesvc.http.guard import HEADERS as OF_BROWSERS
from queuesvc.http.held import Held
from queuesvc.http.patience import Patience
from queuesvc.http.problems import render
from queuesvc.http.request import malformed
from queuesvc.http.serving import serve
from queuesvc.http.strict import unfit

HEAD_BYTES: Final = 64 * 1024
"""The most that a request's line and headers may be: four times what a message's headers may."""

LARGE_HEAD: Final = f"the request's line and headers are larger than {HEAD_BYTES} bytes"

FRAMING_BYTES: Final = 64 * 1024
"""So much more than twice its body's bytes may a request's chunks, extensions and trailers be."""

ENDLESS_FRAMING: Final = "there is more to the chunks of this body than there is in them"

UNREAD_BYTES: Final = 16 * 1024 * 1024
"""How much of a body is read to no end, once its request was answered, before the connection is closed."""

SMALL_BYTES: Final = 64 * 1024
"""What a connection may hold without its being counted, so that small requests have room when large ones have none."""

PIPELINED_MOST: Final = 16
"""So many requests may wait behind the one that is served before no more are read."""

NOT_PLAIN: Final = frozenset({b"connection", b"expect", b"transfer-encoding", b"upgrade", *OF_BROWSERS})
"""With one of these headers there is more to a request than a head and a body of a known length."""


KEEP_ALIVE: Final = (b"connection", b"keep-alive")
"""But this says only what goes without saying."""

SPACE: Final = b" \t"
"""What may stand around a header's value and is none of it (RFC 9110 §5.5). The parser leaves what is behind it."""

NOT_HTTP: Final = malformed("not an HTTP request")

TOO_MUCH_HELD: Final = "too much is coming in slowly"


class Connection(HttpToolsProtocol):
    """A connection that gives up on a request of which less than 1 KiB a second comes in, or on an
    answer of which no more is read.

    It looks every `patience_seconds`. Without an `edge` every request is the ASGI app's.
    """

    def __init__(
        self, *args: Any, patience_seconds: float, held: Held, edge: Edge | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.patience = Patience(self, patience_seconds)
        self.held = held
        self.edge = edge
        self.reading = True
        self.in_head = True
        self.plain = True
        self.host: bytes | None = None
        self.known_host: bytes | None = None
        """the last `Host` that was found to be ours: it hardly ever changes"""
        self.declared_bytes = b"0"
        self.head_bytes = self.body_bytes = self.wire_bytes = 0
        self.holds_body = False
        self.refusal: Refused = NOT_HTTP
        self.refusal_due = False
        self.idle_since = math.inf
        self.served: Any = None
        """the request whose turn it is: uvicorn's cycle or a `Direct`"""
        self.postponed: tuple[Any, Any] | None = None
        """`served`, and the app that it is for, until the client reads"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is here: it has to say something soon."""
        super().connection_made(transport)
        self.patience.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. Of pipelined requests uvicorn tells only the newest: we tell the one that is served."""
        self.patience.stop()
        self._unset_keepalive_if_required()
        if isinstance(self.cycle, Direct):
            self.cycle = None
        super().connection_lost(exc)
        self.held.put(self._refuse_body, 0)
        self.held.put(self._drop, 0)
        self.pipeline.clear()
        # Requests know their connection. If it knew them too, both would stay: the cycle collector hardly ever runs.
        served, self.served, self.postponed = self.served, None, None
        self.cycle = None  # type: ignore[assignment]  # as uvicorn begins with
        if served is None or served.response_complete:
            return
        if isinstance(served, Direct):
            served.lose()
        else:
            served.disconnected = True
            served.message_event.set()

    def cut_off(self) -> None:
        """The server's end has come. (uvicorn has told those that are the ASGI app's.)"""
        if isinstance(self.served, Direct):
            self.served.cut_off()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self.patience.pauses += 1
        self.held.put(self._drop, self._unread())

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self.held.put(self._drop, 0)
        if self.postponed is not None:
            postponed, self.postponed = self.postponed, None
            self._start_asgi_task(*postponed)
        elif isinstance(self.served, Direct):
            self.served.go_on()

    def data_received(self, data: bytes) -> None:
        """Some of a request, or several at once."""
        if self.refusal_due:
            return
        count = len(data)
        if self.in_head:
            self.head_bytes += count
        self.patience.came_bytes += count
        self.wire_bytes += count
        self.idle_since = math.inf
        self._parse(data)
        if self.reading or self.pipeline or self.holds_body:
            self._bound()

    # --- what the parser tells --------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.reading = self.in_head = self.plain = True
        self.patience.requests += 1
        self.declared_bytes = b"0"
        self.host = None
        self.body_bytes = 0
        self.expect_100_continue = False
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers. What follows a body as a trailer is nobody's, and may not pass for one of them."""
        if not self.in_head:
            return
        name, value = name.lower(), value.rstrip(SPACE)
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
            self._end_parsing(LARGE_HEAD)
        version = self.parser.get_http_version()
        method = self.parser.get_method()
        if (
            method != b"POST"
            or version != "1.1"
            or self.host is None
            or not self.plain
            or not self.url.startswith(b"/")
        ):
            why = unfit(version, method, self.url, self.headers)
            if why is not None:
                self._end_parsing(why)
        direct = None
        if self.plain and self.edge is not None and method == b"POST" and version == "1.1":
            direct = self._direct()
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
        self.head_bytes = self.wire_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        self.body_bytes += len(body)
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
            self._send_refusal()
            return
        if self.holds_body:
            self._bound()
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
        body_bytes = int(self.declared_bytes)
        if body_bytes > self.edge.plane.always_bytes:
            return None
        if self.host is None or (self.host != self.known_host and not self._is_for_us(self.host)):
            return None  # the app says what is wrong with it
        found = self.edge.find(self.url, self.headers, body_bytes)
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
            self.postponed = cycle, app
        else:
            super()._start_asgi_task(cycle, functools.partial(serve, app, cycle))

    # --- refusals and bounds ------------------------------------------------------------

    def _end_parsing(self, why: str) -> NoReturn:
        self.refusal = malformed(why)
        raise ValueError(why)

    def _refuse(self, refusal: Refused) -> None:
        """Answer with a problem, after the answers that are owed, and close."""
        self.refusal = refusal
        broken = self.cycle if self.reading and not self.in_head else None
        if self.served is None or self.served is broken or self.served.response_complete:
            self._send_refusal()
            return
        if broken is not None and self.pipeline:
            self.pipeline.popleft()
        self.refusal_due = True
        self.reading = False

    def _send_refusal(self) -> None:
        status, headers, body = render(self.refusal)
        headers = [*self.server_state.default_headers, *headers]
        headers += [(b"x-request-id", uuid.uuid4().hex.encode()), (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()

    def _bound(self) -> None:
        """Refuse what has no end, and count what is not begun yet."""
        if self.refusal_due or self.transport.is_closing():
            return
        count = sum(len(cycle.body) for cycle, _ in self.pipeline)
        if self.in_head:
            if self.head_bytes > HEAD_BYTES:
                self._refuse(malformed(LARGE_HEAD))
                return
        elif self.reading:
            if self.wire_bytes > FRAMING_BYTES + 2 * self.body_bytes:
                self._refuse(malformed(ENDLESS_FRAMING))
                return
            if self.cycle.response_complete:
                if self.body_bytes > UNREAD_BYTES:
                    self.transport.close()
            elif self.cycle is self.served:
                count += self.body_bytes
        self.holds_body = count > SMALL_BYTES
        self.held.put(self._refuse_body, count if self.holds_body else 0)

    def _refuse_body(self) -> None:
        """Let go of what is not begun: others come in faster."""
        self.holds_body = False
        self.pipeline.clear()
        self._refuse(Refused(Code.UNAVAILABLE, TOO_MUCH_HELD, retry_after_seconds=1))
        self.cycle = self.served

    def _drop(self) -> None:
        """Let go of what is not read: others read faster."""
        self.transport.abort()

    def _unread(self) -> int:
        """The bytes that were answered, or soon will be, and that the client has not taken."""
        size = self.transport.get_write_buffer_size()
        if isinstance(self.served, RequestResponseCycle):
            # What is left of an answer of known length lies in memory. What is read from a file while it is sent must
            # say no length, or a large one would be cut off as if it were held (`control/backup.py`).
            size += self.served.expected_content_length
        return size

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
        self.parser, in_body = parser_after_head(self, method, self.headers)
        if in_body:
            # We were told of an end that was none. The app has not run since: its task was made just now.
            self.reading = self.cycle.more_body = True

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
