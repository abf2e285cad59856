"""`POST .../messages` and `POST .../messages/batch`: from a request to `Publish`, and its answer (§4)."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Publish
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Envelope
from queuesvc.domain.replies import Published
from queuesvc.http import request
from queuesvc.http.data import cloudevents, results
from queuesvc.http.data.envelopes import Envelopes, query_options
from queuesvc.http.data.results import queues_json
from queuesvc.http.data.single import Single, read_head
from queuesvc.http.data.wire import send_json


class Publishing:
    """Publishes to exchanges (`exchange` given) or straight into queues (`queue` given)."""

    def __init__(self, broker: Broker, limits: Limits, envelopes: Envelopes, single: Single) -> None:
        self._broker = broker
        self._limits = limits
        self._envelopes = envelopes
        self._single = single

    async def raw(self, exchange: str | None, queue: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Publish the request's body, byte for byte. 201 with the id and the queues; 200 where it was there already."""
        head = self._single.plain(scope, queue)
        if head is not None:
            body = await request.read_body(scope, receive, self._limits.body_bytes)
            envelope = Envelope._make((body, *head))
        elif _is_batch(scope):
            await self.batch(exchange, queue, scope, receive, send)
            return
        else:
            envelope = await self._single.read(scope, receive, queue, query_options(scope["query_string"]))
        published: Any = await self._broker.submit(Publish((envelope,), exchange, queue))
        await send_json(scope, send, *self._answer(published))

    async def reply(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Publish the request's body to whoever waits for it at a reply address. 201 with its id."""
        # Every address is used once, so nothing of such a request is worth keeping.
        envelope = await self._single.read(scope, receive, address, query_options(scope["query_string"]))
        published: Any = await self._broker.submit(Publish((envelope,), queue=address))
        await send_json(scope, send, *self._answer(published))

    def _answer(self, published: Published) -> tuple[int, bytes]:
        """The answer to one message."""
        first, queues, original_at = published.results[0]
        if original_at:
            return 200, results.duplicate(first, queues, original_at, self._broker.ids).encode()
        public_id = self._broker.ids.make(published.published_at, first)
        return 201, f'{{"id":"{public_id}","queues":{queues_json(queues)}}}'.encode()

    async def batch(self, exchange: str | None, queue: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Publish many, all or none. A result for each, in order: 201, or 200 where nothing of it was new."""
        head = read_head(scope)
        if head.message_headers or head.event_headers:
            raise invalid("headers", "the headers of a batch's messages stand in its envelopes")
        options = query_options(scope["query_string"])
        body = await request.read_body(scope, receive, self._limits.request_bytes)
        envelopes = self._read(cloudevents.media_type(head.content_type), body, options, queue)
        published: Any = await self._broker.submit(
            Publish(envelopes, exchange, queue, True, head.idempotency_key or "")
        )
        status = 200 if results.stored_nothing(published) else 201
        more = ',"duplicate":true' if published.duplicate else ""
        answer = f'{{"results":{results.results(published, self._broker.ids)}{more}}}'
        await send_json(scope, send, status, answer.encode())

    def _read(
        self, media_type: str, body: bytes, options: Mapping[str, Any], queue: str | None
    ) -> tuple[Envelope, ...]:
        match media_type:
            case "application/x-ndjson":
                return self._envelopes.ndjson_batch(body, options, queue)
            case cloudevents.BATCHED:
                return self._envelopes.event_batch(body, options, queue)
            case cloudevents.STRUCTURED:
                raise invalid("Content-Type", f"a batch of CloudEvents is {cloudevents.BATCHED}")
            case _:
                return self._envelopes.json_batch(body, options, queue)


def _is_batch(scope: Scope) -> bool:
    content_type = request.header(scope, b"content-type")
    return content_type is not None and cloudevents.media_type(content_type) == cloudevents.BATCHED
