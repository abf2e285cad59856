"""Where abuse takes place: a broker, how much of everything, until when; and connections that do as one likes."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.calls import Answered, Calls

STATUS = b"HTTP/1.1 "
BREATH_SECONDS = 0.2
"""How long slow clients take between two bytes, and one that was turned away before it comes again."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it: seconds for each kind, clients at a time, receives that wait in a round, rounds."""

    seconds: float
    many: int
    idle: int
    waiters: int
    rounds: int


SHORT = Scale(seconds=0.4, many=30, idle=300, waiters=300, rounds=2)
LONG = Scale(seconds=5, many=1000, idle=15_000, waiters=15_000, rounds=5)


class Wire(asyncio.Protocol):
    """A connection without manners. `async with` it: at the end it is broken off."""

    transport: asyncio.Transport

    def __init__(self, field: "Field", receive_bytes: int | None) -> None:
        self._field = field
        self._receive_bytes = receive_bytes
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.answered: asyncio.Future[None] = loop.create_future()
        self.writable = asyncio.Event()
        self.writable.set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        if self._receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self._field.port))
            await loop.create_connection(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.abort()
        await self.closed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Something was answered: only its statuses are of interest."""
        for piece in data.split(STATUS)[1:]:
            self._field.met[piece[:3].decode()] += 1
        if not self.answered.done():
            self.answered.set_result(None)

    def pause_writing(self) -> None:
        """The broker does not read so fast."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """It does."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._field.met["ended"] += 1
        self.writable.set()
        for told in (self.closed, self.answered):
            if not told.done():
                told.set_result(None)

    def send(self, data: bytes) -> None:
        """Send this, if that still makes sense."""
        if not self.closed.done():
            self.transport.write(data)

    async def stays(self, seconds: float = BREATH_SECONDS) -> bool:
        """Whether it is still there after so long."""
        await asyncio.wait([self.closed], timeout=seconds)
        return not self.closed.done()


Act = Callable[["Field"], Awaitable[None]]


@dataclass(slots=True)
class Field:
    """One kind of abuse under way. `met` counts what was answered, and how many connections ended."""

    port: int
    scale: Scale
    chance: random.Random
    resident_mib: Callable[[], float]
    met: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def wire(self, receive_bytes: int | None = None) -> Wire:
        """A connection, not yet made."""
        return Wire(self, receive_bytes)

    async def crowd(self, count: int, act: Act) -> None:
        """So many at a time, each doing this again and again until the time is up."""
        deadline = asyncio.get_running_loop().time() + self.scale.seconds

        async def one() -> None:
            # Where the time is up they are told by being cancelled: what was open is broken off.
            while True:
                with suppress(OSError):
                    await act(self)
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.001)

        tasks = [asyncio.create_task(one()) for _ in range(count)]
        done, rest = await asyncio.wait(tasks, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        for task in rest:
            task.cancel()
        await asyncio.wait(tasks)
        for task in done:
            task.result()

    async def call(self, method: str, path: str, body: object = b"") -> Answered:
        """A well-behaved call on a connection of its own. Raises `AssertionError` where it is not a success."""
        calls = Calls(self.port)
        try:
            answer = await calls.call(method, path, body)
        finally:
            await calls.close()
        assert answer.status < 300, (method, path, answer)
        return answer

    async def stats(self, queue: str) -> dict[str, Any]:
        """A queue's statistics."""
        found: dict[str, Any] = (await self.call("GET", f"/v1/queues/{queue}")).json["stats"]
        return found

    async def until_waiting(self, queue: str, count: int) -> None:
        """Return once so many receives wait at the queue."""
        async with asyncio.timeout(120):
            while (await self.stats(queue))["consumers_waiting"] != count:
                pass
