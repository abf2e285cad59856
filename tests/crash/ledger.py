"""What the clients were told, by tag (each message's body begins with its own) and queue."""

from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """What is known of a call."""

    UNKNOWN = "the connection broke before the answer"
    DONE = "answered 2xx"
    REFUSED = "answered 4xx"


@dataclass(slots=True)
class Sent:
    """One publish call of one or more messages to the same queues."""

    tags: list[str]
    queues: tuple[str, ...]
    sizes: list[int]
    outcome: Outcome = Outcome.UNKNOWN
    ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Delivered:
    """One delivery of one copy, and what became of it.

    `until` is the end of its lease as the broker told it; the other moments are when it came, and when
    the last call to settle it was sent and answered. All in seconds since 1970.
    """

    queue: str
    tag: str
    id: str
    receipt: str
    delivery_count: int
    failed_count: int
    until: float
    came_at: float
    settled: str = ""
    unknown: bool = False
    asked_at: float = 0
    told_at: float = 0


@dataclass(slots=True)
class Ledger:
    """All of it."""

    sent: list[Sent] = field(default_factory=list)
    by_tag: dict[str, Sent] = field(default_factory=dict)
    delivered: dict[tuple[str, str], list[Delivered]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unanswered: int = 0
    tried_again: int = 0
    tags: int = 0

    def new_tag(self) -> str:
        """A tag that no message had before."""
        self.tags += 1
        return f"m{self.tags}"

    def will_send(self, sent: Sent) -> None:
        """Before the call."""
        self.sent.append(sent)
        self.by_tag.update((tag, sent) for tag in sent.tags)

    def was_delivered(self, delivery: Delivered) -> None:
        """A message came; it must be one that was sent there, and not one that was settled for good."""
        copy = (delivery.queue, delivery.tag)
        earlier = self.delivered.setdefault(copy, [])
        sent = self.by_tag.get(delivery.tag)
        if sent is None or delivery.queue not in sent.queues:
            self.wrong(delivery, "was never sent there")
        elif sent.outcome is Outcome.REFUSED:
            self.wrong(delivery, "was refused")
        elif sent.ids and sent.ids[sent.tags.index(delivery.tag)] != delivery.id:
            self.wrong(delivery, f"has another id than was answered, {sent.ids}")
        for before in earlier:
            if before.delivery_count == delivery.delivery_count:
                self.wrong(delivery, "came twice with one delivery_count")
            if before.settled in {"acked", "dead"} and before.delivery_count < delivery.delivery_count:
                self.wrong(delivery, f"came again after it was {before.settled}")
        earlier.append(delivery)

    def outdated(self, got: list[Delivered]) -> list[Delivered]:
        """Earlier deliveries of these same copies that nobody settled: their receipts must be worth nothing now."""
        earlier = (before for new in got for before in self.delivered[new.queue, new.tag] if before is not new)
        return [before for before in earlier if before.settled == ""]

    def wrong(self, delivery: Delivered, what: str) -> None:
        """Note a broken promise."""
        self.problems.append(f"{delivery.queue}/{delivery.tag} ({delivery}): {what}")

    def copies(self, sent: Sent) -> list[tuple[str, str]]:
        """The copies that a publish makes."""
        return [(queue, tag) for tag in sent.tags for queue in sent.queues]

    def settled(self, how: str) -> list[Delivered]:
        """The deliveries that were settled so, for certain."""
        return [d for deliveries in self.delivered.values() for d in deliveries if d.settled == how]

    def perhaps(self, how: str) -> list[Delivered]:
        """Those for which the answer to such a call never came."""
        return [d for deliveries in self.delivered.values() for d in deliveries if d.unknown and d.settled == how + "?"]
