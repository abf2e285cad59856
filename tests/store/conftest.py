"""Every store there is, and those that outlive a restart."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from queuesvc.store.interface import Store
from queuesvc.store.memory import MemoryStore
from queuesvc.store.sqlite.store import SqliteStore
from tests.store.driver import Driver
from tests.store.pairs import Pair, Restarted

DURABLE: dict[str, Callable[[Path], Store]] = {"sqlite": SqliteStore}
STORES: dict[str, Callable[[Path], Store]] = {"memory": lambda _: MemoryStore(), **DURABLE}


async def driven(make: Callable[[Path], Store], folder: Path) -> AsyncIterator[Driver]:
    driver = Driver(make, folder)
    await driver.open()
    yield driver
    await driver.close()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """Each store in turn, empty."""
    async for driver in driven(STORES[request.param], tmp_path / "data"):
        yield driver


@pytest.fixture(params=DURABLE)
async def durable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """Each store that keeps what it has through a restart, empty."""
    async for driver in driven(DURABLE[request.param], tmp_path / "data"):
        yield driver


@pytest.fixture(params=[*STORES, *(f"{name}, restarted" for name in DURABLE)])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """Each store in turn, and each durable one once more: closed or killed, and opened again, before every step."""
    name, _, restarted = request.param.partition(", ")
    driver = (Restarted if restarted else Pair)(STORES[name], tmp_path / "data")
    await driver.open()
    yield driver
    await driver.close()
