"""The receives that wait for messages, as the machine asks for them."""

from collections.abc import Collection
from typing import Protocol

from queuesvc.domain.commands import Receive


class Waiting(Protocol):
    """The line at each queue, first come, first served, as the broker keeps it.

    It is served inside the batch that brings the messages, so that the answer
    to a long poll leaves with the very commit of the publish.
    """

    def new(self) -> Collection[str]:
        """The queues at which a receive has come, or gone unserved, since the last batch; forgets them."""
        ...

    def take(self, queue: str) -> Receive | None:
        """The next receive in line at this queue, removed from the line."""
        ...

    def count(self, queue: str) -> int:
        """How many wait at this queue."""
        ...

    def asks(self, address: str) -> bool:
        """Whether a request waits for its reply at this address."""
        ...
