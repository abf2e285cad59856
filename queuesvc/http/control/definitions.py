"""The whole topology as one document (§3): exported, and merged in, our own or RabbitMQ's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any, Final, TypeVar

import orjson
from starlette.responses import Response

from queuesvc.domain.commands import GetDefinitions, PutDefinitions
from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Binding
from queuesvc.domain.replies import Definitions
from queuesvc.domain.tokens import Permission
from queuesvc.http.control import rabbitmq, views
from queuesvc.http.control.definition_models import (
    BindingDefinition,
    DefinitionsDocument,
    ExchangeDefinition,
    QueueDefinition,
)
from queuesvc.http.control.places import at_place, items
from queuesvc.http.control.rabbitmq_things import Unmapped
from queuesvc.http.endpoint import Call, read_as
from queuesvc.http.schema import Strict

READ_AT_ONCE: Final = 200
"""So many things are read before others get their turn."""

_NOTE: Final = tuple(field.name for field in fields(Unmapped))

Item = TypeVar("Item", bound=Strict)


async def export(call: Call) -> Response:
    """Show the whole topology, or what of it the caller may see."""
    reply = await call.edge.broker.ask(GetDefinitions())
    assert isinstance(reply, Definitions)
    grant = call.grant
    exchanges = [exchange for exchange in reply.exchanges if grant.allows(Permission.SEE, exchange.name)]
    queues = [queue for queue in reply.queues if grant.allows(Permission.SEE, queue[0])]
    bindings = sorted(filter(grant.sees_binding, reply.bindings), key=_place)
    document = {
        "exchanges": [views.exchange(exchange) for exchange in exchanges],
        "queues": [views.queue_definition(name, settings) for name, settings in queues],
        "bindings": [views.binding_definition(binding) for binding in bindings],
    }
    return views.answer(document)


async def put(call: Call) -> Response:
    """Merge a topology in."""
    document = await call.object(call.edge.limits.request_bytes)
    if rabbitmq.recognise(document):
        # In a thread of its own, as it may take a second: others are served meanwhile.
        vhost = call.query.get("vhost")
        translated = await asyncio.to_thread(rabbitmq.translate, document, vhost, call.edge.limits)
        command = translated.command
        try:
            await call.submit(command)
        except Refused as refused:
            raise translated.placed(refused) from None
        unmapped = [{name: getattr(one, name) for name in _NOTE} for one in translated.unmapped]
    else:
        if "vhost" in call.query:
            raise invalid("vhost", "only a document of RabbitMQ's has virtual hosts")
        command, unmapped = await _read(document, call.edge.limits), []
        await call.submit(command)
    counts = {name: len(getattr(command, name)) for name in DefinitionsDocument.model_fields}
    return views.answer({**counts, "unmapped": unmapped})


def _place(binding: Binding) -> tuple[str, ...]:
    """Where a binding stands in an export: told by nothing but what it does."""
    headers = orjson.dumps(dict(binding.headers or {}), option=orjson.OPT_SORT_KEYS).decode()
    target = (binding.queue or "", binding.exchange or "")
    return binding.source, *target, binding.routing_key, binding.match or "", headers


async def _read(document: dict[str, Any], limits: Limits) -> PutDefinitions:
    for name in document:
        if name not in DefinitionsDocument.model_fields:
            raise invalid(name, "unknown field")
    exchanges = [one async for one in _items(document, "exchanges", ExchangeDefinition, limits)]
    queues = [one async for one in _items(document, "queues", QueueDefinition, limits)]
    bindings = [one async for one in _items(document, "bindings", BindingDefinition, limits)]
    _check_names("exchanges", [exchange.name for exchange in exchanges])
    _check_names("queues", [queue.name for queue in queues])
    return PutDefinitions(
        tuple(exchange.exchange(exchange.name) for exchange in exchanges),
        tuple((queue.name, queue.settings()) for queue in queues),
        tuple(binding.bind() for binding in bindings),
    )


async def _items(document: dict[str, Any], field: str, model: type[Item], limits: Limits) -> AsyncIterator[Item]:
    """The things of a list, each read strictly; what is wrong is named with its place: `queues.3.lease_seconds`."""
    for index, value in enumerate(items(document, field)):
        try:
            yield read_as(model, value, limits)
        except Refused as refused:
            raise at_place(refused, f"{field}.{index}") from None
        if index % READ_AT_ONCE == READ_AT_ONCE - 1:
            await asyncio.sleep(0)


def _check_names(field: str, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if seen.setdefault(name, index) != index:
            raise invalid(f"{field}.{index}.name", f"{name!r} stands there twice")
