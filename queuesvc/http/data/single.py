"""From a request that carries one message to its envelope (§4): plain, with headers, or a CloudEvent.

Publishers repeat themselves, so all of a plain message's envelope but the body is kept by what
of the request makes it. Everything else is read step by step.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Envelope, HeaderValue
from queuesvc.http import request
from queuesvc.http.data import cloudevents
from queuesvc.http.data.envelopes import BYTES, Envelopes, check_content_type, check_idempotency_key, query_options
from queuesvc.http.data.wire import CONTENT_ENCODING, Request, refuse_encoded

KEPT_HEADS: Final = 1024
IDEMPOTENCY_KEY: Final = b"idempotency-key"

# Most request headers say nothing about a message; these are in most requests.
_SILENT: Final = frozenset(
    {b"host", b"user-agent", b"accept", b"accept-encoding", b"authorization", b"connection", b"content-length"}
)
# Those that say more about a message than its Content-Type does.
_TELLING: Final = frozenset({IDEMPOTENCY_KEY, CONTENT_ENCODING})
_TELLING_BEGIN: Final = (request.MESSAGE_HEADER, cloudevents.HEADER)


class Head(NamedTuple):
    """What the headers of a request say about its message or messages."""

    content_type: bytes
    idempotency_key: str | None
    message_headers: bool
    event_headers: bool


def read_head(headers: request.Pairs) -> Head:
    """The head of a publish. Raises `malformed-request`, `invalid-request` or `unsupported-media-type`."""
    content_type = b""
    key: str | None = None
    message_headers = event_headers = False
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == IDEMPOTENCY_KEY:
            if key is not None:
                raise invalid("Idempotency-Key", "given more than once")
            key = check_idempotency_key(_text(value, "Idempotency-Key"))
        elif name == CONTENT_ENCODING:
            refuse_encoded(headers)
        elif name.startswith(request.MESSAGE_HEADER):
            message_headers = True
        elif name.startswith(cloudevents.HEADER):
            event_headers = True
    return Head(content_type, key, message_headers, event_headers)


class Single:
    """Reads messages within the limits of one broker."""

    def __init__(self, limits: Limits, envelopes: Envelopes) -> None:
        self._limits = limits
        self._envelopes = envelopes
        self._heads: dict[tuple[bytes, bytes, str | None], tuple[Any, ...]] = {}

    def plain(self, asked: Request, queue: str | None) -> tuple[Any, ...] | None:
        """What the envelope holds after its body; None for a message that must be `read`."""
        content_type = b""
        for name, value in asked.headers:
            if name in _SILENT:
                continue
            if name == b"content-type":
                content_type = value
            elif name in _TELLING or name.startswith(_TELLING_BEGIN):
                return None
        seen = (asked.query, content_type, queue)
        return self._heads.get(seen) or self._plain(*seen)

    def read(self, asked: Request, queue: str | None, options: Mapping[str, Any]) -> Envelope:
        """The envelope of any message but a batch; `options` are those of a publish."""
        head = read_head(asked.headers)
        kind = cloudevents.media_type(head.content_type)
        if kind == cloudevents.BATCHED:
            raise invalid("Content-Type", "one message is wanted here, and this is a batch")
        body = asked.body
        headers: dict[str, HeaderValue] = {}
        if head.message_headers:
            headers.update(request.message_headers(asked.headers, self._limits))
        attributes = cloudevents.header_attributes(asked.headers) if head.event_headers else {}
        if kind == cloudevents.STRUCTURED:
            event: Mapping[str, Any] = cloudevents.parse(body)
            cloudevents.check_same(attributes, event)
            options = cloudevents.publish_options(options, event, queue)
        elif attributes:
            cloudevents.check_attributes(attributes, "ce-")
            options = cloudevents.publish_options(options, attributes, queue)
        if attributes:
            self._add(headers, attributes)
        fields = {**options, "idempotency_key": head.idempotency_key}
        return self._envelopes.assemble(fields, queue, body, content_type(head.content_type), headers)

    def _plain(self, query: bytes, type_: bytes, queue: str | None) -> tuple[Any, ...] | None:
        if cloudevents.media_type(type_) in (cloudevents.STRUCTURED, cloudevents.BATCHED):
            return None
        head = self._envelopes.assemble(query_options(query), queue, b"", content_type(type_), {})[1:]
        if len(self._heads) >= KEPT_HEADS:
            self._heads.clear()
        self._heads[query, type_, queue] = head
        return head

    def _add(self, headers: dict[str, HeaderValue], attributes: Mapping[str, str]) -> None:
        """The attributes of an event join the application headers."""
        for name, value in attributes.items():
            if f"ce-{name}" in headers:
                raise invalid(f"ce-{name}", "given also as a Message-Header")
            headers[f"ce-{name}"] = value
        request.check_headers_size(headers, self._limits)


def content_type(value: bytes) -> str:
    """A message's content type from the request's. Raises `malformed-request` or `invalid-request`."""
    return check_content_type(_text(value, "Content-Type")) if value else BYTES


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise request.malformed(f"the header {name} is not UTF-8") from None
