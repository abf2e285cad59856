"""What the broker counts of its own running, as plain numbers that an edge may export."""

from dataclasses import dataclass, field

from queuesvc.domain.commands import Ack, Command, Nack, Receive
from queuesvc.domain.errors import Refused
from queuesvc.domain.replies import Published, Received, Reply, Settled, Transacted

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0)


@dataclass(slots=True)
class Histogram:
    """Observations counted by upper bound; the last count is of those above every bound."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.total += value
        for index, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1


@dataclass(slots=True)
class Meter:
    """Totals since the broker started.

    `published` counts messages accepted (not their copies), `delivered` messages
    handed out, `acked` and `nacked` receipts settled.
    """

    published: int = 0
    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    commits: int = 0
    commit_failures: int = 0
    # commands of a batch, and receives that it served
    batch_commands: Histogram = field(default_factory=lambda: Histogram(BATCH_SIZES))
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(COMMIT_SECONDS))

    def count_reply(self, command: Command, reply: Reply | Refused) -> None:
        """A command was answered."""
        if isinstance(reply, Published):
            self.published += _stored(reply)
        elif isinstance(reply, Transacted):
            self.published += _stored(reply.published)
            if not reply.published.duplicate:
                self.acked += reply.acked
                self.nacked += reply.nacked
        elif isinstance(reply, Settled):
            if isinstance(command, Ack):
                self.acked += reply.count
            elif isinstance(command, Nack):
                self.nacked += reply.count

    def count_received(self, receive: Receive, received: Received) -> None:
        """A receive was served."""
        self.delivered += len(received.deliveries)
        if receive.auto_ack:
            self.acked += len(received.deliveries)


def _stored(published: Published) -> int:
    """How many messages were published now, and not before."""
    return 0 if published.duplicate else sum(not result.original_at for result in published.results)
