"""The things of the broker as values: exchanges, queues, bindings, messages.

Durations in settings are seconds, as the contract names them. Everything that
the machine computes with is whole milliseconds: `_ms` for a duration, `_at` for
a moment of broker time (milliseconds since 1970 UTC).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

HeaderValue = str | int | float | bool
Headers = Mapping[str, HeaderValue]
Match = Literal["all", "any"]


class ExchangeType(StrEnum):
    """How an exchange compares a message with its bindings."""

    DIRECT = "direct"
    FANOUT = "fanout"
    TOPIC = "topic"
    HEADERS = "headers"


class Overflow(StrEnum):
    """What a full queue does with one more message."""

    REJECT_PUBLISH = "reject_publish"
    DROP_OLDEST = "drop_oldest"


class State(StrEnum):
    """Where a message of a queue stands."""

    READY = "ready"
    LEASED = "leased"
    DELAYED = "delayed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A named router. It stores nothing."""

    name: str
    type: ExchangeType
    alternate_exchange: str | None = None
    deduplication_window_seconds: float = 300


@dataclass(frozen=True, slots=True)
class RetryBackoff:
    """How long a failed message waits: initial × multiplier^(failures - 1), at most max, ± jitter."""

    initial_seconds: float = 1
    multiplier: float = 2
    max_seconds: float = 300
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """A queue's settings by the contract's names, units and defaults (§3)."""

    lease_seconds: float = 30
    delivery_limit: int | None = 20
    retry_backoff: RetryBackoff | None = None
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    message_ttl_seconds: float | None = None
    delay_seconds: float = 0
    max_messages: int | None = None
    max_bytes: int | None = None
    overflow: Overflow = Overflow.REJECT_PUBLISH
    dead_max_messages: int = 100_000
    max_priority: int = 0
    deduplication_window_seconds: float = 300
    expires_seconds: float | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """From the exchange `source` to a queue or to another exchange: exactly one of the two is set.

    Of a headers exchange it has `match` and `headers`; of the other types a `routing_key`.
    """

    id: int
    source: str
    queue: str | None = None
    exchange: str | None = None
    routing_key: str = ""
    match: Match | None = None
    headers: Headers | None = None


class Envelope(NamedTuple):
    """One message as its publisher handed it in.

    `properties` is what the broker carries unread and hands out as it came: the
    inside of a JSON object (without its braces) with the members
    `content_type`, `headers`, `priority`, `group`, `correlation_id` and `reply_to` of the
    contract's §5. The fields beside it are what the rules look at.

    A tuple rather than a dataclass: one is made for each message published.
    """

    body: bytes
    properties: str
    routing_key: str = ""
    headers: Headers = {}
    priority: int = 0
    group: str = ""
    delay_ms: int | None = None
    ttl_ms: int | None = None
    mandatory: bool = False
    idempotency_key: str = ""


class Content(NamedTuple):
    """What a store keeps of a message and the rules do not need: what a consumer is shown.

    `first` is the number of the publish's first copy and makes the public id together
    with `published_at` (see `ids`). `deaths` is the inside of a JSON array, `""` for none.
    `exchange` is `""` for a publish straight into a queue.
    """

    first: int
    published_at: int
    expires_at: int
    exchange: str
    routing_key: str
    properties: str
    deaths: str
    body: bytes


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue's exact counts (§8): what is in it now, and totals since it was made."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
    dead: int = 0
    bytes: int = 0
    oldest_ready_seconds: float | None = None
    consumers_waiting: int = 0
    published: int = 0
    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    expired: int = 0
    dropped: int = 0
    purged: int = 0
    dead_lettered: int = 0
    moved_in: int = 0
    moved_out: int = 0


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue as it is shown: its name, settings and statistics."""

    name: str
    settings: QueueSettings
    stats: QueueStats
