"""All that the machine knows, and the moves that several verbs share."""

from collections.abc import Callable
from dataclasses import dataclass

from queuesvc.domain.effects import HERE, Changed, Effects
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.limits import Limits
from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.messages import DELAYED, LEASED, READY, Lease, Message
from queuesvc.domain.model import Content, Headers
from queuesvc.domain.receipts import Receipts
from queuesvc.domain.routing import Router
from queuesvc.domain.timers import Kind, Timer, Timers

ROUTES_CACHED = 10_000


@dataclass(slots=True)
class Numbers:
    """The next numbers to give. None is ever used twice; the store keeps them."""

    message: int = 1
    lease: int = 1
    queue: int = 1
    binding: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes: the queues and, ready for the answer, their names."""

    names: tuple[str, ...]
    queues: tuple[Queue, ...]


class State:
    """Topology, queues, leases, timers; the effects of the batch under way.

    `lookup` gives the content of a message by its number: the machine keeps none,
    and needs one only where a message dies. It sees the effects so far.
    """

    def __init__(self, receipts: Receipts, ids: Ids, lookup: Callable[[int], Content], limits: Limits) -> None:
        self.receipts = receipts
        self.ids = ids
        self.lookup = lookup
        self.limits = limits
        self.router = Router()
        self.queues: dict[str, Queue] = {}
        self.queues_by_id: dict[int, Queue] = {}
        self.leases: dict[int, Lease] = {}
        self.timers = Timers(self._means_something)
        self.numbers = Numbers()
        self.now = 0
        self.effects = Effects()
        self.first_new_lease = 1
        self.gained: dict[str, None] = {}
        self.deleted: list[str] = []
        self._routes: dict[tuple[str, str], Route] = {}

    def begin(self, now: int) -> None:
        """Begin a batch: effects are collected anew."""
        self.now = max(self.now, now)
        self.effects = Effects()
        self.first_new_lease = self.numbers.lease
        self.gained = {}

    # --- looking up -------------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """The queue of this name, or `queue-not-found`."""
        queue = self.queues.get(name)
        if queue is None:
            raise Refused(Code.QUEUE_NOT_FOUND, f"there is no queue {name!r}", queue=name)
        return queue

    def route(self, exchange: str, routing_key: str, headers: Headers) -> Route:
        """Where a message published to an exchange goes, or `exchange-not-found`."""
        route = self._routes.get((exchange, routing_key))
        if route is not None:
            return route
        self.require_exchange(exchange)
        names, _, looked_at_headers = self.router.route(exchange, routing_key, headers)
        route = Route(tuple(names), tuple(self.queues[name] for name in names))
        if not looked_at_headers:
            if len(self._routes) >= ROUTES_CACHED:
                self._routes.clear()
            self._routes[exchange, routing_key] = route
        return route

    def require_exchange(self, name: str) -> None:
        """`exchange-not-found` unless there is one of this name."""
        if name not in self.router.exchanges:
            raise Refused(Code.EXCHANGE_NOT_FOUND, f"there is no exchange {name!r}", exchange=name)

    def topology_changed(self) -> None:
        """Forget the routes that were worked out."""
        self._routes.clear()

    # --- moves of one message -----------------------------------------------------

    def touch(self, queue: Queue) -> None:
        """Have this queue's counters stored."""
        self.effects.touched.add(queue.id)

    def make_ready(self, queue: Queue, message: Message) -> None:
        """→ ready, at its place by number."""
        message.state = READY
        queue.ready_count += 1
        queue.ready.add(message)
        self.gained[queue.name] = None

    def make_delayed(self, queue: Queue, message: Message, until: int) -> None:
        """→ delayed until a moment."""
        message.state = DELAYED
        message.visible_at = until
        queue.delayed += 1
        self.timers.add(Timer(until, Kind.DELAY_ENDS, queue.id, message.number))

    def make_leased(self, queue: Queue, message: Message, lease: Lease, until: int) -> None:
        """→ leased. Who calls has taken it out of the state it was in."""
        message.state = LEASED
        message.lease = lease
        message.until = until
        lease.held[message.number] = message
        queue.leased += 1

    def leave_state(self, queue: Queue, message: Message) -> None:
        """Out of the state it is in. (`ready` and the timers pass over what is not in their state.)"""
        if message.state is LEASED:
            queue.leased -= 1
        elif message.state is READY:
            queue.ready_count -= 1
        elif message.state is DELAYED:
            queue.delayed -= 1
        else:
            queue.dead -= 1

    def end_lease(self, message: Message) -> None:
        """Its newest receipt is worth nothing from now on."""
        lease = message.lease
        if lease is None:
            return
        message.lease = None
        message.lease_number = lease.number
        del lease.held[message.number]
        if not lease.held:
            del self.leases[lease.number]
            self.drop_lease_row(lease.number)

    def drop_lease_row(self, number: int) -> None:
        """Have a lease's row deleted; one that was made in this batch never comes to be written."""
        self.effects.leases.pop(number, None)
        if number < self.first_new_lease:
            self.effects.leases_ended.append(number)

    def remove(self, queue: Queue, message: Message) -> None:
        """Out of the queue for good. Who calls counts it in the total it leaves by."""
        self.leave_state(queue, message)
        self.end_lease(message)
        del queue.messages[message.number]
        queue.bytes -= message.size
        self.effects.deletes.append(message.number)
        self.touch(queue)

    def changed(self, message: Message, standing: int = HERE) -> None:
        """Have the message's row written as it is now."""
        self.effects.updates.append(
            Changed(
                message.deliveries,
                message.failures,
                message.lease_number,
                standing,
                message.visible_at,
                message.number,
            )
        )

    def _means_something(self, timer: Timer) -> bool:
        if timer.kind is Kind.LEASE_ENDS:
            lease = self.leases.get(timer.number)
            return lease is not None and lease.due == timer.due
        queue = self.queues_by_id.get(timer.queue_id)
        message = None if queue is None else queue.messages.get(timer.number)
        return message is not None and message.state is DELAYED and message.visible_at == timer.due
