"""A full house: who is one too many is told so, those inside are served, and there is room again when one leaves."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import check_log
from tests.http.test_tls import Certificates, handshake
from tests.http.wire import connect, read_answer, request_bytes
from tests.support.server import Server
from tests.support.until import wait_until

MOST = 3
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """For the one with TLS."""
    return Certificates(tmp_path)


@pytest.fixture(params=["http", "https"])
def small(request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates) -> Iterator[Server]:
    """A broker with room for three connections."""
    env = {"QUEUESVC_LIMITS_CONNECTIONS": str(MOST), "QUEUESVC_SLOW_CLIENT_SECONDS": "20"}
    server = Server(tmp_path / "data", certificates.args if request.param == "https" else [], env)
    try:
        yield server.start()
        assert server.stop() == 0
        check_log(server)
    finally:
        server.close()


def enter(server: Server, certificates: Certificates) -> socket.socket:
    """A connection of one's own, with TLS where the broker has it."""
    return handshake(server, certificates.trust) if server.scheme == "https" else connect(server.url)


def ask(wire: socket.socket, request: bytes = HEALTH) -> int:
    """The status of the answer."""
    wire.sendall(request)
    answer = read_answer(wire)
    assert answer is not None
    return answer[0]


def test_one_too_many_is_told_and_the_others_are_served(small: Server, certificates: Certificates) -> None:
    with contextlib.ExitStack() as stack:
        inside = [stack.enter_context(enter(small, certificates)) for _ in range(MOST)]
        assert [ask(wire) for wire in inside] == [200] * MOST
        for request in (HEALTH, b"not even HTTP", request_bytes("/v1/queues/q/messages", b"x" * 300_000)):
            with enter(small, certificates) as outside:
                outside.sendall(request)
                got = b""
                with contextlib.suppress(ConnectionResetError):
                    while some := outside.recv(65536):
                        got += some
            head, _, body = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"content-type: application/problem+json" in head
            assert b"retry-after: 1" in head
            assert json.loads(body)["type"] == "urn:queuesvc:unavailable"
        assert [ask(wire) for wire in inside] == [200] * MOST
        inside[0].close()
        wait_until(lambda: is_let_in(small, certificates), "room for another")
        assert ask(inside[1]) == 200


def is_let_in(server: Server, certificates: Certificates) -> bool:
    """Whether there is room."""
    with enter(server, certificates) as wire:
        return ask(wire) == 200


@pytest.mark.parametrize("small", ["https"], indirect=True)
def test_handshakes_that_do_not_end_are_counted(small: Server, certificates: Certificates) -> None:
    """So the memory that they hold is bounded, too."""
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(connect(small.url)).sendall(b"\x16\x03\x01\x02\x00\x01")
        with enter(small, certificates) as outside:
            assert ask(outside) == 503
    wait_until(lambda: is_let_in(small, certificates), "room for another")


def test_one_too_many_that_says_nothing_is_cut_off_at_the_end(small: Server, certificates: Certificates) -> None:
    """It does not hold up a shutdown either (see the fixture)."""
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            assert ask(stack.enter_context(enter(small, certificates))) == 200
        silent = stack.enter_context(enter(small, certificates))
        assert small.stop() == 0
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(100) == b""
        small.start()
