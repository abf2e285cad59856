"""A parser that goes on in HTTP/1.1 behind the head of a request that asked for another protocol."""

from collections.abc import Iterable
from typing import Any, Final

import httptools

FRAMING: Final = (b"content-length", b"transfer-encoding")


def parser_after_head(connection: Any, method: bytes, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Any, bool]:
    """A new parser that tells `connection` what follows such a head, and whether a body does."""
    framing = [name + b": " + value + b"\r\n" for name, value in headers if name in FRAMING]
    callbacks = AfterHead(connection)
    parser = httptools.HttpRequestParser(callbacks)
    parser.feed_data(b"".join([method, b" / HTTP/1.1\r\n", *framing, b"\r\n"]))
    callbacks.live = True
    return parser, callbacks.in_body


class AfterHead:
    """What a parser begun anew tells of: nothing of the head that it was fed (`live` is false), then all."""

    def __init__(self, connection: Any) -> None:
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
