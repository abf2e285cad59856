"""TLS on the broker's own socket: the same broker, and clients that never finish a handshake."""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import trustme

from queuesvc.http.tls import server_context
from tests.conftest import TIMEOUT_SECONDS, check_log
from tests.http.wire import make_queue, put, receive, receive_one, request_bytes, settle, wait_for_waiters
from tests.support.server import Server

Name = Callable[..., str]


class Certificates:
    """An authority of the test's own, and what it gave the broker."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1", "localhost")
        self.certificate = folder / "cert.pem"
        self.key = folder / "key.pem"
        own.cert_chain_pems[0].write_to_path(self.certificate)
        own.private_key_pem.write_to_path(self.key)
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)

    @property
    def args(self) -> list[str]:
        """The flags with which a broker uses them."""
        return ["--tls-cert", str(self.certificate), "--tls-key", str(self.key)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(
    way: dict[str, str], certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A broker with TLS that soon loses patience."""
    env = {**way, "QUEUESVC_SLOW_CLIENT_SECONDS": "0.5"}
    server = Server(tmp_path_factory.mktemp("secure") / "data", certificates.args, env)
    try:
        yield server.start()
        check_log(server)
    finally:
        server.close()


@pytest.fixture
def https(secure: Server, certificates: Certificates) -> Iterator[httpx2.Client]:
    """A client of it."""
    with httpx2.Client(base_url=secure.url, verify=certificates.trust, timeout=TIMEOUT_SECONDS) as client:
        yield client


def handshake(server: Server, trust: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection of one's own."""
    raw = socket.create_connection((server.host, server.port), timeout=30)
    return trust.wrap_socket(raw, server_hostname="localhost")


def test_broker_over_tls_does_what_it_does(secure: Server, https: httpx2.Client, name: Name) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    queue = make_queue(https, name())
    put(https, queue, "a", "b")
    large = os.urandom(1024 * 1024)
    for _ in range(5):
        assert https.post(f"/v1/queues/{queue}/messages", content=large).status_code == 201
    first, *others = receive(https, queue, max_messages=10)
    assert (first["body"], len(others)) == ("a", 6)
    assert settle(https, queue, "ack", first["receipt"])["acked"] == 1
    assert secure.url in https.get("/docs").text


def test_waiter_that_left_over_tls_takes_nothing_along(
    secure: Server, https: httpx2.Client, certificates: Certificates, name: Name
) -> None:
    queue = make_queue(https, name())
    with handshake(secure, certificates.trust) as wire:
        wire.sendall(request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=60"))
        wait_for_waiters(https, queue, 1)
    wait_for_waiters(https, queue, 0)
    put(https, queue, "kept")
    assert receive_one(https, queue)["delivery_count"] == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_old_tls_is_refused(secure: Server, certificates: Certificates) -> None:
    old = ssl.create_default_context()
    old.load_verify_locations(cadata=certificates.certificate.read_text())
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert server_context(certificates.certificate, certificates.key).minimum_version == ssl.TLSVersion.TLSv1_2
    for version, welcome in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, version
        expected = contextlib.nullcontext() if welcome else pytest.raises(ssl.SSLError, match=r"PROTOCOL|EOF")
        with expected, handshake(secure, old) as wire:
            assert wire.version() == "TLSv1.2"


@pytest.mark.parametrize(
    "begun", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=repr
)
def test_handshake_that_never_ends_is_ended(secure: Server, https: httpx2.Client, begun: bytes) -> None:
    """The connection is closed in time, and nobody is kept waiting by it."""
    with contextlib.ExitStack() as stack:
        half_open = [
            stack.enter_context(socket.create_connection((secure.host, secure.port), timeout=30)) for _ in range(50)
        ]
        for wire in half_open:
            wire.sendall(begun)
        assert https.get("/healthz").status_code == 200
        for wire in half_open:
            with contextlib.suppress(ConnectionResetError):
                while wire.recv(4096):
                    pass


def test_request_that_never_ends_is_left_over_tls(secure: Server, certificates: Certificates) -> None:
    with handshake(secure, certificates.trust) as wire:
        wire.sendall(b"POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert wire.recv(100) == b""
