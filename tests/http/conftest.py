"""The wire of the data plane is tested on both of its ways: straight from the connection, and through ASGI."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import TIMEOUT_SECONDS, check_log
from tests.http.wire import bind, make_exchange, make_queue
from tests.support.server import Server

BOTH_WAYS = {
    "test_access",
    "test_batch",
    "test_cloudevents",
    "test_cloudevents_binary",
    "test_connection",
    "test_disconnect",
    "test_full",
    "test_guard",
    "test_idempotency",
    "test_malformed",
    "test_pipeline",
    "test_publish",
    "test_rates",
    "test_receive",
    "test_receive_raw",
    "test_request_reply",
    "test_settle",
    "test_slow_clients",
    "test_time_and_order",
    "test_tls",
    "test_tokens",
    "test_transaction_retries",
    "test_transactions",
}
ONLY_ASGI = {"QUEUESVC_SHORT_WAY": "false"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run these files once over each way."""
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS and "way" in metafunc.fixturenames:
        metafunc.parametrize("way", [{}, ONLY_ASGI], ids=["direct", "asgi"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of a broker that answers in this way; as it comes, unless the file is tested on both."""
    env: dict[str, str] = getattr(request, "param", {})
    return env


@pytest.fixture(scope="session")
def shared_server(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One broker for all tests of this way: not to be stopped, and used with names of the test's own."""
    server = Server(tmp_path_factory.mktemp("shared") / "data", env=way)
    try:
        yield server.start()
        check_log(server)
    finally:
        server.close()


@pytest.fixture(scope="session")
def shared(shared_server: Server) -> Iterator[httpx2.Client]:
    """A client of this folder's `shared_server`: another than that of the other folders' tests."""
    with httpx2.Client(base_url=shared_server.url, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
def server(way: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """A broker of the test's own, on this way."""
    server = Server(tmp_path / "data", env=way)
    try:
        yield server.start()
        check_log(server)
    finally:
        server.close()


@pytest.fixture
def queue(shared: httpx2.Client, name: Callable[..., str]) -> str:
    """A queue of the test's own."""
    return make_queue(shared, name("q"))


@pytest.fixture
def out(shared: httpx2.Client, name: Callable[..., str]) -> str:
    """Another one."""
    return make_queue(shared, name("out"))


@pytest.fixture
def exchange(shared: httpx2.Client, name: Callable[..., str], queue: str) -> str:
    """A topic exchange bound to `queue` for everything."""
    made = make_exchange(shared, name("x"))
    bind(shared, made, queue)
    return made


@pytest.fixture
def key(name: Callable[..., str]) -> str:
    """An idempotency key: those of transactions are known to the whole broker."""
    return name("key")
