"""What holds for every path: addresses, methods, request ids, bodies that are none, faults. On the wire, mostly."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from queuesvc.broker.broker import Broker
from queuesvc.http.app import ENDPOINTS, create_app
from queuesvc.http.control.models import BindingDeclaration, ExchangeDeclaration, QueueChanges
from queuesvc.store.memory import MemoryStore
from tests.support.problems import refused
from tests.support.server import Server

Name = Callable[..., str]

PATHS = sorted({endpoint.path for endpoint in ENDPOINTS})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


def filled(path: str) -> str:
    return re.sub(r"{\w+}", "1", path)


def raw(http: httpx2.Client, method: str, path: bytes, **more: Any) -> httpx2.Response:
    """A request whose path and query go out byte for byte."""
    return http.request(method, httpx2.URL(str(http.base_url)).copy_with(raw_path=path), **more)


@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_told_which_there_are(shared: httpx2.Client, path: str) -> None:
    there = {endpoint.method for endpoint in ENDPOINTS if endpoint.path == path}
    there |= {"HEAD"} if "GET" in there else set()
    for method in METHODS:
        if method in there:
            continue
        answer = shared.request(method, filled(path))
        assert answer.status_code == 405
        assert answer.headers["allow"] == ", ".join(sorted(there))
        if method != "HEAD":
            refused(answer, 405, "method-not-allowed", allow=sorted(there))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/queues",
        "/v1/queues/",
        "/v1/queues/a/",
        "/v1//queues",
        "/v1/queues/a/b",
        "/v1/queues/a/messages/",
        "/v1/bindings",
        "/v1/bindings/",
        "/V1/queues",
        "/healthz/",
        "/v1/definitions/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_nothing_at_this_path(shared: httpx2.Client, path: str, method: str) -> None:
    refused(shared.request(method, path), 404, "not-found")


def test_escapes_in_paths(shared: httpx2.Client, name: Name) -> None:
    queue = name("a.b")
    escaped = "".join(f"%{ord(letter):02x}" for letter in queue).encode()
    assert raw(shared, "PUT", b"/v1/queues/" + escaped).json()["name"] == queue
    assert raw(shared, "GET", b"/v1/qu%65ues/" + queue.encode()).json()["name"] == queue
    assert raw(shared, "POST", b"/%76%31/queues/" + escaped + b"/messages", content=b"x").status_code == 201
    # An escaped slash parts nothing: this is one segment, and no name.
    refused(raw(shared, "GET", b"/v1/queues%2f" + queue.encode()), 404, "not-found")
    refused(raw(shared, "GET", b"/v1/queues/a%2Fb"), 422, "invalid-request", field="queue")
    for bad in (b"%ff", b"%", b"%4", b"%zz", b"%ed%a0%80"):
        refused(raw(shared, "GET", b"/v1/queues/" + bad), 400, "malformed-request")
    refused(raw(shared, "GET", b"/v1/queues?after=%ff"), 400, "malformed-request")


@pytest.mark.parametrize("path", ["/v1/queues", "/v1/exchanges", "/healthz", "/readyz", "/openapi.json", "/docs"])
def test_head_is_answered_as_get_without_a_body(shared: httpx2.Client, path: str) -> None:
    head = shared.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0
    assert head.headers["content-type"] == shared.get(path).headers["content-type"]


def test_head_of_nothing(shared: httpx2.Client, name: Name) -> None:
    head = shared.head(f"/v1/queues/{name()}")
    assert (head.status_code, head.content) == (404, b"")


@pytest.mark.parametrize("accept", ["application/json", "application/*", "*/*", "text/html, */*;q=0.1", ""])
def test_acceptable(shared: httpx2.Client, accept: str) -> None:
    assert shared.get("/v1/queues", headers={"Accept": accept}).headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/xml, text/*"])
def test_not_acceptable(shared: httpx2.Client, name: Name, accept: str) -> None:
    path = f"/v1/queues/{name()}"
    refused(shared.put(path, headers={"Accept": accept}), 406, "not-acceptable")
    # It was refused before anything was done.
    refused(shared.get(path), 404, "queue-not-found")


def test_a_coded_body_is_refused(shared: httpx2.Client, name: Name) -> None:
    path = f"/v1/queues/{name()}"
    refused(shared.put(path, content=b"", headers={"Content-Encoding": "gzip"}), 415, "unsupported-media-type")
    assert shared.put(path, content=b"{}", headers={"Content-Encoding": "identity"}).status_code == 201


@pytest.mark.parametrize("given_id", ["a", "x" * 128, "with spaces and ~!", "ü" * 64])
@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/v1/queues/none", "/v1/queues/none/ack"])
def test_the_client_s_request_id_comes_back(shared: httpx2.Client, path: str, given_id: str) -> None:
    for method in ("GET", "POST"):
        answer = shared.request(method, path, headers={b"X-Request-Id": given_id.encode()})
        ids = [value for name, value in answer.headers.raw if name.lower() == b"x-request-id"]
        assert ids == [given_id.encode()]


@pytest.mark.parametrize("given_id", [b"", b"x" * 129, b"a\tb", b"\xff", "\u200b".encode()])
def test_another_request_id_is_replaced(shared: httpx2.Client, given_id: bytes) -> None:
    answer = shared.get("/healthz", headers={b"X-Request-Id": given_id})
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", answer.headers["x-request-id"])


def test_fresh_request_ids_differ(shared: httpx2.Client) -> None:
    ids = [shared.request(method, "/v1/queues").headers["x-request-id"] for method in ("GET", "POST", "HEAD") * 3]
    assert len(set(ids)) == 9


MALFORMED = [
    b"{",
    b"nonsense",
    b"{'a': 1}",
    b'{"lease_seconds": NaN}',
    b'{"lease_seconds": Infinity}',
    b'{"lease_seconds": 1e999}',
    b'{"lease_seconds": 01}',
    b'{"lease_seconds": ' + b"9" * 5000 + b"}",
    b'{"dead_letter_routing_key": "\\ud800"}',
    b'{"dead_letter_routing_key": "\xff"}',
    b'{"dead_letter_routing_key": "\xed\xa0\x80"}',
    b'{"lease_seconds": 5,}',
    b'{"lease_seconds": 5} x',
    b'\xef\xbb\xbf{"lease_seconds": 5}',
    '{"lease_seconds": 5}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\x00",
    b" ",
]


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_not_json(shared: httpx2.Client, method: str, body: bytes) -> None:
    refused(shared.request(method, "/v1/queues/malformed", content=body), 400, "malformed-request")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"', b"true", b"[{}]", b"1e5"])
def test_json_but_no_object(shared: httpx2.Client, body: bytes) -> None:
    refused(shared.put("/v1/queues/malformed", content=body), 422, "invalid-request")
    refused(shared.put("/v1/exchanges/malformed", content=body), 422, "invalid-request")


def test_nesting_within_what_is_json(shared: httpx2.Client) -> None:
    deep = b'{"retry_backoff": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    refused(shared.put("/v1/queues/malformed", content=deep), 422, "invalid-request", field="retry_backoff")


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client of a broker that takes requests of 100 bytes."""
    server = Server(tmp_path / "narrow", env={"QUEUESVC_LIMITS_REQUEST_BYTES": "100"})
    try:
        server.start()
        with httpx2.Client(base_url=server.url) as client:
            yield client
        assert "Traceback" not in server.log
    finally:
        server.close()


