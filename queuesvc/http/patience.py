"""Patience with a client, and its end: what only the client can bring about has to get on."""

import asyncio
from typing import Any, Final

from queuesvc.http.data.peer import unread_bytes

SLOWEST_BYTES_PER_SECOND: Final = 1024

Awaited = tuple[str, int]


class Patience:
    """Looks at a connection every so often, and ends it where it saw the same at the look before and it is no further.

    What is awaited is the rest of a request (or the beginning of the first), that an answer is read, or that
    a closed connection ends. Waiting for us is no fault of the client's.
    """

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._awaited: Awaited | None = ("request", 0)
        self._unread_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.came_bytes = 0
        """what came from the client since the last look"""
        self.requests = 0
        """how many requests it has begun"""
        self.pauses = 0
        """how often it did not read as fast as we wrote"""

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._connection.loop.call_later(self._seconds, self._look)

    def stop(self) -> None:
        """Look no more. The connection is let go: nothing that has ended may wait for the cycle collector."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._connection = None

    def _what(self) -> Awaited | None:
        """What only the client can bring about; another thing as soon as it has done so."""
        connection = self._connection
        if connection.transport.is_closing():
            return "end", 0
        if connection.flow.write_paused:
            return "reader", self.pauses
        if connection.reading and not connection.flow.read_paused:
            return "request", self.requests
        return None

    def _look(self) -> None:
        self.start()
        transport = self._connection.transport
        awaited, unread = self._what(), unread_bytes(transport)
        if awaited is not None and awaited == self._awaited:
            came_bytes = self.came_bytes if awaited[0] == "request" else self._unread_bytes - unread
            if came_bytes < SLOWEST_BYTES_PER_SECOND * self._seconds:
                if awaited[0] == "request":
                    transport.close()
                else:
                    transport.abort()  # `close` would wait for what is written to be read
        self._awaited, self._unread_bytes, self.came_bytes = awaited, unread, 0
