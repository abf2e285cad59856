"""A store of the first migration, with data in every state, under the newest code; and killed on the way there."""

import contextlib
import gzip
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.model import State
from queuesvc.domain.replies import Published, Received, Transacted
from queuesvc.store.sqlite import migrations
from queuesvc.store.sqlite.check.checker import check_store
from tests.support.brokers import bodies, envelope, receipts, to_queue
from tests.support.lived_in import DAY_MS, LARGE, put, told
from tests.support.server import Server
from tests.support.stores import Hand, look

STEM = Path(__file__).parents[2] / "data" / "store-0001"
VERSION = len(migrations.known())


@pytest.fixture
def old(tmp_path: Path) -> tuple[Hand, dict[str, list[str]]]:
    """The store as it was left, not open, and the receipts that its consumers hold."""
    put(STEM, tmp_path / "data")
    now, held = told(STEM)
    hand = Hand(tmp_path / "data", now)
    assert look(hand.file, "PRAGMA user_version") == [(1,)]
    return hand, held


Old = tuple[Hand, dict[str, list[str]]]


@contextlib.asynccontextmanager
async def opened(hand: Hand) -> AsyncIterator[Hand]:
    await hand.open()
    try:
        yield hand
    finally:
        await hand.close()
    assert look(hand.file, "PRAGMA user_version") == [(VERSION,)]
    assert check_store(hand.file).findings == []


STATES = {
    # ready, leased, delayed, dead
    "plain": (24, 9, 1, 1),
    "ranked": (14, 0, 0, 0),
    "late": (0, 0, 7, 0),
    "failing": (2, 0, 2, 0),
    "graves": (2, 0, 0, 1),
    "purged": (1, 0, 0, 0),
    "temporary": (1, 0, 0, 0),
}


async def test_it_opens_with_everything_as_it_was(old: Old) -> None:
    hand, _ = old
    assert check_store(hand.file).findings == []
    async with opened(hand):
        for queue, states in STATES.items():
            stats = await hand.stats(queue)
            assert (stats.ready, stats.leased, stats.delayed, stats.dead) == states, queue
            came = stats.published + stats.moved_in
            left = stats.acked + stats.expired + stats.dropped + stats.purged + stats.moved_out
            assert came == sum(states) + left, queue
        await hand.maintain()
        assert hand.rows("SELECT count(*) FROM reclaim") == [(0,)]
        assert hand.rows("SELECT count(*) FROM message") == [(sum(map(sum, STATES.values())),)]


async def test_receipts_from_before_still_settle(old: Old) -> None:
    hand, held = old
    async with opened(hand):
        assert await hand.ack("plain", *held["leased"]) == 9
        assert await hand.ack("ranked", *held["ran_out"]) == 3
        assert await hand.ack("failing", *held["backing_off"]) == 2
        assert (await hand.stats("failing")).delayed == 0


async def test_its_messages_are_handed_out_in_order_and_when_they_are_due(old: Old) -> None:
    hand, _ = old
    async with opened(hand):
        ranked = [body for body in bodies(await drained(hand, "ranked")) if body.startswith(b"rank")]
        assert ranked == [b"rank %d" % n for n in range(8, -1, -1)]
        plain = bodies(await drained(hand, "plain"))
        assert plain[:13] == [b"plain %d" % n for n in range(7, 20)]
        assert [body for body in plain if body.startswith(b"a")] == [b"a0", b"a1", b"a2"]
        hand.now += DAY_MS // 2 + 1  # the leases run out
        await hand.tick()
        late = await drained(hand, "plain")
        assert LARGE in bodies(late)
        assert {delivery.failed_count for delivery in late.deliveries} == {1}
        hand.now += DAY_MS // 2
        await hand.tick()
        assert bodies(await drained(hand, "plain")) == [b"later"]
        for queue in STATES:
            await drained(hand, queue)
        await hand.do(*[c.PurgeQueue(queue, state) for queue in STATES for state in (None, State.LEASED, State.DEAD)])
        await hand.maintain()
        for table in ("message", "body", "lease", "reclaim"):
            assert hand.rows(f"SELECT count(*) FROM {table}") == [(0,)], table


async def drained(hand: Hand, queue: str) -> Received:
    """All that is ready, acknowledged."""
    received = await hand.receive(queue, 1000)
    assert await hand.ack(queue, *receipts(received)) == len(received.deliveries)
    return received


