"""What is handed out, in which order, and when leases, delays and lives end (§5)."""

from typing import NamedTuple

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import State
from queuesvc.domain.replies import Delivery, Received
from queuesvc.store.interface import Applied
from tests.model.reference import tokens
from tests.model.reference.contents import WHY, Message, Queue
from tests.model.reference.failing import expire, fail, give_back_later_ones
from tests.model.reference.world import Lease, World

LEASE_ENDS, DELAY_ENDS, MESSAGE_EXPIRES, QUEUE_EXPIRES = range(4)


class Due(NamedTuple):
    """What happens, in the order in which it does. `number` is a lease's or a message's."""

    at: int
    kind: int
    queue_id: int
    number: int


def due_of(queue: Queue, waited_at: bool) -> list[Due]:
    """All that will happen in a queue by itself."""
    due = []
    for message in queue.messages:
        if message.state is State.LEASED:
            due.append(Due(message.until, LEASE_ENDS, queue.id, message.lease or 0))
        if message.state is State.DELAYED:
            due.append(Due(message.until, DELAY_ENDS, queue.id, message.number))
        if message.state in (State.READY, State.DELAYED) and message.expires_at:
            due.append(Due(message.expires_at, MESSAGE_EXPIRES, queue.id, message.number))
    seconds = queue.settings.expires_seconds
    if seconds is not None and not queue.messages and not waited_at:
        due.append(Due(queue.used_at + round(seconds * 1000), QUEUE_EXPIRES, queue.id, 0))
    return due


def next_due(world: World) -> Due | None:
    """What happens next, whenever that is."""
    every = (due_of(queue, world.waiting.count(queue.name) > 0) for queue in world.kept.queues.values())
    return min((due for each in every for due in each), default=None)


def do_due(world: World) -> None:
    """All that is due by now, one after the other."""
    while (due := next_due(world)) is not None and due.at <= world.now:
        queue = next(queue for queue in world.kept.queues.values() if queue.id == due.queue_id)
        message = queue.find(due.number)
        if due.kind == LEASE_ENDS:
            end_lease(world, queue, due)
        elif due.kind == QUEUE_EXPIRES:
            forget_queue(world, queue)
        elif message is not None and due.kind == DELAY_ENDS:
            message.state, message.holds = State.READY, False
        elif message is not None:
            message.lease = None
            expire(world, queue, message)


def end_lease(world: World, queue: Queue, due: Due) -> None:
    """A lease runs out for those of its messages that it held until then, the oldest first."""
    for message in list(queue.messages):
        if message.state is not State.LEASED or message.lease != due.number or message.until != due.at:
            continue
        if fail(world, queue, message, None, WHY):  # its receipt still settles: `lease` stays
            give_back_later_ones(world, queue, message, message.lease)


def forget_queue(world: World, queue: Queue) -> None:
    del world.kept.queues[queue.name]
    world.kept.bindings = [binding for binding in world.kept.bindings if binding.queue != queue.name]


# --- handing out ----------------------------------------------------------------


def next_to_hand_out(world: World, queue: Queue, taken: list[Message]) -> Message | None:
    """Highest priority first, then oldest first; of a group that is not held up its oldest."""
    ready = [m for m in queue.in_state(State.READY) if m not in taken and not m.expired(world.now)]
    holding = [m for m in queue.messages if m.state is State.LEASED or (m.state is State.DELAYED and m.holds)]
    held_up = {message.group for message in holding}
    candidates = []
    for message in ready:
        if message.group:
            first = next(other for other in ready if other.group == message.group)
            if message is not first or message.group in held_up:
                continue
        candidates.append(message)
    return min(candidates, key=lambda message: (-message.priority, message.number), default=None)


def note_receives(world: World) -> set[str]:
    """The queues at which a receive came or left: they are in use."""
    names = set(world.waiting.new())
    for name in names & set(world.kept.queues):
        world.kept.queues[name].used_at = world.now
    return names


def serve(world: World, came_to: set[str], applied: Applied) -> None:
    """Those who wait, first come, first served."""
    for name in came_to - set(world.kept.queues):
        refuse_waiting(world, name, applied)
    for queue in world.kept.queues.values():
        while world.waiting.count(queue.name) and not queue.settings.paused and next_to_hand_out(world, queue, []):
            receive = world.waiting.take(queue.name)
            assert receive is not None
            applied.served.append((receive, hand_out(world, queue, receive)))


def refuse_waiting(world: World, name: str, applied: Applied) -> None:
    while (receive := world.waiting.take(name)) is not None:
        code = Code.QUEUE_NOT_FOUND if tokens.holds(world, receive.token) else Code.UNAUTHENTICATED
        applied.served.append((receive, Refused(code, name)))


def hand_out(world: World, queue: Queue, receive: c.Receive) -> Received | Refused:
    if not tokens.holds(world, receive.token):
        return Refused(Code.UNAUTHENTICATED, receive.token)
    taken: list[Message] = []
    while len(taken) < receive.max_messages and (message := next_to_hand_out(world, queue, taken)):
        bytes_ = sum(len(each.content.body) for each in [*taken, message])
        if taken and bytes_ > world.receive_bytes:
            break
        taken.append(message)
    for message in taken:
        message.deliveries += 1
        queue.totals["delivered"] += 1
    deliveries = tuple(Delivery(m.number, m.deliveries, m.failures, m.shown()) for m in taken)
    if receive.auto_ack:
        for message in taken:
            queue.remove(message, "acked", world.now)
        return Received(deliveries=deliveries)
    lease = len(world.kept.leases) + 1
    world.kept.leases[lease] = Lease(queue.id, receive.consumer)
    lease_ms = round(queue.settings.lease_seconds * 1000) if receive.lease_ms is None else receive.lease_ms
    for place, message in enumerate(taken):
        message.place = place
        message.state, message.until, message.lease = State.LEASED, world.now + lease_ms, lease
    return Received(lease, f"lease{lease}", world.now + lease_ms, deliveries)
