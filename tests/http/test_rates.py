"""The limits of each token: requests and messages a second, connections, waits."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from queuesvc.broker.tokens import EVERYTHING
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.http.app import create_app
from queuesvc.http.data.wire import Request
from queuesvc.http.rates import Bucket, Rates, TokenLimits
from queuesvc.store.sqlite.store import SqliteStore
from tests.conftest import TIMEOUT_SECONDS, check_log
from tests.http.wire import connect, make_queue, messages_of, put, read_answer, request_bytes, stats, wait_for_waiters
from tests.support.brokers import fill_the_line, running
from tests.support.brokers import make_queue as make_queue_of
from tests.support.problems import refused
from tests.support.server import Server

Name = Callable[..., str]


@contextlib.contextmanager
def limited(way: dict[str, str], tmp_path: Path, **limits: float) -> Iterator[httpx2.Client]:
    """A client of a broker with these limits."""
    env = {**way, **{f"QUEUESVC_LIMITS_{name.upper()}": str(value) for name, value in limits.items()}}
    server = Server(tmp_path / "data", env=env)
    try:
        with httpx2.Client(base_url=server.start().url, timeout=TIMEOUT_SECONDS) as http:
            yield http
        check_log(server)
    finally:
        server.close()


def make_token(http: httpx2.Client, name: str) -> dict[str, str]:
    """The header of a token that may do everything."""
    every = ["*"]
    granted = {"publish": every, "consume": every, "manage": every, "admin": True}
    answer = http.post("/v1/tokens", json={"name": name, **granted})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def test_bucket_gives_what_its_rate_allows() -> None:
    bucket = Bucket(10, now=0.0)
    assert [bucket.take(1, 0.0) for _ in range(11)] == [*[0.0] * 10, pytest.approx(0.1)]
    assert bucket.take(1, 0.1) == 0.0
    assert bucket.take(1, 0.15) == pytest.approx(0.05)
    assert bucket.take(1, 1e6) == 0.0, "however long it stood still"
    assert [bucket.take(1, 1e6) == 0.0 for _ in range(10)] == [*[True] * 9, False]


def test_bucket_may_be_overdrawn_once_and_pays_for_it() -> None:
    bucket = Bucket(10, now=0.0)
    assert bucket.take(1000, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(99.1)
    assert bucket.take(1, 99.0) > 0
    assert bucket.take(1, 99.2) == 0.0


def test_bucket_that_fills_slowly_holds_one() -> None:
    bucket = Bucket(0.1, now=0.0)
    assert bucket.take(1, 0.0) == 0.0
    assert bucket.take(1, 5.0) == pytest.approx(5.0)
    assert bucket.take(1, 10.1) == 0.0


def test_nothing_of_it_runs_where_nothing_is_limited() -> None:
    assert TokenLimits().rates() is None


class Closable:
    """What is asked of a transport."""

    closed = False

    def is_closing(self) -> bool:
        """Whether the connection is over."""
        return self.closed


def test_connections_that_closed_count_no_more() -> None:
    rates = Rates(TokenLimits(connections_per_token=2), lambda: 0.0)
    first, second, third = (Closable() for _ in range(3))
    for one in (first, second, first, second):
        rates.request(EVERYTHING, one)
    with pytest.raises(Refused):
        rates.request(EVERYTHING, third)
    first.closed = True
    rates.request(EVERYTHING, third)
    with pytest.raises(Refused):
        rates.request(EVERYTHING, first)


def test_too_many_requests_are_told_when_to_come_again(way: dict[str, str], tmp_path: Path) -> None:
    """A second's worth at once, and then no more than that a second."""
    with limited(way, tmp_path, requests_per_second=5) as http:
        begin = time.monotonic()
        answers = [http.post("/v1/queues/none/receive") for _ in range(40)]
        most = 5 + 5 * (time.monotonic() - begin)
        passed = [answer for answer in answers if answer.status_code == 404]
        assert 5 <= len(passed) <= most + 1
        for answer in answers:
            if answer.status_code != 404:
                problem = refused(answer, 429, "too-many-requests")
                assert 0 < problem["retry_after_seconds"] <= 0.2
                assert answer.headers["retry-after"] == "1"
        assert http.get("/healthz").status_code == 200, "no token, no limit of it"


