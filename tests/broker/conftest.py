"""A running broker over a real SQLite store in the test's folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuesvc.broker.broker import Broker
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import make_queue, running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "data"


@pytest.fixture
def store(folder: Path) -> SqliteStore:
    """The store, not opened: `broker` does so."""
    return SqliteStore(folder)


@pytest.fixture
async def broker(store: SqliteStore) -> AsyncIterator[Broker]:
    """The broker, with a queue `q`."""
    async with running(store) as broker:
        await make_queue(broker, "q")
        yield broker
