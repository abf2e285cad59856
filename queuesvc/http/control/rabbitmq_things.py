"""RabbitMQ's exchanges, queues and bindings as ours, one at a time; and notes of what has no equal here.

The documents are those of RabbitMQ's definition export (https://www.rabbitmq.com/docs/definitions), the arguments
those of its queues and exchanges (https://www.rabbitmq.com/docs/queues#optional-arguments).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from queuesvc.domain.commands import Bind
from queuesvc.domain.errors import Refused, invalid, shown
from queuesvc.domain.limits import NAME, PRIORITY_MOST, Limits, check_text
from queuesvc.domain.model import Exchange, ExchangeType, Headers, Match, Overflow, QueueSettings
from queuesvc.http.request import COUNT_MOST, DURATION_SECONDS_MOST, application_headers

BUILT_IN: Final = {
    "amq.direct": ExchangeType.DIRECT,
    "amq.fanout": ExchangeType.FANOUT,
    "amq.topic": ExchangeType.TOPIC,
    "amq.headers": ExchangeType.HEADERS,
    "amq.match": ExchangeType.HEADERS,
}
"""Exchanges that every virtual host has, so that no export names them."""

DEFAULT: Final = "amq.default"
"""The name that RabbitMQ's management gives to the default exchange. There is none here until somebody makes it."""

UNNAMED: Final = "rabbitmq:unnamed"
"""Stands for a dead-letter exchange whose name cannot be here."""

NOTES_MOST: Final = 100_000
"""So many notes may be taken of one document."""

NAME_SHOWN: Final = 1000
"""The most characters of a name in a note: a binding's is made of three."""

_GRAMMAR: Final = "a name is 1 to 255 characters of A-Z a-z 0-9 . _ : - and begins with a letter or a digit here"
_UNKNOWN: Final = "nothing here is known by this name"
_HINTS: Final = {"x-delayed-message": "; each publish says its own delay_seconds"}
_DURATION_MOST_MS: Final = DURATION_SECONDS_MOST * 1000
# By argument: the setting, the least and the most it may be, and how many of its units are one of ours.
_NUMBERS: Final[Mapping[str, tuple[str, int, int, int]]] = {
    "x-message-ttl": ("message_ttl_seconds", 1, _DURATION_MOST_MS, 1000),
    "x-expires": ("expires_seconds", 1, _DURATION_MOST_MS, 1000),
    "x-delivery-limit": ("delivery_limit", 1, COUNT_MOST, 1),
    "x-max-length": ("max_messages", 1, COUNT_MOST, 1),
    "x-max-length-bytes": ("max_bytes", 1, COUNT_MOST, 1),
    "x-max-priority": ("max_priority", 0, PRIORITY_MOST, 1),
}
_OVERFLOWS: Final = {
    "drop-head": Overflow.DROP_OLDEST,
    "reject-publish": Overflow.REJECT_PUBLISH,
    "reject-publish-dlx": Overflow.REJECT_PUBLISH,
}
_TUNING: Final = frozenset(
    {
        "x-queue-mode",
        "x-queue-version",
        "x-queue-master-locator",
        "x-queue-leader-locator",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-quorum-initial-group-size",
        "x-quorum-target-group-size",
        "x-initial-cluster-size",
    }
)


@dataclass(frozen=True, slots=True)
class Unmapped:
    """What has no equal here: a thing, or where `field` is given that part of a thing which was made."""

    what: str
    name: str
    field: str | None
    why: str


def too_many_notes(place: str) -> Refused:
    """An `invalid-request` for a document of which too much has no equal here."""
    return invalid(place, f"more than {NOTES_MOST} parts of the document have no equal here: import it in parts")


@dataclass(slots=True)
class Thing:
    """An element of the document, at its place in it (`queues.3`), with the notes that are taken of it."""

    what: str
    place: str
    value: Mapping[str, Any]
    unmapped: list[Unmapped]
    name: str = ""

    def text(self, field: str, default: str | None = None) -> str:
        """A member that is text. Raises `invalid-request`."""
        value = self.value.get(field, default)
        if type(value) is not str:
            raise invalid(f"{self.place}.{field}", "must be a string" if field in self.value else "is required")
        return value

    def flag(self, field: str, default: bool) -> bool:
        """A member that is true or false. Raises `invalid-request`."""
        value = self.value.get(field, default)
        if type(value) is not bool:
            raise invalid(f"{self.place}.{field}", "must be true or false")
        return value

    def arguments(self) -> dict[str, Any]:
        """Its arguments. Raises `invalid-request`."""
        value = self.value.get("arguments")
        if value is None or value == []:  # as an empty object came out of older versions
            return {}
        if type(value) is not dict:
            raise invalid(f"{self.place}.arguments", "must be an object")
        return dict(value)

    def note(self, why: str, field: str | None = None) -> None:
        """Have it told that this thing, or this part of it, has no equal here."""
        if len(self.unmapped) >= NOTES_MOST:
            raise too_many_notes(self.place)
        part = None if field is None else shown(field, NAME_SHOWN)
        self.unmapped.append(Unmapped(self.what, shown(self.name, NAME_SHOWN), part, why))

    def note_others(self, known: Iterable[str]) -> None:
        """The members that are not known."""
        for member in self.value:
            if member not in known:
                self.note(_UNKNOWN, member)


