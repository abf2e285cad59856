"""Histories that once failed, shortened and kept. The name says what was wrong."""

from pathlib import Path
from typing import Any

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.model import Envelope, Exchange, ExchangeType, QueueSettings
from tests.model.campaign import OPENERS
from tests.model.draining import drain
from tests.model.lockstep import Lockstep
from tests.model.side import ASKED, NEVER_ASKED
from tests.model.steps import GO_ON, Ask, Batch, Id, Pick, Reopen, Step

QUEUE = c.PutQueue("q", QueueSettings())
FANOUT = c.PutExchange(Exchange("fanout-1", ExchangeType.FANOUT))
HEADERS = c.PutExchange(Exchange("headers-1", ExchangeType.HEADERS))


def publish(body: str, **target: str) -> c.Publish:
    envelope = Envelope(body.encode(), "", target.get("queue", ""))
    return c.Publish((envelope,), exchange=target.get("exchange"), queue=target.get("queue"))


def grouped(body: str, ttl_ms: int | None = None) -> Envelope:
    return Envelope(body.encode(), '"group":"g"', "q", group="g", ttl_ms=ttl_ms)


def keyed(body: str, key: str, queue: str = "q") -> c.Publish:
    return c.Publish((Envelope(body.encode(), "", queue, idempotency_key=key),), queue=queue)


def expiring(queue: str, ttl_ms: int) -> c.Publish:
    return c.Publish((Envelope(b"mortal", "", queue, ttl_ms=ttl_ms),), queue=queue)


def bind(value: str | float | bool) -> c.Bind:
    return c.Bind("headers-1", queue="q", match="any", headers={"x": value})


def ack_newest(count: int) -> Any:
    receipts: Any = tuple(Pick(back) for back in range(count))
    return c.Ack("@", receipts)


def nack_newest() -> Any:
    receipts: Any = (Pick(0),)
    return c.Nack("@", receipts)


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
    "the memory store kept replies to itself": [
        Batch((publish("reply", queue=ASKED), c.Transaction(publishes=(publish("another", queue=ASKED),)))),
    ],
    "an expired one among the later ones of a group that ran out was removed twice": [
        Batch((QUEUE, c.Publish((grouped("1"), grouped("2"), grouped("3", 1)), queue="q", batch=True))),
        Batch((), (c.Receive("q", 10, 100),), (False,)),
        Batch(advance=100),
    ],
    "a later one of a group that had run out before kept its receipt when an earlier one went back": [
        Batch((QUEUE, c.Publish((grouped("1"), grouped("2")), queue="q", batch=True))),
        Batch((), (c.Receive("q", 10, 1000),), (False,)),
        Batch((c.Extend("@", (Pick(1),), 2000),)),  # type: ignore[arg-type]
        Batch(advance=1000),
        Batch(advance=1000),
        Batch((ack_newest(1),)),
    ],
    "a transaction gave a message back into a full queue, and its publish dropped it though nobody had said so": [
        Batch((c.PutQueue("q", QueueSettings(max_messages=2)), publish("1", queue="q")), (c.Receive("q"),), (False,)),
        Batch((publish("2", queue="q"), c.Transaction((), (nack_newest(),), (publish("3", queue="q"),)))),
        Batch((), (c.Receive("q", 10),), (False,)),
    ],
    "the deaths of a message that was redriven in the batch in which it died": [
        Batch((c.PutQueue("q", QueueSettings(dead_letter_exchange="none")), expiring("q", 1000))),
        Batch((c.Redrive("q", 10),), advance=1000),
    ],
    "an idempotency record made in the batch in which the one before it ended was lost at a restart": [
        Batch((QUEUE, keyed("1", "k"))),
        Batch((keyed("2", "k"),), advance=300_000),
        Reopen(),
        Batch((keyed("2", "k"), keyed("3", "k"))),
    ],
    "an idempotency key at one reply address was taken for one at another": [
        Batch(
            (keyed("1", "k", ASKED), keyed("2", "k", NEVER_ASKED), keyed("1", "k", NEVER_ASKED), keyed("1", "k", ASKED))
        ),
    ],
    "an arrived redrive by id said nothing of a message that had died nowhere": [
        Batch((QUEUE, publish("one", queue="q"))),
        Batch((c.Redrive("q", 10, "arrived", (Id(0),)),)),  # type: ignore[arg-type]
    ],
    "a message that came to the queue in the batch in which a redrive stopped at it": [
        Batch(
            (FANOUT, c.PutQueue("q", QueueSettings(dead_letter_exchange="fanout-1")), c.PutQueue("r", QueueSettings()))
        ),
        Batch((c.Bind("fanout-1", queue="r"), expiring("q", 1000), expiring("q", 1000), publish("last", queue="r"))),
        Batch((c.Redrive("r", 1), c.Redrive("r", 1, after=GO_ON)), advance=1000),
    ],
    "a lease that ran out for all that it holds, and was written again since, was no lease to the check": [
        Batch((QUEUE, publish("1", queue="q"), publish("2", queue="q")), (c.Receive("q", 10, 1000),), (False,)),
        Batch(advance=1000),
        Batch((c.Extend("@", (Pick(0),), 1000), ack_newest(1))),  # type: ignore[arg-type]
        Reopen(),
    ],
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_once_failed(name: str, tmp_path: Path) -> None:
    lockstep = Lockstep(OPENERS, tmp_path)
    await lockstep.open()
    try:
        for step in SCENARIOS[name]:
            await lockstep.take(step)
        await drain(lockstep)
    finally:
        await lockstep.close()