def test_a_body_too_large(narrow: httpx2.Client) -> None:
    body = b'{"paused": true}'
    assert narrow.put("/v1/queues/a", content=body.ljust(100)).status_code == 201
    refused(narrow.put("/v1/queues/b", content=body.ljust(101)), 413, "body-too-large", limit_bytes=100)
    pieces = [body.ljust(60), b" " * 60]
    refused(narrow.put("/v1/queues/b", content=iter(pieces)), 413, "body-too-large", limit_bytes=100)
    assert narrow.put("/v1/queues/b", content=iter([body, b" " * 60])).status_code == 201
    # The connection is still good for more.
    assert [one["name"] for one in narrow.get("/v1/queues").json()["queues"]] == ["a", "b"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["q", "all", "any", "topic", "headers", "drop_oldest", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    sorted({*QueueChanges.model_fields, *ExchangeDeclaration.model_fields, *BindingDeclaration.model_fields, "x"})
)
documents = st.dictionaries(fields, json_values, max_size=4)
targets = st.sampled_from(
    [
        ("PUT", "/v1/exchanges/fuzz-topic"),
        ("PUT", "/v1/exchanges/fuzz-headers"),
        ("PUT", "/v1/queues/fuzz"),
        ("PATCH", "/v1/queues/fuzz"),
        ("POST", "/v1/exchanges/fuzz-topic/bindings"),
        ("POST", "/v1/exchanges/fuzz-headers/bindings"),
    ]
)


def dumped(document: object) -> bytes:
    # The standard library writes what is no JSON too: NaN, Infinity, lone surrogates.

    return json.dumps(document).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=targets, body=st.one_of(documents.map(dumped), json_values.map(dumped), st.binary(max_size=40)))
def test_no_body_makes_it_trip(shared: httpx2.Client, target: tuple[str, str], body: bytes) -> None:
    shared.put("/v1/exchanges/fuzz-topic", json={"type": "topic"})
    shared.put("/v1/exchanges/fuzz-headers", json={"type": "headers"})
    shared.put("/v1/queues/fuzz")
    method, path = target
    answer = shared.request(method, path, content=body)
    assert answer.status_code in (200, 201, 400, 404, 409, 422), answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "DELETE", "PUT"]),
    start=st.sampled_from([b"/v1/queues/", b"/v1/exchanges/", b"/v1/bindings/", b"/v1/queues?", b"/"]),
    rest=st.lists(st.sampled_from([bytes([code]) for code in range(0x21, 0x7F)] + [b"%%%02x" % c for c in range(256)])),
)
def test_no_address_makes_it_trip(shared: httpx2.Client, method: str, start: bytes, rest: list[bytes]) -> None:
    answer = raw(shared, method, start + b"".join(rest).replace(b"#", b""))
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_fault_is_logged_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Broker(MemoryStore()))
    sent: list[Message] = []

    async def receive() -> Message:
        raise OSError("the secret of the house")

    async def send(message: Message) -> None:
        sent.append(dict(message))

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/queues/a",
        "raw_path": b"/v1/queues/a",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(b"host", b"localhost"), (b"x-request-id", b"mine")],
    }
    with caplog.at_level(logging.ERROR, "queuesvc.http"):
        await app(scope, receive, send)
    start, body = sent
    assert start["status"] == 500
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert (b"x-request-id", b"mine") in start["headers"]
    assert b"urn:queuesvc:internal-error" in body["body"]
    assert b"secret" not in body["body"]
    assert b"OSError" not in body["body"]
    assert "the secret of the house" in caplog.text
    assert "mine" in caplog.text


async def test_a_client_that_left_is_not_answered() -> None:
    app = create_app(Broker(MemoryStore()))
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "PUT", "path": "/v1/queues/a", "query_string": b""}
    scope |= {"http_version": "1.1", "headers": [(b"host", b"localhost")]}
    await app(scope, receive, send)
    assert sent == []


async def test_lifespan() -> None:
    app = create_app(Broker(MemoryStore()))
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
