"""`POST .../messages` and `POST .../messages/batch`: from a request to `Publish`, and its answer (§4)."""

from functools import lru_cache
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Publish
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Envelope
from queuesvc.http import request
from queuesvc.http.data.envelopes import BYTES, Envelopes, check_content_type, check_idempotency_key, query_options
from queuesvc.http.data.wire import CONTENT_ENCODING, refuse_encoded, send_json

NDJSON: Final = b"application/x-ndjson"
KEPT_HEADS: Final = 1024


@lru_cache(maxsize=1024)
def queues_json(queues: tuple[str, ...]) -> str:
    """The names of queues as a JSON list. Few lists recur, so they are kept."""
    return orjson.dumps(queues).decode()


class Publishing:
    """Publishes to exchanges (`exchange` given) or straight into queues (`queue` given)."""

    def __init__(self, broker: Broker, limits: Limits) -> None:
        self._broker = broker
        self._limits = limits
        self._envelopes = Envelopes(limits)
        # All of an envelope but its body, by what of the request makes it.
        self._heads: dict[tuple[bytes, bytes, str | None], tuple[Any, ...]] = {}

    async def raw(self, exchange: str | None, queue: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Publish the request's body, byte for byte. 201 with the id and the queues."""
        head = self._head(scope, queue)
        body = await request.read_body(scope, receive, self._limits.body_bytes)
        envelope = Envelope._make((body, *head))
        published: Any = await self._broker.submit(Publish((envelope,), exchange, queue))
        first, queues, _ = published.results[0]
        public_id = self._broker.ids.make(published.published_at, first)
        await send_json(scope, send, 201, f'{{"id":"{public_id}","queues":{queues_json(queues)}}}'.encode())

    async def batch(self, exchange: str | None, queue: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Publish many, all or none. 201 with a result for each, in order."""
        content_type = _check_batch_head(scope)
        options = query_options(scope["query_string"])
        body = await request.read_body(scope, receive, self._limits.request_bytes)
        if content_type.partition(b";")[0].strip().lower() == NDJSON:
            envelopes = self._envelopes.ndjson_batch(body, options, queue)
        else:
            envelopes = self._envelopes.json_batch(body, options, queue)
        published: Any = await self._broker.submit(Publish(envelopes, exchange, queue, True))
        head = self._broker.ids.head(published.published_at)
        results = ",".join(
            [f'{{"id":"{head}{first:012x}","queues":{queues_json(queues)}}}' for first, queues, _ in published.results]
        )
        await send_json(scope, send, 201, f'{{"results":[{results}]}}'.encode())

    def _head(self, scope: Scope, queue: str | None) -> tuple[Any, ...]:
        """What an envelope holds after its body, from the head of a raw publish."""
        content_type = b""
        idempotency_key: bytes | None = None
        plain = True
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"idempotency-key":
                if idempotency_key is not None:
                    raise invalid("Idempotency-Key", "given more than once")
                idempotency_key = value
            elif name == CONTENT_ENCODING:
                refuse_encoded(scope)
            elif name.startswith(request.MESSAGE_HEADER):
                plain = False
        query: bytes = scope["query_string"]
        if not plain or idempotency_key is not None:
            headers = {} if plain else request.message_headers(scope, self._limits)
            fields = {**query_options(query), "idempotency_key": _header_text(idempotency_key, "Idempotency-Key")}
            return self._envelopes.assemble(fields, queue, b"", _content_type(content_type), headers)[1:]
        seen = (query, content_type, queue)
        head = self._heads.get(seen)
        if head is None:
            options = query_options(query)
            head = self._envelopes.assemble(options, queue, b"", _content_type(content_type), {})[1:]
            if len(self._heads) >= KEPT_HEADS:
                self._heads.clear()
            self._heads[seen] = head
        return head


def _check_batch_head(scope: Scope) -> bytes:
    """The content type of a batch, whose other headers must be none that only a single message has."""
    content_type, keys = b"", 0
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"idempotency-key":
            check_idempotency_key(_header_text(value, "Idempotency-Key"))
            keys += 1
        elif name == CONTENT_ENCODING:
            refuse_encoded(scope)
        elif name.startswith(request.MESSAGE_HEADER):
            raise invalid("headers", "the headers of a batch's messages stand in its envelopes")
    if keys > 1:
        raise invalid("Idempotency-Key", "given more than once")
    return content_type


def _content_type(value: bytes) -> str:
    return check_content_type(_header_text(value, "Content-Type")) if value else BYTES


def _header_text(value: bytes | None, name: str) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise request.malformed(f"the header {name} is not UTF-8") from None