@dataclass(slots=True)
class Made:
    """What was made so far of a document: the exchanges with their types, the queues; and what could not be made."""

    types: dict[str, ExchangeType] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)
    lost_exchanges: set[str] = field(default_factory=set)
    lost_queues: set[str] = field(default_factory=set)


def said(value: object) -> str:
    """A value of the document in a note: short, whatever it is."""
    if type(value) is dict or type(value) is list:
        return "{...}" if type(value) is dict else "[...]"
    return repr(shown(value)) if type(value) is str else str(value)


# --- exchanges ------------------------------------------------------------------


def exchange_of(thing: Thing) -> Exchange | None:
    """An exchange; None where it cannot be made."""
    thing.name = name = thing.text("name")
    type_ = thing.text("type")
    if NAME.fullmatch(name) is None:
        thing.note(_GRAMMAR)
        return None
    if type_ not in list(ExchangeType):
        thing.note(f"there is no exchange type {shown(type_)!r} here{_HINTS.get(type_, '')}")
        return None
    if not thing.flag("durable", True):
        thing.note("every exchange is durable here", "durable")
    if thing.flag("auto_delete", False):
        thing.note("an exchange stays until it is deleted here", "auto_delete")
    if thing.flag("internal", False):
        thing.note("clients may publish to every exchange here", "internal")
    alternate = None
    for argument, value in thing.arguments().items():
        if argument != "alternate-exchange":
            thing.note(_UNKNOWN, argument)
        elif type(value) is str and NAME.fullmatch(value) is not None:
            alternate = value
        else:
            thing.note("the default exchange is no alternate here" if value == "" else _GRAMMAR, argument)
    thing.note_others(("name", "vhost", "type", "durable", "auto_delete", "internal", "arguments"))
    return Exchange(name, ExchangeType(type_), alternate)


# --- queues ---------------------------------------------------------------------


def queue_of(thing: Thing) -> tuple[str, QueueSettings] | None:
    """A queue's name and settings; None where it cannot be made."""
    thing.name = name = thing.text("name")
    arguments = thing.arguments()
    type_ = arguments.pop("x-queue-type", None) or thing.value.get("type") or "classic"
    if NAME.fullmatch(name) is None:
        thing.note(_GRAMMAR)
        return None
    if type_ == "stream":
        thing.note("a stream is another thing than a queue")
        return None
    if type_ == "quorum":
        thing.note("queues have no types here: this one is on one disk, not replicated", "x-queue-type")
    elif type_ != "classic":
        thing.note(f"queues have no types here, so none that is {said(type_)}", "x-queue-type")
    if not thing.flag("durable", True):
        thing.note("every queue is durable here", "durable")
    if thing.flag("auto_delete", False):
        thing.note("a queue goes when it is deleted, or unused for expires_seconds here", "auto_delete")
    if thing.flag("exclusive", False):
        thing.note("every queue is for everyone here", "exclusive")
    settings: dict[str, Any] = {}
    _dead_lettering(thing, arguments, settings)
    for argument, value in arguments.items():
        _argument(thing, argument, value, settings)
    if settings.keys() & {"max_messages", "max_bytes"}:
        settings.setdefault("overflow", Overflow.DROP_OLDEST)
    thing.note_others(("name", "vhost", "durable", "auto_delete", "exclusive", "type", "arguments"))
    return name, QueueSettings(**settings)


def _argument(thing: Thing, argument: str, value: Any, settings: dict[str, Any]) -> None:
    if argument in _NUMBERS:
        _number(thing, argument, value, settings)
    elif argument == "x-overflow":
        overflow = _OVERFLOWS.get(value) if type(value) is str else None
        if overflow is None:
            thing.note(f"{said(value)} is no way to overflow", argument)
            return
        settings["overflow"] = overflow
        if value == "reject-publish-dlx":
            thing.note("taken as reject-publish: what is refused is not dead-lettered here", argument)
    elif argument == "x-single-active-consumer":
        if value is not False:
            thing.note("messages with a group are handed out in order, one receive at a time, here", argument)
    elif argument == "x-dead-letter-strategy":
        if value not in ("at-most-once", "at-least-once"):  # either way none is lost here
            thing.note(_UNKNOWN, argument)
    else:
        thing.note("it changes only how RabbitMQ keeps the queue" if argument in _TUNING else _UNKNOWN, argument)


