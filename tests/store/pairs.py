"""The driver of the tests of rules that meet (`test_pairs_*`)."""

import json
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.model import Envelope, Exchange, ExchangeType, State
from queuesvc.domain.replies import Delivery, Page, Received, Shown
from queuesvc.store.interface import Opened
from tests.model.compare import conserved
from tests.store.driver import Driver

TOTALS = ["published", "acked", "nacked", "expired", "dropped", "purged", "dead_lettered", "moved_in", "moved_out"]


class Pair(Driver):
    """A store with exchanges, deaths and a look at what stands in its queues."""

    async def open(self) -> Opened:
        opened = await super().open()
        self.ids = Ids(opened.tag)
        return opened

    async def exchange(self, name: str, *queues: str, kind: ExchangeType = ExchangeType.FANOUT) -> None:
        """An exchange that reaches those queues."""
        await self.do(c.PutExchange(Exchange(name, kind)))
        for queue in queues:
            await self.do(c.Bind(name, queue))

    async def patch(self, queue: str = "q", **changes: Any) -> None:
        await self.do(c.PatchQueue(queue, changes))

    async def browse(self, queue: str = "q", state: State | None = None) -> list[Shown]:
        page = await self.ask(c.BrowseMessages(queue, state))
        assert isinstance(page, Page)
        assert page.next is None
        return list(page.items)

    async def shown(self, queue: str = "q", state: State | None = None) -> list[str]:
        """The bodies of what stands in the queue."""
        return [body(message) for message in await self.browse(queue, state)]

    async def id(self, text: str, queue: str = "q") -> str:
        """The id of the message with this body."""
        (found,) = [each for each in await self.browse(queue) if body(each) == text]
        return self.ids.make(found.content.published_at, found.content.first)

    async def totals(self, queue: str = "q") -> dict[str, int]:
        """The totals that are not zero, but for deliveries; conservation is checked."""
        stats = await self.stats(queue)
        conserved(stats)
        return {name: getattr(stats, name) for name in TOTALS if getattr(stats, name)}

    async def refused(self, command: Any) -> Refused:
        """The refusal, which must come."""
        (reply,) = await self.batch(command)
        assert isinstance(reply, Refused), reply
        return reply


class Restarted(Pair):
    """A store that is closed or, each second time, killed before every step, and opened again."""

    steps = 0

    async def batch(self, *commands: Any) -> list[Any]:
        self.steps += 1
        await self.restart(kill=self.steps % 2 == 0)
        return await super().batch(*commands)


def body(message: Delivery | Shown) -> str:
    return bytes(message.content.body).decode()


def deaths(message: Delivery | Shown) -> list[tuple[str, str, int]]:
    """Queue, reason and count of each, the newest first."""
    return [(death["queue"], death["reason"], death["count"]) for death in all_deaths(message)]


def all_deaths(message: Delivery | Shown) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(f"[{message.content.deaths}]")
    return told


def counts(received: Received) -> list[tuple[int, int]]:
    """Of each delivery how often it was handed out, and how often that failed."""
    return [(delivery.delivery_count, delivery.failed_count) for delivery in received.deliveries]


def grouped(text: str, group: str = "g", queue: str = "q", **fields: Any) -> Envelope:
    return Envelope(text.encode(), f'"group":"{group}"', queue, group=group, **fields)


def keyed(text: str, key: str, queue: str = "q", **fields: Any) -> Envelope:
    return Envelope(text.encode(), "", queue, idempotency_key=key, **fields)
