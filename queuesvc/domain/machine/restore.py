"""Build the machine again from a store's rows.

Order: exchanges, queues, bindings, leases by number, then messages by number;
idempotency records in the order in which they were made; tokens.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from queuesvc.domain.effects import PARKED, RAN_OUT, Recorded
from queuesvc.domain.machine.queue import TOTALS, Queue, Totals
from queuesvc.domain.machine.state import Numbers, State
from queuesvc.domain.messages import DEAD, LEASED, Lease, Message
from queuesvc.domain.model import Binding, Exchange, QueueSettings
from queuesvc.domain.timers import Kind, Timer
from queuesvc.domain.tokens import Token


class MessageRow(NamedTuple):
    """What the machine needs of a message's row."""

    number: int
    queue_id: int
    priority: int
    size: int
    published_at: int
    visible_at: int
    expires_at: int
    ttl_ms: int
    group: str
    deliveries: int
    failures: int
    lease_number: int
    standing: int


class LeaseRow(NamedTuple):
    """A lease's row: the messages of its receive, each with the moment its hold ends."""

    number: int
    queue_id: int
    consumer: str
    members: Sequence[int]
    untils: Sequence[int]


def restore(
    state: State,
    now: int,
    numbers: Numbers,
    exchanges: Iterable[Exchange],
    queues: Iterable[tuple[int, str, QueueSettings, Sequence[int]]],
    bindings: Iterable[Binding],
    leases: Iterable[LeaseRow],
    messages: Iterable[MessageRow],
    records: Iterable[Recorded],
    tokens: Iterable[Token],
) -> None:
    """Fill an empty state."""
    state.begin(now)
    state.numbers = numbers
    for exchange in exchanges:
        state.router.add_exchange(exchange)
    for id_, name, settings, totals in queues:
        queue = Queue(id_, name, settings)
        queue.totals = Totals(**dict(zip(TOTALS, totals, strict=True)))
        state.queues[name] = state.queues_by_id[id_] = queue
    for binding in bindings:
        state.router.add_binding(binding)
    for token in tokens:
        state.tokens[token.name] = state.tokens_by_id[token.id] = token
    for record in records:
        state.records.add(record)
    state.records.due = state.records.next_end()
    if state.records.due:
        state.timers.add(Timer(state.records.due, Kind.RECORDS_END, 0, 0))
    newest = _newest_leases(state, leases)
    for row in messages:
        _restore_message(state, row, newest)
    _finish_leases(state, {lease.number: lease for lease, _ in newest.values()})


def _newest_leases(state: State, rows: Iterable[LeaseRow]) -> dict[int, tuple[Lease, int]]:
    """For each message named by a lease: the newest one, and until when it holds it."""
    newest: dict[int, tuple[Lease, int]] = {}
    for row in rows:
        lease = Lease(row.number, row.queue_id, row.consumer, 0)
        newest.update((number, (lease, until)) for number, until in zip(row.members, row.untils, strict=True))
    return newest


def _restore_message(state: State, row: MessageRow, newest: dict[int, tuple[Lease, int]]) -> None:
    queue = state.queues_by_id.get(row.queue_id)
    if queue is None:  # of a deleted queue, and not yet reclaimed
        newest.pop(row.number, None)
        return
    queue.bytes += row.size
    lease, until = newest.get(row.number, (None, 0))
    held = lease is not None and lease.number >= row.lease_number + (row.standing != RAN_OUT)
    plain = not (row.lease_number or row.expires_at or row.group or row.standing == PARKED)
    if plain and not held and row.visible_at <= state.now:
        queue.ready.add_fresh(row.number, row.size, row.published_at, row.priority)
        queue.ready_count += 1
        queue.open_bytes += row.size
        return
    message = Message(row.number, row.size, row.published_at, row.priority)
    message.deliveries, message.failures = row.deliveries, row.failures
    message.lease_number = row.lease_number
    message.ttl_ms, message.expires_at = row.ttl_ms, row.expires_at
    if row.group:
        state.join_group(queue, message, row.group)
    state.set_expiry_timer(queue, message)
    queue.messages[row.number] = message
    if held and lease is not None and lease.number > row.lease_number:
        message.deliveries += 1
        state.make_leased(queue, [message], lease, until)
        return
    if held and lease is not None:
        message.lease = lease
        lease.held[message.number] = message
    _restore_unleased(state, queue, message, row)


def _restore_unleased(state: State, queue: Queue, message: Message, row: MessageRow) -> None:
    if row.standing == PARKED:
        message.state = DEAD
        queue.dead += 1
    elif row.visible_at > state.now:
        state.make_delayed(queue, message, row.visible_at)
    else:
        state.make_ready(queue, message)


def _finish_leases(state: State, leases: dict[int, Lease]) -> None:
    for lease in leases.values():
        if not lease.held:
            continue
        state.leases[lease.number] = lease
        untils = [message.until for message in lease.held.values() if message.state is LEASED]
        if untils:
            lease.due = min(untils)
            state.timers.add(Timer(lease.due, Kind.LEASE_ENDS, lease.queue_id, lease.number))
