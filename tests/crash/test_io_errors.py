"""Reads, writes and fsyncs that fail under a running broker: nothing answered is lost, and nothing is invented.

strace answers the broker's system calls with an error in the kernel's place, one kind on one file at a time.
"""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from queuesvc.store.sqlite.check.checker import check_store
from tests.support.faults import READS, SYNCS, WRITES, failing, needs_strace, python_that_fails
from tests.support.problems import refused
from tests.support.server import Server
from tests.support.until import wait_until

pytestmark = needs_strace

MEDIUM = "x" * 300_000


@dataclass
class Client:
    """Publishes and acks at a broker, and knows what may be in its queue `q`: what it was told, and what it was not."""

    server: Server
    http: httpx2.Client
    stored: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    count: int = 0

    def publish(self, text: str = "") -> httpx2.Response:
        self.count += 1
        body = f"{self.count} {text}"
        answer = self.http.post("/v1/queues/q/messages", content=body)
        if answer.status_code == 201:
            self.stored.append(body)
        else:
            refused(answer, 503, "unavailable")
            self.unknown.add(body)
        return answer

    def publishes_again(self) -> None:
        """It recovers by itself (it tries once a second)."""
        wait_until(lambda: self.publish().status_code == 201, "a publish that is stored")

    def take(self, most: int = 1) -> list[dict[str, Any]]:
        answer = self.http.post("/v1/queues/q/receive", json={"max_messages": most, "lease_seconds": 3600})
        assert answer.status_code == 200, answer.text
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    def ack(self, *messages: dict[str, Any]) -> httpx2.Response:
        answer = self.http.post("/v1/queues/q/ack", json={"receipts": [message["receipt"] for message in messages]})
        if answer.status_code == 200:
            assert answer.json()["acked"] == len(messages)
            for message in messages:
                self.stored.remove(message["body"])
        return answer

    def check(self) -> None:
        """The broker ends as it should, the file is whole, and the next one has what was answered."""
        if self.server.running:
            assert self.server.stop() == 0
        assert check_store(self.server.data / "queuesvc.db").findings == []
        self.server.start()
        bodies = [message["body"] for message in self.take(1000)]
        assert [body for body in bodies if body not in self.unknown] == self.stored
        assert len(bodies) == len(set(bodies))
        self.server.kill()


def serves(server: Server) -> None:
    """It starts, takes a call and ends well."""
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            assert http.put("/v1/queues/q", json={}).status_code == 201
        assert server.stop() == 0
    finally:
        server.close()


@pytest.fixture
def client(server: Server, http: httpx2.Client) -> Client:
    assert http.put("/v1/queues/q", json={"lease_seconds": 3600}).status_code == 201
    client = Client(server, http)
    for _ in range(3):
        assert client.publish().status_code == 201
    return client


def database(server: Server) -> Path:
    return server.data / "queuesvc.db"


def log_of(server: Server) -> Path:
    return server.data / "queuesvc.db-wal"


def said(server: Server, level: str) -> str:
    """What it logged at this level, without the audit."""
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return "\n".join(line["message"] for line in lines if line["level"] == level)


# --- the outcome is unknown: the broker ends --------------------------------------


@pytest.mark.parametrize(
    ("calls", "error", "name"),
    [
        (SYNCS, "EIO", "IOERR_FSYNC"),
        pytest.param(WRITES, "EIO", "IOERR_WRITE", marks=pytest.mark.slow),
        pytest.param(SYNCS, "ENOSPC", "IOERR_FSYNC", marks=pytest.mark.slow),
    ],
)
def test_a_commit_that_fails_ends_the_broker_and_the_next_goes_on(
    client: Client, calls: str, error: str, name: str
) -> None:
    """That the failed one's pages count as written then must not make the next commit succeed: there is none."""
    server = client.server
    with failing(server, calls, error, log_of(server), when="1"):
        assert client.publish().status_code == 503
        assert server.wait() == 1
    assert name in said(server, "critical")
    assert "look for disk errors in the system's log" in said(server, "critical")
    assert "start the broker again" in said(server, "critical")
    server.start()
    assert client.publish().status_code == 201
    client.check()


@pytest.mark.slow
def test_an_ack_whose_commit_fails_is_not_answered_acked(client: Client) -> None:
    server = client.server
    (message,) = client.take()
    with failing(server, SYNCS, "EIO", log_of(server), when="1"):
        refused(client.ack(message), 503, "unavailable")
        assert server.wait() == 1
    server.start()
    again = client.http.post("/v1/queues/q/ack", json={"receipts": [message["receipt"]]}).json()
    # Acked now, or acked then: it is gone in any case, and was told so only now.
    assert again["acked"] == 1 or again["failed"][0]["code"] == "gone"
    client.stored.remove(message["body"])
    client.check()


