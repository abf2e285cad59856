"""All that a machine knows, as plain values: two machines with equal pictures go on alike."""

from typing import Any, NamedTuple

from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.machine.state import State as Machine
from queuesvc.domain.messages import DELAYED, LEASED, READY, Lease, Message
from queuesvc.domain.model import State
from queuesvc.store.sqlite.store import SqliteStore


class Standing(NamedTuple):
    """A message, whichever way the machine keeps it. What does not count in its state is 0."""

    priority: int
    size: int
    published_at: int
    state: State | None
    group: str
    holds: bool
    ttl_ms: int
    expires_at: int
    deliveries: int
    failures: int
    lease: int
    until: int
    newest_ended: int
    visible_at: int


def picture_of(store: SqliteStore) -> dict[str, Any]:
    """The picture of an open store's machine."""
    return picture(store._machine.state)


def picture(state: Machine) -> dict[str, Any]:
    """Topology, queues with every message and the order of delivery, leases, numbers, the receipts' secret."""
    return {
        "exchanges": dict(state.router.exchanges),
        "bindings": dict(state.router.bindings),
        "queues": {queue.id: _queue(queue) for queue in state.queues_by_id.values()},
        "names": {name: queue.id for name, queue in state.queues.items()},
        "leases": {number: _lease(lease) for number, lease in state.leases.items()},
        "numbers": (state.numbers.message, state.numbers.lease, state.numbers.queue, state.numbers.binding),
        "receipts": state.receipts.token(7, 7),
        "ids": state.ids.make(1, 1),
    }


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "settings": queue.settings,
        "totals": queue.totals.values(),
        "counts": (queue.ready_count, queue.leased, queue.delayed, queue.dead, queue.bytes),
        "order": list(queue.ready),
        "groups": {key: (group.held, group.size) for key, group in queue.groups.items()},
        "messages": {message.number: _standing(message) for message in queue.messages.values()} | _fresh(queue),
    }


def _fresh(queue: Queue) -> dict[int, Standing]:
    return {
        number: Standing(priority, size, published_at, READY, "", False, 0, 0, 0, 0, 0, 0, 0, 0)
        for priority, band in queue.ready._bands.items()
        for number, size, published_at in band.fresh
    }


def _standing(message: Message) -> Standing:
    leased = message.state is LEASED
    return Standing(
        message.priority,
        message.size,
        message.published_at,
        message.state,
        "" if message.group is None else message.group.key,
        message.holds,
        message.ttl_ms,
        message.expires_at,
        message.deliveries,
        message.failures,
        0 if message.lease is None else message.lease.number,
        message.until if leased else 0,
        0 if leased else message.lease_number,
        message.visible_at if message.state is DELAYED else 0,
    )


def _lease(lease: Lease) -> tuple[int, str, list[int]]:
    return lease.queue_id, lease.consumer, sorted(lease.held)
