"""Receive and settle: how a message is handed out and how its lease ends."""

from collections.abc import Collection

from queuesvc.domain.commands import Ack, Extend, Nack, Receive, Undeliver
from queuesvc.domain.effects import HERE, RAN_OUT, Changed, Leased
from queuesvc.domain.errors import Code, invalid
from queuesvc.domain.machine import tokens
from queuesvc.domain.machine.death import backoff_ms, die, leave_by
from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.machine.state import State
from queuesvc.domain.messages import LEASED, Lease, Message
from queuesvc.domain.replies import Done, Failure, Settled
from queuesvc.domain.timers import Kind, Timer

NOTHING = Leased()


def can_receive(queue: Queue, now: int) -> bool:
    """Whether a receive would get something now."""
    return not queue.settings.paused and queue.ready.any(now)


def receive(state: State, command: Receive) -> Leased:
    """Hand out the first messages of a queue."""
    if command.token:
        tokens.check(state, command.token)
    queue = state.queue(command.queue)
    if queue.settings.paused:
        return NOTHING
    messages = queue.ready.take(command.max_messages, state.limits.receive_bytes, state.now)
    if not messages:
        return NOTHING
    queue.ready_count -= len(messages)
    queue.open_bytes -= sum(message.size for message in messages)
    queue.totals.delivered += len(messages)
    state.touch(queue)
    for message in messages:
        message.deliveries += 1
        if message.lease is not None:
            state.end_lease(message)
    picks = tuple((message.number, message.deliveries, message.failures) for message in messages)
    if command.auto_ack:
        return _ack_at_once(state, queue, messages, picks)
    return _lease(state, queue, command, messages, picks)


def _ack_at_once(
    state: State, queue: Queue, messages: list[Message], picks: tuple[tuple[int, int, int], ...]
) -> Leased:
    for message in messages:
        state.forget(queue, message)
        state.effects.deletes.append(message)
    queue.totals.acked += len(messages)
    return Leased(picks=picks)


def _lease(
    state: State, queue: Queue, command: Receive, messages: list[Message], picks: tuple[tuple[int, int, int], ...]
) -> Leased:
    until = state.now + (queue.lease_ms if command.lease_ms is None else command.lease_ms)
    lease = Lease(state.numbers.lease, queue.id, command.consumer, until)
    state.numbers.lease += 1
    state.leases[lease.number] = lease
    state.effects.leases[lease.number] = lease
    state.timers.add(Timer(until, Kind.LEASE_ENDS, queue.id, lease.number))
    state.make_leased(queue, messages, lease, until)
    return Leased(lease.number, state.receipts.token(queue.id, lease.number), until, picks)


def undeliver(state: State, command: Undeliver) -> Done:
    """Take a receive back that reached nobody: its messages are ready again and count no delivery."""
    lease = state.leases.get(command.lease)
    queue = state.queues.get(command.queue)
    if lease is None or queue is None or lease.queue_id != queue.id:
        return Done()
    messages = [message for message in lease.held.values() if message.state is LEASED]
    named = {message.number for message in messages}
    for message in messages:
        message.deliveries -= 1
        queue.totals.delivered -= 1
        give_back(state, queue, message, 0, named)
    return Done()


def give_back(state: State, queue: Queue, message: Message, delay_ms: int, named: Collection[int] = ()) -> None:
    """Its lease ends here; it is ready again, at once or after a delay, unless its time to live is over.

    With it go the later ones of its group under the same lease, but for those that the call names itself.
    """
    followers = _followers(message, named)
    if message.expired(state.now):
        leave_by(state, queue, message, "expired")
        return
    _put_back(state, queue, message, delay_ms)
    _go_along(state, queue, followers)


def _go_along(state: State, queue: Queue, followers: list[Message]) -> None:
    """Back with the one before them in their group, uncounted; what ran out before only loses its receipt."""
    for follower in followers:
        if follower.state is not LEASED:
            state.end_lease(follower)
            state.changed(follower, HERE)
        elif follower.expired(state.now):
            leave_by(state, queue, follower, "expired")
        else:
            _put_back(state, queue, follower, 0)


def _followers(message: Message, named: Collection[int] = ()) -> list[Message]:
    """The later messages of its group that the same receive took."""
    if message.group is None or message.lease is None:
        return []
    return [
        other
        for other in message.lease.held.values()
        if other.group is message.group and other.number > message.number and other.number not in named
    ]


def _put_back(state: State, queue: Queue, message: Message, delay_ms: int) -> None:
    state.leave_state(queue, message)
    state.end_lease(message)
    message.visible_at = 0
    if delay_ms > 0:
        state.make_delayed(queue, message, state.now + delay_ms)
    else:
        state.make_ready(queue, message)
    state.changed(message, HERE)
    state.touch(queue)


# --- settling -----------------------------------------------------------------


def find(state: State, queue: Queue, texts: tuple[str, ...]) -> tuple[list[Message], tuple[Failure, ...]]:
    """The messages whose newest receipts these are, and the receipts that settle nothing."""
    found: list[Message] = []
    failed: list[Failure] = []
    messages, parse = queue.messages, state.receipts.parse
    for index, text in enumerate(texts):
        parsed = parse(text)
        if parsed is None:
            raise invalid("receipts", "must hold receipts of this broker only", index=index)
        token, number = parsed
        message = messages.get(number) if token.queue_id == queue.id else None
        if message is None:
            failed.append(Failure(text, Code.GONE))
        elif message.lease is None or message.lease.number != token.lease or token.epoch != state.receipts.epoch:
            failed.append(Failure(text, Code.LEASE_LOST))
        else:
            found.append(message)
    if len(set(texts)) < len(texts):  # a receipt given twice counts once
        return list(dict.fromkeys(found)), tuple(dict.fromkeys(failed))
    return found, tuple(failed)


