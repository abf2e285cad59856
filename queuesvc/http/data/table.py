"""The data plane's endpoints, one row each: described here, served by `plane`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from queuesvc.domain.errors import Code
from queuesvc.domain.limits import LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST, PRIORITY_MOST
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import ANY_TOKEN, on
from queuesvc.http.data import documents
from queuesvc.http.data.ask import WAIT_SECONDS
from queuesvc.http.data.cloudevents import BATCHED, STRUCTURED
from queuesvc.http.endpoint import JSON, Answer, Body, Endpoint, Parameter
from queuesvc.http.request import DURATION_SECONDS_MOST, boolean, integer, number, text
from queuesvc.http.schema import TEXT_SCHEMA, limited

BYTES: Final = "application/octet-stream"
NDJSON: Final = "application/x-ndjson"

_WAIT: Final = limited("maximum", "wait_seconds")
_DELAY: Final = limited("maximum", "delay_seconds")
_MESSAGES: Final = limited("maximum", "receive_messages")
_ANY_BYTES: Final[Mapping[str, Any]] = {}

PROPERTIES: Final = (
    Parameter("routing_key", text, "what the exchange routes by; only towards an exchange", schema=TEXT_SCHEMA),
    Parameter("priority", integer, "0 is the lowest", 0, PRIORITY_MOST, 0),
    Parameter("delay_seconds", number, "ready only after this; replaces the queue's", 0, schema=_DELAY),
    Parameter("ttl_seconds", number, "expires after this; above 0", 0, DURATION_SECONDS_MOST),
    Parameter("group", text, "messages of a group are handed out in order", schema=TEXT_SCHEMA),
    Parameter("correlation_id", text, "carried as it is", schema=TEXT_SCHEMA),
    Parameter("reply_to", text, "carried as it is", schema=TEXT_SCHEMA),
    Parameter("mandatory", boolean, "refuse (`unroutable`) if it reaches no queue", default=False),
)

RECEIVE_OPTIONS: Final = (
    Parameter("max_messages", integer, "how many at most", 1, default=1, schema=_MESSAGES),
    Parameter("wait_seconds", number, "how long to wait for a first one", 0, default=0, schema=_WAIT),
    Parameter("lease_seconds", number, "left out: the queue's", LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST),
    Parameter("consumer", text, "a label, shown while leased", schema=TEXT_SCHEMA),
    Parameter("auto_ack", boolean, "removed before the answer is written: at most once", default=False),
)

_KEY: Final = Parameter(
    "Idempotency-Key",
    text,
    "the same again within the window is answered as the first time, and stores nothing",
    schema={**TEXT_SCHEMA, "minLength": 1},
)
_REUSED: Final = Code.IDEMPOTENCY_KEY_REUSED
_MEDIA: Final[Mapping[str, Any]] = {
    "*/*": _ANY_BYTES,
    STRUCTURED: documents.EVENT_SCHEMA,
    BATCHED: documents.EVENTS_SCHEMA,
}

_PUBLISH: Final = Endpoint(
    "POST",
    "/v1/exchanges/{exchange}/messages",
    "publish",
    "Publishing",
    "Publish a message",
    about="The request's body is the message's, byte for byte, and its `Content-Type` is kept. Application headers "
    "are request headers `Message-Header-<Name>: value`. 201 comes only after it has reached the disk, in every "
    "queue that it names. CloudEvents are taken structured, batched (then all or none are stored, and the answer is "
    "that of a batch) and binary, with `ce-*` headers; without a `routing_key` their `type` is the key.",
    query=PROPERTIES,
    headers=(_KEY,),
    body=Body("the message's body", _MEDIA, required=False),
    answers={
        201: Answer("stored", {JSON: documents.OneOrMany}),
        200: Answer("it was stored before, under the same idempotency key", {JSON: documents.OneOrMany}),
    },
    problems=(Code.EXCHANGE_NOT_FOUND, Code.UNROUTABLE, _REUSED, Code.QUEUE_FULL),
    need=on(Permission.PUBLISH, "exchange"),
    example="curl '{url}/v1/exchanges/orders/messages?routing_key=order.created' "
    """-H 'Content-Type: application/json' -d '{"order": 7}'""",
)

_PUBLISH_BATCH: Final = Endpoint(
    "POST",
    "/v1/exchanges/{exchange}/messages/batch",
    "publishBatch",
    "Publishing",
    "Publish many messages, all or none",
    about="An envelope each, in one JSON document or as NDJSON, one a line. Options in the query hold for all "
    "of them. A refusal names the place in the batch in `index`. `Idempotency-Key` covers the whole batch, an "
    "envelope's own `idempotency_key` that envelope.",
    query=PROPERTIES,
    headers=(_KEY,),
    body=Body("the messages", {JSON: documents.Batch, NDJSON: {"type": "string"}, BATCHED: documents.EVENTS_SCHEMA}),
    answers={
        201: Answer("all stored", {JSON: documents.BatchResult}),
        200: Answer("all of it was stored before, under the same idempotency keys", {JSON: documents.BatchResult}),
    },
    problems=(Code.EXCHANGE_NOT_FOUND, Code.UNROUTABLE, _REUSED, Code.QUEUE_FULL),
    need=on(Permission.PUBLISH, "exchange"),
    example="""curl {url}/v1/exchanges/orders/messages/batch -d '{"messages": ["""
    """{"routing_key": "order.created", "json": {"order": 8}}, {"routing_key": "order.paid", "body": "8"}]}'""",
)

