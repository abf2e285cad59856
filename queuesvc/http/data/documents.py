"""The documents of the data plane, for the description of the API.

The data plane itself reads and writes them by hand, for speed; the tests hold both against each other.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, RootModel

from queuesvc.domain.limits import LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST, PRIORITY_MOST
from queuesvc.http.schema import HEADERS_SCHEMA, DelaySeconds, Headers, Name, Seconds, Shown, Strict, Text, limited

SomeText = Annotated[Text, Field(min_length=1)]
Receipts = Annotated[list[str], Field(json_schema_extra=limited("maxItems", "receive_messages"))]
LeaseSeconds = Annotated[float, Field(ge=LEASE_SECONDS_LEAST, le=LEASE_SECONDS_MOST)]
TARGET_SCHEMA = {"pattern": "^([A-Za-z0-9][A-Za-z0-9._:-]{0,254}|_reply\\.[A-Za-z0-9_-]{1,248})$"}
"""The name of a queue, or a reply address."""
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Envelope(Strict):
    """A message in a batch: its properties, and exactly one of `body`, `body_base64` and `json`."""

    model_config = ConfigDict(populate_by_name=True)

    routing_key: Text | None = None
    """only towards an exchange"""
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MOST)] = 0
    delay_seconds: DelaySeconds | None = None
    """replaces the queue's"""
    ttl_seconds: Annotated[Seconds, Field(gt=0)] | None = None
    """the lower of this and the queue's holds"""
    group: Text | None = None
    correlation_id: Text | None = None
    reply_to: Text | None = None
    mandatory: bool = False
    """refuse (`unroutable`) if it reaches no queue"""
    idempotency_key: SomeText | None = None
    """given again within the window, the first result is given again, and nothing is stored"""
    headers: Headers = None
    content_type: SomeText | None = None
    body: str | None = None
    """text; its type is `text/plain; charset=utf-8` unless given"""
    body_base64: Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})] | None = None
    """bytes; their type is `application/octet-stream` unless given"""
    json_value: Annotated[Any, Field(alias="json")] = None
    """any value, stored compact; its type is `application/json` unless given"""


class Batch(Strict):
    """Messages that are stored all or none."""

    messages: Annotated[list[Envelope], Field(min_length=1, json_schema_extra=limited("maxItems", "batch_messages"))]


class PublishResult(Shown):
    """A message that was stored."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    queues: list[str]
    """the queues that hold a copy"""
    duplicate: bool = False
    """true: it was stored before, with this idempotency key, and answered like this"""


class BatchResult(Shown):
    """A result for each message, in order."""

    results: list[PublishResult]
    duplicate: bool = False
    """true: the whole batch was stored before, with this idempotency key, and answered like this"""


class OneOrMany(RootModel[PublishResult | BatchResult]):
    """A result, or for a batch of CloudEvents a result for each."""


class ReceiveOptions(Strict):
    """What to receive, and how."""

    max_messages: Annotated[int, Field(ge=1, json_schema_extra=limited("maximum", "receive_messages"))] = 1
    wait_seconds: Annotated[float, Field(ge=0, json_schema_extra=limited("maximum", "wait_seconds"))] = 0
    """how long to wait for a first message"""
    lease_seconds: LeaseSeconds | None = None
    """left out: the queue's"""
    consumer: Text | None = None
    """a label, shown while the message is leased"""
    auto_ack: bool = False
    """removed before the answer is written: at most once"""
    ack: Receipts | None = None
    """receipts of this queue, acknowledged before any waiting"""


class Death(Shown):
    """Where and why a message died before."""

    queue: str
    id: str
    reason: Annotated[str, Field(json_schema_extra={"enum": ["rejected", "delivery_limit", "expired", "maxlen"]})]
    detail: str | None
    count: int
    at: Time
    exchange: str
    routing_key: str


