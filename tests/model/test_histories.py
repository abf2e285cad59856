"""Random histories: every store answers as the model does, restarts and all.

Two ways: hypothesis, which shortens what fails, and seeds, which cover more in the same
time. The long campaign is `python -m tests.model.campaign`.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from queuesvc.domain.commands import Ack, Command
from queuesvc.store.interface import Applied, Waiting
from queuesvc.store.memory import MemoryStore
from tests.model.campaign import OPENERS, invent, replay, shorten
from tests.model.compare import Difference
from tests.model.draining import drain
from tests.model.histories import Histories
from tests.model.lockstep import Lockstep
from tests.model.side import Open
from tests.model.steps import Ask, Failing, Leave, Maintain, Reopen

T = TypeVar("T")


class Drawn:
    """Choices that hypothesis makes."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def pick(self, items: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(items))

    def number(self, least: int, most: int) -> int:
        return self._data.draw(st.integers(least, most))


class StoresAgainstModel(RuleBasedStateMachine):
    """The memory store and the SQLite store in lockstep with the model; each step checks everything."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.home = tempfile.TemporaryDirectory()
        self.lockstep = Lockstep(OPENERS, Path(self.home.name))
        self.runner.run(self.lockstep.open())

    @rule(data=st.data())
    def batch(self, data: st.DataObject) -> None:
        self.runner.run(self.lockstep.take(Histories(Drawn(data), self.lockstep).batch()))

    @rule(data=st.data())
    def busy(self, data: st.DataObject) -> None:
        """As `batch`: hypothesis chooses evenly among rules, and most steps should be batches."""
        self.batch(data)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self.runner.run(self.lockstep.take(Ask(Histories(Drawn(data), self.lockstep).query())))

    @rule(kill=st.booleans())
    def reopen(self, kill: bool) -> None:
        self.runner.run(self.lockstep.take(Reopen(kill)))

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.runner.run(self.lockstep.take(Failing(Histories(Drawn(data), self.lockstep).batch())))

    @rule(place=st.integers(0, 9))
    def leave(self, place: int) -> None:
        self.runner.run(self.lockstep.take(Leave(place)))

    @rule()
    def maintain(self) -> None:
        self.runner.run(self.lockstep.take(Maintain()))

    def teardown(self) -> None:
        try:
            self.runner.run(drain(self.lockstep))
        finally:
            self.runner.run(self.lockstep.close())
            self.runner.close()
            self.home.cleanup()


TestStoresAgainstModel = StoresAgainstModel.TestCase
TestStoresAgainstModel.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("seed", range(14))
async def test_seeded_histories(seed: int) -> None:
    _, commands, error = await invent(seed, OPENERS)
    if error is not None:
        raise error
    assert commands > 100


@pytest.mark.slow
async def test_a_long_seeded_history() -> None:
    """Few restarts of the model: numbers grow, old receipts pile up."""
    _, commands, error = await invent(10_000, OPENERS, steps=1000)
    if error is not None:
        raise error
    assert commands > 1000


class AcksTwice(MemoryStore):
    """A store with a fault: what is acked is acked again in the same batch, unasked."""

    async def apply(self, commands: Sequence[Command], now: int, waiting: Waiting) -> Applied:
        applied = await super().apply(commands, now, waiting)
        again = [command for command in commands if isinstance(command, Ack)]
        if not again:
            return applied
        twice = await super().apply(again, now, waiting)
        answers = iter(twice.replies)
        replies = [next(answers) if isinstance(c, Ack) else r for c, r in zip(commands, applied.replies, strict=True)]
        return Applied(replies, applied.served + twice.served, True)


async def test_a_faulty_store_is_found_and_its_history_shortened() -> None:
    """The proof can fail, and says with how little."""
    faulty: dict[str, Open] = {"memory": lambda _: AcksTwice()}
    for seed in range(20):
        history, _, error = await invent(seed, faulty)
        if error is not None:
            break
    assert isinstance(error, Difference)
    short = await shorten(history, faulty, seconds=60)
    assert len(short) <= 6
    taken, error = await replay(short, faulty)
    assert taken == len(short) - 1
    assert isinstance(error, Difference)
    assert (await replay(short, OPENERS))[1] is None
