"""A disk that fails under a running broker: nothing that was answered is lost."""

import resource
import sqlite3

import httpx2
import pytest

from queuesvc.store.sqlite.check.checker import check_store
from tests.support.server import Server
from tests.support.until import wait_until


def publish_until_refused(http: httpx2.Client, body: str) -> tuple[list[str], httpx2.Response | None]:
    """The ids that were answered 201, and the answer that was not (None: the connection broke)."""
    ids: list[str] = []
    for _ in range(20_000):
        try:
            answer = http.post("/v1/queues/q/messages", content=body)
        except httpx2.TransportError:
            return ids, None
        if answer.status_code != 201:
            return ids, answer
        ids.append(answer.json()["id"])
    raise AssertionError("it was never refused")


def received(http: httpx2.Client) -> list[str]:
    ids: list[str] = []
    while messages := http.post("/v1/queues/q/receive", json={"max_messages": 1000}).json()["messages"]:
        ids += [message["id"] for message in messages]
    return ids


@pytest.fixture
def limited(server: Server, http: httpx2.Client) -> Server:
    """A broker with a queue `q` whose files may not grow beyond 3 MB: a write past that fails, as on a bad disk."""
    assert http.put("/v1/queues/q", json={"lease_seconds": 3600}).status_code == 201
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
    return server


def test_a_write_error_in_a_commit_ends_the_broker_and_everything_answered_is_there(
    limited: Server, http: httpx2.Client
) -> None:
    """Whether the commit is on the disk is unknown (EFBIG here, EIO elsewhere): it is read again by a new start."""
    ids, refusal = publish_until_refused(http, "x" * 5000)
    assert len(ids) > 100
    if refusal is not None:
        assert (refusal.status_code, refusal.json()["type"]) == (503, "urn:queuesvc:unavailable")
        assert int(refusal.headers["Retry-After"]) >= 1
    assert limited.wait() != 0, "it ends by itself"
    limited.start()
    there = received(http)
    assert there[: len(ids)] == ids
    assert len(there) - len(ids) <= 1
    assert limited.stop() == 0
    assert check_store(limited.data / "queuesvc.db").findings == []


def test_while_nothing_can_be_written_publishes_are_unavailable_and_questions_answered(
    server: Server, http: httpx2.Client
) -> None:
    """Another program has the file locked for writing; when it lets go, the broker goes on by itself."""
    assert http.put("/v1/queues/q", json={}).status_code == 201
    first = http.post("/v1/queues/q/messages", content="one").json()["id"]
    other = sqlite3.connect(server.data / "queuesvc.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refusal = http.post("/v1/queues/q/messages", content="two")
    assert (refusal.status_code, refusal.json()["type"]) == (503, "urn:queuesvc:unavailable")
    assert http.get("/v1/queues/q").json()["stats"]["ready"] == 1
    other.execute("ROLLBACK")
    other.close()
    answers: list[httpx2.Response] = []

    def goes_through() -> bool:
        answers.append(http.post("/v1/queues/q/messages", content="three"))
        return answers[-1].status_code == 201

    wait_until(goes_through, "a publish")
    assert received(http) == [first, answers[-1].json()["id"]]
    assert server.running
