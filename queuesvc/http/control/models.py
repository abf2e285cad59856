"""The documents of the control plane: what a request may say, and what an answer shows."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from queuesvc.domain import model as domain
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST, PRIORITY_MOST
from queuesvc.http.request import COUNT_MOST
from queuesvc.http.schema import (
    HEADERS_SCHEMA,
    DelaySeconds,
    Headers,
    Name,
    Seconds,
    Shown,
    SomeSeconds,
    Strict,
    Text,
    may_be_null,
    optional_may_be_null,
)

MULTIPLIER_MOST: Final = 1000
"""Beyond it a second failure already means the longest delay."""

_DEFAULTS: Final = domain.QueueSettings()
_BACKOFF: Final = domain.RetryBackoff()

Count = Annotated[int, Field(ge=1, le=COUNT_MOST)]
Type = Annotated[domain.ExchangeType, Field(strict=False)]
Overflow = Annotated[domain.Overflow, Field(strict=False)]


class ExchangeDeclaration(Strict):
    """What an exchange is declared with."""

    type: Type
    """how it compares a message with its bindings"""
    alternate_exchange: Name | None = None
    """where a message goes that reaches no queue from here"""
    deduplication_window_seconds: Seconds = 300
    """how long an idempotency key is remembered"""

    def exchange(self, name: str) -> domain.Exchange:
        """The exchange of that name."""
        return domain.Exchange(name, self.type, self.alternate_exchange, self.deduplication_window_seconds)


class RetryBackoff(Strict):
    """How long a failed message waits: initial × multiplier^(failures - 1), at most max, give or take the jitter."""

    initial_seconds: Seconds = _BACKOFF.initial_seconds
    multiplier: Annotated[float, Field(ge=1, le=MULTIPLIER_MOST)] = _BACKOFF.multiplier
    max_seconds: Seconds = _BACKOFF.max_seconds
    jitter: Annotated[float, Field(ge=0, le=1)] = _BACKOFF.jitter
    """the part by which the delay is made longer or shorter at random"""


class QueueDeclaration(Strict):
    """What a queue is declared with; a setting left out has its default."""

    lease_seconds: Annotated[float, Field(ge=LEASE_SECONDS_LEAST, le=LEASE_SECONDS_MOST)] = _DEFAULTS.lease_seconds
    """how long a receive holds a message"""
    delivery_limit: Count | None = _DEFAULTS.delivery_limit
    """failures (nack, or lease run out) before the message is dead-lettered; null: never"""
    retry_backoff: RetryBackoff | None = None
    """the delay before a failed message is ready again; null: none"""
    dead_letter_exchange: Name | None = None
    """where dead messages go; null: they stay in the queue in state `dead`"""
    dead_letter_routing_key: Text | None = None
    """the routing key they go with; null: the message's own"""
    message_ttl_seconds: SomeSeconds | None = None
    """a message not settled by then expires"""
    delay_seconds: DelaySeconds = _DEFAULTS.delay_seconds
    """a new message is ready only after this"""
    max_messages: Count | None = None
    """the most ready and delayed messages the queue holds"""
    max_bytes: Count | None = None
    """the most body bytes of its ready and delayed messages"""
    overflow: Overflow = _DEFAULTS.overflow
    """what a full queue does with one more message"""
    dead_max_messages: Annotated[int, Field(ge=0, le=COUNT_MOST)] = _DEFAULTS.dead_max_messages
    """publishes are refused while more dead messages than this wait for a person"""
    max_priority: Annotated[int, Field(ge=0, le=PRIORITY_MOST)] = _DEFAULTS.max_priority
    """priorities from 0 (lowest) to this are honoured; a higher one counts as this"""
    deduplication_window_seconds: Seconds = _DEFAULTS.deduplication_window_seconds
    """how long an idempotency key of a publish straight into the queue is remembered"""
    expires_seconds: SomeSeconds | None = None
    """the queue is deleted after being unused and empty for this long; null: never"""
    paused: bool = _DEFAULTS.paused
    """publishing goes on, receives get nothing"""

    def settings(self) -> domain.QueueSettings:
        """All the settings, as the domain has them."""
        return domain.QueueSettings(**{name: self._value(name) for name in QueueDeclaration.model_fields})

    def _value(self, name: str) -> Any:
        value = getattr(self, name)
        return domain.RetryBackoff(**dict(value)) if isinstance(value, RetryBackoff) else value


