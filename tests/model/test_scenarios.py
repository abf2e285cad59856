"""Histories that once failed, shortened and kept. The name says what was wrong."""

from pathlib import Path
from typing import Any

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.model import Envelope, Exchange, ExchangeType, QueueSettings
from tests.model.campaign import OPENERS
from tests.model.lockstep import Lockstep
from tests.model.steps import Ask, Batch, Pick, Reopen, Step

QUEUE = c.PutQueue("q", QueueSettings())
HEADERS = c.PutExchange(Exchange("headers-1", ExchangeType.HEADERS))


def publish(body: str, **target: str) -> c.Publish:
    envelope = Envelope(body.encode(), "", target.get("queue", ""))
    return c.Publish((envelope,), exchange=target.get("exchange"), queue=target.get("queue"))


def bind(value: str | float | bool) -> c.Bind:
    return c.Bind("headers-1", queue="q", match="any", headers={"x": value})


def ack_newest(count: int) -> Any:
    receipts: Any = tuple(Pick(back) for back in range(count))
    return c.Ack("@", receipts)


SCENARIOS: dict[str, list[Step]] = {
    "the number of a publish that reached no queue was given again after a restart": [
        Batch((c.PutExchange(Exchange("fanout-1", ExchangeType.FANOUT)),)),
        Batch((publish("nowhere", exchange="fanout-1"),)),
        Reopen(),
        Batch((QUEUE, publish("one", queue="q"))),
    ],
    "a receive that waited at a deleted queue went on waiting at one made in the same batch": [
        Batch((QUEUE,), (c.Receive("q"),), (True,)),
        Batch((c.DeleteQueue("q"), QUEUE, publish("new", queue="q"))),
    ],
    "a receive that came with the delete and the declare of its queue": [
        Batch((QUEUE,)),
        Batch((c.DeleteQueue("q"), QUEUE), (c.Receive("q"),), (False,)),
    ],
    "an empty routing key was taken for a binding of a headers exchange": [
        Batch((QUEUE, HEADERS)),
        Batch((c.Bind("headers-1", queue="q", routing_key=""),)),
    ],
    "a header binding of true was taken for the same as one of 1": [
        Batch((QUEUE, HEADERS)),
        Batch((bind(True), bind(1.0), bind(1), bind("true"))),
        Batch((bind(False), bind(0))),
        Reopen(kill=True),
        Batch((bind(1), bind(True), bind("1.0"))),
        Ask(c.Route("headers-1", "", {"x": 1})),
    ],
    "of two receipts of one message in a call, the older one's failure depended on their order": [
        Batch((c.PutQueue("q", QueueSettings(lease_seconds=1)), publish("one", queue="q"))),
        Batch((), (c.Receive("q"),), (False,)),
        Batch((), (c.Receive("q"),), (False,), advance=1000),
        Batch((ack_newest(2),)),
    ],
    "a delay that ended while the broker was down": [
        Batch((QUEUE, c.Publish((Envelope(b"one", "", "q", delay_ms=1),), queue="q"))),
        Batch(advance=5000),
        Reopen(kill=True),
        Batch((), (c.Receive("q"),), (False,)),
    ],
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_once_failed(name: str, tmp_path: Path) -> None:
    lockstep = Lockstep(OPENERS, tmp_path)
    await lockstep.open()
    try:
        for step in SCENARIOS[name]:
            await lockstep.take(step)
        await lockstep.drain()
    finally:
        await lockstep.close()
