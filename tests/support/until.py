"""Waiting for a condition: bounded, and without a guess at how long it takes."""

import asyncio
import time
from collections.abc import Callable
from threading import Event

PATIENCE_SECONDS = 20.0
STEP_SECONDS = 0.005


async def until(condition: Callable[[], bool], what: str = "the condition", seconds: float = PATIENCE_SECONDS) -> None:
    """Let the loop turn until the condition holds; `AssertionError` when it does not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"{what} did not come about within {seconds:g} s"
        turn = loop.create_future()
        loop.call_later(STEP_SECONDS, turn.set_result, None)
        await turn


def wait_until(condition: Callable[[], bool], what: str = "the condition", seconds: float = PATIENCE_SECONDS) -> None:
    """The same without a loop."""
    deadline = time.monotonic() + seconds
    never = Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s"
        never.wait(STEP_SECONDS)
