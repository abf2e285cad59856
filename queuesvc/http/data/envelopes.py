"""From what a publisher sends to `Envelope`s: raw requests, and batches in JSON or NDJSON.

The hot path is a batch of small messages that carry a body and perhaps a
routing key: such an envelope is recognised by its shape and made at once. Everything else is
looked at field by field.
"""

import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import PRIORITY_MOST, Limits, check_text
from queuesvc.domain.model import Envelope, Headers
from queuesvc.http import request
from queuesvc.http.data import cloudevents, properties, values

BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"

QUERY: Final[Mapping[str, request.Kind]] = {
    "routing_key": request.text,
    "priority": request.integer,
    "delay_seconds": request.number,
    "ttl_seconds": request.number,
    "group": request.text,
    "correlation_id": request.text,
    "reply_to": request.text,
    "mandatory": request.boolean,
}
"""The options of a publish that may stand in the query (§4)."""

FIELDS: Final = frozenset({*QUERY, "headers", "idempotency_key", "content_type", "body", "body_base64", "json"})
"""The fields of an envelope in a batch."""

_TEXT_ONLY: Final = properties.render(TEXT, {}, 0, None, None, None)
_NO_HEADERS: Final[Headers] = {}


@lru_cache(maxsize=1024)
def query_options(query: bytes) -> Mapping[str, Any]:
    """The publish options of a query string, which publishers repeat. Not to be changed."""
    return request.parse_query(query, QUERY)


class Envelopes:
    """Makes envelopes within the limits of one broker."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # A character is at most 4 bytes of UTF-8: text of so many cannot be a body too large.
        self._short = limits.body_bytes // 4

    def json_batch(self, body: bytes, options: Mapping[str, Any], queue: str | None) -> tuple[Envelope, ...]:
        """The envelopes of `{"messages": [...]}`; `options` of the query hold for each.

        Straight into a `queue`, its name is the routing key and none may be given.
        Raises `malformed-request`, `invalid-request` or `body-too-large`, naming field and index.
        """
        whole = request.parse_object(body)
        values.refuse_unknown(whole, frozenset({"messages"}))
        items = whole.get("messages")
        if type(items) is not list:
            raise invalid("messages", "must be a list of envelopes")
        self._check_count(len(items))
        return self._all(items, options, queue)

    def ndjson_batch(self, body: bytes, options: Mapping[str, Any], queue: str | None) -> tuple[Envelope, ...]:
        """The envelopes of NDJSON, one a line; empty lines are passed over. As `json_batch` otherwise."""
        lines = body.split(b"\n")
        filled = [line for line in lines if line and not line.isspace()]
        self._check_count(len(filled))
        items: list[Any] = []
        try:
            for line in filled:
                items.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            index = len(items)
            number = [at for at, line in enumerate(lines, 1) if line and not line.isspace()][index]
            why = f"line {number}, column {error.colno} is not JSON: {error.msg}"
            raise values.at_index(request.malformed(why), index) from None
        if request.may_be_beyond(body):
            items = [request.parse_exactly(line) for line in filled]
        return self._all(items, options, queue)

    def event_batch(self, body: bytes, options: Mapping[str, Any], queue: str | None) -> tuple[Envelope, ...]:
        """The envelopes of a batch of CloudEvents, perhaps none: each is a structured event in its own bytes."""
        events = cloudevents.split(body, self._limits.batch_messages)
        found: list[Envelope] = []
        try:
            for event, own in events:
                if len(own) > self._limits.body_bytes:
                    raise request.too_large(self._limits.body_bytes, "a message's body")
                fields = cloudevents.publish_options(options, event, queue)
                found.append(self.assemble(fields, queue, own, cloudevents.STRUCTURED, _NO_HEADERS))
        except Refused as refused:
            raise values.at_index(refused, len(found)) from None
        return tuple(found)

    def one(self, item: object, options: Mapping[str, Any], queue: str | None) -> Envelope:
        """The envelope of one JSON value."""
        if type(item) is not dict:
            raise invalid("messages", "an envelope must be an object")
        text = item.get("body")
        if type(text) is str and not options and len(text) <= self._short:
            # Only a body, or a body and a routing key: most messages.
            if len(item) == 1:
                return Envelope(text.encode(), _TEXT_ONLY, queue or "")
            key = item.get("routing_key")
            if len(item) == 2 and type(key) is str and queue is None:
                return Envelope(text.encode(), _TEXT_ONLY, check_text(key, "routing_key"))
        values.refuse_unknown(item, FIELDS)
        if options:
            item = values.merged(options, item)
        body, content_type = self._body(item)
        given = item.get("content_type")
        if given is not None:
            content_type = check_content_type(given)
        headers = item.get("headers")
        headers = _NO_HEADERS if headers is None else request.application_headers(headers, self._limits)
        return self.assemble(item, queue, body, content_type, headers)

    def assemble(
        self, fields: Mapping[str, Any], queue: str | None, body: bytes, content_type: str, headers: Headers
    ) -> Envelope:
        """The envelope of a body, its type and its headers, and of the other properties by their names."""
        get = fields.get
        value = get("routing_key")
        if value is None:
            routing_key = queue or ""
        elif queue is not None:
            raise invalid("routing_key", "straight into a queue the routing key is the queue's name: leave it out")
        else:
            routing_key = values.text(value, "routing_key")
        value = get("priority")
        priority = 0 if value is None else values.integer(value, "priority", 0, PRIORITY_MOST)
        value = get("delay_seconds")
        delay_ms = None if value is None else values.milliseconds(value, "delay_seconds", 0, self._limits.delay_seconds)
        value = get("ttl_seconds")
        ttl_ms = None if value is None else values.ttl_ms(value)
        # An empty group, id or address is none.
        value = get("group")
        group = values.text(value, "group") or None if value is not None else None
        value = get("correlation_id")
        correlation_id = values.text(value, "correlation_id") or None if value is not None else None
        value = get("reply_to")
        reply_to = values.text(value, "reply_to") or None if value is not None else None
        value = get("mandatory")
        mandatory = False if value is None else values.boolean(value, "mandatory")
        value = get("idempotency_key")
        idempotency_key = "" if value is None else check_idempotency_key(value)
        rendered = properties.render(content_type, headers, priority, group, correlation_id, reply_to)
        return Envelope(
            body, rendered, routing_key, headers, priority, group or "", delay_ms, ttl_ms, mandatory, idempotency_key
        )

    def _all(self, items: list[Any], options: Mapping[str, Any], queue: str | None) -> tuple[Envelope, ...]:
        one = self.one
        found: list[Envelope] = []
        try:
            for item in items:
                found.append(one(item, options, queue))
        except Refused as refused:
            raise values.at_index(refused, len(found)) from None
        return tuple(found)

    def _body(self, item: Mapping[str, Any]) -> tuple[bytes, str]:
        """An envelope's body, and the content type it has unless one is given."""
        text, coded, value = item.get("body"), item.get("body_base64"), item.get("json")
        if (text is not None) + (coded is not None) + (value is not None) > 1:
            raise invalid("body", "only one of body, body_base64 and json may be given")
        if text is not None:
            body, content_type = _text_body(text), TEXT
        elif coded is not None:
            body, content_type = _base64_body(coded), BYTES
        elif "json" in item:
            # Here a null is a value like any other, so it is not the same as leaving it out.
            body, content_type = _json_body(value), JSON
        else:
            raise invalid("body", "one of body, body_base64 and json must be given")
        if len(body) > self._limits.body_bytes:
            raise request.too_large(self._limits.body_bytes, "a message's body")
        return body, content_type

    def _check_count(self, count: int) -> None:
        if not 1 <= count <= self._limits.batch_messages:
            raise invalid("messages", f"a batch holds 1 to {self._limits.batch_messages} messages")


