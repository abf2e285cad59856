"""The whole API under what a generator makes of its own document, and the socket under bytes that are almost requests.

No 5xx but those that are meant, nothing the document does not say, no trace in the log, no broker stopped; and what
was refused has changed nothing.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from queuesvc.domain.limits import Limits
from queuesvc.http.app import ENDPOINTS
from queuesvc.http.openapi import make_document
from tests.conftest import TIMEOUT_SECONDS, check_log
from tests.http.malformed import REFUSED, TAKEN
from tests.http.test_both_ways import LAST, NASTY, REQUESTS
from tests.http.wire import make_exchange, make_queue, put
from tests.support.server import Server

SEED = 20261130
WAIT_SECONDS = 0.05
EXAMPLES = 3
MANY_EXAMPLES = 50
RAW = 40
MANY_RAW = 2000
Json = dict[str, Any]

# --- the document ---------------------------------------------------------------

DOCUMENT: Json = json.loads(json.dumps(make_document(ENDPOINTS, Limits(wait_seconds=WAIT_SECONDS))))


@schemathesis.serializer("application/x-ndjson")
def as_text(_: Any, value: Any) -> bytes:
    """NDJSON as it is generated: any text."""
    return str(value).encode()


everything = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]
MEANT = {503, 504}
"""Two backups at once, a request that nobody replies to."""


class Guarded:
    """A broker with tokens: who may do anything, and who shows none."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        with httpx2.Client(base_url=self.url) as http:
            made = http.post("/v1/tokens", json={"name": f"root-{SEED}", "admin": True, "metrics": True})
            all_names = {"publish": ["*"], "consume": ["*"], "manage": ["*"]}
            root = {"Authorization": f"Bearer {made.json()['token']}"}
            rest = {"name": f"all-{SEED}", "admin": True, "metrics": True, **all_names}
            made = http.post("/v1/tokens", json=rest, headers=root)
        self.headers = {"Authorization": f"Bearer {made.json()['token']}"}
        self.http = httpx2.Client(base_url=self.url, headers=self.headers, timeout=TIMEOUT_SECONDS)

    def picture(self) -> list[Json]:
        """All that the broker has, but for what changes with time and use."""
        return picture(self.http)


def look(http: httpx2.Client, path: str) -> Json:
    """What is there. (A broker that is impatient is so with us, too, where the machine is busy.)"""
    for _ in range(10):
        with suppress(httpx2.RemoteProtocolError):
            found: Json = http.get(path).json()
            return found
    raise AssertionError(f"no answer from {path}")


def picture(http: httpx2.Client) -> list[Json]:
    """All that a broker has, but for what changes with time and use."""
    paths = ("queues?limit=1000", "exchanges?limit=1000", "tokens?limit=1000", "definitions")
    found = [look(http, f"/v1/{path}") for path in paths]
    for queue in found[0]["queues"]:
        del queue["stats"]["oldest_ready_seconds"]
    for token in found[2]["tokens"]:
        del token["last_used_at"]
    return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    env = {"QUEUESVC_LIMITS_WAIT_SECONDS": str(WAIT_SECONDS)}
    server = Server(tmp_path_factory.mktemp("guarded") / "data", env=env)
    try:
        guarded = Guarded(server.start())
        with guarded.http:
            yield guarded
        check_log(server)
    finally:
        server.close()


def try_case(case: schemathesis.Case[Any], guarded: Guarded) -> None:
    """With the right token it is answered as described, without any it is refused; what is refused changes nothing."""
    before = guarded.picture()
    stranger = case.call(base_url=guarded.url, headers={"Authorization": "Bearer qsv_none_none"})
    described = DOCUMENT["paths"][case.path].get(case.method.lower(), {"security": [{}]})
    assert described["security"] == [] or stranger.status_code in (400, 401, 404, 405, 413), stranger.status_code
    assert guarded.picture() == before
    answer = case.call(base_url=guarded.url, headers=guarded.headers)
    assert answer.status_code < 500 or answer.status_code in MEANT, answer.text
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code >= 400 and answer.status_code != 504:
        assert guarded.picture() == before


relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@everything.parametrize()
@seed(SEED)
@settings(relaxed, max_examples=EXAMPLES, phases=[Phase.generate])
def test_the_whole_document(case: schemathesis.Case[Any], guarded: Guarded) -> None:
    try_case(case, guarded)


@pytest.mark.slow
@everything.parametrize()
@settings(relaxed, max_examples=MANY_EXAMPLES)
def test_the_whole_document_at_length(case: schemathesis.Case[Any], guarded: Guarded) -> None:
    try_case(case, guarded)


