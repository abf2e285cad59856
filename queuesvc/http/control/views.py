"""How the broker's things are shown: from values of the domain to JSON."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Final

import orjson
from starlette.responses import Response

from queuesvc.domain.model import Binding, Exchange, QueueSettings, QueueStats, QueueView, RetryBackoff
from queuesvc.domain.replies import Page, Routed

_SETTINGS: Final = tuple(field.name for field in fields(QueueSettings))
_STATS: Final = tuple(field.name for field in fields(QueueStats))
_BACKOFF: Final = tuple(field.name for field in fields(RetryBackoff))
_EXCHANGE: Final = tuple(field.name for field in fields(Exchange))


def answer(document: dict[str, Any], status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(document), status, media_type="application/json")


def exchange(value: Exchange) -> dict[str, Any]:
    """An exchange."""
    return _shown(value, _EXCHANGE)


def queue(view: QueueView) -> dict[str, Any]:
    """A queue: its name, its settings, its statistics."""
    return {**queue_definition(view.name, view.settings), "stats": _shown(view.stats, _STATS)}


def queue_definition(name: str, settings: QueueSettings) -> dict[str, Any]:
    """A queue as it would be declared: its name, its settings."""
    shown = {"name": name, **_shown(settings, _SETTINGS)}
    if settings.retry_backoff is not None:
        shown["retry_backoff"] = _shown(settings.retry_backoff, _BACKOFF)
    return shown


def binding(value: Binding) -> dict[str, Any]:
    """A binding: with the one of its targets and the one kind of match that it has."""
    return {"id": str(value.id), **binding_definition(value)}


def binding_definition(value: Binding) -> dict[str, Any]:
    """A binding as it would be made, without its id."""
    shown: dict[str, Any] = {"source": value.source}
    if value.queue is not None:
        shown["queue"] = value.queue
    else:
        shown["exchange"] = value.exchange
    if value.match is None:
        shown["routing_key"] = value.routing_key
    else:
        shown["match"], shown["headers"] = value.match, dict(sorted((value.headers or {}).items()))
    return shown


def routed(value: Routed) -> dict[str, Any]:
    """Where a message would go."""
    return {"queues": value.queues, "bindings": [binding(one) for one in value.bindings]}


def page(plural: str, value: Page[Any], view: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """A page of a list, under its plural name."""
    return {plural: [view(item) for item in value.items], "next": value.next}


def _shown(value: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: _number(getattr(value, name)) for name in names}


def _number(value: Any) -> Any:
    """A whole number of seconds as `30` and not as `30.0`, whatever it came as."""
    return int(value) if type(value) is float and value.is_integer() else value
