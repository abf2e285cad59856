"""Looking at messages and repairing queues (§8): browse, get, remove, purge, redrive, release."""

from typing import Any, Final

from starlette.responses import Response

from queuesvc.domain.commands import (
    BrowseMessages,
    GetMessage,
    GetQueue,
    PurgeQueue,
    Redrive,
    Release,
    RemoveMessage,
)
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.limits import LIST_ITEMS_DEFAULT, check_header_name, check_text
from queuesvc.domain.model import QueueView, State
from queuesvc.domain.replies import Page, Purge, Released, Shown
from queuesvc.domain.tokens import Permission
from queuesvc.http.control import views
from queuesvc.http.control.repair_models import RedriveRequest, ReleaseRequest
from queuesvc.http.data import render
from queuesvc.http.endpoint import JSON, Call
from queuesvc.http.request import header

HEADER_FILTER: Final = "header."


def state(value: str, field: str) -> State:
    """A query parameter that is a message's state (a kind, see `request`)."""
    try:
        return State(value)
    except ValueError:
        raise invalid(field, f"must be one of {', '.join(State)}") from None


def filter_text(value: str, field: str) -> str:
    """A query parameter that is compared with a routing key or a group (a kind, see `request`)."""
    return check_text(value, field)


async def browse(call: Call) -> Response:
    """Show a page of a queue's messages, untouched."""
    query = call.query
    command = BrowseMessages(
        call.name("queue"),
        query.get("state"),
        query.get("limit", LIST_ITEMS_DEFAULT),
        query.get("after", ""),
        query.get("routing_key"),
        query.get("group"),
        _header_filters(call),
    )
    page = await call.edge.broker.ask(command)
    assert isinstance(page, Page)
    after = b"null" if page.next is None else b'"%b"' % page.next.encode()
    messages = render.browsed(page.items, call.edge.broker.ids)
    return Response(b'{"messages":%b,"next":%b}' % (messages, after), media_type=JSON)


async def get_message(call: Call) -> Response:
    """Show one message as it stands."""
    shown = await call.edge.broker.ask(GetMessage(call.name("queue"), call.segment("message")))
    assert isinstance(shown, Shown)
    return Response(render.browsed([shown], call.edge.broker.ids)[1:-1], media_type=JSON)


async def remove_message(call: Call) -> Response:
    """Remove one message, whatever its state."""
    await call.submit(RemoveMessage(call.name("queue"), call.segment("message")))
    return Response(status_code=204)


async def purge(call: Call) -> Response:
    """Remove all messages in a state."""
    # Whoever names the state in a body would have other messages removed than those they mean.
    headers = call.scope["headers"]
    if header(headers, b"content-length") not in (None, b"0") or header(headers, b"transfer-encoding"):
        raise Refused(Code.INVALID_REQUEST, "a purge takes no body: give state and dry_run in the query")
    command = PurgeQueue(call.name("queue"), call.query.get("state"), call.query.get("dry_run", False))
    reply = await call.submit(command)
    assert isinstance(reply, Purge)
    return views.answer({"purged": reply.purged})


async def redrive(call: Call) -> Response:
    """Take dead messages up again, or send those that arrived as dead letters back."""
    queue = call.name("queue")
    wanted = await call.document(RedriveRequest)
    dry_run = _dry_run(call, wanted.dry_run)
    ids = None if wanted.ids is None else tuple(wanted.ids)
    most = wanted.max_messages
    if most is None and ids is not None:
        most = len(ids)
    elif most is None:
        # As many as there are now: what dies again meanwhile does not come round without end.
        view = await call.edge.broker.ask(GetQueue(queue))
        assert isinstance(view, QueueView)
        most = view.stats.dead + view.stats.ready
    targets = call.grant.globs(Permission.PUBLISH)
    command = Redrive(queue, most, wanted.from_, ids, wanted.to_queue, dry_run=dry_run, targets=targets)
    call.require(command)
    reply = await call.edge.broker.redrive(command)
    return views.answer({"moved": reply.moved, "failed": _failures(reply.failed)})


async def release(call: Call) -> Response:
    """End leases now, uncounted."""
    queue = call.name("queue")
    wanted = await call.document(ReleaseRequest)
    command = Release(queue, tuple(wanted.ids), _dry_run(call, wanted.dry_run))
    reply = await call.submit(command)
    assert isinstance(reply, Released)
    return views.answer({"released": reply.released, "failed": _failures(reply.failed)})


def _header_filters(call: Call) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, value in call.query.items():
        if field.startswith(HEADER_FILTER):
            name = check_header_name(field.removeprefix(HEADER_FILTER))
            if name in found:
                raise invalid(field, "given more than once")
            found[name] = value
    return found


def _dry_run(call: Call, given: bool | None) -> bool:
    """`dry_run` stands in the query or in the body."""
    asked: bool | None = call.query.get("dry_run")
    if None not in (asked, given) and asked != given:
        raise invalid("dry_run", "the query and the body give different values")
    return bool(asked or given)


def _failures(failed: tuple[tuple[str, Code], ...]) -> list[dict[str, Any]]:
    return [{"id": id_, "code": code.value} for id_, code in failed]
