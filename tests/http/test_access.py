"""Every endpoint under every kind of token, on both ways: who is not told who, and nobody is told what is there."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import httpx2
import pytest

from queuesvc.domain.tokens import Permission
from queuesvc.http.access import ANY_TOKEN, NOTHING
from queuesvc.http.app import ENDPOINTS
from queuesvc.http.endpoint import Endpoint
from tests.conftest import check_log
from tests.http.wire import connect, read_answer, request_bytes
from tests.support.problems import refused
from tests.support.server import Server
from tests.support.tokens import Headers, Holders
from tests.support.until import wait_until

THERE, MISSING = "there", "where"
MESSAGE = "019ab4c5-2f3a-7000-8000-000000000001"
BODIES: dict[str, Any] = {
    "putExchange": {"type": "topic"},
    "postBinding": {"queue": THERE},
    "publishBatch": {"messages": [{"body": "x"}]},
    "publishBatchToQueue": {"messages": [{"body": "x"}]},
    "ack": {"receipts": []},
    "nack": {"receipts": []},
    "extend": {"receipts": [], "lease_seconds": 1},
    "release": {"ids": [MESSAGE]},
    "transact": {"publishes": [{"queue": THERE, "body": "x"}]},
    "postToken": {"name": "made", "metrics": True},
    "putDefinitions": {"queues": [{"name": THERE}]},
}
BY_BODY = {"transact", "putDefinitions"}
"""The endpoints whose names stand in the body only."""
WITH_BODY = {"POST", "PUT", "PATCH"}
NEEDY = [endpoint for endpoint in ENDPOINTS if endpoint.need != NOTHING]
OPEN = [endpoint for endpoint in ENDPOINTS if endpoint.need == NOTHING]


class Guarded(NamedTuple):
    """A broker with a queue and an exchange of the same name, and tokens."""

    http: httpx2.Client
    holders: Holders
    expired: Headers
    revoked: Headers
    elsewhere: Headers
    without: dict[Permission, Headers]


def by_name(endpoints: list[Endpoint]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("endpoint", endpoints, ids=[endpoint.name for endpoint in endpoints])


@pytest.fixture(scope="module")
def guarded(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Server(tmp_path_factory.mktemp("guarded") / "data", env=way)
    try:
        with Holders(server.start()) as holders, httpx2.Client(base_url=server.url, timeout=60) as http:
            yield _guarded(http, holders)
        check_log(server)
    finally:
        server.close()


def _guarded(http: httpx2.Client, holders: Holders) -> Guarded:
    for kind, body in (("queues", {}), ("exchanges", {"type": "topic"})):
        assert holders.http.put(f"/v1/{kind}/{THERE}", json=body).status_code == 201
    revoked = holders.holder("revoked", **everything())
    holders.revoke("revoked")
    expired = holders.holder("expired", **everything(), expires_seconds=0.001)
    wait_until(lambda: bool(holders.shown("expired")["expired"]))
    elsewhere = holders.holder("elsewhere", publish=["other*"], consume=["other*"], manage=["other*"])
    lacking: dict[Permission, dict[str, Any]] = {Permission.SEE: {"publish": [], "consume": [], "manage": []}}
    lacking |= {one: {one.value: []} for one in (Permission.PUBLISH, Permission.CONSUME, Permission.MANAGE)}
    lacking[Permission.ADMIN], lacking[Permission.METRICS] = {"admin": False}, {"metrics": False}
    without = {one: holders.holder(f"without-{one.value}", **{**everything(), **lack}) for one, lack in lacking.items()}
    return Guarded(http, holders, expired, revoked, elsewhere, without)


def everything() -> dict[str, Any]:
    return {"publish": ["*"], "consume": ["*"], "manage": ["*"], "admin": True, "metrics": True}


def call(guarded: Guarded, endpoint: Endpoint, headers: Headers | None, name: str = THERE) -> httpx2.Response:
    """A call that is good, but for who makes it. Of this name are the queue, the exchange and the token in its path."""
    segments = {"exchange": name, "queue": name, "token": name, "id": "999999", "message": MESSAGE}
    path = endpoint.path.format_map(segments)
    query = "?dry_run=true" if endpoint.name in ("purgeQueue", "redrive", "release") else ""
    query = "?wait_seconds=0" if endpoint.name == "request" else query
    body = BODIES.get(endpoint.name, {}) if endpoint.method in WITH_BODY else None
    if endpoint.name in ("deleteExchange", "deleteQueue", "deleteToken") and headers is guarded.holders.root:
        path = path.replace(THERE, "nobody")  # the others still need it
    return guarded.http.request(endpoint.method, path + query, json=body, headers=headers or {})


@by_name(NEEDY)
def test_who_shows_no_valid_token_is_told_so_and_nothing_else(guarded: Guarded, endpoint: Endpoint) -> None:
    wrong = {"Authorization": f"Bearer {guarded.holders.root_secret[:21]}{'A' * 43}"}
    details = []
    for headers in (None, guarded.expired, guarded.revoked, wrong):
        answers = [call(guarded, endpoint, headers, name) for name in (THERE, MISSING)]
        details += [refused(answer, 401, "unauthenticated")["detail"] for answer in answers]
        assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="queuesvc"'}
        assert answers[0].text == answers[1].text
    # One for who shows nothing, and one for all others: what is wrong with a token is not told.
    assert len(set(details)) == len(set(details[2:])) + 1 == 2


@pytest.mark.parametrize("endpoint", [by for by in NEEDY if by.name in ("ack", "listQueues")], ids=lambda by: by.name)
def test_what_is_no_token(guarded: Guarded, endpoint: Endpoint) -> None:
    secret = guarded.holders.root_secret
    for value in (
        secret,
        f"Bearer{secret}",
        "Bearer",
        f"Basic {secret}",
        f"Bearer {secret[:-1]}",
        f"Bearer {secret}x",
        f"Bearer {secret} {secret}",
        f"Bearer {secret},{secret}",
        f"Bearer {secret.upper()}",
        f"Bearer {secret[:21]}{'%' * 43}",
        f"Bearer {'x' * 10_000}",
    ):
        refused(call(guarded, endpoint, {"Authorization": value}), 401, "unauthenticated")
    twice = [("Authorization", f"Bearer {secret}")] * 2
    refused(guarded.http.post(f"/v1/queues/{THERE}/ack", json={"receipts": []}, headers=twice), 401, "unauthenticated")
    assert call(guarded, endpoint, {"Authorization": f"bEARER   {secret}"}).status_code == 200


@by_name(OPEN)
def test_what_needs_no_token(guarded: Guarded, endpoint: Endpoint) -> None:
    assert call(guarded, endpoint, None).status_code == 200
    assert call(guarded, endpoint, guarded.revoked).status_code == 200


@by_name(NEEDY)
def test_who_may_is_let_in(guarded: Guarded, endpoint: Endpoint) -> None:
    status = call(guarded, endpoint, guarded.holders.root).status_code
    assert status in (200, 201, 204, 404, 504), endpoint.name


@by_name([endpoint for endpoint in NEEDY if endpoint.need != ANY_TOKEN])
def test_who_lacks_the_permission_is_told_the_same_whether_it_is_there_or_not(
    guarded: Guarded, endpoint: Endpoint
) -> None:
    permission = endpoint.need.permission
    assert permission is not None
    lacking = [guarded.without[permission], *([guarded.elsewhere] if endpoint.need.segment else [])]
    for headers in lacking:
        answers = [call(guarded, endpoint, headers, name) for name in (THERE, MISSING)]
        for answer in answers:
            refused(answer, 403, "forbidden", permission=permission.value)
        there, missing = (answer.text.replace(MISSING, THERE) for answer in answers)
        assert there == missing
        names = [sorted(answer.headers) for answer in answers]
        assert names[0] == names[1]


@pytest.mark.parametrize("name", sorted(BY_BODY))
def test_names_in_a_body_are_looked_at_as_well(guarded: Guarded, name: str) -> None:
    endpoint = next(one for one in ENDPOINTS if one.name == name)
    refused(call(guarded, endpoint, guarded.elsewhere), 403, "forbidden")


def test_the_table_says_what_every_endpoint_needs() -> None:
    """Whatever is added later is here, too: a row without a need is no row."""
    assert {endpoint.name for endpoint in OPEN} == {"healthz", "readyz", "openapi", "docs"}
    assert {endpoint.name for endpoint in NEEDY if endpoint.need == ANY_TOKEN} == {
        "transact",
        "listExchanges",
        "listQueues",
        "deleteBinding",
        "getDefinitions",
        "putDefinitions",
    }
    for endpoint in NEEDY:
        if endpoint.need.segment:
            assert f"{{{endpoint.need.segment}}}" in endpoint.path
        named = set(re.findall(r"{(exchange|queue)}", endpoint.path))
        assert named == ({endpoint.need.segment} if endpoint.need.segment else set()), endpoint.name


def test_the_document_says_so(guarded: Guarded) -> None:
    document = guarded.http.get("/openapi.json").json()
    for endpoint in ENDPOINTS:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        assert bool(operation["security"]) == (endpoint.need != NOTHING)
        assert ("401" in operation["responses"]) == (endpoint.need != NOTHING)
        assert endpoint.need.about() in operation["description"]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.parametrize("verb", ["messages/batch", "messages", "receive", "ack"])
@pytest.mark.parametrize("count", [100_000, 10_000_000])
def test_who_may_not_call_need_not_send_the_body(guarded: Guarded, verb: str, count: int) -> None:
    """Where bodies may be large they are not waited for."""
    with closing(connect(guarded.holders.server.url)) as connection:
        head = {"Content-Length": str(count)}
        connection.sendall(request_bytes(f"/v1/queues/{THERE}/{verb}", headers=head))
        answer = read_answer(connection)
    assert answer is not None
    assert answer[0] == 401