def test_too_many_messages_are_refused_and_not_stored(way: dict[str, str], tmp_path: Path, name: Name) -> None:
    with limited(way, tmp_path, publishes_per_second=0.001) as http:
        queue = make_queue(http, name())
        put(http, queue, "a", "b", "c")
        publish = f"/v1/queues/{queue}/messages"
        transaction = {"publishes": [{"queue": queue, "body": "x"}]}
        for answer in (
            http.post(publish, content=b"x"),
            http.post(f"{publish}/batch", json={"messages": [{"body": "x"}]}),
            http.post("/v1/transactions", json=transaction),
        ):
            problem = refused(answer, 429, "too-many-requests")
            assert 2000 < problem["retry_after_seconds"] <= 3001
            assert int(answer.headers["retry-after"]) >= problem["retry_after_seconds"]
        received = http.post(f"/v1/queues/{queue}/receive", json={"max_messages": 10}).json()["messages"]
        assert len(received) == 3, "what was stored is handed out all the same"
        receipts = [message["receipt"] for message in received]
        done = http.post("/v1/transactions", json={"acks": [{"queue": queue, "receipts": receipts}]})
        assert done.json()["acked"] == 3, "and settled"


def test_each_token_has_its_own(way: dict[str, str], tmp_path: Path, name: Name) -> None:
    with limited(way, tmp_path, publishes_per_second=0.001) as http:
        queue = make_queue(http, name())
        one = make_token(http, "one")
        http.headers.update(one)
        two = make_token(http, "two")
        publish = f"/v1/queues/{queue}/messages"
        assert http.post(publish, headers=one, content=b"x").status_code == 201
        refused(http.post(publish, headers=one, content=b"x"), 429, "too-many-requests")
        assert http.post(publish, headers=two, content=b"x").status_code == 201
        assert stats(http, queue)["published"] == 2


def test_too_many_waits_are_refused_and_one_that_left_counts_no_more(
    way: dict[str, str], tmp_path: Path, name: Name
) -> None:
    with limited(way, tmp_path, waits_per_token=2) as http:
        queue = make_queue(http, name())
        path = f"/v1/queues/{queue}/receive?wait_seconds=60"
        with connect(str(http.base_url)) as first, connect(str(http.base_url)) as second:
            for wire in (first, second):
                wire.sendall(request_bytes(path))
            wait_for_waiters(http, queue, 2)
            refused(http.post(path), 429, "too-many-requests")
            refused(http.post(path, json={"ack": []}), 429, "too-many-requests")
            assert http.post(f"/v1/queues/{queue}/receive").json() == {"messages": []}, "it does not wait"
            second.close()
            wait_for_waiters(http, queue, 1)
            with connect(str(http.base_url)) as third:
                third.sendall(request_bytes(path))
                wait_for_waiters(http, queue, 2)
                put(http, queue, "a", "b")
                assert len(messages_of(read_answer(first))) == len(messages_of(read_answer(third))) == 1
        assert http.post(f"/v1/queues/{queue}/receive?wait_seconds=0.1").status_code == 200


def test_too_many_connections_of_a_token_are_refused(way: dict[str, str], tmp_path: Path) -> None:
    with limited(way, tmp_path, connections_per_token=2) as http:
        assert http.post("/v1/queues/none/receive").status_code == 404
        with connect(str(http.base_url)) as second:
            second.sendall(request_bytes("/v1/queues/none/receive"))
            answer = read_answer(second)
            assert answer is not None
            assert answer[0] == 404
            with connect(str(http.base_url)) as third:
                for _ in range(2):
                    third.sendall(request_bytes("/v1/queues/none/receive"))
                    answer = read_answer(third)
                    assert answer is not None
                    assert answer[0] == 429
        assert http.get("/v1/queues").status_code == 200


class Asked(Request):
    """A receive's request, of a client that stays."""

    transport = None

    def __init__(self, body: bytes) -> None:
        self.query, self.headers, self.body = b"", [], body

    def gone(self) -> bool:
        return False

    def watch(self, left: Callable[[], None]) -> None:
        pass

    def unwatch(self) -> None:
        pass


async def test_a_wait_that_is_refused_at_once_counts_for_nothing(tmp_path: Path) -> None:
    """There is no room in the line for what it acknowledges: so it does not wait, either."""
    async with running(SqliteStore(tmp_path / "data")) as broker:
        await make_queue_of(broker, "q")
        app = create_app(broker, rates=TokenLimits(waits_per_token=1).rates())
        call = app.data.find("POST", "/v1/queues/q/receive")
        assert call is not None
        line = fill_the_line(broker, c.Tick())
        for _ in range(3):
            with pytest.raises(Refused) as refusal:
                call.begin(Asked(b'{"ack":[],"wait_seconds":60}'))
            assert refusal.value.code is Code.UNAVAILABLE
        await asyncio.gather(*line)
        work, make_answer = call.begin(Asked(b'{"ack":[],"wait_seconds":0.001}'))
        assert make_answer(await work).status == 200
