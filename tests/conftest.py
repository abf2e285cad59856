"""Fixtures for every test: brokers that really run.

`server` and `http` are a broker of the test's own, to kill and restart at will.
`shared` is a client of one broker that lives through the whole run, for the many
tests that only need names of their own: those come from `name`.
"""

import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.server import Server
from tests.support.until import wait_until

THREADS_SECONDS = 5.0
TIMEOUT_SECONDS = 90.0  # above the longest wait of a receive


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A store that was not closed leaves its thread behind, and Python would wait for that without end."""
    yield
    # (The thread of one that was closed a moment ago may be about to end.)
    wait_until(lambda: not left_threads(), "the end of all threads, as some store was not closed,", THREADS_SECONDS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A broker of the test's own, running, with its data in `tmp_path`."""
    server = Server(tmp_path / "data")
    try:
        yield server.start()
        check_log(server)
    finally:
        server.close()


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    """A client of `server`."""
    with httpx2.Client(base_url=server.url, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One broker for the whole run: not to be stopped, and used with names of the test's own."""
    server = Server(tmp_path_factory.mktemp("shared") / "data")
    try:
        yield server.start()
        check_log(server)
    finally:
        server.close()


@pytest.fixture(scope="session")
def shared(shared_server: Server) -> Iterator[httpx2.Client]:
    """A client of `shared_server`."""
    with httpx2.Client(base_url=shared_server.url, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
def name() -> Callable[..., str]:
    """Makes names that no other test uses: `name("orders")` is `orders-3f9a1c0d`."""
    return lambda stem="t": f"{stem}-{uuid.uuid4().hex[:8]}"


def check_log(server: Server) -> None:
    """Nothing that a test does may make the broker trip over itself."""
    assert "Traceback" not in server.log, server.log


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End with what is left behind, instead of waiting for it; only after everything is told."""
    if left_threads():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(pytest.ExitCode.TESTS_FAILED)


def left_threads() -> list[str]:
    """The names of threads that keep the process alive, but for the main one and idle ones of a pool."""
    pools = ("ThreadPoolExecutor", "asyncio_")
    left = (thread for thread in threading.enumerate() if not thread.daemon and not thread.name.startswith(pools))
    return [thread.name for thread in left if thread is not threading.main_thread()]
