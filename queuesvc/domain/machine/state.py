"""All that the machine knows, and the moves that several verbs share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from queuesvc.domain.effects import HERE, Changed, Effects, NewMessage
from queuesvc.domain.errors import Code, Refused, no_binding
from queuesvc.domain.ids import Ids
from queuesvc.domain.limits import Limits
from queuesvc.domain.machine.idempotency import Records
from queuesvc.domain.machine.queue import Queue, Route
from queuesvc.domain.messages import DELAYED, LEASED, READY, Group, Lease, Message
from queuesvc.domain.model import Binding, Content, Headers
from queuesvc.domain.receipts import Receipts
from queuesvc.domain.routing.router import Router
from queuesvc.domain.timers import Kind, Timer, Timers
from queuesvc.domain.tokens import Token
from queuesvc.domain.waiting import Waiting

ROUTES_CACHED = 10_000


class Contents(Protocol):
    """What the machine asks its store for, since it keeps no contents. It sees the batch's effects so far."""

    def content(self, number: int) -> Content:
        """Of one message."""
        ...

    def contents(self, numbers: Iterable[int], bodies: bool = True) -> dict[int, Content]:
        """Of several; without bodies where they are not asked for."""
        ...

    def copy_in(self, queue_id: int, first: int) -> int | None:
        """The number of the copy in a queue, by that of the publish's first copy."""
        ...


@dataclass(slots=True)
class Numbers:
    """The next numbers to give. None is ever used twice; the store keeps them."""

    message: int = 1
    lease: int = 1
    queue: int = 1
    binding: int = 1


