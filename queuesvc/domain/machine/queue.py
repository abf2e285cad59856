"""A queue as the machine holds it: what is in it, and its counters."""

from array import array
from dataclasses import dataclass, fields

from queuesvc.domain.limits import PRIORITY_MOST
from queuesvc.domain.messages import Group, Message
from queuesvc.domain.model import QueueSettings, QueueStats, QueueView
from queuesvc.domain.ready import Ready


@dataclass(slots=True)
class Totals:
    """What has happened in a queue since it was made. Stored with the queue."""

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

    def values(self) -> tuple[int, ...]:
        """The totals in the order of their names here."""
        return tuple(getattr(self, name) for name in TOTALS)


TOTALS = tuple(field.name for field in fields(Totals))


def milliseconds(seconds: float) -> int:
    """Whole milliseconds of a duration in seconds."""
    return round(seconds * 1000)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes: the queues and, ready for the answer, their names."""

    names: tuple[str, ...]
    queues: tuple["Queue", ...]


class Queue:
    """A queue: settings, messages, counts.

    `messages` holds those that are more than fresh (see `messages.Message`); a fresh
    one stands only in `ready`. `bytes` are the bodies of all messages here, `open_bytes` those of
    the ready and delayed ones. `used_at` is when it was last used or became empty.
    """

    __slots__ = (
        "bytes",
        "dead",
        "delay_ms",
        "delayed",
        "expires_ms",
        "groups",
        "id",
        "lease_ms",
        "leased",
        "limited",
        "max_priority",
        "messages",
        "name",
        "open_bytes",
        "plain",
        "ready",
        "ready_count",
        "redriving",
        "route",
        "settings",
        "totals",
        "ttl_ms",
        "used_at",
    )

    def __init__(self, id_: int, name: str, settings: QueueSettings) -> None:
        self.id = id_
        self.name = name
        self.messages: dict[int, Message] = {}
        self.groups: dict[str, Group] = {}
        self.ready = Ready(self.messages)
        self.ready_count = self.leased = self.delayed = self.dead = self.bytes = self.open_bytes = 0
        self.used_at = 0
        # What a redrive that is under way looks at: its source, the number it began before, and the messages.
        self.redriving: tuple[str, int, array[int]] | None = None
        self.route = Route((name,), (self,))
        self.totals = Totals()
        self.configure(settings)

    def configure(self, settings: QueueSettings) -> None:
        """Hold to these settings from now on."""
        self.settings = settings
        self.lease_ms = milliseconds(settings.lease_seconds)
        self.delay_ms = milliseconds(settings.delay_seconds)
        self.ttl_ms = milliseconds(settings.message_ttl_seconds or 0)
        self.expires_ms = milliseconds(settings.expires_seconds or 0)
        self.max_priority = min(settings.max_priority, PRIORITY_MOST)
        # Neither delay nor time to live of its own: what is published here is ready and stays.
        self.plain = not (self.delay_ms or self.ttl_ms)
        self.limited = settings.max_messages is not None or settings.max_bytes is not None

    @property
    def count(self) -> int:
        """How many messages are here, in any state."""
        return self.ready_count + self.leased + self.delayed + self.dead

    @property
    def open_count(self) -> int:
        """How many are ready or delayed: what `max_messages` counts."""
        return self.ready_count + self.delayed

    def overfull(self, more: int = 0, more_bytes: int = 0) -> bool:
        """Whether so many messages and bytes more would be above what the queue may hold."""
        settings = self.settings
        return (settings.max_messages is not None and self.open_count + more > settings.max_messages) or (
            settings.max_bytes is not None and self.open_bytes + more_bytes > settings.max_bytes
        )

    def view(self, now: int, waiting: int) -> QueueView:
        """The queue as it is shown."""
        oldest = self.ready.oldest(now)
        totals = {name: getattr(self.totals, name) for name in TOTALS}
        stats = QueueStats(
            ready=self.ready_count,
            leased=self.leased,
            delayed=self.delayed,
            dead=self.dead,
            bytes=self.bytes,
            oldest_ready_seconds=None if oldest is None else max(0, now - oldest[1]) / 1000,
            consumers_waiting=waiting,
            **totals,
        )
        return QueueView(self.name, self.settings, stats)
