"""What the broker answers, as values."""

from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from queuesvc.domain.errors import Code
from queuesvc.domain.model import Binding, Content, Exchange, QueueSettings, State

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """It is done; there is nothing to say of it."""


@dataclass(frozen=True, slots=True)
class Declared(Generic[T]):
    """What was declared, and whether it was made now (201) or was there already (200)."""

    value: T
    created: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a sorted list, and the value to pass as `after` for more (None at the end)."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Routed:
    """The queues a publish would reach, by name, and the bindings that matched, by id."""

    queues: tuple[str, ...]
    bindings: tuple[Binding, ...]


class PublishResult(NamedTuple):
    """The number of a message's first copy and the names of the queues that hold one.

    For a duplicate, those of the first publish and, in `original_at`, its moment.
    """

    first: int
    queues: tuple[str, ...]
    original_at: int = 0


class Published(NamedTuple):
    """One result an envelope, in order, all published at the same moment but for duplicates.

    `duplicate`: all of it is the answer to an earlier publish with the same idempotency key.
    """

    published_at: int
    results: tuple[PublishResult, ...]
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Transacted:
    """What a transaction did: receipts settled, and a result for each publish."""

    acked: int
    nacked: int
    published: Published


@dataclass(frozen=True, slots=True)
class Definitions:
    """The whole topology: exchanges and queues by name, bindings by id."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[tuple[str, QueueSettings], ...]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as it stands, without touching it. `number` is its place among the queue's.

    While leased, `consumer` has it until `lease_expires_at`.
    """

    number: int
    state: State
    delivery_count: int
    failed_count: int
    content: Content
    lease_expires_at: int = 0
    consumer: str = ""


@dataclass(frozen=True, slots=True)
class Purge:
    """How many messages were purged, or would be."""

    purged: int


@dataclass(frozen=True, slots=True)
class Redriven:
    """How many messages were (or would be) redriven, and those that could not be, by id.

    `source` is what was chosen. `after` is the number of the last message looked at, None
    once there are no more; `before` the first that came too late.
    """

    moved: int
    failed: tuple[tuple[str, Code], ...] = ()
    source: Literal["dead", "arrived"] = "dead"
    after: int | None = None
    before: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """How many leases were (or would be) ended, and the ids for which there was none."""

    released: int
    failed: tuple[tuple[str, Code], ...] = ()


class Delivery(NamedTuple):
    """One leased message: its number (which ends its receipt), its counts, its content."""

    number: int
    delivery_count: int
    failed_count: int
    content: Content


class Received(NamedTuple):
    """The messages of one receive, under one lease.

    `token` begins the receipt of each (see `receipts`). Without messages, and
    under `auto_ack`, `lease` and `lease_expires_at` are 0 and `token` is empty.
    """

    lease: int = 0
    token: str = ""
    lease_expires_at: int = 0
    deliveries: tuple[Delivery, ...] = ()


class Failure(NamedTuple):
    """A receipt that did not settle: `gone` or `lease-lost`."""

    receipt: str
    code: Code


@dataclass(frozen=True, slots=True)
class Settled:
    """How many receipts settled, and which did not. `lease_expires_at` is set by an extend."""

    count: int
    failed: tuple[Failure, ...] = ()
    lease_expires_at: int = 0


Reply = object