def test_an_fsync_that_fails_when_the_log_is_brought_into_the_file_ends_the_broker(client: Client) -> None:
    """Nobody's publish waits for that one, and the next fsync would say that all is well."""
    server = client.server
    wait_until(lambda: log_of(server).stat().st_size == 0, "an idle broker")
    with failing(server, SYNCS, "EIO", database(server), when="1"):
        assert client.publish().status_code == 201
        assert server.wait() == 1
    assert "IOERR_FSYNC" in said(server, "critical")
    assert log_of(server).stat().st_size > 0, "what was answered is in the log, and stays there"
    client.check()


@pytest.mark.slow
def test_so_does_one_of_a_relaxed_store_in_the_middle_of_load(tmp_path: Path) -> None:
    """Its commits wait for no fsync; where its log is brought in we do that by ourselves, and so hear of it."""
    server = Server(tmp_path / "data", ["--durability", "relaxed"])
    try:
        with httpx2.Client(base_url=server.start().url, timeout=30) as http:
            assert http.put("/v1/queues/q", json={}).status_code == 201
            client = Client(server, http)
            with failing(server, SYNCS, "EIO", log_of(server), when="1"):
                while client.publish(MEDIUM).status_code == 201:
                    assert client.count < 100
                assert server.wait() == 1
            assert "IOERR_FSYNC" in said(server, "critical")
            client.check()
    finally:
        server.close()


@pytest.mark.parametrize(
    "where", [pytest.param("receive", marks=pytest.mark.slow), "look", pytest.param("death", marks=pytest.mark.slow)]
)
def test_a_page_that_cannot_be_read_ends_the_broker_and_nothing_is_made_up(client: Client, where: str) -> None:
    """By the writer, which reads the bodies of a receive, and by the connection that only reads.

    SQLite answers as to a damaged file. If the disk can read it again, the next start goes on.
    """
    server, http = client.server, client.http
    big = client.publish(MEDIUM).json()["id"]
    if where == "death":
        http.patch("/v1/queues/q", json={"delivery_limit": 1})
        client.ack(*client.take(3))
        (held,) = client.take()
    server.restart()  # nothing is in SQLite's caches
    with failing(server, READS, "EIO"):
        if where == "look":
            answer = http.get(f"/v1/queues/q/messages/{big}")
        elif where == "receive":
            answer = http.post("/v1/queues/q/receive", json={"max_messages": 100})
        else:
            answer = http.post("/v1/queues/q/nack", json={"receipts": [held["receipt"]]})
        refused(answer, 503, "unavailable")
        assert server.wait() == 1
    assert "look for disk errors in the system's log" in said(server, "critical")
    if where == "death":
        assert check_store(database(server)).findings == []
        server.start()
        assert client.ack(held).status_code == 200
        server.stop()
    client.check()


# --- nothing of it happened: the broker goes on -----------------------------------------


def test_a_full_disk_refuses_what_does_not_fit_and_goes_on(client: Client) -> None:
    server = client.server
    (message,) = client.take()
    with failing(server, WRITES, "ENOSPC", log_of(server), when="1"):
        answer = client.publish()
        assert "make room on the disk" in refused(answer, 503, "unavailable")["detail"]
        assert client.ack(message).status_code == 200
    client.publishes_again()
    client.check()


@pytest.mark.slow
def test_a_write_that_fails_before_the_commit_is_undone(client: Client) -> None:
    """A batch larger than SQLite's cache is written to the log on the way."""
    server, http = client.server, client.http
    batch = {"messages": [{"body": "x" * 1_000_000}] * 12}
    with failing(server, WRITES, "EIO", log_of(server), when="20"):
        refused(http.post("/v1/queues/q/messages/batch", json=batch), 503, "unavailable")
    assert "IOERR_WRITE" in said(server, "error")
    (message,) = client.take()
    assert client.ack(message).status_code == 200
    client.publishes_again()
    client.check()


@pytest.mark.slow
def test_a_log_that_cannot_be_brought_into_the_file_grows_so_far_and_publishes_stop(tmp_path: Path) -> None:
    """SQLite says nothing of it: acks go on, the reason is told, and all is as before when the disk is well again."""
    server = Server(tmp_path / "data", env={"QUEUESVC_WAL_BYTES": str(5_000_000)})
    try:
        with httpx2.Client(base_url=server.start().url, timeout=30) as http:
            assert http.put("/v1/queues/q", json={}).status_code == 201
            client = Client(server, http)
            client.publish()
            with failing(server, WRITES, "EIO", database(server)):
                while (answer := client.publish(MEDIUM)).status_code == 201:
                    assert client.count < 100
                assert "look for disk errors" in refused(answer, 503, "unavailable")["detail"]
                assert log_of(server).stat().st_size < 8_000_000
                assert client.ack(*client.take()).status_code == 200
            client.publishes_again()
            client.check()
    finally:
        server.close()


