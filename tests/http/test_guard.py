"""Web pages of others are kept out: on both ways, at every path, whatever they try."""

import contextlib
import re
from collections.abc import Callable, Iterator

import httpx2
import pytest

from queuesvc.domain.errors import Refused
from queuesvc.http.guard import Guard
from tests.http.wire import connect, make_queue, read_answer, request_bytes, stats
from tests.support.problems import refused
from tests.support.server import Server

Name = Callable[..., str]
PATHS = [
    ("POST", "/v1/queues/q/messages"),
    ("POST", "/v1/queues/q/receive"),
    ("PUT", "/v1/queues/q"),
    ("DELETE", "/v1/queues/q/messages"),
    ("GET", "/v1/queues"),
    ("OPTIONS", "/v1/queues"),
    ("PROPFIND", "/"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/docs"),
    ("GET", "/nothing"),
]
FOLLOWS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
"""What a browser says when its user followed a link, or sent a form."""


@pytest.fixture(scope="module")
def named(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A broker that is called by names of its own."""
    env = {**way, "QUEUESVC_ALLOWED_HOSTS": "Broker.example.org, *.in.example."}
    server = Server(tmp_path_factory.mktemp("named") / "data", env=env)
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            yield http
    finally:
        server.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "localhost.evil.example", "127.0.0.1.nip.io"])
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_name_that_was_pointed_here_reaches_nothing(shared: httpx2.Client, host: str, method: str, path: str) -> None:
    """DNS rebinding: to the browser it is the same origin, so nothing else gives it away."""
    answer = shared.request(method, path, headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
    refused(answer, 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Origin": "chrome-extension://abcdefgh"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "something new"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
    ids=lambda headers: "; ".join(headers.values()),
)
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_page_of_another_origin_reaches_nothing(
    shared: httpx2.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = shared.request(method, path, headers=headers)
    refused(answer, 403, "forbidden")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_form_of_another_page_stores_nothing(shared: httpx2.Client, name: Name) -> None:
    """What a page can send without asking: a form, as text, that the user is taken to; and `fetch` with `no-cors`."""
    queue = make_queue(shared, name())
    form = {"Content-Type": "text/plain", "Origin": "http://evil.example"}
    for headers in (form, form | FOLLOWS):
        for path in (f"/v1/queues/{queue}/messages", "/v1/transactions", f"/v1/queues/{queue}/messages/batch"):
            refused(shared.post(path, headers=headers, content=b'{"messages": [{"body": "x"}]}'), 403, "forbidden")
    assert stats(shared, queue)["published"] == 0


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_our_own_page_reaches_what_it_wants(shared: httpx2.Client, name: Name, site: str | None) -> None:
    queue = make_queue(shared, name())
    headers = {"Origin": str(shared.base_url).rstrip("/")} | ({"Sec-Fetch-Site": site} if site else {})
    assert shared.post(f"/v1/queues/{queue}/messages", headers=headers, content=b"x").status_code == 201
    assert shared.get("/docs", headers={"Sec-Fetch-Site": site or "none"}).status_code == 200


def test_link_from_another_page_leads_to_ours(shared: httpx2.Client) -> None:
    assert shared.get("/docs", headers=FOLLOWS).status_code == 200
    refused(shared.post("/docs", headers=FOLLOWS), 403, "forbidden")


def test_proxy_that_says_its_own_name_does_not_hide_our_page(shared: httpx2.Client) -> None:
    headers = {"Origin": "https://broker.example.org", "Sec-Fetch-Site": "same-origin"}
    assert shared.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:1", "localhost.:8642", "a.b.localhost", "127.0.0.1", "127.1.2.3:80", "[::1]"),
        *(
            "[::1]:1",
            "10.0.0.7",
            "[fe80::1]",
            "[::ffff:127.0.0.1]:1",
        ),
        *("broker.example.org", "BROKER.example.org.", "x.in.example"),
    ],
)
def test_names_that_are_ours(named: httpx2.Client, host: str) -> None:
    for _ in range(2):
        assert named.post("/v1/queues/none/receive", headers={"Host": host}).status_code == 404
        assert named.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["example.org", "x.broker.example.org", "in.example", "xin.example", "localhost.x"])
def test_names_that_are_not_ours(named: httpx2.Client, host: str) -> None:
    """Not even on a connection on which a good one was given before: that is remembered."""
    with connect(str(named.base_url)) as wire:
        for header, status in (("localhost", 404), (host, 403), ("localhost", 404), (host, 403)):
            request = request_bytes("/v1/queues/none/receive")
            wire.sendall(request.replace(b"Host: localhost", b"Host: " + header.encode()))
            answer = read_answer(wire)
            assert answer is not None
            assert answer[0] == status


@pytest.mark.parametrize(
    "hosts",
    [[], ["localhost", "localhost"], ["localhost", "evil.example"], [""], ["["], ["[::1"], ["a b"], ["a:b"], ["a@b"]],
    ids=str,
)
@pytest.mark.parametrize("line", ["GET /healthz", "POST /v1/queues/none/receive"])
def test_request_that_is_for_nobody_or_for_two_is_malformed(shared: httpx2.Client, line: str, hosts: list[str]) -> None:
    with connect(str(shared.base_url)) as wire:
        lines = [f"{line} HTTP/1.1", *(f"Host: {host}" for host in hosts), "Content-Length: 0", "", ""]
        wire.sendall("\r\n".join(lines).encode())
        answer = read_answer(wire)
    assert answer is not None
    assert answer[0] == 400
    assert b"urn:queuesvc:malformed-request" in answer[1]


def test_http_1_0_needs_no_host(shared: httpx2.Client) -> None:
    with connect(str(shared.base_url)) as wire:
        wire.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_any_name_where_the_operator_wants_that() -> None:
    guard = Guard(["*"])
    assert guard.knows(b"anything.example:1")
    assert not guard.knows(b"a b")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost", "localhost", True),
        ("http://localhost:80", "localhost", True),
        ("http://localhost", "LOCALHOST.:80", True),
        ("https://localhost", "localhost:443", True),
        ("https://localhost", "localhost:80", False),
        ("http://[::1]:8642", "[::1]:8642", True),
        ("http://[::1]:8642", "[::2]:8642", False),
        ("http://localhost:8642", "127.0.0.1:8642", False),
        ("http://localhost:8642", "localhost:8643", False),
        ("http://x@localhost", "localhost", False),
        ("http://localhost/", "localhost", False),
        ("http://localhost http://evil.example", "localhost", False),
        ("ftp://localhost", "localhost", False),
    ],
)
def test_what_is_the_same_origin(origin: str, host: str, same: bool) -> None:
    headers = [(b"host", host.encode()), (b"origin", origin.encode())]
    with contextlib.nullcontext() if same else pytest.raises(Refused):
        Guard().check("POST", "1.1", headers)


def test_pipelined_request_of_another_page_is_refused_alone(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    publish = f"/v1/queues/{queue}/messages"
    with connect(str(shared.base_url)) as wire:
        bad = request_bytes(publish, b"bad", {"Origin": "null"})
        wire.sendall(request_bytes(publish, b"1") + bad + request_bytes(publish, b"2"))
        got = b""
        while got.count(b"HTTP/1.1 ") < 3:
            got += wire.recv(65536)
    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"201", b"403", b"201"]
    assert stats(shared, queue)["published"] == 2
