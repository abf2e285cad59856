"""The kinds of abuse, each a coroutine that goes on for as long as its field says."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from tests.abuse.field import BREATH_SECONDS, Field, Wire
from tests.http.bombs import MIB, WHOLE, members
from tests.http.malformed import REFUSED
from tests.http.wire import request_bytes

Kind = Callable[[Field], Coroutine[None, None, None]]

LARGE: Final = "large"
"""A queue with 14 MB in it."""

ENOUGH: Final = 600.0
"""Seconds: longer than anything here."""

HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD: Final = b"POST /v1/queues/abused/messages HTTP/1.1\r\nHost: localhost\r\n"
PUBLISH: Final = request_bytes("/v1/queues/abused/messages", b"x" * 100)
BROWSE: Final = b"GET /v1/queues/large/messages HTTP/1.1\r\nHost: localhost\r\n\r\n"
TAKE_ALL: Final = request_bytes("/v1/queues/large/receive?max_messages=14&lease_seconds=600")


async def nothing(field: Field) -> None:
    """Nobody misbehaves: what the others are compared with."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=field.scale.seconds)


async def idle(field: Field) -> None:
    """As many connections as there may be, each of which asked once and says nothing more."""

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(HEALTH)
            await wire.stays(ENOUGH)

    await field.crowd(field.scale.idle, one)