# --- the socket -----------------------------------------------------------------

SEEDS = [*REQUESTS, *(request for request, _ in TAKEN.values() if len(request) < 500)]
SEEDS += [request for request in REFUSED.values() if len(request) < 500]
HEADERS = [
    b"Host: localhost",
    b"Host: evil.example",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Connection: close",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Idempotency-Key: k",
    b"Idempotency-Key:",
    b"Message-Header-A: \xff",
    b"Message-Header-: x",
    b"Content-Type: application/cloudevents+json",
    b"Content-Type: application/cloudevents-batch+json",
    b"Content-Encoding: gzip",
    b"ce-id: 1",
    b"ce-specversion: 1.0",
    b"Accept: application/octet-stream",
    b"Accept: ;q=",
    b"Authorization: Bearer \xff",
    b"Origin: null",
    b"Sec-Fetch-Site: cross-site",
    b"X-Request-Id: \x01",
    b"X" * 9000 + b": 1",
]
CHUNKS = [
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"5;a=b\r\nhello\r\n",
    b"-1\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\nX: 1\r\n\r\n",
    b"\r\n",
]

Mutation = Callable[[bytes], bytes]


def at(share: float, request: bytes) -> int:
    """A place in a request."""
    return int(share * len(request))


SHARES = st.floats(0, 1, exclude_max=True)
MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(
        lambda share, bit: lambda r: r[: at(share, r)] + bytes([r[at(share, r)] ^ (1 << bit)]) + r[at(share, r) + 1 :],
        SHARES,
        st.integers(0, 7),
    ),
    st.builds(lambda share, count: lambda r: r[: at(share, r)] + r[at(share, r) + count :], SHARES, st.integers(1, 20)),
    st.builds(lambda share, count: lambda r: r[: at(share, r) + count] + r[at(share, r) :], SHARES, st.integers(1, 40)),
    st.builds(
        lambda share, nasty: lambda r: r[: at(share, r)] + nasty + r[at(share, r) :],
        SHARES,
        st.sampled_from(NASTY) | st.binary(min_size=1, max_size=8),
    ),
    st.builds(
        lambda headers: lambda r: r.replace(b"\r\n", b"\r\n" + b"\r\n".join(headers) + b"\r\n", 1),
        st.lists(st.sampled_from(HEADERS), min_size=1, max_size=6),
    ),
    st.builds(
        lambda chunks: (
            lambda r: r.partition(b"\r\n\r\n")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)
        ),
        st.lists(st.sampled_from(CHUNKS), max_size=6),
    ),
)
ALMOST = st.lists(
    st.builds(
        lambda request, mutations: [request := mutation(request) if request else request for mutation in mutations][-1],
        st.sampled_from(SEEDS),
        st.lists(MUTATIONS, min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module", params=["true", "false"], ids=["direct", "asgi"])
def raw(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that soon loses patience, with what the requests name."""
    env = {"QUEUESVC_SHORT_WAY": request.param, "QUEUESVC_SLOW_CLIENT_SECONDS": "0.05"}
    server = Server(tmp_path_factory.mktemp("raw") / "data", env=env)
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            make_exchange(http, "x", "fanout")
            put(http, make_queue(http, "q", max_messages=100), "one")
        yield server
        check_log(server)
    finally:
        server.close()


def statuses(server: Server, requests: bytes) -> list[int]:
    """What is answered until the connection is closed, which it soon is."""
    got = b""
    with socket.create_connection((server.host, server.port), timeout=20) as wire, suppress(ConnectionError):
        wire.sendall(requests + LAST)
        while some := wire.recv(65536):
            got += some
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", got)]


def try_bytes(server: Server, requests: list[bytes]) -> None:
    """They are answered with no 5xx; where all are refused, nothing has changed."""
    with httpx2.Client(base_url=server.url, timeout=TIMEOUT_SECONDS) as http:
        before = picture(http)
        found = statuses(server, b"".join(requests))
        assert all(status < 500 for status in found), found
        assert server.running
        if all(status >= 400 for status in found[: -1 if found[-1:] == [200] else None]):
            assert picture(http) == before


@seed(SEED)
@settings(relaxed, max_examples=RAW)
@given(requests=ALMOST)
def test_bytes_that_are_almost_requests(raw: Server, requests: list[bytes]) -> None:
    try_bytes(raw, requests)


@pytest.mark.slow
@settings(relaxed, max_examples=MANY_RAW)
@given(requests=ALMOST)
def test_many_bytes_that_are_almost_requests(raw: Server, requests: list[bytes]) -> None:
    try_bytes(raw, requests)