# --- at the start, and beside the broker -----------------------------------------------


def refused_start(python: Path, data: Path) -> str:
    """The line that a broker ends with which does not start."""
    command = [str(python), "-m", "queuesvc", "serve", "--port", "0", "--data", str(data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"queuesvc: [^\n]+\n", result.stderr), result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("calls", "error", "what", "words"),
    [
        pytest.param(READS, "EIO", "queuesvc.db", "look for disk errors", marks=pytest.mark.slow),
        pytest.param(WRITES, "ENOSPC", "queuesvc.db-wal", "make room on the disk", marks=pytest.mark.slow),
        pytest.param(SYNCS, "EIO", "queuesvc.db-wal", "IOERR_FSYNC", marks=pytest.mark.slow),
        (SYNCS, "EIO", ".", "Input/output error"),
    ],
)
def test_a_start_that_fails_is_a_line_and_the_next_one_starts(
    tmp_path: Path, calls: str, error: str, what: str, words: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    python = python_that_fails(tmp_path, calls, error, data / what)
    said = refused_start(python, data)
    assert "can't open the store" in said
    assert words in said
    serves(Server(data))


@pytest.mark.slow
def test_a_directory_whose_own_name_is_not_on_the_disk_is_not_begun_in(tmp_path: Path) -> None:
    """All in it would be gone with it."""
    python = python_that_fails(tmp_path, SYNCS, "EIO", tmp_path / "above")
    (tmp_path / "above").mkdir()
    said = refused_start(python, tmp_path / "above" / "new" / "data")
    assert "can't use the folder" in said
    assert "Input/output error: look for disk errors" in said


@pytest.mark.slow
def test_a_file_system_that_knows_no_fsync_of_directories_is_no_bad_disk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    serves(Server(tmp_path / "data", python=python_that_fails(tmp_path, "fsync", "EINVAL", tmp_path / "data")))


@pytest.mark.parametrize(
    ("calls", "name", "words"),
    [
        ("write", "queuesvc.db-wal", "Input/output error"),
        pytest.param(SYNCS, "queuesvc.db-wal", "Input/output error", marks=pytest.mark.slow),
        pytest.param(SYNCS, "queuesvc.db", "IOERR_FSYNC", marks=pytest.mark.slow),
    ],
)
def test_what_a_failed_fsync_left_is_written_once_more_before_the_file_is_built_on_it(
    client: Client, tmp_path: Path, calls: str, name: str, words: str
) -> None:
    """Its pages count as written, and may be in memory only: if they can't be written now, nothing is begun.

    (SQLite itself writes by another call.)
    """
    server = client.server
    with failing(server, SYNCS, "EIO", log_of(server), when="1"):
        assert client.publish().status_code == 503
        assert server.wait() == 1
    before = log_of(server).read_bytes()
    said = refused_start(python_that_fails(tmp_path, calls, "EIO", server.data / name, when="1"), server.data)
    assert words in said
    assert log_of(server).read_bytes() == before
    server.start()
    client.check()


@pytest.mark.slow
def test_a_start_on_a_full_disk_serves_those_who_make_room(client: Client, tmp_path: Path) -> None:
    """What a killed broker left in the log can't be brought into the file: that is no reason not to start."""
    server = client.server
    server.kill()
    started = server.python
    server.python = str(python_that_fails(tmp_path, WRITES, "ENOSPC", database(server)))
    server.start()
    messages = client.take(10)
    assert client.ack(*messages[:2]).status_code == 200
    server.kill()
    server.python = started
    server.start()
    assert client.ack(messages[2]).status_code == 200
    client.check()


def test_a_backup_that_fails_leaves_nothing_and_the_broker_goes_on(client: Client) -> None:
    server = client.server
    wait_until(lambda: log_of(server).stat().st_size == 0, "an idle broker")
    for calls, error in ((WRITES, "EIO"), (WRITES, "ENOSPC"), (SYNCS, "EIO"), (READS, "EIO")):
        with failing(server, calls, error, when="1"):
            refused(client.http.post("/v1/backup"), 503, "unavailable")
        assert not list(server.data.glob("backup-*"))
    assert client.http.post("/v1/backup").status_code == 200
    assert client.publish().status_code == 201
    client.check()
