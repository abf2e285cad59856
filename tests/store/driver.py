"""A store in the hands of a test: a clock that is moved by hand, and the line of waiting receives."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import Envelope, QueueSettings, QueueStats, QueueView
from queuesvc.domain.replies import Declared, Delivery, Published, PublishResult, Received, Settled
from queuesvc.store.interface import Opened, Store
from tests.model.side import Line

START = 1_764_000_000_000


class Driver:
    """Does one thing at a time with a store; what is refused is raised."""

    def __init__(self, make: Callable[[Path], Store], folder: Path) -> None:
        self._make = make
        self.folder = folder
        self.now = START
        self.line = Line()
        self.answers: dict[c.Receive, Received | Refused] = {}

    async def open(self) -> Opened:
        self.store = self._make(self.folder)
        return await self.store.open()

    async def close(self) -> None:
        await self.store.close()

    async def restart(self, kill: bool = False) -> Opened:
        """Close and open again; under `kill` open what lies in the folder, without any closing."""
        if not kill:
            await self.close()
            return await self.open()
        old, whence, self.folder = self.store, self.folder, self.folder.with_name(self.folder.name + "+")
        shutil.copytree(whence, self.folder)
        opened = await self.open()
        await old.close()
        return opened

    async def batch(self, *commands: Any) -> list[Any]:
        """The replies, and the refusals as values; waiting receives get their answers."""
        applied = await self.store.apply(commands, self.now, self.line)
        self.answers.update(applied.served)
        return applied.replies

    async def do(self, command: Any) -> Any:
        (reply,) = await self.batch(command)
        if isinstance(reply, Refused):
            raise reply
        return reply

    async def ask(self, query: Any) -> Any:
        return await self.store.ask(query, self.now, self.line)

    async def after(self, seconds: float) -> None:
        """Let time pass, and what falls due happen."""
        self.now += round(seconds * 1000)
        await self.batch()

    # --- the verbs ---

    async def queue(self, name: str = "q", **settings: Any) -> None:
        declared = await self.do(c.PutQueue(name, QueueSettings(**settings)))
        assert isinstance(declared, Declared)

    async def publish(self, *bodies: str | Envelope, queue: str = "q", exchange: str = "") -> list[PublishResult]:
        """Bodies as they are, with the queue's name as routing key, or whole envelopes."""
        made = tuple(Envelope(b.encode(), "", queue) if isinstance(b, str) else b for b in bodies)
        target = {"exchange": exchange} if exchange else {"queue": queue}
        published = await self.do(c.Publish(made, **target, batch=len(made) > 1))
        assert isinstance(published, Published)
        return list(published.results)

    async def receive(self, queue: str = "q", max_messages: int = 1000, **options: Any) -> Received:
        """At once, or empty."""
        receive = c.Receive(queue, max_messages, **options)
        self.line.join(receive)
        await self.batch()
        self.line.leave(receive)
        answer = self.answers.pop(receive, Received())
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def wait(self, queue: str = "q", max_messages: int = 1) -> c.Receive:
        """A receive that stays in line; its answer will stand in `answers`."""
        receive = c.Receive(queue, max_messages)
        self.line.join(receive)
        await self.batch()
        return receive

    async def bodies(self, queue: str = "q", max_messages: int = 1000, **options: Any) -> list[str]:
        return texts(await self.receive(queue, max_messages, **options))

    async def ack(self, *receipts: str, queue: str = "q") -> Settled:
        return settled(await self.do(c.Ack(queue, receipts)))

    async def nack(self, *receipts: str, queue: str = "q", **options: Any) -> Settled:
        return settled(await self.do(c.Nack(queue, receipts, **options)))

    async def extend(self, *receipts: str, queue: str = "q", seconds: float = 30) -> Settled:
        return settled(await self.do(c.Extend(queue, receipts, round(seconds * 1000))))

    async def stats(self, queue: str = "q") -> QueueStats:
        view = await self.ask(c.GetQueue(queue))
        assert isinstance(view, QueueView)
        return view.stats

    async def counts(self, queue: str = "q") -> dict[str, int]:
        """The messages by state, those that are not zero."""
        stats = await self.stats(queue)
        counts = {name: getattr(stats, name) for name in ("ready", "leased", "delayed", "dead")}
        return {name: count for name, count in counts.items() if count}


def settled(reply: object) -> Settled:
    assert isinstance(reply, Settled)
    return reply


def texts(received: Received | Refused) -> list[str]:
    """The bodies of what was received."""
    assert isinstance(received, Received)
    return [bytes(delivery.content.body).decode() for delivery in received.deliveries]


def receipts(received: Received | Refused) -> list[str]:
    """A receipt for each message, as a consumer is given them."""
    assert isinstance(received, Received)
    return [f"{received.token}.{delivery.number:x}" for delivery in received.deliveries]


def deliveries(received: Received | Refused) -> tuple[Delivery, ...]:
    assert isinstance(received, Received)
    return received.deliveries


def codes(settled: Settled) -> list[Code]:
    """Why receipts did not settle, in the order they were given."""
    return [failure.code for failure in settled.failed]


def message(body: str, routing_key: str = "q", **fields: Any) -> Envelope:
    """An envelope with what matters to the test."""
    return Envelope(body.encode(), "", routing_key, **fields)
