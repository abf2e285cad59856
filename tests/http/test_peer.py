"""What is asked about a client that may have gone in the same moment."""

import asyncio
import ssl
from pathlib import Path

import pytest
import uvloop

from queuesvc.http.data.peer import unread_bytes
from tests.http.test_tls import Certificates


class Lost(asyncio.Protocol):
    """Tells of the end of its connection."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_connection_that_is_over_has_nothing_unread(tmp_path: Path, tls: bool) -> None:
    """A look at it was a trace in the log, and the last one: with TLS it was never ended."""
    certificates = Certificates(tmp_path)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificates.certificate, certificates.key)

    async def end() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_side if tls else None)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(
            Lost, "127.0.0.1", port, ssl=certificates.trust if tls else None
        )
        transport.abort()
        await protocol.lost
        server.close()
        assert unread_bytes(transport) == 0

    uvloop.run(end())