def check_content_type(value: object) -> str:
    """A content type as it stands: text that may go into a header, and not empty."""
    found = values.text(value, "content_type")
    if not found or found != found.strip():
        raise invalid("content_type", "must not be empty, nor begin or end with a space")
    return found


def check_idempotency_key(value: object) -> str:
    """An idempotency key as it stands; an empty one would be none, unnoticed."""
    found = values.text(value, "idempotency_key")
    if not found:
        raise invalid("idempotency_key", "must not be empty")
    return found


def _text_body(value: object) -> bytes:
    if type(value) is not str:
        raise invalid("body", "must be a string")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise invalid("body", "must be valid Unicode") from None


def _base64_body(value: object) -> bytes:
    if type(value) is not str:
        raise invalid("body_base64", "must be a string")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise invalid("body_base64", "must be base64 (RFC 4648 §4, with padding)") from None


def _json_body(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # Two things can be read but not written: great integers, and what is nested deeper than 254.
        place = _beyond(value)
        if place is None:
            raise invalid("json", "is nested too deeply") from None
        raise invalid(
            place,
            "must not be an integer beyond 64 bits: send the document as body, with content_type application/json, "
            "to have it stored byte for byte",
        ) from None


def _beyond(value: object) -> str | None:
    """The place of an integer in a document that cannot be written as it was read (`json.items.3.id`), if any."""
    rest: list[tuple[str, object]] = [("json", value)]
    while rest:
        place, value = rest.pop()
        if request.is_beyond(value):
            return place
        if type(value) is dict:
            rest += [(f"{place}.{name}", item) for name, item in value.items()]
        elif type(value) is list:
            rest += [(f"{place}.{index}", item) for index, item in enumerate(value)]
    return None
