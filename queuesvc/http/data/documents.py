"""The documents of the data plane, for the description of the API.

The data plane itself reads and writes them by hand, for speed; the tests hold both against each other.
"""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from queuesvc.domain.limits import LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST, PRIORITY_MOST, Limits
from queuesvc.http.schema import HEADERS_SCHEMA, DelaySeconds, Headers, Seconds, Shown, Strict, Text

_LIMITS = Limits()

Receipts = Annotated[list[str], Field(min_length=1, max_length=_LIMITS.receive_messages)]
LeaseSeconds = Annotated[float, Field(ge=LEASE_SECONDS_LEAST, le=LEASE_SECONDS_MOST)]
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
    headers: Headers = None
    content_type: Annotated[Text, Field(min_length=1)] | None = None
    body: str | None = None
    """text; its type is `text/plain; charset=utf-8` unless given"""
    body_base64: Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})] | None = None
    """bytes; their type is `application/octet-stream` unless given"""
    json_value: Annotated[Any, Field(alias="json")] = None
    """any value, stored compact; its type is `application/json` unless given"""


class Batch(Strict):
    """Messages that are stored all or none."""

    messages: Annotated[list[Envelope], Field(min_length=1, max_length=_LIMITS.batch_messages)]


class PublishResult(Shown):
    """A message that was stored."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    queues: list[str]
    """the queues that hold a copy"""


class BatchResult(Shown):
    """A result for each message, in order."""

    results: list[PublishResult]


class ReceiveOptions(Strict):
    """What to receive, and how."""

    max_messages: Annotated[int, Field(ge=1, le=_LIMITS.receive_messages)] = 1
    wait_seconds: Annotated[float, Field(ge=0, le=_LIMITS.wait_seconds)] = 0
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


class Message(Shown):
    """A message as it is received. It has a `body` if that is UTF-8, else a `body_base64`."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    receipt: str | None
    """the proof of the lease, with which to settle it; null under `auto_ack`"""
    lease_expires_at: Time | None
    delivery_count: int
    failed_count: int
    exchange: str
    routing_key: str
    content_type: str
    headers: Annotated[dict[str, Any], Field(json_schema_extra=HEADERS_SCHEMA)]
    priority: int
    group: str | None
    correlation_id: str | None
    reply_to: str | None
    published_at: Time
    expires_at: Time | None
    deaths: list[Death]
    body: str = ""
    body_base64: str = ""


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
