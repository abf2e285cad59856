"""What a power loss takes: nothing under `full`; under `relaxed` the end of the history, each commit wholly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from queuesvc.store.sqlite.check.checker import check_store
from queuesvc.store.sqlite.wal import index_of
from tests.crash.disk import Disk, why_not
from tests.support.server import Server
from tests.support.until import wait_until

STEPS = 50
QUEUES = ("chain", "one", "other")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Disk(tmp_path) as disk:
        yield disk


class Chain:
    """Transactions that hang together: each acknowledges what the one before put into `chain`.

    So after any whole number of them `chain` holds one message, the last number; `one` and `other` hold all.
    """

    def __init__(self, server: Server, http: httpx2.Client) -> None:
        self._http = http
        self._log = server.data / "queuesvc.db-wal"
        self.receipts: list[str] = []

    def begin(self) -> None:
        """The queues, and the first link; returns when it is on the disk, however lazily that is done."""
        for queue in QUEUES:
            assert self._http.put(f"/v1/queues/{queue}", json={"lease_seconds": 3600}).status_code == 201
        self._transact(0, [])
        wait_until(lambda: self._log.stat().st_size == 0, "an empty log")

    def go_on(self, numbers: range) -> None:
        """Add links, each answered before the next."""
        for number in numbers:
            (last,) = self._http.post("/v1/queues/chain/receive", json={}).json()["messages"]
            self.receipts.append(last["receipt"])
            assert last["body"] == str(number - 1)
            self._transact(number, [last["receipt"]])

    def last(self) -> int:
        """The last link that is there: after a whole number of transactions, from the first on."""
        (last,) = self._browse("chain")
        number = int(last["body"])
        for queue in ("one", "other"):
            assert [message["body"] for message in self._browse(queue)] == [str(link) for link in range(number + 1)]
        return number

    def settled(self, receipts: list[str]) -> int:
        """How many receipts are worth anything."""
        acked: int = self._http.post("/v1/queues/chain/ack", json={"receipts": receipts}).json()["acked"]
        return acked

    def let_go(self) -> None:
        """End the lease of the last link, if it is there."""
        ids = [message["id"] for message in self._browse("chain")]
        assert self._http.post("/v1/queues/chain/release", json={"ids": ids}).status_code == 200

    def _browse(self, queue: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = ""
        while after is not None:
            page = self._http.get(f"/v1/queues/{queue}/messages?limit=1000{after and '&after='}{after}").json()
            found += page["messages"]
            after = page["next"]
        return found

    def _transact(self, number: int, receipts: list[str]) -> None:
        publishes = [{"queue": queue, "body": str(number)} for queue in QUEUES]
        acks = [{"queue": "chain", "receipts": receipts}] if receipts else []
        answer = self._http.post("/v1/transactions", json={"acks": acks, "publishes": publishes})
        assert answer.status_code == 200, answer.text


def cut_off(server: Server, disk: Disk, index: bool) -> list[str]:
    """The power fails, with the log's index on the disk or not; it comes back, the broker starts. What check says."""
    file = server.data / "queuesvc.db"
    disk.cut(*[index_of(file)] if index else [])
    server.kill()
    disk.back()
    findings = list(check_store(file).findings)
    server.start()
    return findings


@pytest.mark.parametrize("losses", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_power_loss(durability: str, losses: int, disk: Disk, tmp_path: Path) -> None:
    server = Server(disk.place / "data", ["--durability", durability], log_file=tmp_path / "log")
    try:
        server.start()
        with httpx2.Client(base_url=server.url, timeout=30) as http:
            lost = lose_power(server, disk, Chain(server, http), losses)
        if durability == "full":
            assert lost == 0
        else:
            assert lost > 0, "so this test can fail: what was not synced is lost"
        assert server.stop() == 0
    finally:
        server.close()


def lose_power(server: Server, disk: Disk, chain: Chain, losses: int) -> int:
    """Again and again. How many links were answered for and are lost."""
    chain.begin()
    done = lost = 0
    for number in range(1, losses + 1):
        chain.go_on(range(done + 1, done + STEPS + 1))
        findings = cut_off(server, disk, index=number % 2 == 1)
        there = chain.last()
        # What is there is whole. The index may tell that it is not all.
        assert not findings or (there < done + STEPS and len(findings) == 1 and "are there" in findings[0])
        assert there >= done, "what an earlier loss had left"
        lost += done + STEPS - there
        # (The receipt for the last link was handed out in a commit of its own, which may be there.)
        assert chain.settled(chain.receipts[there + 1 :]) == 0, "receipts of messages that are lost"
        chain.let_go()
        done = there
        del chain.receipts[there:]
    return lost