PUBLISHING: Final = (
    _PUBLISH,
    _PUBLISH_BATCH,
    replace(
        _PUBLISH,
        path="/v1/queues/{queue}/messages",
        name="publishToQueue",
        summary="Publish a message straight into a queue",
        about=_PUBLISH.about + "\n\nOr reply to a request: `{queue}` is the `reply_to` of the message that asked. "
        "A reply reaches no queue (`[]`) where nobody waits for it any more.",
        segments={"queue": ("the queue's name, or the address of a reply", documents.TARGET_SCHEMA)},
        query=PROPERTIES[1:],
        problems=(Code.QUEUE_NOT_FOUND, _REUSED, Code.QUEUE_FULL),
        need=on(Permission.PUBLISH, "queue"),
        example="curl {url}/v1/queues/invoices/messages -d 'hello'",
    ),
    replace(
        _PUBLISH_BATCH,
        path="/v1/queues/{queue}/messages/batch",
        name="publishBatchToQueue",
        summary="Publish many messages straight into a queue, all or none",
        query=PROPERTIES[1:],
        problems=(Code.QUEUE_NOT_FOUND, _REUSED, Code.QUEUE_FULL),
        need=on(Permission.PUBLISH, "queue"),
        example="""curl {url}/v1/queues/invoices/messages/batch -H 'Content-Type: application/x-ndjson' """
        """--data-binary $'{"body": "one"}\\n{"body": "two"}'""",
    ),
)

