"""The verbs of topology: exchanges, queues, bindings."""

from dataclasses import asdict, fields, replace

from queuesvc.domain.commands import (
    Bind,
    DeleteExchange,
    DeleteQueue,
    PatchQueue,
    PutDefinitions,
    PutExchange,
    PutQueue,
    Unbind,
)
from queuesvc.domain.effects import (
    BindingDropped,
    BindingPut,
    ExchangeDropped,
    ExchangePut,
    QueueDropped,
    QueuePut,
)
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.machine.queue import Queue, Route
from queuesvc.domain.machine.state import State
from queuesvc.domain.model import Binding, Exchange, ExchangeType, Headers, Match, QueueSettings
from queuesvc.domain.replies import Declared, Done
from queuesvc.domain.timers import Timer


def _refuse_difference(what: str, there: Exchange | QueueSettings, wanted: Exchange | QueueSettings) -> None:
    old, new = asdict(there), asdict(wanted)
    fields = [name for name in old if old[name] != new[name]]
    if fields:
        raise Refused(Code.CONFLICT, f"{what} is there already with another {', '.join(fields)}", fields=fields)


def put_exchange(state: State, command: PutExchange) -> Declared[Exchange]:
    """Declare an exchange."""
    wanted = command.exchange
    there = state.router.exchanges.get(wanted.name)
    if there is not None:
        _refuse_difference(f"exchange {wanted.name!r}", there, wanted)
        return Declared(there, created=False)
    state.router.add_exchange(wanted)
    state.topology_changed()
    state.effects.topology.append(ExchangePut(wanted))
    return Declared(wanted, created=True)


def delete_exchange(state: State, command: DeleteExchange) -> Done:
    """Delete an exchange and the bindings at it."""
    state.require_exchange(command.name)
    for binding in state.router.remove_exchange(command.name):
        state.effects.topology.append(BindingDropped(binding.id))
    state.topology_changed()
    state.effects.topology.append(ExchangeDropped(command.name))
    state.records.drop_scope(f"x:{command.name}", state.effects)
    return Done()


def put_queue(state: State, command: PutQueue) -> Declared[Queue]:
    """Declare a queue."""
    there = state.queues.get(command.name)
    if there is not None:
        _refuse_difference(f"queue {command.name!r}", there.settings, command.settings)
        state.used(there)
        return Declared(there, created=False)
    queue = Queue(state.numbers.queue, command.name, command.settings)
    state.numbers.queue += 1
    state.queues[queue.name] = state.queues_by_id[queue.id] = queue
    state.effects.topology.append(QueuePut(queue.id, queue.name, queue.settings))
    state.touch(queue)
    state.used(queue)
    return Declared(queue, created=True)


def patch_queue(state: State, command: PatchQueue) -> Queue:
    """Change settings of a queue; what is stored stays as it stands."""
    queue = state.queue(command.name)
    settings = replace(queue.settings, **command.changes)
    if settings != queue.settings:
        queue.configure(settings)
        state.used(queue)
        state.effects.topology.append(QueuePut(queue.id, queue.name, settings))
        state.gained[queue.name] = None
    return queue


def delete_queue(state: State, command: DeleteQueue) -> Done:
    """Delete a queue with everything in it and the bindings to it."""
    queue = state.queue(command.name)
    if command.if_empty and queue.count:
        raise Refused(Code.QUEUE_NOT_EMPTY, f"queue {queue.name!r} holds {queue.count} messages", messages=queue.count)
    drop_queue(state, queue)
    return Done()


def drop_queue(state: State, queue: Queue) -> None:
    """The queue is gone at once; its rows are removed bit by bit."""
    for binding in state.router.remove_queue(queue.name):
        state.effects.topology.append(BindingDropped(binding.id))
    for number in {message.lease.number for message in queue.messages.values() if message.lease is not None}:
        state.leases.pop(number).held.clear()
        state.drop_lease_row(number)
    # It knows itself, and would stay in memory: the cycle collector hardly ever runs.
    queue.route = Route((), ())
    del state.queues[queue.name], state.queues_by_id[queue.id]
    state.topology_changed()
    state.effects.touched.discard(queue.id)
    state.effects.topology.append(QueueDropped(queue.id))
    state.records.drop_scope(f"q:{queue.id}", state.effects)
    state.discarded.append(queue.messages)
    state.gained.pop(queue.name, None)
    state.deleted.append(queue.name)


