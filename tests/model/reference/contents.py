"""What the reference model holds: messages and queues, counted anew whenever somebody asks."""

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from queuesvc.domain.ids import Ids
from queuesvc.domain.model import Content, QueueSettings, QueueStats, QueueView, State

IDS = Ids(0)  # the model's own mark
WHY = "*"  # the detail of a death where the contract asks for words, but not for which
NOW_IN_IT = ("ready", "leased", "delayed", "dead", "bytes", "oldest_ready_seconds", "consumers_waiting")


@dataclass(eq=False)
class Message:
    """One copy of a message. `lease` is the one whose receipt settles it, also after it ran out, `place` that in it.

    `wanted_priority` is what its publisher asked for. `holds`: it was given back with a
    delay, and while that lasts it holds up its group. `deaths` are the newest first.
    """

    number: int
    content: Content
    wanted_priority: int = 0
    priority: int = 0
    group: str = ""
    own_ttl_ms: int | None = None
    state: State = State.READY
    until: int = 0
    lease: int | None = None
    place: int = 0
    holds: bool = False
    deliveries: int = 0
    failures: int = 0
    deaths: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return IDS.make(self.content.published_at, self.content.first)

    @property
    def expires_at(self) -> int:
        return self.content.expires_at

    def expired(self, now: int) -> bool:
        """Whether its time to live has passed; it stops while the message is dead."""
        return 0 < self.expires_at <= now and self.state is not State.DEAD

    def shown(self) -> Content:
        """As it is handed out."""
        return self.content._replace(deaths=json.dumps(self.deaths, sort_keys=True)[1:-1])

    def properties(self) -> dict[str, Any]:
        """What the publisher said of it."""
        said: dict[str, Any] = json.loads("{" + self.content.properties + "}")
        return said


@dataclass(eq=False)
class Queue:
    """Messages in the order of their numbers, and the totals of the contract's §8.

    `id` tells it from another queue of the same name. `used_at` is when it was last used.
    """

    id: int
    name: str
    settings: QueueSettings
    used_at: int
    messages: list[Message] = field(default_factory=list)
    totals: dict[str, int] = field(
        default_factory=lambda: {item.name: 0 for item in fields(QueueStats) if item.name not in NOW_IN_IT}
    )

    def in_state(self, *states: State) -> list[Message]:
        return [message for message in self.messages if message.state in states]

    def find(self, number: int) -> Message | None:
        return next((message for message in self.messages if message.number == number), None)

    def named(self, id_: str) -> Message | None:
        return next((message for message in self.messages if message.id == id_), None)

    def add(self, message: Message) -> None:
        self.messages.append(message)

    def remove(self, message: Message, counted_as: str, now: int) -> None:
        """Gone, as one of the totals tells; the queue may be empty now."""
        self.messages.remove(message)
        if counted_as:
            self.totals[counted_as] += 1
        if not self.messages:
            self.used_at = now

    def bounded(self) -> tuple[int, int]:
        """What its limits count: messages ready and delayed, and the bytes of their bodies."""
        counted = self.in_state(State.READY, State.DELAYED)
        return len(counted), sum(len(message.content.body) for message in counted)

    def over(self, more: int = 0, more_bytes: int = 0) -> bool:
        """Whether with so many more it would hold more than it may."""
        count, bytes_ = self.bounded()
        most, most_bytes = self.settings.max_messages, self.settings.max_bytes
        return (most is not None and count + more > most) or (
            most_bytes is not None and bytes_ + more_bytes > most_bytes
        )

    def view(self, now: int, waiting: int) -> QueueView:
        """The queue as it is shown, everything counted anew."""
        ready = self.in_state(State.READY)
        oldest = ready[0].content.published_at if ready else None  # the one that has been here longest
        stats = QueueStats(
            ready=len(ready),
            leased=len(self.in_state(State.LEASED)),
            delayed=len(self.in_state(State.DELAYED)),
            dead=len(self.in_state(State.DEAD)),
            bytes=sum(len(message.content.body) for message in self.messages),
            oldest_ready_seconds=None if oldest is None else (now - oldest) / 1000,
            consumers_waiting=waiting,
            **self.totals,
        )
        return QueueView(self.name, self.settings, stats)


def moment(at: int) -> str:
    """RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lower_ttl(own_ms: int | None, queue: Queue) -> int | None:
    """Of the two times to live the lower, in milliseconds; None where there is neither."""
    seconds = queue.settings.message_ttl_seconds
    both = [ttl for ttl in (own_ms, None if seconds is None else round(seconds * 1000)) if ttl is not None]
    return min(both, default=None)


def expiry(own_ms: int | None, queue: Queue, now: int) -> int:
    """When a message that comes into the queue now expires; 0: never."""
    ttl_ms = lower_ttl(own_ms, queue)
    return 0 if ttl_ms is None else now + ttl_ms
