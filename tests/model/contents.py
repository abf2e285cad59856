"""What the reference model holds: messages and queues, counted anew whenever somebody asks."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from queuesvc.domain.model import Content, QueueSettings, QueueStats, QueueView, State
from queuesvc.domain.replies import Shown


@dataclass(eq=False)
class Message:
    """One copy of a message. `lease` is the one whose receipt settles it, also after it ran out."""

    number: int
    content: Content
    priority: int
    state: State
    until: int = 0
    lease: int | None = None
    deliveries: int = 0
    failures: int = 0
    consumer: str = ""

    def shown(self) -> Shown:
        """As somebody sees it who looks without touching."""
        shown = Shown(self.number, self.state, self.deliveries, self.failures, self.content)
        if self.state is not State.LEASED:
            return shown
        return replace(shown, lease_expires_at=self.until, consumer=self.consumer)


@dataclass(eq=False)
class Queue:
    """Messages in the order of their numbers, and the totals of the contract's §8."""

    name: str
    settings: QueueSettings
    messages: list[Message] = field(default_factory=list)
    totals: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(["published", "delivered", "acked", "nacked"], 0)
    )

    def in_state(self, state: State) -> list[Message]:
        return [message for message in self.messages if message.state is state]

    def in_order(self) -> list[Message]:
        """All messages, as they would be handed out if they were ready."""
        return sorted(self.messages, key=lambda message: (-message.priority, message.number))

    def find(self, number: int) -> Message | None:
        return next((message for message in self.messages if message.number == number), None)

    def view(self, now: int, waiting: int) -> QueueView:
        """The queue as it is shown, everything counted anew."""
        ready = self.in_state(State.READY)
        oldest = min((message.content.published_at for message in ready), default=None)
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


def give_back(message: Message, until: int, now: int) -> None:
    """Ready again, or delayed until then."""
    message.state = State.DELAYED if until > now else State.READY
    message.until = until


def backoff_ms(queue: Queue, message: Message) -> int:
    """How long a message waits after its latest failure. (Without jitter: that is a hash.)"""
    backoff = queue.settings.retry_backoff
    if backoff is None:
        return 0
    assert backoff.jitter == 0
    seconds = backoff.initial_seconds
    for _ in range(message.failures - 1):
        seconds = min(seconds * backoff.multiplier, backoff.max_seconds)
    return round(min(seconds, backoff.max_seconds) * 1000)


def bury(queue: Queue, message: Message, now: int, reason: str, detail: str | None) -> None:
    """Dead, in place, and its death is noted; no receipt settles it any more."""
    message.state, message.lease = State.DEAD, None
    death = {
        "queue": queue.name,
        "reason": reason,
        "detail": detail,
        "count": 1,
        "at": datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "exchange": message.content.exchange,
        "routing_key": message.content.routing_key,
    }
    message.content = message.content._replace(deaths=json.dumps(death))