class State:
    """Topology, queues, leases, timers, idempotency records, tokens; the effects of the batch under way."""

    def __init__(self, receipts: Receipts, ids: Ids, contents: Contents, limits: Limits) -> None:
        self.receipts = receipts
        self.ids = ids
        self.contents = contents
        self.limits = limits
        self.router = Router()
        self.queues: dict[str, Queue] = {}
        self.queues_by_id: dict[int, Queue] = {}
        self.leases: dict[int, Lease] = {}
        self.timers = Timers(self._means_something)
        self.records = Records()
        self.tokens: dict[str, Token] = {}
        self.tokens_by_id: dict[str, Token] = {}
        self.numbers = Numbers()
        self.now = 0
        self.waiting: Waiting
        self.effects = Effects()
        self.first_new_lease = 1
        self.gained: dict[str, None] = {}
        self.deleted: list[str] = []
        self.discarded: list[dict[int, Message]] = []
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

    def binding(self, id_: int) -> Binding:
        """The binding of this id, or `binding-not-found`."""
        binding = self.router.bindings.get(id_)
        if binding is None:
            raise no_binding(id_)
        return binding

    def token(self, name: str) -> Token:
        """The token of this name, or `not-found`."""
        token = self.tokens.get(name)
        if token is None:
            raise Refused(Code.NOT_FOUND, f"there is no token {name!r}", token=name)
        return token

    def topology_changed(self) -> None:
        """Forget the routes that were worked out."""
        self._routes.clear()

    def find_by_id(self, queue: Queue, id_: str) -> Message | None:
        """The message of a public id in a queue, as an object; None where there is none."""
        number = self.number_of(queue, id_)
        return None if number is None else queue.ready.materialise(number)

    def number_of(self, queue: Queue, id_: str) -> int | None:
        """The number of the message with this public id, if it is in the queue."""
        parsed = self.ids.parse(id_)
        if parsed is None:
            return None
        published_at, first = parsed
        number = self.contents.copy_in(queue.id, first)
        if number is None:
            return None
        message = queue.messages.get(number)
        if message is not None:
            return number if message.published_at == published_at else None
        fresh = queue.ready.find_fresh(number)
        return number if fresh is not None and fresh[1] == published_at else None

    # --- moves of one message -----------------------------------------------------

    def touch(self, queue: Queue) -> None:
        """Have this queue's counters stored."""
        self.effects.touched.add(queue.id)

    def insert(self, queue: Queue, message: NewMessage) -> None:
        """A new copy comes into a queue, ready or delayed. Who calls counts it."""
        if message.visible_at or message.content.expires_at or message.group:
            self._insert_object(queue, message)
        else:
            self.insert_fresh(queue, message)

    def insert_fresh(self, queue: Queue, message: NewMessage) -> None:
        """The same of one that is nothing but ready."""
        content = message.content
        size = len(content.body)
        queue.ready.add_fresh(message.number, size, content.published_at, message.priority)
        queue.ready_count += 1
        queue.open_bytes += size
        queue.bytes += size
        effects = self.effects
        effects.inserts.append(message)
        effects.touched.add(queue.id)
        self.gained[queue.name] = None

    def insert_fresh_run(self, queue: Queue, numbers: range, sizes: list[int]) -> None:
        """The same of many of priority 0, published now; their effects are the caller's."""
        size = sum(sizes)
        queue.ready.add_fresh_run(numbers, sizes, self.now)
        queue.ready_count += len(sizes)
        queue.open_bytes += size
        queue.bytes += size
        self.effects.touched.add(queue.id)
        self.gained[queue.name] = None

    def _insert_object(self, queue: Queue, new: NewMessage) -> None:
        size = len(new.content.body)
        queue.bytes += size
        self.effects.inserts.append(new)
        self.touch(queue)
        message = Message(new.number, size, new.content.published_at, new.priority)
        message.ttl_ms = new.ttl_ms
        message.expires_at = new.content.expires_at
        queue.messages[message.number] = message
        if new.group:
            self.join_group(queue, message, new.group)
        if new.visible_at:
            self.make_delayed(queue, message, new.visible_at)
        else:
            self.make_ready(queue, message)
        self.set_expiry_timer(queue, message)

    def join_group(self, queue: Queue, message: Message, key: str) -> None:
        """The message belongs to this group."""
        group = queue.groups.get(key)
        if group is None:
            group = queue.groups[key] = Group(key)
        group.size += 1
        message.group = group

    def set_expiry_timer(self, queue: Queue, message: Message) -> None:
        """Have the message expire at its moment."""
        if message.expires_at:
            self.timers.add(Timer(message.expires_at, Kind.MESSAGE_EXPIRES, queue.id, message.number))

    def make_ready(self, queue: Queue, message: Message) -> None:
        """→ ready, at its place by number."""
        message.state = READY
        queue.ready_count += 1
        queue.open_bytes += message.size
        queue.ready.add(message, self.now)
        self.gained[queue.name] = None

    def make_delayed(self, queue: Queue, message: Message, until: int) -> None:
        """→ delayed until a moment. One that was given back holds its group up, one just published does not."""
        message.state = DELAYED
        message.visible_at = until
        queue.delayed += 1
        queue.open_bytes += message.size
        if message.lease_number:
            self._hold(message)
        self.timers.add(Timer(until, Kind.DELAY_ENDS, queue.id, message.number))

    def make_leased(self, queue: Queue, messages: list[Message], lease: Lease, until: int) -> None:
        """→ leased. Who calls has taken them out of the state they were in."""
        held = lease.held
        for message in messages:
            message.state = LEASED
            message.lease = lease
            message.until = until
            held[message.number] = message
            if message.group is not None:
                self._hold(message)
        queue.leased += len(messages)

    def _hold(self, message: Message) -> None:
        if message.group is not None and not message.holds:
            message.holds = True
            message.group.held += 1

    def leave_state(self, queue: Queue, message: Message) -> None:
        """Out of the state it is in; its group goes on, if it was this that stood in its way."""
        state, message.state = message.state, None
        if state is LEASED:
            queue.leased -= 1
        elif state is READY:
            queue.ready_count -= 1
            queue.open_bytes -= message.size
        elif state is DELAYED:
            queue.delayed -= 1
            queue.open_bytes -= message.size
        else:
            queue.dead -= 1
        if message.group is not None:
            self._free_group(queue, message, message.group)

    def _free_group(self, queue: Queue, message: Message, group: Group) -> None:
        if message.holds:
            message.holds = False
            group.held -= 1
        if not group.held:
            queue.ready.offer(group, self.now)
            self.gained[queue.name] = None

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
        self.forget(queue, message)
        self.effects.deletes.append(message)

    def remove_all(self, queue: Queue, messages: list[Message]) -> None:
        """The same of many: what is leased and of no group, as most is, costs little here."""
        size = removed = 0
        for message in messages:
            lease = message.lease
            if message.state is not LEASED or message.group is not None or lease is None:
                self.remove(queue, message)
                continue
            message.state = message.lease = None
            del lease.held[message.number], queue.messages[message.number]
            if not lease.held:
                del self.leases[lease.number]
                self.drop_lease_row(lease.number)
            self.effects.deletes.append(message)
            size += message.size
            removed += 1
        queue.leased -= removed
        queue.bytes -= size
        self.touch(queue)
        self.emptied(queue)

    def forget(self, queue: Queue, message: Message) -> None:
        """The queue knows it no more. (Its row, and its state's count, are the caller's.)"""
        del queue.messages[message.number]
        queue.bytes -= message.size
        if message.group is not None:
            message.group.size -= 1
            if not message.group.size:
                del queue.groups[message.group.key]
        self.touch(queue)
        self.emptied(queue)

    def emptied(self, queue: Queue) -> None:
        """If the queue just became empty, the time after which it expires begins."""
        if queue.expires_ms and not queue.count:
            self.used(queue)

    def used(self, queue: Queue) -> None:
        """The queue was used: it expires so much later."""
        if queue.expires_ms:
            queue.used_at = self.now
            self.timers.add(Timer(self.now + queue.expires_ms, Kind.QUEUE_EXPIRES, queue.id, 0))

    def changed(self, message: Message, standing: int = HERE) -> None:
        """Have the message's row written as it is now."""
        self.effects.updates.append(
            Changed(
                message.deliveries,
                message.failures,
                message.lease_number,
                standing,
                message.visible_at,
                message.expires_at,
                message.number,
            )
        )

    def _means_something(self, timer: Timer) -> bool:
        if timer.kind is Kind.LEASE_ENDS:
            lease = self.leases.get(timer.number)
            return lease is not None and lease.due == timer.due
        if timer.kind is Kind.RECORDS_END:
            return self.records.due == timer.due
        queue = self.queues_by_id.get(timer.queue_id)
        if queue is None:
            return False
        if timer.kind is Kind.QUEUE_EXPIRES:
            return queue.expires_ms > 0 and queue.used_at + queue.expires_ms == timer.due
        message = queue.messages.get(timer.number)
        if message is None:
            return False
        if timer.kind is Kind.DELAY_ENDS:
            return message.state is DELAYED and message.visible_at == timer.due
        return message.expires_at == timer.due
