"""What a batch of commands changes, as rows to insert, change and delete.

The machine collects them; a store writes them in one transaction, in this
order: `topology` as listed, then `inserts`, `updates`, `deaths`, `deletes`, `purges`, then leases,
idempotency records (those that ended before the new ones), counters of the `touched` queues and
the `numbers`. `replies` are not stored: they are for whoever waits at a reply address, once all
is on the disk.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from queuesvc.domain.messages import Lease, Message
from queuesvc.domain.model import Binding, Content, Exchange, QueueSettings
from queuesvc.domain.replies import Delivery, Received
from queuesvc.domain.tokens import Token


class ExchangePut(NamedTuple):
    """An exchange was made."""

    exchange: Exchange


class ExchangeDropped(NamedTuple):
    """An exchange is gone."""

    name: str


class QueuePut(NamedTuple):
    """A queue was made, or its settings changed."""

    id: int
    name: str
    settings: QueueSettings


class QueueDropped(NamedTuple):
    """A queue is gone, with all of its rows."""

    id: int


class BindingPut(NamedTuple):
    """A binding was made."""

    binding: Binding


class BindingDropped(NamedTuple):
    """A binding is gone."""

    id: int


class TokenPut(NamedTuple):
    """A token was made, or used."""

    token: Token


class TokenDropped(NamedTuple):
    """A token was revoked."""

    id: str


Topology = (
    ExchangePut | ExchangeDropped | QueuePut | QueueDropped | BindingPut | BindingDropped | TokenPut | TokenDropped
)
"""What is there to be used, and who may use it."""


class NewMessage(NamedTuple):
    """A copy of a message in a queue, published or moved. `copies` of one publish may share the body."""

    number: int
    queue_id: int
    priority: int
    visible_at: int
    ttl_ms: int
    group: str
    copies: int
    content: Content


class Changed(NamedTuple):
    """A message's row as it is now: after a lease of it ended, or when it died."""

    deliveries: int
    failures: int
    lease_number: int
    standing: int
    visible_at: int
    expires_at: int
    number: int


class Recorded(NamedTuple):
    """An idempotency record: the answer to a publish or transaction, for a while."""

    scope: str
    key: str
    fingerprint: bytes
    answer: str
    until: int


class Purged(NamedTuple):
    """Many messages gone at once. Their rows, numbers in runs from-to, are removed bit by bit."""

    queue_id: int
    runs: "array[int]"


# How a message's row stands. A message is leased if a newer lease than its row's names it.
HERE, RAN_OUT, PARKED = 0, 1, 2


class Leased(NamedTuple):
    """A receive as the machine answers it: the store adds the contents (`with_contents`)."""

    lease: int = 0
    token: str = ""
    lease_expires_at: int = 0
    picks: tuple[tuple[int, int, int], ...] = ()

    def with_contents(self, contents: Iterable[Content]) -> Received:
        """The full answer; the contents stand in the order of the picks."""
        deliveries = tuple(Delivery(*pick, content) for pick, content in zip(self.picks, contents, strict=True))
        return Received(self.lease, self.token, self.lease_expires_at, deliveries)


@dataclass(slots=True)
class Effects:
    """All that one batch changes. `numbered`: a number was given away, if nothing else."""

    topology: list[Topology] = field(default_factory=list)
    inserts: list[NewMessage] = field(default_factory=list)
    updates: list[Changed] = field(default_factory=list)
    deaths: dict[int, str] = field(default_factory=dict)
    deletes: list[Message] = field(default_factory=list)
    leases: dict[int, Lease] = field(default_factory=dict)
    leases_ended: list[int] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    numbered: bool = False
    purges: list[Purged] = field(default_factory=list)
    records: list[Recorded] = field(default_factory=list)
    records_ended: list[tuple[str, str]] = field(default_factory=list)
    scopes_ended: list[tuple[str]] = field(default_factory=list)
    replies: list[tuple[str, Content]] = field(default_factory=list)
    moment: bool = False
    """Whether the moment itself is to be kept, if nothing else is: a write that asks whether writing works."""

    def inserted(self, number: int) -> NewMessage | None:
        """The message of this number, if it came in this batch."""
        inserts = self.inserts
        if not inserts or number < inserts[0].number:
            return None
        at = number - inserts[0].number
        if at >= len(inserts) or inserts[at].number != number:
            # Some numbers before it were given to what was not stored.
            at = bisect_left(inserts, number, key=lambda message: message.number)
        return inserts[at] if at < len(inserts) and inserts[at].number == number else None

    def __bool__(self) -> bool:
        return bool(
            self.topology
            or self.inserts
            or self.updates
            or self.deaths
            or self.deletes
            or self.leases
            or self.leases_ended
            or self.touched
            or self.numbered
            or self.purges
            or self.records
            or self.records_ended
            or self.moment
        )