def ack(state: State, command: Ack) -> Settled:
    """Done with: gone for good."""
    queue = state.queue(command.queue)
    messages, failed = find(state, queue, command.receipts)
    ack_all(state, queue, messages)
    return Settled(len(messages), failed)


def ack_all(state: State, queue: Queue, messages: list[Message]) -> None:
    """These are done with."""
    if messages:
        state.remove_all(queue, messages)
        queue.totals.acked += len(messages)


def nack(state: State, command: Nack) -> Settled:
    """Not done: given back, or dead."""
    queue = state.queue(command.queue)
    messages, failed = find(state, queue, command.receipts)
    nack_all(state, queue, messages, command)
    return Settled(len(messages), failed)


def nack_all(state: State, queue: Queue, messages: list[Message], command: Nack) -> None:
    """Give these back, or have them die, as a nack says."""
    named = {message.number for message in messages}
    for message in messages:
        _nack_one(state, queue, message, command, named)
    queue.totals.nacked += len(messages)


def _nack_one(state: State, queue: Queue, message: Message, command: Nack, named: Collection[int]) -> None:
    failed = command.delivery_failed and not message.ran_out
    message.failures += failed
    if not command.requeue:
        die(state, queue, message, "rejected", command.reason)
    elif failed and _at_limit(queue, message) and not message.expired(state.now):
        die(state, queue, message, "delivery_limit", command.reason)
    else:
        delay_ms = command.delay_ms
        if delay_ms is None:
            delay_ms = backoff_ms(queue.settings, message) if command.delivery_failed else 0
        give_back(state, queue, message, delay_ms, named)


def _at_limit(queue: Queue, message: Message) -> bool:
    limit = queue.settings.delivery_limit
    return limit is not None and message.failures >= limit


def extend(state: State, command: Extend) -> Settled:
    """Leases end only so long from now; one that ran out is taken again."""
    queue = state.queue(command.queue)
    messages, failed = find(state, queue, command.receipts)
    until = state.now + command.lease_ms
    for message in messages:
        lease = message.lease
        assert lease is not None  # `find` saw to it
        if message.state is not LEASED:
            _take_again(state, queue, message, lease, until)
        message.until = until
        state.effects.leases[lease.number] = lease
        _set_lease_timer(state, lease)
    return Settled(len(messages), failed, until)


def _take_again(state: State, queue: Queue, message: Message, lease: Lease, until: int) -> None:
    state.leave_state(queue, message)
    state.make_leased(queue, [message], lease, until)
    message.visible_at = 0
    # The row is as it was under this lease before it ran out, but for the failure.
    state.effects.updates.append(
        Changed(message.deliveries - 1, message.failures, lease.number - 1, HERE, 0, message.expires_at, message.number)
    )
    state.touch(queue)


def _set_lease_timer(state: State, lease: Lease) -> None:
    due = min((message.until for message in lease.held.values() if message.state is LEASED), default=0)
    if due != lease.due:
        lease.due = due
        if due:
            state.timers.add(Timer(due, Kind.LEASE_ENDS, lease.queue_id, lease.number))


# --- what time does -------------------------------------------------------------


def lease_ends(state: State, timer: Timer) -> int:
    """The moment of a lease has come: those of its messages that are due have failed. Returns how many."""
    lease = state.leases[timer.number]
    queue = state.queues_by_id[lease.queue_id]
    due = sorted(m.number for m in lease.held.values() if m.state is LEASED and m.until <= timer.due)
    for number in due:
        message = lease.held.get(number)
        # Those behind it in its group went back with the first of them, and are not counted.
        if message is not None and message.state is LEASED:
            _run_out(state, queue, message, lease)
    if lease.held:
        _set_lease_timer(state, lease)
    state.touch(queue)
    return len(due)


def _run_out(state: State, queue: Queue, message: Message, lease: Lease) -> None:
    message.failures += 1
    if message.expired(state.now):
        leave_by(state, queue, message, "expired")
        return
    if _at_limit(queue, message):
        die(state, queue, message, "delivery_limit", "the lease ran out")
        return
    followers = _followers(message)
    state.leave_state(queue, message)
    message.lease_number = lease.number
    message.visible_at = 0
    delay_ms = backoff_ms(queue.settings, message)
    if delay_ms > 0:
        state.make_delayed(queue, message, state.now + delay_ms)
    else:
        state.make_ready(queue, message)
    state.changed(message, RAN_OUT)
    _go_along(state, queue, followers)


def delay_ends(state: State, timer: Timer) -> int:
    """The delay of a message is over: it is ready. Nothing is written: its row says when."""
    queue = state.queues_by_id[timer.queue_id]
    message = queue.messages[timer.number]
    state.leave_state(queue, message)
    state.make_ready(queue, message)
    return 1


def message_expires(state: State, timer: Timer) -> int:
    """The time to live of a message is over. While it is leased, that waits for the end of the lease."""
    queue = state.queues_by_id[timer.queue_id]
    message = queue.messages[timer.number]
    if message.state is LEASED:
        return 0
    leave_by(state, queue, message, "expired")
    return 1
