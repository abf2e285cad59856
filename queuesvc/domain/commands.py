"""Everything that changes the broker's state, and every question that reads it, as values.

A store applies them in batches; each stands alone: a refused one leaves no trace.
Times in them are durations in milliseconds (`_ms`); the moment comes with the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from queuesvc.domain.model import Envelope, Exchange, Headers, Match, QueueSettings, State
from queuesvc.domain.tokens import Permissions

# --- topology -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutExchange:
    """Declare an exchange. Reply: `Declared[Exchange]`; `conflict` where one differs."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class DeleteExchange:
    """Delete an exchange with the bindings from it and to it. Reply: `Done`."""

    name: str


@dataclass(frozen=True, slots=True)
class PutQueue:
    """Declare a queue. Reply: `Declared[QueueView]`; `conflict` where one differs."""

    name: str
    settings: QueueSettings


@dataclass(frozen=True, slots=True)
class PatchQueue:
    """Change some settings of a queue, by their names. Reply: `QueueView`."""

    name: str
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteQueue:
    """Delete a queue with its messages and bindings. Reply: `Done`; `queue-not-empty` under `if_empty`."""

    name: str
    if_empty: bool = False


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind an exchange to a queue or to an exchange. Reply: `Declared[Binding]`.

    `match` and `headers` belong to a headers exchange, `routing_key` to the others:
    `invalid-request` where they do not fit the source's type.
    """

    source: str
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    match: Match | None = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Unbind:
    """Remove a binding by its id. Reply: `Done`."""

    id: int


# --- messages -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish envelopes to an exchange, or straight into a queue: exactly one is given.

    All of them are stored or, where one is refused, none (`index` names it when
    `batch` is set). The routing key of one straight into a queue is the queue's name: who
    makes the envelope sets it. An `idempotency_key` covers the whole of it (an envelope's own covers
    that envelope). Reply: `Published`.
    """

    envelopes: tuple[Envelope, ...]
    exchange: str | None = None
    queue: str | None = None
    batch: bool = False
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Receive:
    """Lease up to `max_messages` of a queue. Reply: `Received`, empty where nothing is ready.

    Compared by identity: it is also the key under which a broker waits for its answer.
    With the id of a `token` it is refused (`unauthenticated`) unless that is there and valid at the moment of handing
    out: nothing reaches one who waits under a token that was revoked meanwhile, not in the same batch either.
    """

    queue: str
    max_messages: int = 1
    lease_ms: int | None = None
    consumer: str = ""
    auto_ack: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """Settle leases: done, purged. Reply: `Settled`."""

    queue: str
    receipts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Settle leases: given back (`requeue`) or dead-lettered. Reply: `Settled`.

    `delay_ms` None is the queue's backoff, 0 at once. `delivery_failed` counts a failure.
    """

    queue: str
    receipts: tuple[str, ...]
    requeue: bool = True
    delay_ms: int | None = None
    reason: str | None = None
    delivery_failed: bool = True


@dataclass(frozen=True, slots=True)
class Extend:
    """Keep leases for `lease_ms` from now. Reply: `Settled` with `lease_expires_at`."""

    queue: str
    receipts: tuple[str, ...]
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Undeliver:
    """Take back a lease whose answer could not be written: ready again, no delivery counted. Reply: `Done`."""

    queue: str
    lease: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """Acks, nacks and publishes of one envelope each: all of it, or nothing. Reply: `Transacted`.

    One receipt that does not settle refuses it (`lease-lost` or `gone`, naming it), and so
    does one publish (`index` names it).
    """

    acks: tuple[Ack, ...] = ()
    nacks: tuple[Nack, ...] = ()
    publishes: tuple[Publish, ...] = ()
    idempotency_key: str = ""


# --- repairing ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PurgeQueue:
    """Remove all messages in a state; without one the ready and the delayed. Reply: `Purge`."""

    queue: str
    state: State | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RemoveMessage:
    """Remove one message, whatever its state. Reply: `Done`; `message-not-found`."""

    queue: str
    id: str


@dataclass(frozen=True, slots=True)
class Redrive:
    """Take dead messages up again, or send those that died elsewhere back there. Reply: `Redriven`.

    `source` "dead": the queue's own dead ones, to the tail of it, or of `to_queue`. "arrived": the ready ones
    that were dead-lettered into it, to the queue they died in, or `to_queue`. None: dead if there are any.
    At most `max_messages` are moved, and a bounded number is looked at, behind the number `after`:
    the reply says whether to go on. With `ids`, those alone. Those from the number `before` on came
    later than the redrive and are left; 0 is as of now. Where a message would go to another queue, whose
    name none of the globs `targets` matches (None: any), it is as if that queue were gone.
    """

    queue: str
    max_messages: int
    source: Literal["dead", "arrived"] | None = None
    ids: tuple[str, ...] | None = None
    to_queue: str | None = None
    after: int = 0
    before: int = 0
    dry_run: bool = False
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """End leases now, uncounted, by the ids of their messages. Reply: `Released`."""

    queue: str
    ids: tuple[str, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PutDefinitions:
    """Merge a topology in, all or nothing: make what is missing, change settings that differ. Reply: `Done`.

    An exchange of another type than the one there is a `conflict`.
    """

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[tuple[str, QueueSettings], ...] = ()
    bindings: tuple[Bind, ...] = ()


# --- tokens -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateToken:
    """Make a token that ends after `expires_ms` (None: never). Reply: `Token`; `conflict` where the name is taken.

    Its id and the digest of its secret come in: the rules draw no random numbers.
    """

    name: str
    id: str
    digest: bytes = field(repr=False)
    permissions: Permissions
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """Remove a token. Reply: `Done`; `not-found`."""

    name: str


@dataclass(frozen=True, slots=True)
class NoteTokenUse:
    """Keep when tokens were used last, by their ids; of those that are gone nothing. Reply: `Done`."""

    uses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Do what is due, and keep the moment: a write, always. Reply: `Done`. (Every batch does what is due first.)"""