class AnyMessage(Shown):
    """What every message is shown with. It has a `body` if that is UTF-8, else a `body_base64`."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    delivery_count: int
    failed_count: int
    exchange: str
    routing_key: str
    content_type: str
    headers: Annotated[dict[str, Any], Field(json_schema_extra=dict(HEADERS_SCHEMA))]
    priority: int
    group: str | None
    correlation_id: str | None
    reply_to: str | None
    published_at: Time
    expires_at: Time | None
    deaths: list[Death]
    body: str = ""
    body_base64: str = ""


class Message(AnyMessage):
    """A message as it is received. It has a `body` if that is UTF-8, else a `body_base64`."""

    receipt: str | None
    """the proof of the lease, with which to settle it; null under `auto_ack`"""
    lease_expires_at: Time | None


class Failure(Shown):
    """A receipt that did not settle."""

    receipt: str
    code: Annotated[str, Field(json_schema_extra={"enum": ["gone", "lease-lost"]})]


class ReceiveResult(Shown):
    """Messages, none if the wait ran out; `acked` and `failed` where receipts came along."""

    messages: list[Message]
    acked: int = 0
    failed: list[Failure] = []


class Receipted(Strict):
    """Receipts of messages to settle."""

    receipts: Receipts


class AckRequest(Receipted):
    """What to acknowledge."""


class NackRequest(Receipted):
    """What to give back, or to give up."""

    requeue: bool = True
    """false dead-letters at once"""
    delay_seconds: DelaySeconds | None = None
    """null is the queue's backoff, 0 at once"""
    reason: str | None = None
    delivery_failed: bool = True
    """false gives back unprocessed work without counting a failure"""


class ExtendRequest(Receipted):
    """What to keep, and for how long from now."""

    lease_seconds: LeaseSeconds


class AckResult(Shown):
    """How many were acknowledged, and which were not."""

    acked: int
    failed: list[Failure]


class NackResult(Shown):
    """How many were given back or given up, and which were not."""

    nacked: int
    failed: list[Failure]


class ExtendResult(Shown):
    """How many leases were extended, until when, and which were not."""

    extended: int
    lease_expires_at: Time | None
    failed: list[Failure]


class TransactionAck(Receipted):
    """Receipts of one queue to acknowledge."""

    queue: Name


class TransactionNack(NackRequest):
    """Receipts of one queue to give back, or to give up."""

    queue: Name


class TransactionPublish(Envelope):
    """A message, and where it goes: exactly one of `exchange` and `queue`."""

    exchange: Name | None = None
    queue: Annotated[str, Field(json_schema_extra=TARGET_SCHEMA)] | None = None
    """or the address of a reply"""


_SETTLES = Field(json_schema_extra=limited("maxItems", "receive_messages"))
_PUBLISHES = Field(json_schema_extra=limited("maxItems", "batch_messages"))


class Transaction(Strict):
    """What is done together, or not at all. There is at least one receipt or one publish."""

    acks: Annotated[list[TransactionAck], _SETTLES] | None = None
    nacks: Annotated[list[TransactionNack], _SETTLES] | None = None
    publishes: Annotated[list[TransactionPublish], _PUBLISHES] | None = None


class TransactionResult(Shown):
    """How many receipts settled, and a result for each publish, in order."""

    acked: int
    nacked: int
    results: list[PublishResult]


EVENT_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": ["string", "null"], "minLength": 1},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "datacontenttype": {"type": ["string", "null"]},
        "dataschema": {"type": ["string", "null"], "format": "uri"},
        "data": {},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
    "patternProperties": {"^[a-z0-9]+$": {}},
    "additionalProperties": False,
}
"""A CloudEvent in JSON. (An extension is a string, an integer of 32 bits or a boolean.)"""

EVENTS_SCHEMA: Mapping[str, Any] = {"type": "array", "items": EVENT_SCHEMA, **limited("maxItems", "batch_messages")}
"""A batch of them."""
