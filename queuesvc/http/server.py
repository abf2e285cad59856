"""The running server: uvicorn on a socket of ours, started and stopped by the composition root."""

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from queuesvc.http.connection import Connection
from queuesvc.http.direct import Edge
from queuesvc.http.door import Door, TlsListener
from queuesvc.http.held import Held

KEEP_ALIVE_SECONDS: Final = 75
"""How long an idle connection is kept: longer than the longest wait, so that a poller keeps its own."""

BACKLOG: Final = 2048
CONNECTIONS: Final = 20_000
ON_ALL_ANSWERS: Final = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
"""An answer is for the one who asked, and is what its type says. (The short way has these ready as bytes.)"""

GOODBYE_SECONDS: Final = 0.2

HELD_BYTES: Final = 256 * 1024 * 1024
"""The most that is kept in memory for slow clients, unless told otherwise."""


class CannotListen(Exception):
    """The address cannot be had; the text says which and why."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the first usable address of `host`, not listening yet. Raises `CannotListen`."""
    refusal: OSError | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            found = socket.socket(family, kind, protocol)
            try:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                found.bind(address)
            except OSError as error:
                found.close()
                refusal = refusal or error
            else:
                return found
    except OSError as error:
        refusal = error
    why = refusal.strerror if refusal is not None else "no such address"
    raise CannotListen(f"cannot listen on {host}:{port}: {why}")


def address_of(listener: socket.socket, scheme: str = "http") -> str:
    """Where a socket listens, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether nobody but this machine reaches it."""
    address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the composition root has them.

    `on_started` is called once it takes requests. A request under way is
    waited for at `stop`, for `shutdown_seconds` at most. Slow clients hold `held_bytes` in memory at most.
    Plain requests of the data plane's are answered by the `edge`; without one all are the app's.
    Of more than `connections` at a time each is answered with a 503.
    With `tls` it speaks HTTPS, and a handshake may take `patience_seconds`.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_started: Callable[[], None],
        *,
        shutdown_seconds: float,
        patience_seconds: float,
        held_bytes: int = HELD_BYTES,
        edge: Edge | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        held = Held(held_bytes)
        protocol: Any = functools.partial(Connection, patience_seconds=patience_seconds, held=held, edge=edge)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                headers=ON_ALL_ANSWERS,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=shutdown_seconds,  # type: ignore[arg-type]  # it is passed to wait_for
            )
        )
        self.on_started = on_started
        self._door = Door(self.server_state.connections, connections)
        self._tls = tls
        self._patience_seconds = patience_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so. (uvicorn's own lets in whoever comes.)"""
        await self.lifespan.startup()
        self.servers = [await self._listen(listener) for listener in sockets or ()]
        self.started = True
        self.on_started()

    async def _listen(self, listener: socket.socket) -> Any:
        if self._tls is None:
            loop = asyncio.get_running_loop()
            return await loop.create_server(self._make_connection, sock=listener, backlog=BACKLOG)
        server = TlsListener(listener, self._door, self._tls, self._patience_seconds, self._make_connection)
        server.start(BACKLOG)
        return server

    def _make_connection(self) -> asyncio.Protocol:
        if self._door.full:
            return self._door.turn_away()
        make = cast(Callable[..., Connection], self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the requests under way, then tell those that are left that it is over."""
        self._door.close()
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self._leave)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            cast(Connection, connection).cut_off()

    def _leave(self) -> None:
        """Do not wait for clients to say goodbye, too: with TLS they should, and a pool of idle ones does not."""
        for connection in list(self.server_state.connections):
            transport = connection.transport
            if transport.is_closing() and not transport.get_write_buffer_size():
                transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more requests and end when those under way are answered, or without them."""
        self.should_exit = True
        self.force_exit = self.force_exit or at_once
