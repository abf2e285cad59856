"""The end of a history: every receipt ever handed out is tried, and everything that is left comes out."""

from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.model import State
from tests.model.compare import Difference
from tests.model.lockstep import EVERYTHING, Lockstep
from tests.model.steps import Batch, Pick

ROUNDS = 500
A_DAY_MS = 86_400_000
OPEN: dict[str, Any] = {"paused": False, "delivery_limit": None, "expires_seconds": None}


async def drain(lockstep: Lockstep) -> None:
    """Try every receipt, receive all that can be had, purge the dead; then nothing is left, in no file."""
    for receive in lockstep.line.all():
        lockstep.leave(receive)
    names = sorted(lockstep.model.queues)
    await lockstep.take(Batch(tuple(c.PatchQueue(name, OPEN) for name in names)))
    await lockstep.take(Batch(tuple(every_receipt(lockstep))))
    for _ in range(ROUNDS):
        left = [queue for queue in lockstep.model.queues.values() if len(queue.messages) > len(dead(queue))]
        if not left:
            break
        delivered = lockstep.model.queues
        before = sum(queue.totals["delivered"] for queue in delivered.values())
        everything = tuple(c.Receive(queue.name, 1000, auto_ack=True) for queue in left)
        await lockstep.take(Batch((), everything, (False,) * len(left)))
        if before == sum(queue.totals["delivered"] for queue in delivered.values()):
            await lockstep.take(Batch(to_due=True))
    else:
        raise Difference(f"the drain never ends: {lockstep.model.queues}")
    await lockstep.take(Batch(tuple(c.PurgeQueue(name, State.DEAD) for name in names)))
    await lockstep.take(Batch((c.Tick(),), advance=A_DAY_MS))  # and no key is remembered
    for side in lockstep.sides:
        await side.nothing_left()


def dead(queue: Any) -> list[Any]:
    return [message for message in queue.messages if message.state is State.DEAD]


def every_receipt(lockstep: Lockstep) -> list[Any]:
    """Of each message at most one is valid, and the stores say which."""
    picks: dict[str, list[Pick]] = {}
    for back, (queue, _, _) in enumerate(reversed(lockstep.handed)):
        picks.setdefault(queue, []).append(Pick(back))
    extends = []
    for queue, its in picks.items():
        for at in range(0, len(its), EVERYTHING):
            receipts: Any = tuple(its[at : at + EVERYTHING])
            extends.append(c.Extend(queue, receipts, 1000))
    return extends
