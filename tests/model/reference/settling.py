"""Ack, nack, extend; leases that are taken back (§6, §8)."""

import re
from collections.abc import Sequence

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.model import State
from queuesvc.domain.replies import Done, Failure, Released, Settled
from tests.model.reference.contents import Message, Queue
from tests.model.reference.failing import backoff_ms, die, fail, give_back, give_back_later_ones
from tests.model.reference.world import World

RECEIPT = re.compile(r"lease([0-9]+)\.(0|[1-9a-f][0-9a-f]*)")
Settling = c.Ack | c.Nack | c.Extend


def settle(world: World, command: Settling) -> Settled:
    """Each receipt is judged by what was before the call; one given twice counts once."""
    queue, held, failed = judge_all(world, command)
    for message in held:
        settle_one(world, command, queue, message, held)
    expires_at = world.now + command.lease_ms if isinstance(command, c.Extend) else 0
    return Settled(len(held), tuple(failed), expires_at)


def judge_all(world: World, command: Settling) -> tuple[Queue, list[Message], list[Failure]]:
    """The messages that the receipts hold, and the receipts that hold none."""
    queue = world.queue(command.queue)
    for index, receipt in enumerate(command.receipts):
        if RECEIPT.fullmatch(receipt) is None:
            raise invalid("receipts", "malformed", index=index)
    held: list[Message] = []
    failed = []
    for receipt in dict.fromkeys(command.receipts):
        message = judge(world, queue, receipt)
        if isinstance(message, Code):
            failed.append(Failure(receipt, message))
        else:
            held.append(message)
    return queue, held, failed


def judge(world: World, queue: Queue, receipt: str) -> Message | Code:
    """The message that the receipt holds, or why it holds none."""
    lease, number = RECEIPT.fullmatch(receipt).groups()  # type: ignore[union-attr]
    message = queue.find(int(number, 16))
    if message is None or world.kept.leases[int(lease)].queue_id != queue.id:
        return Code.GONE
    return message if message.lease == int(lease) else Code.LEASE_LOST


def settle_one(world: World, command: Settling, queue: Queue, message: Message, held: list[Message]) -> None:
    if isinstance(command, c.Ack):
        queue.remove(message, "acked", world.now)
    elif isinstance(command, c.Extend):
        message.state, message.until = State.LEASED, world.now + command.lease_ms
    else:
        nack(world, command, queue, message, held)


def nack(world: World, command: c.Nack, queue: Queue, message: Message, held: list[Message]) -> None:
    ran_out = message.state is not State.LEASED
    lease, message.lease = message.lease, None
    queue.totals["nacked"] += 1
    if not command.requeue:
        message.failures += command.delivery_failed and not ran_out
        die(world, queue, message, "rejected", command.reason)
        return
    delay_ms = command.delay_ms
    if command.delivery_failed and not ran_out:
        lives = fail(world, queue, message, delay_ms, command.reason)
    else:
        if delay_ms is None:
            delay_ms = backoff_ms(world, queue, message) if command.delivery_failed else 0
        give_back(world, queue, message, delay_ms)
        lives = message in queue.messages and message.state is not State.DEAD
    if lives:
        give_back_later_ones(world, queue, message, lease, named=held)


def undeliver(world: World, command: c.Undeliver) -> Done:
    """All that the lease still holds is ready again, and was never delivered."""
    queue = world.kept.queues.get(command.queue)
    if queue is None:  # and so is the lease
        return Done()
    held = [message for message in queue.in_state(State.LEASED) if message.lease == command.lease]
    for message in sorted(held, key=lambda message: message.place):  # as they were handed out
        message.lease = None
        message.deliveries -= 1
        queue.totals["delivered"] -= 1
        give_back(world, queue, message)
        if message in queue.messages and message.state is State.READY:
            give_back_later_ones(world, queue, message, command.lease, named=held)
    return Done()


def release(world: World, command: c.Release) -> Released:
    """Leases end, uncounted."""
    queue = world.queue(command.queue)
    released, failed = [], []
    for id_ in dict.fromkeys(command.ids):
        message = queue.named(id_)
        if message is None:
            failed.append((id_, Code.GONE))
        elif message.state is not State.LEASED:
            failed.append((id_, Code.LEASE_LOST))
        else:
            released.append(message)
    for message in [] if command.dry_run else released:
        lease, message.lease = message.lease, None
        give_back(world, queue, message)
        if message in queue.messages and message.state is State.READY:
            give_back_later_ones(world, queue, message, lease, named=released)
    return Released(len(released), tuple(sorted(failed)))


Judged = list[tuple[c.Ack | c.Nack, Queue, list[Message]]]


def judge_parts(world: World, commands: Sequence[c.Ack | c.Nack]) -> Judged:
    """Of a transaction: all are judged by what was before; `Refused` names the first receipt that holds nothing."""
    judged = []
    for command in commands:
        queue, held, failed = judge_all(world, command)
        for failure in failed:
            raise Refused(failure.code, "does not settle", receipt=failure.receipt)
        judged.append((command, queue, held))
    return judged


def settle_parts(world: World, judged: Judged) -> list[int]:
    """Of a transaction: all are settled; how many in each part."""
    named = [message for _, _, held in judged for message in held]
    for command, queue, held in judged:
        for message in held:
            settle_one(world, command, queue, message, named)
    return [len(held) for _, _, held in judged]
