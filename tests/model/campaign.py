"""A long campaign of random histories: python -m tests.model.campaign --commands 200000 --seed 1

Runs history after history, each with fresh stores, until so many commands were
compared. The first history that fails is shortened as far as it goes and printed,
ready to become a test in `test_scenarios`. Most of its time is fsync: with TMPDIR on a
file system in memory it is several times as fast.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.store.memory import MemoryStore
from queuesvc.store.sqlite.store import SqliteStore
from tests.model.choices import Seeded
from tests.model.compare import Difference
from tests.model.draining import drain
from tests.model.histories import Histories
from tests.model.lockstep import LIMITS, Lockstep
from tests.model.side import Open
from tests.model.steps import Batch, Settling, Step

STEPS = 150
OPENERS: dict[str, Open] = {
    "memory": lambda _: MemoryStore(LIMITS),
    "sqlite": lambda folder: SqliteStore(folder, LIMITS),
}


async def replay(history: list[Step], openers: dict[str, Open]) -> tuple[int, Exception | None]:
    """How many steps went well, and what went wrong then, if anything did."""
    with tempfile.TemporaryDirectory() as home:
        lockstep = Lockstep(openers, Path(home))
        await lockstep.open()
        try:
            for taken, step in enumerate(history):
                try:
                    await lockstep.take(step)
                except Exception as error:  # a store that raises differs as well
                    return taken, error
            try:
                await drain(lockstep)
            except Exception as error:
                return len(history), error
        finally:
            await lockstep.close()
    return len(history), None


async def invent(seed: int, openers: dict[str, Open], steps: int = STEPS) -> tuple[list[Step], int, Exception | None]:
    """A history as the seed says, the number of its commands, and what went wrong, if anything did."""
    history: list[Step] = []
    with tempfile.TemporaryDirectory() as home:
        lockstep = Lockstep(openers, Path(home))
        await lockstep.open()
        try:
            histories = Histories(Seeded(seed), lockstep)
            for _ in range(steps):
                history.append(histories.step())
                await lockstep.take(history[-1])
            await drain(lockstep)
        except Exception as error:
            return history, lockstep.commands, error
        finally:
            await lockstep.close()
    return history, lockstep.commands, None


async def shorten(history: list[Step], openers: dict[str, Open], seconds: float) -> list[Step]:
    """The history without what is not needed to fail alike: chunks, then single steps, then single commands."""
    until = time.monotonic() + seconds
    _, first = await replay(history, openers)

    async def fails(candidate: list[Step]) -> bool:
        if time.monotonic() >= until:
            return False
        _, error = await replay(candidate, openers)
        return error is not None and kind(error) == kind(first)

    history = await fewer_steps(history, fails)
    at = 0
    while at < len(history):
        for smaller in smaller_batches(history[at]):
            if await fails([*history[:at], smaller, *history[at + 1 :]]):
                history = [*history[:at], smaller, *history[at + 1 :]]
                break  # and smaller still
        else:
            at += 1
    return await fewer_steps(history, fails)


async def fewer_steps(history: list[Step], fails: Callable[[list[Step]], Awaitable[bool]]) -> list[Step]:
    """Without chunks, then without single steps."""
    size = len(history) // 2
    while size:
        at = 0
        while at < len(history):
            candidate = history[:at] + history[at + size :]
            if await fails(candidate):
                history = candidate
            else:
                at += size
        size //= 2
    return history


def kind(error: Exception | None) -> str:
    """What sort of failure it is: which store, of what, which part of the answer; or where it raised."""
    if error is not None and not isinstance(error, Difference):
        return type(error).__name__ + traceback.extract_tb(error.__traceback__)[-1].name
    text = str(error)
    place = re.search(r"expected ([^=]*)", text)
    return text.partition("(")[0] + re.sub(r"\d+", "", place[1] if place else "")


def error_text(error: Exception | None) -> str:
    """What went wrong; of a store that raised, with where."""
    told = f"{type(error).__name__}: {brief(str(error))}"
    if error is None or isinstance(error, Difference):
        return told
    return told + "\n" + "".join(traceback.format_tb(error.__traceback__)[-12:])


def brief(text: str) -> str:
    """With the filling of long bodies as a product."""
    return re.sub(r"(\\xff){4,}'", lambda filling: f"' + b'\\xff' * {len(filling[0]) // 4}", text)


def tell(value: Any) -> str:
    """A step as Python that makes it, without what are defaults."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "(" + "".join(tell(item) + ", " for item in value) + ")"
    if is_dataclass(value):
        members = [(item.name, getattr(value, item.name), item.default) for item in fields(value)]
    elif isinstance(value, tuple):
        defaults: dict[str, Any] = getattr(value, "_field_defaults", {})
        members = [(name, getattr(value, name), defaults.get(name)) for name in getattr(value, "_fields", ())]
    else:
        return f"{type(value).__name__}.{value.name}" if isinstance(value, StrEnum) else brief(repr(value))
    told = ", ".join(f"{name}={tell(item)}" for name, item, default in members if item != default)
    return f"{type(value).__name__}({told})"


def smaller_batches(step: Step) -> Iterator[Step]:
    """The batch without one of its parts, each in turn."""
    if not isinstance(step, Batch):
        return
    for at in range(len(step.receives)):
        waits = step.waits[:at] + step.waits[at + 1 :]
        yield replace(step, receives=step.receives[:at] + step.receives[at + 1 :], waits=waits)
    for at, command in enumerate(step.commands):
        before, after = step.commands[:at], step.commands[at + 1 :]
        yield replace(step, commands=before + after)
        name = "envelopes" if isinstance(command, c.Publish) else "receipts" if isinstance(command, Settling) else ""
        many = getattr(command, name, ())
        for dropped in range(len(many) if len(many) > 1 else 0):
            fewer = {name: many[:dropped] + many[dropped + 1 :]}
            yield replace(step, commands=(*before, replace(command, **fewer), *after))
    if step.advance or step.to_due:
        yield replace(step, advance=0, to_due=False)


async def campaign(commands: int, seed: int, steps: int, shorten_seconds: float) -> bool:
    """Whether all histories went well."""
    done, started = 0, time.monotonic()
    while done < commands:
        history, count, error = await invent(seed, OPENERS, steps)
        done += count
        if error is not None:
            print(
                f"\nseed {seed} failed after {len(history)} steps: {type(error).__name__}: {brief(str(error))}\n",
                flush=True,
            )
            history = await shorten(history, OPENERS, shorten_seconds)
            _, error = await replay(history, OPENERS)
            print("shortest history found:", *map(tell, history), sep="\n  ")
            print(f"\n{error_text(error)}")
            return False
        if seed % 10 == 0:
            rate = done / (time.monotonic() - started)
            print(f"\r{done:,} of {commands:,} commands, seed {seed}, {rate:,.0f}/s", end="", flush=True)
        seed += 1
    print(f"\n{done:,} commands in histories of {steps} steps, the last seed {seed - 1}: no difference")
    return True


def main() -> None:
    """Read the arguments, run, exit 1 where a difference was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=200_000, help="how many commands to compare")
    parser.add_argument("--seed", type=int, default=1, help="the first history's seed; each next one's is one more")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps a history")
    parser.add_argument("--shorten-seconds", type=float, default=120, help="how long to shorten a failure")
    arguments = parser.parse_args()
    going_well = campaign(arguments.commands, arguments.seed, arguments.steps, arguments.shorten_seconds)
    sys.exit(0 if asyncio.run(going_well) else 1)


if __name__ == "__main__":
    main()