# --- questions ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetExchange:
    """Reply: `Exchange`."""

    name: str


@dataclass(frozen=True, slots=True)
class ListExchanges:
    """Reply: `Page[Exchange]`, by name; only what one of the globs `visible` matches (None: all)."""

    after: str = ""
    limit: int = 100
    visible: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class GetQueue:
    """Reply: `QueueView`."""

    name: str


@dataclass(frozen=True, slots=True)
class ListQueues:
    """Reply: `Page[QueueView]`, by name; only what one of the globs `visible` matches (None: all)."""

    after: str = ""
    limit: int = 100
    visible: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ListBindings:
    """The bindings from an exchange, or those to a queue. Reply: `Page[Binding]`, by id.

    Only those of which both ends are matched by one of the globs `visible` (None: all).
    """

    exchange: str | None = None
    queue: str | None = None
    after: int = 0
    limit: int = 100
    visible: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class GetBinding:
    """Reply: `Binding`; `binding-not-found`."""

    id: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where a publish would go. Reply: `Routed`."""

    exchange: str
    routing_key: str = ""
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class GetDefinitions:
    """Reply: `Definitions`."""


@dataclass(frozen=True, slots=True)
class BrowseMessages:
    """Messages in the order of delivery, untouched. Reply: `Page[Shown]`, perhaps short (see `BROWSED`).

    Without `state` those in any. `after` is the `next` of the page before.
    """

    queue: str
    state: State | None = None
    limit: int = 100
    after: str = ""
    routing_key: str | None = None
    group: str | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class GetMessage:
    """Reply: `Shown`; `message-not-found`."""

    queue: str
    id: str


@dataclass(frozen=True, slots=True)
class GetToken:
    """Reply: `Token`; `not-found`."""

    name: str


@dataclass(frozen=True, slots=True)
class ListTokens:
    """Reply: `Page[Token]`, by name."""

    after: str = ""
    limit: int = 100


OfTopology = PutExchange | DeleteExchange | PutQueue | PatchQueue | DeleteQueue | Bind | Unbind | PutDefinitions
OfMessages = Publish | Receive | Ack | Nack | Extend | Undeliver | Transaction
OfRepair = PurgeQueue | RemoveMessage | Redrive | Release
OfTokens = CreateToken | RevokeToken | NoteTokenUse
Command = OfTopology | OfMessages | OfRepair | OfTokens | Tick

# What needs room in a store, and asks for it.
GROWING = (Publish, Transaction, Tick)

AboutTopology = GetExchange | ListExchanges | GetQueue | ListQueues | ListBindings | GetBinding | Route | GetDefinitions
Query = AboutTopology | BrowseMessages | GetMessage | GetToken | ListTokens
