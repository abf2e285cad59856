"""Another program that looks into the file for long: SQLite's log can't be used again meanwhile, and must not grow
without bound."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.http.wire import make_queue, put, receive, settle, stats
from tests.support.problems import refused
from tests.support.server import Server
from tests.support.until import wait_until

WAL_BYTES = 2 * 1024 * 1024
BODY = b"x" * 20_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A broker whose log may be 2 MiB."""
    server = Server(tmp_path / "data", env={"QUEUESVC_WAL_BYTES": str(WAL_BYTES)})
    try:
        yield server.start()
    finally:
        server.close()


def log_bytes(server: Server) -> int:
    log = server.data / "queuesvc.db-wal"
    return log.stat().st_size if log.exists() else 0


def publish_until_refused(http: httpx2.Client) -> httpx2.Response:
    for _ in range(1000):
        answer = http.post("/v1/queues/q/messages", content=BODY)
        if answer.status_code != 201:
            return answer
    raise AssertionError("20 MB were published, and more would have been")


def test_the_log_stays_bounded_and_acks_go_on(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    put(http, "q", *"abc")
    with closing(sqlite3.connect(f"file:{server.data}/queuesvc.db?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchall()
        answer = publish_until_refused(http)
        detail = refused(answer, 503, "unavailable")["detail"]
        assert "another program" in detail
        assert answer.headers["retry-after"] == "1"
        assert WAL_BYTES < log_bytes(server) < WAL_BYTES + 1_000_000
        first = receive(http, "q", max_messages=3)
        assert [message["body"] for message in first] == ["a", "b", "c"]
        settle(http, "q", "ack", *(message["receipt"] for message in first))
        assert stats(http, "q")["acked"] == 3
        assert log_bytes(server) < WAL_BYTES + 2_000_000
    wait_until(lambda: http.post("/v1/queues/q/messages", content=BODY).status_code == 201, "a publish that is taken")
    assert log_bytes(server) < WAL_BYTES
    found = stats(http, "q")
    assert found["published"] == found["ready"] + found["acked"]
