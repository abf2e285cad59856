"""A store that was lived in: data in every state there is, to be checked, damaged, backed up, upgraded.

    python -m tests.support.lived_in tests/data/store-0001

writes one as `.db.gz`, with the receipts that its consumers hold as `.json`: the fixture of an upgrade, made once
for each version of the schema with the code of its day.
"""

import asyncio
import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.model import Exchange, ExchangeType, Overflow, QueueSettings, RetryBackoff, State
from queuesvc.domain.replies import Received
from tests.support.brokers import PROPERTIES, envelope, receipts, to_queue
from tests.support.stores import START, Hand

LARGE = b"shared by all, " * 200
DAY_MS = 86_400_000


async def live(hand: Hand) -> dict[str, list[str]]:
    """Fill an open, empty store; returns receipts by what became of their leases."""
    await _topology(hand)
    held = {"leased": receipts(await _in_every_state(hand))}
    held |= {name: receipts(received) for name, received in (await _failures(hand)).items()}
    await _keys(hand)
    await _gone(hand)
    await hand.tick()
    return {name: list(some) for name, some in held.items()}


async def _topology(hand: Hand) -> None:
    exchanges = [Exchange(type_.value, type_, alternate_exchange="fanout") for type_ in ExchangeType]
    exchanges.append(Exchange("dead", ExchangeType.DIRECT))
    await hand.do(*[c.PutExchange(exchange) for exchange in exchanges])
    await hand.queue("plain")
    await hand.queue("ranked", QueueSettings(max_priority=9, max_messages=1000, overflow=Overflow.DROP_OLDEST))
    await hand.queue("late", QueueSettings(delay_seconds=60, message_ttl_seconds=3600))
    backoff = RetryBackoff(initial_seconds=600)
    failing = QueueSettings(delivery_limit=2, retry_backoff=backoff, dead_letter_exchange="dead")
    await hand.queue("failing", failing)
    await hand.queue("graves")
    await hand.queue("purged")
    await hand.queue("dropped")
    await hand.queue("temporary", QueueSettings(expires_seconds=86_400))
    await hand.do(
        c.Bind("topic", queue="plain", routing_key="orders.#"),
        c.Bind("topic", queue="ranked", routing_key="orders.*.paid"),
        c.Bind("topic", exchange="fanout", routing_key="#"),
        c.Bind("fanout", queue="late"),
        c.Bind("direct", queue="failing", routing_key="fail"),
        c.Bind("headers", queue="plain", match="any", headers={"shop": "web", "n": 3}),
        c.Bind("dead", queue="graves", routing_key="fail"),
    )


async def _in_every_state(hand: Hand) -> Received:
    """Ready, delayed, expiring, grouped, prioritised, of shared bodies; returns what is leased."""
    properties = PROPERTIES.replace('"headers":{}', '"headers":{"shop":"web"}')
    await hand.do(
        c.Publish(tuple(envelope(LARGE, "orders.eu.paid", properties=properties) for _ in range(5)), exchange="topic"),
        to_queue("plain", *[f"plain {n}" for n in range(20)]),
        to_queue("plain", "later", delay_ms=DAY_MS),
        c.Publish(tuple(envelope(f"{g}{n}", group=g) for n in range(3) for g in "ab"), queue="plain"),
        c.Publish((envelope("short-lived", ttl_ms=DAY_MS), envelope("spent", ttl_ms=1000)), queue="plain"),
        *[to_queue("ranked", f"rank {n}", priority=n) for n in range(10)],
    )
    leased = await hand.receive("plain", 12, lease_ms=DAY_MS // 2, consumer="a worker")
    await hand.ack("plain", *receipts(leased)[:2])
    await hand.do(c.Nack("plain", receipts(leased)[2:3], requeue=False, reason="broken"))
    hand.now += 2000
    await hand.do(c.Receive("ranked", auto_ack=True))
    return leased._replace(deliveries=leased.deliveries[3:])


async def _failures(hand: Hand) -> dict[str, Received]:
    """Leases that ran out, delays after a failure, deaths here and elsewhere."""
    await hand.do(c.Publish(tuple(envelope(f"failing {n}", "fail") for n in range(6)), exchange="direct"))
    failed = await hand.receive("failing", 4)
    await hand.do(c.Nack("failing", receipts(failed)[:1], requeue=False, reason="no good"))
    await hand.do(c.Nack("failing", receipts(failed)[1:2], delay_ms=0))
    again = await hand.receive("failing", 1, lease_ms=1000)
    await hand.do(to_queue("graves", "waits"))
    ran_out = await hand.receive("ranked", 3, lease_ms=1000)
    hand.now += 40_000  # the second failure of one; the first of others, which wait for their backoff now
    await hand.tick()
    grave = await hand.receive("graves", 2)
    await hand.do(c.Nack("graves", receipts(grave)[1:], requeue=False), c.Undeliver("graves", grave.lease))
    assert again.deliveries
    return {"ran_out": ran_out, "backing_off": failed._replace(deliveries=failed.deliveries[2:])}


async def _keys(hand: Hand) -> None:
    """Idempotency records of each scope."""
    one = envelope("once", "orders.us")._replace(idempotency_key="one")
    await hand.do(
        c.Publish((one,), exchange="topic"),
        c.Publish((one,), queue="plain"),
        c.Publish((envelope("x"),), queue="plain", batch=True, idempotency_key="all"),
        c.Publish((envelope("x", "orders.x"),), exchange="topic", batch=True, idempotency_key="all"),
        c.Transaction(publishes=(to_queue("temporary", "x"),), idempotency_key="both"),
    )


async def _gone(hand: Hand) -> None:
    """A purge and a deleted queue, whose rows are still there."""
    await hand.do(to_queue("purged", *map(str, range(10))), to_queue("dropped", *map(str, range(10))))
    await hand.receive("purged", 3)
    await hand.do(c.PurgeQueue("purged", None), to_queue("purged", "after"), c.DeleteQueue("dropped"))
    await hand.receive("purged", 1, lease_ms=DAY_MS)
    await hand.do(c.PurgeQueue("purged", State.LEASED), to_queue("purged", "last"))


async def make(folder: Path) -> tuple[Hand, dict[str, list[str]]]:
    """A store in a folder that was lived in, closed, and receipts as `live` returns them."""
    hand = Hand(folder)
    await hand.open()
    try:
        return hand, await live(hand)
    finally:
        await hand.close()


async def _write(stem: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        hand, held = await make(Path(home) / "data")
        stem.with_suffix(".db.gz").write_bytes(gzip.compress(hand.file.read_bytes(), mtime=0))
    told: dict[str, Any] = {"now": hand.now, "receipts": held}
    stem.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


def put(stem: Path, folder: Path) -> None:
    """Put a written store into a folder."""
    folder.mkdir(parents=True)
    (folder / "queuesvc.db").write_bytes(gzip.decompress(stem.with_suffix(".db.gz").read_bytes()))


def told(stem: Path) -> tuple[int, dict[str, list[str]]]:
    """The moment a written store was left at, and the receipts."""
    left = json.loads(stem.with_suffix(".json").read_text())
    return left["now"], left["receipts"]


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1])))
    print(f"a store of {START} and later")