async def test_it_remembers_keys_and_routes(old: Old) -> None:
    hand, _ = old
    once = envelope("once", "orders.us")._replace(idempotency_key="one")
    async with opened(hand):
        before = await hand.stats("plain")
        again, batch, both = await hand.do(
            c.Publish((once,), exchange="topic"),
            c.Publish((envelope("x"),), queue="plain", batch=True, idempotency_key="all"),
            c.Transaction(publishes=(to_queue("temporary", "x"),), idempotency_key="both"),
        )
        assert isinstance(again, Published)
        assert again.results[0].original_at
        assert isinstance(batch, Published)
        assert batch.duplicate
        assert isinstance(both, Transacted)
        assert both.published.duplicate
        assert await hand.stats("plain") == before
        (new,) = await hand.do(c.Publish((envelope("new", "orders.eu.paid"),), exchange="topic"))
        assert isinstance(new, Published)
        assert set(new.results[0].queues) == {"plain", "ranked", "late"}


def test_a_broker_serves_it(old: Old) -> None:
    """A year later: leases have run out, delays and times to live have passed."""
    hand, held = old
    server = Server(hand.folder)
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            settled = http.post("/v1/queues/plain/ack", json={"receipts": held["leased"]}).json()
            assert settled == {"acked": 9, "failed": []}
            messages = http.post("/v1/queues/plain/receive?max_messages=1000").json()["messages"]
            assert len(messages) == 24  # one more came due, one expired
            assert http.get("/v1/queues/late").json()["stats"]["expired"] == 7
            token = http.post("/v1/tokens", json={"name": "root", "admin": True})
            assert token.status_code == 201
        assert server.stop() == 0
    finally:
        server.close()
    assert check_store(hand.file).findings == []


# --- killed on the way ---------------------------------------------------------------

OPEN = """
import asyncio, sys
from queuesvc.store.sqlite.store import SqliteStore
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.close()
asyncio.run(main())
"""
KILLED = -9
CALLS = ("pwrite64", "fdatasync")


def kill_at(call: str, number: int, folder: Path) -> bool:
    """Open the store in a process that dies at its so-many-th such system call; whether it came to that."""
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", OPEN, str(folder)]
    code = subprocess.run(command, timeout=60, capture_output=True).returncode
    assert code in (0, KILLED, 128 - KILLED), code
    return code != 0


def kills(call: str, step: int, home: Path) -> Iterator[Path]:
    """The store as it lies after a kill at each `step`-th call of a kind, as long as there are any."""
    for number in count(1, step):
        folder = home / f"{call}-{number}"
        put(STEM, folder)
        if not kill_at(call, number, folder):
            return
        yield folder


@pytest.mark.skipif(not shutil.which("strace"), reason="kills at system calls are made with strace")
@pytest.mark.parametrize(
    ("call", "step"),
    [("pwrite64", 5), ("fdatasync", 2), *[pytest.param(call, 1, marks=pytest.mark.slow) for call in CALLS]],
)
async def test_killed_in_the_middle_of_a_migration_it_opens_again(call: str, step: int, tmp_path: Path) -> None:
    versions = set()
    now, held = told(STEM)
    for folder in kills(call, step, tmp_path):
        versions |= {version for (version,) in look(folder / "queuesvc.db", "PRAGMA user_version")}
        assert check_store(folder / "queuesvc.db").findings == []
        hand = Hand(folder, now)
        async with opened(hand):
            for queue, (ready, *_) in STATES.items():
                assert (await hand.stats(queue)).ready == ready
            assert await hand.ack("plain", *held["leased"]) == 9
    assert 1 in versions
    if step == 1:
        assert versions == set(range(1, VERSION + 1))


async def test_a_store_of_the_newest_is_not_opened_by_older_code(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, _ = old
    async with opened(hand):
        pass
    known = migrations.known()
    monkeypatch.setattr(migrations, "known", lambda: known[:1])
    with pytest.raises(Exception, match=f"version {VERSION}, newer than this program's 1: use a newer queuesvc"):
        await hand.open()


def test_the_fixture_is_of_the_first_migration() -> None:
    """It must stay what the first migration made: a checksum in it says so."""
    raw = gzip.decompress(STEM.with_suffix(".db.gz").read_bytes())
    assert migrations.known()[0].checksum.encode() in raw
