"""The audit log: who did what, one line each; and what never stands in any log."""

import base64
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from queuesvc.http.app import ENDPOINTS
from tests.conftest import TIMEOUT_SECONDS, check_log
from tests.http.wire import bind, make_exchange, make_queue, put, receive_one, settle
from tests.support.server import Server
from tests.support.until import wait_until

Line = dict[str, Any]
ID = "019ab4c5-2f3a-7000-8000-000000000001"
MOST_BYTES = 512 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A broker that writes its log for machines."""
    server = Server(tmp_path / "data")
    try:
        yield server.start()
        check_log(server)
    finally:
        server.close()


def audit(server: Server, count: int) -> list[Line]:
    """All lines of the audit log: so many."""
    wait_until(lambda: len(lines(server)) >= count, f"{count} lines")
    found = lines(server)
    assert len(found) == count, found
    return found


def lines(server: Server) -> list[Line]:
    """The lines that are there."""
    whole = server.log.rpartition("\n")[0]
    return [line for line in map(json.loads, whole.splitlines()) if line["logger"] == "queuesvc.audit"]


def test_each_management_action_is_one_line(server: Server, http: httpx2.Client) -> None:
    http.headers["X-Request-Id"] = "mine"
    make_exchange(http, "x")
    make_queue(http, "q", lease_seconds=60)
    bind(http, "x", "q", "a.*")
    dead = "/v1/queues/q/messages?state=dead&dry_run=true"
    calls: list[tuple[str, str, Any, str, Line]] = [
        ("PATCH", "/v1/queues/q", {"paused": True}, "patchQueue", {"queue": "q"}),
        ("PUT", "/v1/definitions", {}, "putDefinitions", {}),
        ("DELETE", dead, None, "purgeQueue", {"state": "dead", "dry_run": True}),
        ("POST", "/v1/queues/q/redrive", {"to_queue": "q"}, "redrive", {"queue": "q", "to_queue": "q"}),
        ("POST", "/v1/queues/q/release", {"ids": [ID]}, "release", {"queue": "q"}),
        ("DELETE", "/v1/bindings/1", None, "deleteBinding", {"id": "1"}),
        ("DELETE", "/v1/queues/none", None, "deleteQueue", {"queue": "none"}),
        ("DELETE", "/v1/queues/q", None, "deleteQueue", {"queue": "q"}),
        ("DELETE", "/v1/exchanges/x", None, "deleteExchange", {"exchange": "x"}),
    ]
    statuses = [http.request(method, path, json=body).status_code for method, path, body, _, _ in calls]
    found = audit(server, 3 + len(calls))
    assert [line["action"] for line in found[:3]] == ["putExchange", "putQueue", "postBinding"]
    assert found[2]["on"] == {"exchange": "x", "queue": "q", "routing_key": "a.*"}
    for line, (_, _, _, action, on), status in zip(found[3:], calls, statuses, strict=True):
        assert (line["action"], line["status"], line["request_id"]) == (action, status, "mine")
        assert on.items() <= line["on"].items()
        assert (line["who"], line["client"], line["level"]) == ("-", "127.0.0.1", "info")
        assert line["outcome"] == ("queue-not-found" if status == 404 else "done")


def test_looking_publishing_and_consuming_are_none(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    put(http, "q", "x")
    settle(http, "q", "ack", receive_one(http, "q")["receipt"])
    for path in ("/v1/queues", "/v1/queues/q", "/v1/definitions", "/metrics", "/docs"):
        assert http.get(path).status_code == 200
    make_queue(http, "last")
    assert [line["on"] for line in audit(server, 2)] == [{"queue": "q"}, {"queue": "last"}]


def test_every_call_that_changes_the_broker_itself_is_one() -> None:
    """Of the table's rows: those are none that only look, and those of the data plane."""
    others = {endpoint.name for endpoint in ENDPOINTS if not endpoint.manages and endpoint.method != "GET"}
    assert others == {"publish", "publishBatch", "publishToQueue", "publishBatchToQueue", "receive"} | {
        *("ack", "nack", "extend", "transact", "request")
    }