CONSUMING: Final = (
    Endpoint(
        "POST",
        "/v1/queues/{queue}/receive",
        "receive",
        "Consuming",
        "Receive messages",
        about="Leases them to the caller. Options stand in the query or in the body. The answer goes out as soon as "
        "there is one message. With `Accept: application/octet-stream` it is one message's raw body, the rest "
        "in `Message-*` headers, or 204.",
        query=RECEIVE_OPTIONS,
        body=Body("options, and receipts to acknowledge first", {JSON: documents.ReceiveOptions}, required=False),
        answers={
            200: Answer("messages, or none", {JSON: documents.ReceiveResult, BYTES: _ANY_BYTES}),
            204: Answer("no message, where a raw body was asked for"),
        },
        problems=(Code.QUEUE_NOT_FOUND, Code.NOT_ACCEPTABLE),
        need=on(Permission.CONSUME, "queue"),
        example="curl -X POST '{url}/v1/queues/invoices/receive?max_messages=10&wait_seconds=20'",
    ),
    Endpoint(
        "POST",
        "/v1/queues/{queue}/ack",
        "ack",
        "Consuming",
        "Acknowledge messages: done, and gone for good",
        body=Body("the receipts", {JSON: documents.AckRequest}),
        answers={200: Answer("how many, and which failed", {JSON: documents.AckResult})},
        problems=(Code.QUEUE_NOT_FOUND,),
        need=on(Permission.CONSUME, "queue"),
        example="""curl {url}/v1/queues/invoices/ack -d '{"receipts": ["..."]}'""",
    ),
    Endpoint(
        "POST",
        "/v1/queues/{queue}/nack",
        "nack",
        "Consuming",
        "Give messages back, or up",
        body=Body("the receipts, and what to do", {JSON: documents.NackRequest}),
        answers={200: Answer("how many, and which failed", {JSON: documents.NackResult})},
        problems=(Code.QUEUE_NOT_FOUND,),
        need=on(Permission.CONSUME, "queue"),
        example="""curl {url}/v1/queues/invoices/nack -d '{"receipts": ["..."], "delay_seconds": 5}'""",
    ),
    Endpoint(
        "POST",
        "/v1/queues/{queue}/extend",
        "extend",
        "Consuming",
        "Keep messages longer",
        body=Body("the receipts, and for how long", {JSON: documents.ExtendRequest}),
        answers={200: Answer("how many, until when, and which failed", {JSON: documents.ExtendResult})},
        problems=(Code.QUEUE_NOT_FOUND,),
        need=on(Permission.CONSUME, "queue"),
        example="""curl {url}/v1/queues/invoices/extend -d '{"receipts": ["..."], "lease_seconds": 60}'""",
    ),
)

TOGETHER: Final = (
    Endpoint(
        "POST",
        "/v1/transactions",
        "transact",
        "Transactions and requests",
        "Acknowledge, give back and publish, all or nothing",
        about="One receipt that does not settle (`lease-lost` or `gone`, naming it) and one publish that is refused "
        "(naming its `index`) refuse it all. Each part needs what it would need by itself. With the same "
        "`Idempotency-Key` again it is answered as the first time.",
        headers=(_KEY,),
        body=Body("what to do", {JSON: documents.Transaction}),
        answers={200: Answer("all of it is done", {JSON: documents.TransactionResult})},
        problems=(
            Code.EXCHANGE_NOT_FOUND,
            Code.QUEUE_NOT_FOUND,
            Code.LEASE_LOST,
            Code.GONE,
            Code.UNROUTABLE,
            _REUSED,
            Code.QUEUE_FULL,
        ),
        need=ANY_TOKEN,
        example="""curl {url}/v1/transactions -d '{"acks": [{"queue": "invoices", "receipts": ["..."]}], """
        """"publishes": [{"exchange": "orders", "routing_key": "invoice.paid", "json": {"order": 7}}]}'""",
    ),
    Endpoint(
        "POST",
        "/v1/exchanges/{exchange}/request",
        "request",
        "Transactions and requests",
        "Publish a message and wait for the reply",
        about="The message is published with an address of ours as `reply_to`, which a consumer uses like the name of "
        "a queue: `POST /v1/queues/{reply_to}/messages`. The answer is that message's body, with its `Content-Type` "
        "and its properties as `Message-*` headers. A request that reaches no queue is a `no-reply` at once, or "
        "`unroutable` under `mandatory`.",
        query=(
            *(one for one in PROPERTIES if one.name != "reply_to"),
            Parameter("wait_seconds", number, "how long to wait for it", 0, default=WAIT_SECONDS, schema=_WAIT),
        ),
        body=Body("the message's body", {"*/*": _ANY_BYTES, STRUCTURED: documents.EVENT_SCHEMA}, required=False),
        answers={200: Answer("the reply's body", {"*/*": _ANY_BYTES})},
        problems=(Code.EXCHANGE_NOT_FOUND, Code.UNROUTABLE, Code.QUEUE_FULL, Code.NO_REPLY),
        need=on(Permission.PUBLISH, "exchange"),
        example="curl '{url}/v1/exchanges/orders/request?routing_key=price.ask&wait_seconds=5' -d '7'",
    ),
)

DATA: Final = (*PUBLISHING, *CONSUMING, *TOGETHER)
