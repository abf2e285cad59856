"""`POST .../messages` and `POST .../messages/batch`: from a request to `Publish`, and its answer (§4)."""

from collections.abc import Mapping
from typing import Any

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
from queuesvc.http.data.wire import Answer, Begun, Request, json_answer
from queuesvc.http.rates import Rates


class Publishing:
    """Publishes to exchanges (`exchange` given) or straight into queues (`queue` given)."""

    def __init__(
        self, broker: Broker, limits: Limits, envelopes: Envelopes, single: Single, rates: Rates | None
    ) -> None:
        self._broker = broker
        self._rates = rates
        self._limits = limits
        self._envelopes = envelopes
        self._single = single

    def raw(self, exchange: str | None, queue: str | None, asked: Request) -> Begun:
        """Publish the request's body, byte for byte. 201 with the id and the queues; 200 where it was there already."""
        head = self._single.plain(asked, queue)
        if head is not None:
            envelope = Envelope._make((asked.body, *head))
        elif is_batch(asked.headers):
            return self.batch(exchange, queue, asked)
        else:
            envelope = self._single.read(asked, queue, query_options(asked.query))
        if self._rates is not None:
            self._rates.publish(asked.grant, 1)
        return self._broker.submit(Publish((envelope,), exchange, queue)), self._published

    def reply(self, address: str, asked: Request) -> Begun:
        """Publish the request's body to whoever waits for it at a reply address. 201 with its id."""
        # Every address is used once, so nothing of such a request is worth keeping.
        envelope = self._single.read(asked, address, query_options(asked.query))
        if self._rates is not None:
            self._rates.publish(asked.grant, 1)
        return self._broker.submit(Publish((envelope,), queue=address)), self._published

    def _published(self, published: Published) -> Answer:
        """The answer to one message."""
        first, queues, original_at = published.results[0]
        if original_at:
            return json_answer(200, results.duplicate(first, queues, original_at, self._broker.ids).encode())
        public_id = self._broker.ids.make(published.published_at, first)
        return json_answer(201, f'{{"id":"{public_id}","queues":{queues_json(queues)}}}'.encode())

    def batch(self, exchange: str | None, queue: str | None, asked: Request) -> Begun:
        """Publish many, all or none. A result for each, in order: 201, or 200 where nothing of it was new."""
        head = read_head(asked.headers)
        if head.message_headers or head.event_headers:
            raise invalid("headers", "the headers of a batch's messages stand in its envelopes")
        media_type = cloudevents.media_type(head.content_type)
        envelopes = self._read(media_type, asked.body, query_options(asked.query), queue)
        if self._rates is not None:
            self._rates.publish(asked.grant, len(envelopes))
        command = Publish(envelopes, exchange, queue, True, head.idempotency_key or "")
        return self._broker.submit(command), self._batch_published

    def _batch_published(self, published: Published) -> Answer:
        status = 200 if results.stored_nothing(published) else 201
        more = ',"duplicate":true' if published.duplicate else ""
        answer = f'{{"results":{results.results(published, self._broker.ids)}{more}}}'
        return json_answer(status, answer.encode())

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


def is_batch(headers: request.Pairs) -> bool:
    """Whether what comes as one message is a batch of events."""
    content_type = request.header(headers, b"content-type")
    return content_type is not None and cloudevents.media_type(content_type) == cloudevents.BATCHED