def test_who_did_it_and_who_may_not(server: Server, http: httpx2.Client) -> None:
    made = http.post("/v1/tokens", json={"name": "root", "admin": True, "manage": ["*"]}).json()
    http.headers["Authorization"] = f"Bearer {made['token']}"
    weak = http.post("/v1/tokens", json={"name": "weak", "consume": ["q"]}).json()["token"]
    assert http.put("/v1/queues/q", json={}).status_code == 201
    assert http.delete("/v1/queues/q", headers={"Authorization": f"Bearer {weak}"}).status_code == 403
    assert http.delete("/v1/queues/q", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert http.delete("/v1/tokens/weak").status_code == 204
    found = audit(server, 6)
    shown = [(line["who"], line["action"], line["outcome"], line["status"], line["level"]) for line in found]
    assert shown == [
        ("-", "postToken", "done", 201, "info"),
        ("root", "postToken", "done", 201, "info"),
        ("root", "putQueue", "done", 201, "info"),
        ("weak", "deleteQueue", "forbidden", 403, "warning"),
        ("-", "deleteQueue", "unauthenticated", 401, "warning"),
        ("root", "deleteToken", "done", 204, "info"),
    ]
    assert [line["on"] for line in found[:2]] == [{"name": "root"}, {"name": "weak"}]
    # What follows the prefix is the secret; split from the left, for the secret itself may hold "_".
    for secret in (made["token"], weak, made["token"].split("_", 2)[-1], "wrong"):
        assert secret not in server.log


def test_page_of_another_origin_is_told_of(server: Server, http: httpx2.Client) -> None:
    http.post("/v1/queues/q/messages", headers={"Origin": "http://evil.example"})
    http.get("/metrics", headers={"Host": "evil.example"})
    found = audit(server, 2)
    assert [line["action"] for line in found] == ["POST by a web page", "GET by a web page"]
    assert {line["outcome"] for line in found} == {"forbidden"}


def test_strangers_do_not_fill_the_log(server: Server, http: httpx2.Client) -> None:
    assert http.post("/v1/tokens", json={"name": "root", "admin": True}).status_code == 201
    for _ in range(200):
        assert http.delete("/v1/queues/q").status_code == 401
    assert 10 < len(lines(server)) < 150


def test_names_that_would_begin_a_line_do_not(server: Server, http: httpx2.Client) -> None:
    evil = '%0a{"time":"2026-01-01T00:00:00.000Z","level":"info","logger":"queuesvc.audit"}'
    assert http.delete(f"/v1/queues/{evil}").status_code == 422
    assert http.put("/v1/queues/q", json={"name\n": "x"}).status_code == 422
    assert http.put("/v1/queues/q", json={"name": "x" * 100_000}).status_code == 422
    assert [line["outcome"] for line in audit(server, 3)] == ["invalid-request"] * 3
    assert len(server.log) < 10_000


def test_names_that_would_pass_for_the_end_of_a_line_are_in_quotes(server: Server, http: httpx2.Client) -> None:
    make_exchange(http, "x")
    make_queue(http, "q")
    bind(http, "x", "q", "k: done, by root from 10.0.0.7")
    told = "postBinding exchange=x queue=q routing_key='k: done, by root from 10.0.0.7': done, by - from 127.0.0.1"
    assert audit(server, 3)[2]["message"] == told


def test_a_token_in_the_place_of_a_name_is_told_by_its_id(server: Server, http: httpx2.Client) -> None:
    made = http.post("/v1/tokens", json={"name": "root", "admin": True}).json()
    http.headers["Authorization"] = f"Bearer {made['token']}"
    assert http.delete(f"/v1/tokens/{made['token']}").status_code == 404
    assert audit(server, 2)[1]["on"] == {"token": f"qsv_{made['id']}_..."}


def test_nothing_secret_stands_in_any_log(tmp_path: Path) -> None:
    """A busy broker that tells all it has to tell, and fails in the end."""
    server = Server(tmp_path / "data", ["--log-level", "debug"])
    try:
        with httpx2.Client(base_url=server.start().url, timeout=TIMEOUT_SECONDS) as http:
            token = http.post("/v1/tokens", json={"name": "root", "admin": True, **everything()}).json()["token"]
            http.headers["Authorization"] = f"Bearer {token}"
            secrets = [token, token.split("_", 2)[-1], *use_everything(http)]
            assert_silent(server, secrets)
            server.rest()  # else its upkeep may be what fails
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (MOST_BYTES, resource.RLIM_INFINITY))
            large = b"marked-body-9" * (2 * MOST_BYTES // 13)
            assert http.post("/v1/queues/q/messages", content=large).status_code == 503
            wait_until(lambda: "queuesvc.broker" in server.log, "word of that")
    finally:
        server.close()
    assert_silent(server, secrets)


def assert_silent(server: Server, secrets: list[str]) -> None:
    """It has said something, and nothing of these, nor what begins with `marked-`."""
    said = server.log + server.start_line
    assert "putQueue" in said
    encoded = base64.b64encode(b"marked-body-1").decode().rstrip("=")
    assert not [secret for secret in [*secrets, "marked-", encoded, "_reply.A"] if secret in said]


def everything() -> dict[str, list[str]]:
    """The permissions for all names."""
    return {"publish": ["*"], "consume": ["*"], "manage": ["*"]}


def use_everything(http: httpx2.Client) -> list[str]:
    """Every verb, also with what is wrong; all values that matter begin with `marked-`. Returns the receipts."""
    make_queue(http, "q")
    make_exchange(http, "x", "fanout")
    bind(http, "x", "q")
    for n in range(3):
        key = {"Idempotency-Key": f"marked-key-{n}", "Message-Header-Secret": f"marked-header-{n}"}
        answer = http.post("/v1/exchanges/x/messages", content=f"marked-body-{n}", headers=key)
        assert answer.status_code == 201
    put(http, "q", "marked-text", group="marked-group", correlation_id="marked-correlation")
    receipts = [receive_one(http, "q", consumer="marked-consumer")["receipt"] for _ in range(3)]
    settle(http, "q", "ack", receipts[0])
    settle(http, "q", "nack", receipts[1], reason="marked-reason")
    settle(http, "q", "extend", receipts[2], lease_seconds=10)
    done = {"acks": [{"queue": "q", "receipts": [receipts[2]]}], "publishes": [{"queue": "q", "body": "marked-body-5"}]}
    assert http.post("/v1/transactions", json=done, headers={"Idempotency-Key": "marked-key-5"}).status_code == 200
    assert http.post("/v1/exchanges/x/request?wait_seconds=0", content=b"marked-question").status_code == 504
    assert http.post("/v1/queues/q/messages/batch", content=b'{"marked-body": ').status_code == 400
    assert http.post("/v1/queues/q/ack", json={"receipts": ["marked-receipt"]}).status_code == 422
    assert http.delete("/v1/queues/_reply.AAAAAAAAmarked-address").status_code == 422
    # What stands in the wrong place: a token where its name should, a receipt where the message's id should.
    token = http.headers["Authorization"].removeprefix("Bearer ")
    assert http.delete(f"/v1/tokens/{token}").status_code == 404
    assert http.delete(f"/v1/queues/{token}").status_code == 404
    assert http.delete(f"/v1/queues/q/messages/{receipts[0]}").status_code == 404
    with socket.create_connection((http.base_url.host, http.base_url.port or 0)) as wire:
        wire.sendall(b"marked-nonsense\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 400 ")
    return receipts
