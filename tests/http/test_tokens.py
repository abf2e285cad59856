"""Tokens from their making to their end, on both ways: shown once, over at once, and what waits under them, too."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from tests.conftest import check_log
from tests.http.wire import (
    connect,
    make_exchange,
    make_queue,
    put,
    read_answer,
    receive,
    request_bytes,
    stats,
    wait_for_waiters,
)
from tests.support.problems import refused
from tests.support.server import Server
from tests.support.tokens import Headers, Holders, bearer
from tests.support.until import wait_until

Name = Callable[..., str]
MAY = {"publish": ["*"], "consume": ["*"]}


@pytest.fixture(scope="module")
def holders(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holders]:
    server = Server(tmp_path_factory.mktemp("tokens") / "data", env=way)
    try:
        with Holders(server.start()) as holders:
            yield holders
        check_log(server)
    finally:
        server.close()


@pytest.fixture
def root(holders: Holders) -> httpx2.Client:
    """A client that may do everything."""
    return holders.http


class Waiting:
    """A request on its way in a thread of its own."""

    def __init__(self, url: str, headers: Headers) -> None:
        self._answers: list[httpx2.Response] = []
        self._thread = threading.Thread(target=self._ask, args=(url, headers))
        self._thread.start()

    def _ask(self, url: str, headers: Headers) -> None:
        self._answers.append(httpx2.post(url, headers=headers, timeout=60))

    def answer(self) -> httpx2.Response:
        self._thread.join(50)
        assert self._answers, "it goes on waiting"
        return self._answers[0]


def test_a_token_is_shown_once(root: httpx2.Client, name: Name) -> None:
    wanted = {"name": name("t"), "publish": ["a*", "b"], "consume": ["c.*"], "manage": [], "expires_seconds": 3600}
    answer = root.post("/v1/tokens", json=wanted)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    secret = made.pop("token")
    assert re.fullmatch(rf"qsv_{made['id']}_[A-Za-z0-9_-]{{43}}", secret)
    given = {name: value for name, value in wanted.items() if name != "expires_seconds"}
    assert given.items() <= made.items()
    assert (made["admin"], made["metrics"], made["expired"], made["last_used_at"]) == (False, False, False, None)
    assert made["expires_at"] > made["created_at"]
    assert root.get(f"/v1/tokens/{made['name']}").json() == made
    assert made in root.get("/v1/tokens?limit=1000").json()["tokens"]
    assert secret.split("_", 2)[2] not in root.get("/v1/tokens?limit=1000").text
    refused(root.post("/v1/tokens", json=wanted), 409, "conflict", fields=["name"])
    refused(root.get(f"/v1/tokens/{name('none')}"), 404, "not-found")
    refused(root.delete(f"/v1/tokens/{name('none')}"), 404, "not-found")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({}, "publish"),
        ({"publish": []}, "publish"),
        ({"publish": ["a b"]}, "publish"),
        ({"consume": [""]}, "consume"),
        ({"manage": ["ä"]}, "manage"),
        ({"publish": ["a?"]}, "publish"),
        ({"publish": "a"}, "publish"),
        ({"publish": ["a"] * 101}, "publish"),
        ({"publish": [1]}, "publish.0"),
        ({"admin": "yes"}, "admin"),
        ({"metrics": True, "expires_seconds": 0}, "expires_seconds"),
        ({"metrics": True, "expires_seconds": -1}, "expires_seconds"),
        ({"metrics": True, "name": "no name"}, "name"),
        ({"metrics": True, "name": ""}, "name"),
        ({"metrics": True, "see": ["*"]}, "see"),
    ],
)
def test_what_makes_no_token(root: httpx2.Client, name: Name, wanted: dict[str, Any], field: str) -> None:
    refused(root.post("/v1/tokens", json={"name": name(), **wanted}), 422, "invalid-request", field=field)


def test_its_last_use_is_shown_at_once(root: httpx2.Client, holders: Holders, name: Name) -> None:
    token = name("used")
    headers = holders.holder(token, **MAY)
    assert holders.shown(token)["last_used_at"] is None
    queue = make_queue(root, name("q"))
    assert root.post(f"/v1/queues/{queue}/messages", headers=headers).status_code == 201
    used = holders.shown(token)["last_used_at"]
    assert used is not None
    # A token that is refused was not used.
    root.get("/v1/queues", headers={"Authorization": headers["Authorization"] + "x"})
    assert holders.shown(token)["last_used_at"] == used


@pytest.mark.parametrize("auto_ack", ["false", "true"])
def test_a_revoke_ends_a_long_poll(root: httpx2.Client, holders: Holders, name: Name, auto_ack: str) -> None:
    queue, token = make_queue(root, name("q")), name("t")
    headers = holders.holder(token, **MAY)
    url = f"{holders.server.url}/v1/queues/{queue}/receive?wait_seconds=50&auto_ack={auto_ack}"
    waits = Waiting(url, headers)
    wait_for_waiters(root, queue, 1)
    holders.revoke(token)
    answer = waits.answer()
    refused(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"]
    wait_for_waiters(root, queue, 0)
    put(root, queue, "x")
    assert [message["delivery_count"] for message in receive(root, queue)] == [1]


def test_so_does_its_end(root: httpx2.Client, holders: Holders, name: Name) -> None:
    queue = make_queue(root, name("q"))
    headers = holders.holder(name("t"), **MAY, expires_seconds=1.5)
    url = f"{holders.server.url}/v1/queues/{queue}/receive?wait_seconds=50"
    waits = Waiting(url, headers)
    refused(waits.answer(), 401, "unauthenticated")
    assert stats(root, queue)["consumers_waiting"] == 0
    refused(root.post(url, headers=headers), 401, "unauthenticated")


def test_a_revoke_ends_a_request_that_waits_for_its_reply(root: httpx2.Client, holders: Holders, name: Name) -> None:
    exchange, queue, token = make_exchange(root, name("x"), "fanout"), make_queue(root, name("q")), name("t")
    root.post(f"/v1/exchanges/{exchange}/bindings", json={"queue": queue})
    headers = holders.holder(token, **MAY)
    waits = Waiting(f"{holders.server.url}/v1/exchanges/{exchange}/request?wait_seconds=50", headers)
    (question,) = receive(root, queue, wait_seconds=20)
    holders.revoke(token)
    refused(waits.answer(), 401, "unauthenticated")
    late = root.post(f"/v1/queues/{question['reply_to']}/messages", content=b"late")
    assert late.json()["queues"] == []


def test_a_receive_that_acknowledged_first_ends_too(root: httpx2.Client, holders: Holders, name: Name) -> None:
    queue, token = make_queue(root, name("q")), name("t")
    headers = holders.holder(token, **MAY)
    put(root, queue, "x")
    (message,) = receive(root, queue)
    with closing(connect(holders.server.url)) as connection:
        body = f'{{"ack": ["{message["receipt"]}"]}}'.encode()
        connection.sendall(request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=50", body, _sized(headers, body)))
        wait_until(lambda: stats(root, queue)["acked"] == 1)
        holders.revoke(token)
        answer = read_answer(connection)
    assert answer is not None
    assert answer[0] == 401


def test_who_is_revoked_while_they_send_has_sent_nothing(root: httpx2.Client, holders: Holders, name: Name) -> None:
    queue, token = make_queue(root, name("q")), name("t")
    headers = holders.holder(token, **MAY, manage=["*"])
    for path, method in ((f"/v1/queues/{queue}/messages", "POST"), (f"/v1/queues/{queue}", "PATCH")):
        if method == "PATCH":
            token = name("t")
            headers = holders.holder(token, **MAY, manage=["*"])
        body = b'{"paused": true}'
        whole = request_bytes(path, body, _sized(headers, body)).replace(b"POST", method.encode(), 1)
        with closing(connect(holders.server.url)) as connection:
            connection.sendall(whole[:-1])
            wait_until(lambda token=token: _is_known(holders, token))  # type: ignore[misc]
            holders.revoke(token)
            connection.sendall(whole[-1:])
            answer = read_answer(connection)
        assert answer is not None
        assert answer[0] == 401, answer
    shown = root.get(f"/v1/queues/{queue}").json()
    assert (shown["stats"]["published"], shown["paused"]) == (0, False)


def _is_known(holders: Holders, token: str) -> bool:
    return bool(holders.shown(token)["name"])


def _sized(headers: Headers, body: bytes) -> Headers:
    return {**headers, "Content-Length": str(len(body))}


def test_secrets_are_nowhere(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither in a file of the store's, SQLite's log among them, nor in what the broker says; and all outlives it."""
    server = Server(tmp_path_factory.mktemp("secrets") / "data", ["--log-level", "debug"], env=way)
    try:
        with Holders(server.start()) as holders:
            http = holders.http
            secrets = [holders.root_secret, *(holders.secret(f"t{number}", **MAY) for number in range(5))]
            make_queue(http, "q")
            for secret in secrets:
                http.post("/v1/queues/q/messages", headers=bearer(secret), content=b"needle")
                http.post("/v1/queues/q/messages", headers=bearer(secret + "x"))
                http.get("/v1/nowhere", headers=bearer(secret))
            holders.revoke("t0")
            files = [path for path in server.data.iterdir() if path.is_file()]
            assert any(b"needle" in path.read_bytes() for path in files), "the files are looked into in vain"
            assert any(path.name.endswith("-wal") for path in files)
            places = {path.name: path.read_bytes() for path in files} | {"log": server.log.encode()}
            for secret in secrets:
                needle = secret.split("_", 2)[2].encode()
                assert [place for place, text in places.items() if needle in text] == []
            server.kill()
            server.start()
            wanted = [200, 401, 200, 200, 200, 200]
            assert [http.get("/v1/queues", headers=bearer(one)).status_code for one in secrets] == wanted
        check_log(server)
    finally:
        server.close()


def test_the_last_one_shuts_everybody_out_until_the_broker_is_started_anew(server: Server) -> None:
    with httpx2.Client(base_url=server.url) as nobody:
        refused(nobody.post("/v1/tokens", json={"name": "t", **MAY}), 422, "invalid-request", field="admin")
        assert nobody.get("/v1/queues").status_code == 200
        with Holders(server) as holders:
            assert nobody.get("/v1/queues").status_code == 401
            holders.revoke("root")
        assert nobody.get("/v1/queues").status_code == 401
        assert nobody.get("/v1/queues", headers=holders.root).status_code == 401
        assert (nobody.get("/healthz").status_code, nobody.get("/readyz").status_code) == (200, 200)
        server.restart()
        assert nobody.get("/v1/queues").status_code == 200
