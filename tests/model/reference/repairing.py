"""Purge, single deletes and redrive (§8)."""

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import State
from queuesvc.domain.replies import Done, Purge, Redriven
from tests.model.reference import tokens
from tests.model.reference.contents import Message, Queue
from tests.model.reference.failing import move
from tests.model.reference.world import World


def purge(world: World, command: c.PurgeQueue) -> Purge:
    queue = world.queue(command.queue)
    states = (State.READY, State.DELAYED) if command.state is None else (command.state,)
    purged = queue.in_state(*states)
    for message in [] if command.dry_run else purged:
        queue.remove(message, "purged", world.now)
    return Purge(len(purged))


def remove(world: World, command: c.RemoveMessage) -> Done:
    queue = world.queue(command.queue)
    message = queue.named(command.id)
    if message is None:
        raise Refused(Code.MESSAGE_NOT_FOUND, command.id)
    queue.remove(message, "purged", world.now)
    return Done()


def redrive(world: World, command: c.Redrive) -> Redriven:
    """Dead ones to the tail here, or in `to_queue`; those that arrived back to where they died, or to `to_queue`."""
    queue = world.queue(command.queue)
    if command.to_queue is not None:
        world.queue(command.to_queue)
    before = command.before or world.kept.last_number + 1
    dead = queue.in_state(State.DEAD)
    source = command.source or ("dead" if dead else "arrived")
    ready = queue.in_state(State.READY)
    arrived = [message for message in ready if message.deaths and message.deaths[0]["queue"] != queue.name]
    candidates = dead if source == "dead" else arrived
    failed: list[tuple[str, Code]] = []
    candidates = [message for message in candidates if command.after < message.number < before]
    if command.ids is not None:
        wanted = set(command.ids)
        found = {message.id for message in (dead if source == "dead" else arrived)}
        failed = [(id_, Code.MESSAGE_NOT_FOUND) for id_ in wanted - found]
        candidates = [message for message in candidates if message.id in wanted]
    moved, last = 0, None
    for message in candidates:
        if moved == command.max_messages:
            return Redriven(moved, tuple(sorted(failed)), source, last, before)
        last = message.number
        target = origin(world, queue, message, source, command)
        if target is None or (target is not queue and not tokens.fits(command.targets, target.name)):
            failed.append((message.id, Code.QUEUE_NOT_FOUND))
            continue
        moved += 1
        if not command.dry_run:
            redrive_one(world, queue, message, target, source)
    return Redriven(moved, tuple(sorted(failed)), source, None, before)


def origin(world: World, queue: Queue, message: Message, source: str, command: c.Redrive) -> Queue | None:
    if command.to_queue is not None:
        return world.queue(command.to_queue)
    if source == "dead":
        return queue
    return world.kept.queues.get(message.deaths[0]["queue"])


def redrive_one(world: World, queue: Queue, message: Message, target: Queue, source: str) -> None:
    content = message.content
    if source == "arrived":
        death = message.deaths[0]
        content = content._replace(exchange=death["exchange"], routing_key=death["routing_key"])
    move(world, queue, message, content, [target], dead_lettered=False)