class QueueChanges(QueueDeclaration):
    """The settings of a queue to change; null sets null where a setting may be null."""

    model_config = ConfigDict(json_schema_extra=None)

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, value: Any) -> Any:
        if type(value) is dict:
            for name, item in value.items():
                if item is None and name in cls.model_fields and not may_be_null(cls.model_fields[name].annotation):
                    raise invalid(name, "must not be null")
        return value

    def changes(self) -> dict[str, Any]:
        """The settings that were given, by their names."""
        return {name: self._value(name) for name in self.model_fields_set}


def _one_target(schema: dict[str, Any]) -> None:
    optional_may_be_null(schema)
    string, null = {"type": "string"}, {"type": "null"}
    schema["oneOf"] = [
        {"required": ["queue"], "properties": {"queue": string, "exchange": null}},
        {"required": ["exchange"], "properties": {"exchange": string, "queue": null}},
    ]


class BindingDeclaration(Strict):
    """What a binding is made with: a target, and a routing key or a header match."""

    model_config = ConfigDict(json_schema_extra=_one_target)

    queue: Name | None = None
    """the queue that it leads to; exactly one of `queue` and `exchange` is given"""
    exchange: Name | None = None
    """the exchange that it leads to"""
    routing_key: Text | None = None
    """of a direct or topic exchange: the key, or a pattern of words with `*` (one) and `#` (zero or more)"""
    match: Annotated[domain.Match | None, WithJsonSchema({"enum": ["all", "any", None]})] = None
    """of a headers exchange: whether all the headers must be equal, or any"""
    headers: Headers = None
    """of a headers exchange: what a message's headers are compared with"""

    @model_validator(mode="after")
    def _check_one_target(self) -> "BindingDeclaration":
        if (self.queue is None) == (self.exchange is None):
            raise invalid("queue", "give exactly one of queue and exchange")
        return self


class Exchange(Shown):
    """An exchange as it is shown."""

    name: Name
    type: domain.ExchangeType
    alternate_exchange: Name | None
    deduplication_window_seconds: float


class QueueStats(Shown):
    """A queue's exact counts: what is in it now, and totals since it was made."""

    ready: int
    """messages that can be received, with those that wait behind their group"""
    leased: int
    delayed: int
    dead: int
    bytes: int
    """body bytes in the queue"""
    oldest_ready_seconds: float | None
    consumers_waiting: int
    published: int
    delivered: int
    acked: int
    nacked: int
    expired: int
    dropped: int
    purged: int
    dead_lettered: int
    moved_in: int
    moved_out: int


class ShownBackoff(Shown):
    """A retry backoff as it is shown."""

    initial_seconds: float
    multiplier: float
    max_seconds: float
    jitter: float


class ShownQueueDefinition(Shown):
    """A queue's name and settings."""

    name: Name
    lease_seconds: float
    delivery_limit: int | None
    retry_backoff: ShownBackoff | None
    dead_letter_exchange: Name | None
    dead_letter_routing_key: str | None
    message_ttl_seconds: float | None
    delay_seconds: float
    max_messages: int | None
    max_bytes: int | None
    overflow: domain.Overflow
    dead_max_messages: int
    max_priority: int
    deduplication_window_seconds: float
    expires_seconds: float | None
    paused: bool


class Queue(ShownQueueDefinition):
    """A queue as it is shown: name, settings, statistics."""

    stats: QueueStats


class Binding(Shown):
    """A binding as it is shown: a `queue` or an `exchange`; a `routing_key`, or `match` and `headers`."""

    id: str
    source: Name
    queue: Name | None = None
    exchange: Name | None = None
    routing_key: str | None = None
    match: domain.Match | None = None
    headers: Annotated[dict[str, Any] | None, WithJsonSchema(dict(HEADERS_SCHEMA))] = None


class ExchangeList(Shown):
    """A page of exchanges, by name."""

    exchanges: list[Exchange]
    next: str | None
    """the value to pass as `after` for more; null at the end"""


class QueueList(Shown):
    """A page of queues, by name."""

    queues: list[Queue]
    next: str | None
    """the value to pass as `after` for more; null at the end"""


class BindingList(Shown):
    """A page of bindings, by id."""

    bindings: list[Binding]
    next: str | None
    """the value to pass as `after` for more; null at the end"""


class RouteResult(Shown):
    """Where a message would go."""

    queues: list[str]
    """the queues that would get a copy"""
    bindings: list[Binding]
    """the bindings that match"""
