"""Queues deep in one state or another: how each comes about, and what is received from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.bench_support.caller import BATCH_MOST, Caller

HOUR = 3600
GROUPS_SHARE = 10
DEAD_MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class Deep:
    """A queue of `share` times the plan's depth, nearly all in a `state` that `fill` brings about.

    `more` are the properties of what is published to be received.
    """

    name: str
    title: str
    state: str
    share: float
    fill: Callable[[Caller, str, int], None]
    more: Callable[[int], dict[str, Sequence[Any]]] = lambda messages: {}


def ready(caller: Caller, queue: str, messages: int) -> None:
    """Ready, and never anything else."""
    caller.fill(queue, messages)


def delayed(caller: Caller, queue: str, messages: int) -> None:
    """Delayed by one to eleven hours, no two neighbours alike."""
    caller.fill(queue, messages, delay_seconds=[HOUR + at * 7919 % (10 * HOUR) for at in range(BATCH_MOST)])


def leased(caller: Caller, queue: str, messages: int) -> None:
    """Leased by the thousand, for as long as `SETTINGS` say: longer than others are delayed."""
    caller.fill(queue, messages)
    for count in _portions(messages):
        caller.receive(queue, count)


def dead(caller: Caller, queue: str, messages: int) -> None:
    """Dead: received and rejected by the thousand."""
    caller.fill(queue, messages)
    for count in _portions(messages):
        caller.settle(queue, "nack", caller.receive(queue, count), b',"requeue":false')


def grouped(caller: Caller, queue: str, messages: int) -> None:
    """Ready in a tenth as many groups, one message of each after the other."""
    caller.fill(queue, messages, **groups_of(messages))


def groups_of(messages: int) -> dict[str, Sequence[Any]]:
    """A tenth as many groups."""
    return {"group": [f"group-{at}" for at in range(max(1, messages // GROUPS_SHARE))]}


def blocked(caller: Caller, queue: str, messages: int) -> None:
    """Ready in one group whose first message is leased."""
    caller.fill(queue, 1, group=["one"])
    caller.receive(queue, 1)
    caller.fill(queue, messages - 1, group=["one"])


def _portions(messages: int) -> list[int]:
    whole, rest = divmod(messages, BATCH_MOST)
    return [BATCH_MOST] * whole + [rest] * (rest > 0)


SETTINGS = {"lease_seconds": 12 * HOUR, "dead_max_messages": DEAD_MOST}
READY = Deep("ready", "ready", "ready", 1, ready)
DELAYED = Deep("delayed", "delayed", "delayed", 1, delayed)
LEASED = Deep("leased", "leased", "leased", 0.1, leased)
DEAD = Deep("dead", "dead", "dead", 0.1, dead)
GROUPED = Deep("groups", "in a tenth as many groups", "ready", 0.1, grouped, groups_of)
BLOCKED = Deep("blocked", "in one blocked group", "ready", 0.1, blocked)
