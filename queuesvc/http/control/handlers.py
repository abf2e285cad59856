"""The control plane's handlers: read the request, ask the broker, show the reply."""

import re
from typing import Any, Final, TypeVar

from starlette.responses import Response

from queuesvc.broker.tokens import Grant
from queuesvc.domain.commands import (
    Bind,
    DeleteExchange,
    DeleteQueue,
    GetBinding,
    GetExchange,
    GetQueue,
    ListBindings,
    ListExchanges,
    ListQueues,
    PatchQueue,
    PutExchange,
    PutQueue,
    Route,
    Unbind,
)
from queuesvc.domain.errors import Code, Refused, invalid, no_binding
from queuesvc.domain.limits import LIST_ITEMS_DEFAULT, check_text
from queuesvc.domain.model import Binding, Exchange, QueueView
from queuesvc.domain.needs import bound
from queuesvc.domain.replies import Declared, Page, Routed
from queuesvc.domain.tokens import Permission
from queuesvc.http.control import views
from queuesvc.http.control.models import BindingDeclaration, ExchangeDeclaration, QueueChanges, QueueDeclaration
from queuesvc.http.endpoint import Call
from queuesvc.http.request import message_headers

T = TypeVar("T")

_ID: Final = re.compile(r"[1-9][0-9]{0,17}")


async def put_exchange(call: Call) -> Response:
    """Declare an exchange."""
    name = call.name("exchange")
    declaration = await call.document(ExchangeDeclaration)
    reply = _a(Declared, await call.submit(PutExchange(declaration.exchange(name))))
    return views.answer(views.exchange(reply.value), _made(reply))


async def get_exchange(call: Call) -> Response:
    """Show an exchange."""
    return views.answer(views.exchange(_a(Exchange, await call.edge.broker.ask(GetExchange(call.name("exchange"))))))


async def list_exchanges(call: Call) -> Response:
    """Show a page of exchanges."""
    page = _a(Page, await call.edge.broker.ask(ListExchanges(call.query.get("after", ""), _limit(call), call.visible)))
    return views.answer(views.page("exchanges", page, views.exchange))


async def delete_exchange(call: Call) -> Response:
    """Delete an exchange."""
    await call.submit(DeleteExchange(call.name("exchange")))
    return Response(status_code=204)


async def put_queue(call: Call) -> Response:
    """Declare a queue."""
    name = call.name("queue")
    declaration = await call.document(QueueDeclaration)
    reply = _a(Declared, await call.submit(PutQueue(name, declaration.settings())))
    return views.answer(views.queue(reply.value), _made(reply))


async def patch_queue(call: Call) -> Response:
    """Change settings of a queue."""
    name = call.name("queue")
    changes = (await call.document(QueueChanges)).changes()
    if "dead_letter_routing_key" in changes and "dead_letter_exchange" not in changes:
        # It says where dead letters go behind the exchange that the queue has: as if that were named again.
        queue = _a(QueueView, await call.edge.broker.ask(GetQueue(name)))
        call.require(PatchQueue(name, {"dead_letter_exchange": queue.settings.dead_letter_exchange}))
    return views.answer(views.queue(_a(QueueView, await call.submit(PatchQueue(name, changes)))))


async def get_queue(call: Call) -> Response:
    """Show a queue."""
    return views.answer(views.queue(_a(QueueView, await call.edge.broker.ask(GetQueue(call.name("queue"))))))


async def list_queues(call: Call) -> Response:
    """Show a page of queues."""
    page = _a(Page, await call.edge.broker.ask(ListQueues(call.query.get("after", ""), _limit(call), call.visible)))
    return views.answer(views.page("queues", page, views.queue))


async def delete_queue(call: Call) -> Response:
    """Delete a queue."""
    await call.submit(DeleteQueue(call.name("queue"), call.query.get("if_empty", False)))
    return Response(status_code=204)


async def post_binding(call: Call) -> Response:
    """Bind an exchange."""
    source = call.name("exchange")
    wanted = await call.document(BindingDeclaration)
    command = Bind(source, wanted.queue, wanted.exchange, wanted.routing_key, wanted.match, wanted.headers)
    reply = _a(Declared, await call.submit(command))
    return views.answer(views.binding(reply.value), _made(reply))


async def list_exchange_bindings(call: Call) -> Response:
    """Show a page of the bindings from an exchange."""
    return await _bindings(call, exchange=call.name("exchange"))


async def list_queue_bindings(call: Call) -> Response:
    """Show a page of the bindings to a queue."""
    return await _bindings(call, queue=call.name("queue"))


async def delete_binding(call: Call) -> Response:
    """Remove a binding."""
    text = call.segment("id")
    if _ID.fullmatch(text) is None:
        raise Refused(Code.BINDING_NOT_FOUND, "there is no such binding")
    id_ = int(text)
    binding = _a(Binding, await call.edge.broker.ask(GetBinding(id_)))
    if not all(call.grant.allows(*need) for need in bound(binding.source, binding.queue or binding.exchange or "")):
        # As if there were none: whoever may not touch it is not told that it is there.
        raise no_binding(id_)
    await call.submit(Unbind(id_))
    return Response(status_code=204)


async def route(call: Call) -> Response:
    """Show where a message would go."""
    key = check_text(call.query.get("routing_key", ""), "routing_key")
    headers = message_headers(call.scope["headers"], call.edge.limits)
    reply = _a(Routed, await call.edge.broker.ask(Route(call.name("exchange"), key, headers)))
    return views.answer(views.routed(_seen(reply, call.grant)))


def binding_id(value: str, field: str) -> int:
    """A query parameter that is a binding's id (a kind, see `request`)."""
    if _ID.fullmatch(value) is None:
        raise invalid(field, "must be a binding's id")
    return int(value)


async def _bindings(call: Call, exchange: str | None = None, queue: str | None = None) -> Response:
    query = ListBindings(exchange, queue, call.query.get("after", 0), _limit(call), call.visible)
    return views.answer(views.page("bindings", _a(Page, await call.edge.broker.ask(query)), views.binding))


def _seen(routed: Routed, grant: Grant) -> Routed:
    """What of it the caller may see."""
    queues = tuple(name for name in routed.queues if grant.allows(Permission.SEE, name))
    return Routed(queues, tuple(filter(grant.sees_binding, routed.bindings)))


def _limit(call: Call) -> int:
    limit: int = call.query.get("limit", LIST_ITEMS_DEFAULT)
    return limit


def _made(reply: Declared[Any]) -> int:
    return 201 if reply.created else 200


def _a(kind: type[T], reply: object) -> T:
    """The reply as the kind that its command promises."""
    assert isinstance(reply, kind), reply
    return reply