def _number(thing: Thing, argument: str, value: Any, settings: dict[str, Any]) -> None:
    setting, least, most, units = _NUMBERS[argument]
    if type(value) is not int:
        thing.note("it is not a whole number", argument)
    elif argument == "x-delivery-limit" and value <= 0:
        # -1 is no limit; under 0 already the first failure is one too many.
        settings[setting] = 1 if value == 0 else None
    elif not least <= value <= most:
        thing.note(f"{value} has no equal here: {setting} is {least / units:g} to {most / units:.15g}", argument)
    else:
        settings[setting] = value if units == 1 else value / units


def _dead_lettering(thing: Thing, arguments: dict[str, Any], settings: dict[str, Any]) -> None:
    """Where its dead letters go. To an exchange that cannot be, they stay in the queue rather than being lost."""
    exchange = arguments.pop("x-dead-letter-exchange", None)
    key = arguments.pop("x-dead-letter-routing-key", None)
    if exchange == "":
        exchange = DEFAULT
        thing.note(
            f"there is no default exchange here: dead letters wait in the queue until there is a direct exchange "
            f"{DEFAULT!r} and a binding from it to each queue they are for",
            "x-dead-letter-exchange",
        )
    elif exchange is not None and (type(exchange) is not str or NAME.fullmatch(exchange) is None):
        thing.note(f"{_GRAMMAR}; dead letters wait in the queue until it has another", "x-dead-letter-exchange")
        exchange = UNNAMED
    settings["dead_letter_exchange"] = exchange
    why = None if key is None else _text_fault(key)
    if why is None:
        settings["dead_letter_routing_key"] = key
    else:
        thing.note(why, "x-dead-letter-routing-key")


def _text_fault(value: Any) -> str | None:
    """Why this is no routing key here, or None."""
    if type(value) is not str:
        return "a routing key is text"
    try:
        check_text(value, "a routing key")
    except Refused as refused:
        return refused.detail.replace(": ", " ", 1)
    return None


# --- bindings -------------------------------------------------------------------


def binding_of(thing: Thing, made: Made, limits: Limits) -> Bind | None:
    """A binding; None where it cannot be made, or is implied. Built-in exchanges come into being as they are used."""
    source, destination = thing.text("source"), thing.text("destination")
    key = thing.text("routing_key", "")
    to_queue = _leads_to_queue(thing)
    thing.name = f"{source} -> {destination}" + (f" [{key}]" if key else "")
    if source == "":
        return None  # every queue is bound to the default exchange by its name: here, one publishes straight into it
    why = _end_fault(made, source, destination, to_queue) or _text_fault(key)
    if why is not None:
        thing.note(why)
        return None
    for end in (source,) if to_queue else (source, destination):
        if end in BUILT_IN:
            made.types.setdefault(end, BUILT_IN[end])
    thing.note_others(("source", "vhost", "destination", "destination_type", "routing_key", "arguments"))
    queue, exchange = (destination, None) if to_queue else (None, destination)
    arguments = thing.arguments()
    type_ = made.types.get(source)
    if type_ is ExchangeType.HEADERS or (type_ is None and "x-match" in arguments):
        match_on = _headers_of(thing, arguments, limits)
        return None if match_on is None else Bind(source, queue, exchange, None, *match_on)
    for argument in arguments:
        thing.note("only a headers exchange looks at the arguments of a binding", argument)
    return Bind(source, queue, exchange, key)


def _leads_to_queue(thing: Thing) -> bool:
    kind = thing.text("destination_type", "queue")
    if kind not in ("queue", "exchange"):
        raise invalid(f"{thing.place}.destination_type", "must be queue or exchange")
    return kind == "queue"


def _end_fault(made: Made, source: str, destination: str, to_queue: bool) -> str | None:
    """Why one of its ends is not there, or None."""
    if source.startswith("amq.rabbitmq."):
        return "what RabbitMQ tells of itself does not come here"
    lost = made.lost_queues if to_queue else made.lost_exchanges
    if source in made.lost_exchanges or NAME.fullmatch(source) is None:
        return f"the exchange {shown(source)!r} could not be made"
    if destination in lost or NAME.fullmatch(destination) is None:
        return f"the {'queue' if to_queue else 'exchange'} {shown(destination)!r} could not be made"
    return None


def _headers_of(thing: Thing, arguments: dict[str, Any], limits: Limits) -> tuple[Match, Headers] | None:
    """What a binding of a headers exchange compares. As in RabbitMQ, `x-` headers only where x-match says so."""
    how = arguments.pop("x-match", "all")
    if how not in ("all", "any", "all-with-x", "any-with-x"):
        thing.note(f"x-match {said(how)} has no equal here")
        return None
    wanted = arguments
    if not how.endswith("-with-x"):
        wanted = {name: value for name, value in arguments.items() if not name.startswith("x-")}
    try:
        headers = application_headers(wanted, limits)
    except Refused as refused:
        thing.note(f"its headers have no equal here: {refused.detail}")
        return None
    if len(headers) < len(wanted):
        thing.note("names of headers have no case here, and some of its are the same then")
        return None
    return ("any" if how.startswith("any") else "all"), headers
