"""HTTP/1.1 from the client's side, as little of it as a load generator needs: one answer at a time, by its length."""

import asyncio

from scripts.bench_support.tokens import authorization

AUTHORIZATION = authorization()
GOOD = (b"200", b"201")


class BadAnswer(Exception):
    """The server answered what it should not, or hung up."""


def request(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole POST, ready to be written."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in AUTHORIZATION.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """A connection on which requests are sent one after the other. Subclasses take the answers."""

    def __init__(self, failed: asyncio.Future[None]) -> None:
        self._failed = failed
        self._parts: list[bytes] = []
        self._missing = 0
        self.transport: asyncio.Transport
        self.closing = False

    def answered(self, data: bytes) -> None:
        """An answer is there: head and body in one."""
        raise NotImplementedError

    def fail(self, why: str) -> None:
        """End the run: this must not happen."""
        if not self._failed.done():
            self._failed.set_exception(BadAnswer(why))

    def close(self) -> None:
        """Hang up."""
        self.closing = True
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        """Disconnected."""
        if not self.closing:
            self.fail(f"the server hung up: {exc!r}")

    def data_received(self, data: bytes) -> None:
        """Some of an answer."""
        if self._missing:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts.clear()
            self._missing = 0
        else:
            head = data.find(b"\r\n\r\n")
            at = data.find(b"content-length: ", 0, head)
            if head < 0 or at < 0:
                self.fail(f"not an answer with a length: {data[:200]!r}")
                return
            self._missing = head + 4 + int(data[at + 16 : data.find(b"\r", at)]) - len(data)
            if self._missing > 0:
                self._parts.append(data)
                return
        if self._missing < 0:
            self.fail("more came than the answer")
        elif data[9:12] not in GOOD:
            self.fail(data[:500].decode(errors="replace"))
        else:
            self.answered(data)
