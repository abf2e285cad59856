"""A message, a group and a lease as the machine knows them: no body, only what the rules compute with."""

from heapq import heappop, heappush

from queuesvc.domain.model import State

READY = State.READY
LEASED = State.LEASED
DELAYED = State.DELAYED
DEAD = State.DEAD


class Message:
    """A message that is more than fresh: leased, or was, or delayed, grouped, expiring, dead.

    `state` is None only while it passes from one state to the next.

    `lease` is set while leased, and still after that lease ran out, for as long as its receipt
    settles; `lease_number` is the newest lease that ended for it (0: none yet). `deliveries`
    counts the leases handed out, `failures` those that failed. `holds`: it holds its group up.
    """

    __slots__ = (
        "deliveries",
        "expires_at",
        "failures",
        "group",
        "holds",
        "lease",
        "lease_number",
        "number",
        "priority",
        "published_at",
        "size",
        "state",
        "ttl_ms",
        "until",
        "visible_at",
    )

    def __init__(self, number: int, size: int, published_at: int, priority: int) -> None:
        self.number = number
        self.size = size
        self.published_at = published_at
        self.priority = priority
        self.state: State | None = None
        self.group: Group | None = None
        self.holds = False
        self.deliveries = 0
        self.failures = 0
        self.lease: Lease | None = None
        self.lease_number = 0
        self.until = 0
        self.visible_at = 0
        self.ttl_ms = 0
        self.expires_at = 0

    @property
    def ran_out(self) -> bool:
        """Whether its lease ran out and nothing happened since: the receipt still settles."""
        return self.lease is not None and self.state is not LEASED

    def expired(self, now: int) -> bool:
        """Whether its time to live is over."""
        return 0 < self.expires_at <= now


class Group:
    """The messages of one group in a queue, which go out in order of number.

    `held` counts those that hold it up: leased, or delayed by a give-back. `size` counts
    all of its messages in the queue.
    """

    __slots__ = ("held", "key", "ready", "size")

    def __init__(self, key: str) -> None:
        self.key = key
        self.held = 0
        self.size = 0
        # Numbers of its ready messages, a heap. May hold some that are not ready any more.
        self.ready: list[int] = []

    def add(self, message: Message) -> None:
        """One of its messages became ready."""
        heappush(self.ready, message.number)

    def head(self, messages: dict[int, Message], now: int) -> Message | None:
        """The one to hand out next, if the group is not held up."""
        while self.ready:
            message = messages.get(self.ready[0])
            if message is not None and message.state is READY and not message.expired(now):
                return message
            # An expired one is removed by its timer.
            heappop(self.ready)
        return None


class Lease:
    """One receive's hold on its messages.

    `held` are the messages whose newest receipt is of this lease; without any,
    the lease is over. `due` is the moment of its next timer.
    """

    __slots__ = ("consumer", "due", "held", "number", "queue_id")

    def __init__(self, number: int, queue_id: int, consumer: str, due: int) -> None:
        self.number = number
        self.queue_id = queue_id
        self.consumer = consumer
        self.due = due
        self.held: dict[int, Message] = {}