async def comers_and_goers(field: Field) -> None:
    """Connections that are made and broken off at once, as fast as that goes."""

    async def one(field: Field) -> None:
        async with field.wire():
            pass

    await field.crowd(field.scale.many // 10, one)


async def slow_heads(field: Field) -> None:
    """A byte of a head five times a second."""

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(HEAD)
            while await wire.stays():
                wire.send(b"x")

    await field.crowd(field.scale.many, one)


async def slow_bodies(field: Field) -> None:
    """A quarter of a body at once, and then a byte five times a second."""

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % MIB + b"x" * (MIB // 4))
            while await wire.stays():
                wire.send(b"x")

    await field.crowd(field.scale.many, one)


async def slow_readers(field: Field) -> None:
    """Answers of 14 MB that nobody reads: browsed, and received."""

    async def one(request: bytes, field: Field) -> None:
        async with field.wire(4096) as wire:
            wire.transport.pause_reading()
            wire.send(request)
            await wire.stays(ENOUGH)
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=BREATH_SECONDS * 5)

    readers = max(4, field.scale.many // 50)
    await asyncio.gather(field.crowd(readers, partial(one, BROWSE)), field.crowd(readers, partial(one, TAKE_ALL)))


async def half_closed(field: Field) -> None:
    """Long polls of clients that close their sending side and stay."""

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(request_bytes("/v1/queues/empty/receive?wait_seconds=60"))
            wire.transport.write_eof()
            await wire.stays(ENOUGH)

    await field.crowd(field.scale.many // 5, one)
    await field.until_waiting("empty", 0)


async def lying_lengths(field: Field) -> None:
    """Bodies that are shorter or longer than was said."""
    lies = (
        HEAD + b"Content-Length: 1000\r\n\r\nshort",
        HEAD + b"Content-Length: 10\r\n\r\n" + b"x" * 1000,
        HEAD + b"Content-Length: 9223372036854775807\r\n\r\nx",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\nshort",
    )

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(field.chance.choice(lies))
            if field.chance.random() < 0.5:
                wire.transport.write_eof()
            await wire.stays()

    await field.crowd(field.scale.many // 5, one)


async def endless_chunks(field: Field) -> None:
    """Bodies in chunks that never end."""

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            while await wire.stays(0.01):
                await wire.writable.wait()
                wire.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")

    await field.crowd(max(4, field.scale.many // 50), one)


async def pipeliners(field: Field) -> None:
    """Five hundred requests in one go, by some whose answers nobody reads."""

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            if field.chance.random() < 0.5:
                wire.transport.pause_reading()
            wire.send((PUBLISH + HEALTH) * 250)
            await wire.stays(1)

    await field.crowd(max(4, field.scale.many // 100), one)


async def leavers(field: Field) -> None:
    """Long polls that are left at each of their phases, while messages come. None is lost."""
    request = request_bytes("/v1/queues/left/receive?wait_seconds=20&lease_seconds=600", b'{"max_messages": 1}')
    before = await field.stats("left")

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            match field.chance.randrange(6):
                case 0:
                    wire.send(request[: field.chance.randrange(len(request))])
                case 1:
                    wire.send(request)
                case 2:
                    wire.send(request)
                    await wire.stays(field.chance.random() / 50)
                case 3:
                    wire.send(request)
                    await field.call("POST", "/v1/queues/left/messages", b"x")
                case 4:
                    wire.send(request)
                    await asyncio.gather(
                        asyncio.wait([wire.answered], timeout=1), field.call("POST", "/v1/queues/left/messages", b"x")
                    )
                case 5:
                    wire.send(request)
                    wire.transport.write_eof()
                    await wire.stays(0.01)

    await field.crowd(field.scale.many // 20, one)
    await field.until_waiting("left", 0)
    after = await field.stats("left")
    published = after["published"] - before["published"]
    assert after["ready"] + after["leased"] == after["published"], after
    field.notes.append(f"{published} messages, none lost")


async def waiters(field: Field) -> None:
    """Receives that wait, thousands at once, come and gone again and again: some are answered, the others leave."""
    count = field.scale.waiters
    request = request_bytes("/v1/queues/empty/receive?wait_seconds=60&auto_ack=true")
    batch = {"messages": [{"body": "x"}] * min(1000, count // 3)}
    for _ in range(field.scale.rounds):
        async with AsyncExitStack() as stack:
            wires: list[Wire] = []
            while len(wires) < count:
                some = [field.wire() for _ in range(min(100, count - len(wires)))]
                await asyncio.gather(*(stack.enter_async_context(wire) for wire in some))
                for wire in some:
                    wire.send(request)
                wires += some
            await field.until_waiting("empty", count)
            await field.call("POST", "/v1/queues/empty/messages/batch", batch)
            await field.until_waiting("empty", count - len(batch["messages"]))
        await field.until_waiting("empty", 0)
        field.notes.append(f"{field.resident_mib():.0f}")
    field.notes = [f"MiB after each of the rounds: {' '.join(field.notes)}"]


async def bombers(field: Field) -> None:
    """JSON bombs (`tests/http/bombs.py`), a megabyte each where that is possible."""
    bodies = [body for body, _ in WHOLE.values()]
    bodies += [members(60_000), json.dumps({"ids": ["x"] * 200_000}).encode(), b'{"zz":' + b"[" * (MIB - 10)]
    paths = ("/v1/queues/abused/ack", "/v1/queues/abused/release", "/v1/transactions", "/v1/tokens")

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            wire.send(request_bytes(field.chance.choice(paths), field.chance.choice(bodies)))
            await asyncio.wait([wire.answered], timeout=5)

    await field.crowd(max(2, field.scale.many // 200), one)


async def babblers(field: Field) -> None:
    """What is no HTTP: random bytes, other protocols, and the corpus of malformed requests."""
    corpus = list(REFUSED.values())

    async def one(field: Field) -> None:
        async with field.wire() as wire:
            if field.chance.random() < 0.5:
                wire.send(field.chance.randbytes(field.chance.randrange(1, 2000)))
            else:
                wire.send(field.chance.choice(corpus))
            await wire.stays(0.05)

    await field.crowd(field.scale.many // 20, one)


KINDS: Final[dict[str, Kind]] = {
    one.__name__.replace("_", " "): one
    for one in (
        nothing,
        idle,
        comers_and_goers,
        slow_heads,
        slow_bodies,
        slow_readers,
        half_closed,
        lying_lengths,
        endless_chunks,
        pipeliners,
        leavers,
        waiters,
        bombers,
        babblers,
    )
}
