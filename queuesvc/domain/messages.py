"""A message and a lease as the machine knows them: no body, only what the rules compute with."""

from queuesvc.domain.model import State

READY = State.READY
LEASED = State.LEASED
DELAYED = State.DELAYED
DEAD = State.DEAD


class Message:
    """A message that is more than fresh: leased, or was, or delayed, or dead.

    `lease` is set while leased, and still after that lease ran out, for as long as its receipt
    settles; `lease_number` is the newest lease that ended for it (0: none yet). `deliveries`
    counts the leases handed out, `failures` those that failed.
    """

    __slots__ = (
        "deliveries",
        "expires_at",
        "failures",
        "lease",
        "lease_number",
        "number",
        "priority",
        "published_at",
        "size",
        "state",
        "until",
        "visible_at",
    )

    def __init__(self, number: int, size: int, published_at: int, priority: int) -> None:
        self.number = number
        self.size = size
        self.published_at = published_at
        self.priority = priority
        self.state = READY
        self.deliveries = 0
        self.failures = 0
        self.lease: Lease | None = None
        self.lease_number = 0
        self.until = 0
        self.visible_at = 0
        self.expires_at = 0

    @property
    def ran_out(self) -> bool:
        """Whether its lease ran out and nothing happened since: the receipt still settles."""
        return self.lease is not None and self.state is not LEASED


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
