"""A client for load: one connection, one call at a time, as little of HTTP as that needs."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

PATIENCE_SECONDS = 90.0


class Answered(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Calls:
    """Calls on a connection that is made when it is needed and kept."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None
    ) -> Answered:
        """One call. A body that is not bytes is sent as JSON. Raises `OSError` and `TimeoutError`."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(sent)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        async with asyncio.timeout(PATIENCE_SECONDS):
            if self._reader is None or self._reader.at_eof():
                await self.close()
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            assert self._writer is not None
            self._writer.write("\r\n".join([*lines, "", ""]).encode() + sent)
            return await self._answer(self._reader)

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _answer(self, reader: asyncio.StreamReader) -> Answered:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise ConnectionError("the broker hung up") from None
        line, *lines = head.decode("latin-1").split("\r\n")
        length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
        return Answered(int(line.split()[1]), await reader.readexactly(length))
