"""Exchanges, queues, bindings and whole definitions (§3)."""

from collections.abc import Collection
from dataclasses import fields, replace

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.model import Binding, Exchange, ExchangeType, QueueSettings, QueueView
from queuesvc.domain.replies import Declared, Done
from queuesvc.store.interface import Applied
from tests.model.reference.contents import Queue
from tests.model.reference.delivery import forget_queue, refuse_waiting
from tests.model.reference.world import World
from tests.model.routes import header_text


def put_exchange(world: World, exchange: Exchange) -> Declared[Exchange]:
    there = world.kept.exchanges.get(exchange.name)
    if there is not None:
        refuse_difference(there, exchange)
        return Declared(there, False)
    world.kept.exchanges[exchange.name] = exchange
    return Declared(exchange, True)


def delete_exchange(world: World, name: str) -> Done:
    world.exchange(name)
    del world.kept.exchanges[name]
    gone = (("exchange", name), ("whole", ("exchange", name)))
    world.kept.records = {key: record for key, record in world.kept.records.items() if key[0] not in gone}
    world.kept.bindings = [b for b in world.kept.bindings if name not in (b.source, b.exchange)]
    return Done()


def put_queue(world: World, command: c.PutQueue) -> Declared[QueueView]:
    there = world.kept.queues.get(command.name)
    if there is not None:
        refuse_difference(there.settings, command.settings)
        there.used_at = world.now
    queue = there or make_queue(world, command.name, command.settings)
    return Declared(queue.view(world.now, world.waiting.count(command.name)), there is None)


def make_queue(world: World, name: str, settings: QueueSettings) -> Queue:
    world.kept.last_queue += 1
    world.kept.queues[name] = Queue(world.kept.last_queue, name, settings, world.now)
    return world.kept.queues[name]


def patch_queue(world: World, command: c.PatchQueue) -> QueueView:
    queue = world.queue(command.name)
    queue.settings = replace(queue.settings, **command.changes)
    queue.used_at = world.now
    return queue.view(world.now, world.waiting.count(command.name))


def delete_queue(world: World, command: c.DeleteQueue, applied: Applied) -> Done:
    queue = world.queue(command.name)
    if queue.messages and command.if_empty:
        raise Refused(Code.QUEUE_NOT_EMPTY, command.name)
    forget_queue(world, queue)
    refuse_waiting(world, command.name, applied)
    return Done()


def bind(world: World, command: c.Bind) -> Declared[Binding]:
    by_headers = world.exchange(command.source).type is ExchangeType.HEADERS
    if command.exchange is not None:
        world.exchange(command.exchange)
    if command.queue is not None:
        world.queue(command.queue)
    for name in ["routing_key"] if by_headers else ["match", "headers"]:
        if getattr(command, name) is not None:
            raise invalid(name, "does not fit the exchange's type")
    wanted = Binding(0, command.source, command.queue, command.exchange, command.routing_key or "")
    if by_headers:
        wanted = replace(wanted, match=command.match or "all", headers=command.headers or {})
    for binding in world.kept.bindings:
        if as_compared(binding) == as_compared(wanted):
            return Declared(binding, False)
    world.kept.last_binding += 1
    world.kept.bindings.append(replace(wanted, id=world.kept.last_binding))
    return Declared(world.kept.bindings[-1], True)


def unbind(world: World, id_: int) -> Done:
    if id_ not in [binding.id for binding in world.kept.bindings]:
        raise Refused(Code.BINDING_NOT_FOUND, str(id_))
    world.kept.bindings = [binding for binding in world.kept.bindings if binding.id != id_]
    return Done()


def put_definitions(world: World, command: c.PutDefinitions) -> Done:
    """All of it, or `Refused` (the caller undoes)."""
    for place, exchange in enumerate(command.exchanges):
        there = world.kept.exchanges.get(exchange.name)
        if there is not None and there.type is not exchange.type:
            raise Refused(Code.CONFLICT, "another type", fields=["type"], field=f"exchanges.{place}.type")
        world.kept.exchanges[exchange.name] = exchange
    for name, settings in command.queues:
        if name not in world.kept.queues:
            make_queue(world, name, settings)
        world.queue(name).settings = settings
        world.queue(name).used_at = world.now
    for place, each in enumerate(command.bindings):
        for name in ("source", "exchange", "queue"):
            known: Collection[str] = world.kept.queues if name == "queue" else world.kept.exchanges
            if getattr(each, name) is not None and getattr(each, name) not in known:
                raise invalid(f"bindings.{place}.{name}", "is not there")
        try:
            bind(world, each)
        except Refused as refused:
            raise invalid(f"bindings.{place}.{refused.extra['field']}", refused.detail) from None
    return Done()


def as_compared(binding: Binding) -> list[object]:
    """All that makes a binding what it is: headers as the texts they are compared by, so that true is not 1."""
    texts = {name: header_text(value) for name, value in (binding.headers or {}).items()}
    return [binding.source, binding.queue, binding.exchange, binding.routing_key, binding.match, texts]


def refuse_difference(there: Exchange | QueueSettings, wanted: Exchange | QueueSettings) -> None:
    """`conflict` with the names of the fields that differ, if any."""
    names = [item.name for item in fields(there) if getattr(there, item.name) != getattr(wanted, item.name)]
    if names:
        raise Refused(Code.CONFLICT, "differs", fields=names)
