"""A store in the test's folder, driven without a broker: the test says what is applied when."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.stores import Hand


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "data"


@pytest.fixture
async def hand(folder: Path) -> AsyncIterator[Hand]:
    """An open store with a queue `q`."""
    hand = Hand(folder)
    await hand.open()
    await hand.queue("q")
    yield hand
    await hand.close()
