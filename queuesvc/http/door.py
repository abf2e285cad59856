"""How many connections there may be, what those are told that are one too many, and how others come to TLS.

accepted ──┬── (TlsListener: a handshake) ──┬── inside: a Connection
           │                                └── TurnedAway: a 503
           └── cut off, where even those are too many
"""

import asyncio
import logging
import socket
import ssl
import uuid
from collections.abc import Callable, Collection
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from queuesvc.domain.errors import Code, Refused
from queuesvc.http.problems import render

TOLD_MOST: Final = 256
"""So many at a time are told why they are turned away; what is more is cut off."""

TOLD_SECONDS: Final = 5.0
"""How long one may take to ask, and to read that."""

ACCEPTED_AT_ONCE: Final = 100

log = logging.getLogger(__name__)


class Door:
    """Lets in `most` connections: those `inside`, and those that are `coming`, a handshake under way."""

    def __init__(self, inside: Collection[object], most: int) -> None:
        self._inside = inside
        self.most = most
        self.told: set[TurnedAway] = set()
        self.coming: dict[asyncio.Protocol, asyncio.Task[None]] = {}

    @property
    def full(self) -> bool:
        """Whether one more is one too many."""
        return self._count() >= self.most

    @property
    def crowded(self) -> bool:
        """Whether one more is not even told so."""
        return self._count() + len(self.told) >= self.most + TOLD_MOST

    def turn_away(self) -> "TurnedAway":
        """What serves one that is too many."""
        return TurnedAway(self)

    def close(self) -> None:
        """Nobody comes any more."""
        for connection in list(self.told):
            connection.cut_off()
        for handshake in self.coming.values():
            handshake.cancel()

    def _count(self) -> int:
        return len(self._inside) + sum(one not in self._inside for one in self.coming)


class TurnedAway(asyncio.Protocol):
    """A connection that is one too many: whatever it asks is answered with a 503, unread, and it is closed.

    What it sends is thrown away until it closes too, for a while: closing at once, with something unread, would
    take the answer out of its hands.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there, and has little time."""
        self._transport = transport
        if self._door.crowded:
            transport.abort()
            return
        self._door.told.add(self)
        self._timer = asyncio.get_running_loop().call_later(TOLD_SECONDS, self.cut_off)

    def data_received(self, data: bytes) -> None:
        """It asks something."""
        if self._answered or self._transport is None:
            return
        self._answered = True
        self._transport.write(_answer(self._door.most))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._door.told.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def cut_off(self) -> None:
        """Its time is over."""
        if self._transport is not None:
            self._transport.abort()


class TlsListener:
    """Accepts connections and sees them through their handshake; those that take too long or are too many are cut off.

    The loop's own servers do that too, but let in whoever comes, and a handshake that does not end holds 60 kB.
    It is started and closed as they are.
    """

    def __init__(
        self,
        listener: socket.socket,
        door: Door,
        context: ssl.SSLContext,
        seconds: float,
        make_connection: Callable[[], asyncio.Protocol],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._door = door
        self._context = context
        self._seconds = seconds
        self._make_connection = make_connection

    def start(self, backlog: int) -> None:
        """Begin to listen."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """That is so at once."""

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot take a connection: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(1.0, self._listen_again)
                return
            if self._door.crowded:
                client.close()
                continue
            connection = self._make_connection()
            self._door.coming[connection] = self._loop.create_task(self._shake(client, connection))

    def _listen_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _shake(self, client: socket.socket, connection: asyncio.Protocol) -> None:
        client.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=self._seconds,
            )
        except OSError:
            client.close()  # it left, took too long, or does not speak TLS
        finally:
            del self._door.coming[connection]


def _answer(most: int) -> bytes:
    refused = Refused(Code.UNAVAILABLE, f"there are {most} connections, and no more may be", retry_after_seconds=1)
    status, headers, body = render(refused)
    headers += [(b"x-request-id", uuid.uuid4().hex.encode()), (b"connection", b"close")]
    return b"".join([STATUS_LINE[status], *(b"%b: %b\r\n" % pair for pair in headers), b"\r\n", body])