def queue_expires(state: State, timer: Timer) -> int:
    """A queue has been unused for long enough: it is deleted, if it is empty and nobody waits there."""
    queue = state.queues_by_id[timer.queue_id]
    if not queue.count and not state.waiting.count(queue.name):
        drop_queue(state, queue)
    return 1


def bind(state: State, command: Bind) -> Declared[Binding]:
    """Bind an exchange to a queue or to another exchange."""
    state.require_exchange(command.source)
    if command.queue is not None:
        state.queue(command.queue)
    else:
        state.require_exchange(command.exchange or "")
    wanted = _binding(state, command)
    there = state.router.same_binding(wanted)
    if there is not None:
        return Declared(there, created=False)
    state.numbers.binding += 1
    state.router.add_binding(wanted)
    state.topology_changed()
    state.effects.topology.append(BindingPut(wanted))
    return Declared(wanted, created=True)


def _binding(state: State, command: Bind) -> Binding:
    """The binding asked for, with defaults, if it fits the type of its source."""
    type_ = state.router.exchanges[command.source].type
    _check_fit(command, type_)
    match: Match | None = None
    headers: Headers | None = None
    if type_ is ExchangeType.HEADERS:
        match, headers = command.match or "all", command.headers or {}
    return Binding(
        state.numbers.binding,
        command.source,
        command.queue,
        command.exchange,
        command.routing_key or "",
        match,
        headers,
    )


def _check_fit(command: Bind, type_: ExchangeType, where: str = "") -> None:
    if type_ is ExchangeType.HEADERS:
        if command.routing_key is not None:
            raise invalid(f"{where}routing_key", "a headers exchange compares headers, not the routing key")
        return
    for field in ("match", "headers"):
        if getattr(command, field) is not None:
            raise invalid(where + field, "only a headers exchange compares headers")


def unbind(state: State, command: Unbind) -> Done:
    """Remove a binding."""
    binding = state.binding(command.id)
    state.router.remove_binding(binding)
    state.topology_changed()
    state.effects.topology.append(BindingDropped(binding.id))
    return Done()


def put_definitions(state: State, command: PutDefinitions) -> Done:
    """Merge a topology in: all of it is looked at before any of it is made."""
    _check_definitions(state, command)
    for exchange in command.exchanges:
        there = state.router.exchanges.get(exchange.name)
        if there is None:
            put_exchange(state, PutExchange(exchange))
        elif there != exchange:
            state.router.exchanges[exchange.name] = exchange
            state.topology_changed()
            state.effects.topology.append(ExchangePut(exchange))
    for name, settings in command.queues:
        if name in state.queues:
            patch_queue(
                state, PatchQueue(name, {field.name: getattr(settings, field.name) for field in fields(settings)})
            )
        else:
            put_queue(state, PutQueue(name, settings))
    for wanted in command.bindings:
        bind(state, wanted)
    return Done()


def _check_definitions(state: State, command: PutDefinitions) -> None:
    types = {name: exchange.type for name, exchange in state.router.exchanges.items()}
    for index, exchange in enumerate(command.exchanges):
        if types.setdefault(exchange.name, exchange.type) is not exchange.type:
            why = f"exchange {exchange.name!r} is there already with another type"
            raise Refused(Code.CONFLICT, why, fields=["type"], field=f"exchanges.{index}.type")
    queues = state.queues.keys() | {name for name, _ in command.queues}
    for index, binding in enumerate(command.bindings):
        where = f"bindings.{index}"
        if binding.source not in types:
            raise invalid(f"{where}.source", f"there is no exchange {binding.source!r}")
        if binding.queue is not None and binding.queue not in queues:
            raise invalid(f"{where}.queue", f"there is no queue {binding.queue!r}")
        if binding.exchange is not None and binding.exchange not in types:
            raise invalid(f"{where}.exchange", f"there is no exchange {binding.exchange!r}")
        _check_fit(binding, types[binding.source], where + ".")
