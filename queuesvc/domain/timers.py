"""What falls due, in order: one heap of moments for the whole store.

An entry that came to nothing (an acked lease) stays until its moment or until
such entries are half of the heap, which are then thrown out together.
"""

from collections.abc import Callable
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import NamedTuple

_LEAST = 1024


class Kind(IntEnum):
    """What happens then."""

    LEASE_ENDS = 0
    DELAY_ENDS = 1
    MESSAGE_EXPIRES = 2
    QUEUE_EXPIRES = 3
    RECORDS_END = 4


class Timer(NamedTuple):
    """A moment, what happens then, and to what: a lease's or a message's number in a queue.

    For the queue itself the number is 0; for idempotency records so is the queue's id.
    """

    due: int
    kind: Kind
    queue_id: int
    number: int


class Timers:
    """All timers. `alive` tells whether one still means something."""

    def __init__(self, alive: Callable[[Timer], bool]) -> None:
        self._alive = alive
        self._heap: list[Timer] = []
        self._compact_at = _LEAST

    def add(self, timer: Timer) -> None:
        """Set a timer."""
        heappush(self._heap, timer)
        if len(self._heap) > self._compact_at:
            self._heap = [timer for timer in self._heap if self._alive(timer)]
            heapify(self._heap)
            self._compact_at = max(_LEAST, 2 * len(self._heap))

    def next_due(self) -> int | None:
        """The earliest moment at which something happens."""
        while self._heap and not self._alive(self._heap[0]):
            heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def pop_due(self, now: int) -> Timer | None:
        """The next timer that is due by now, removed; None where none is."""
        due = self.next_due()
        return None if due is None or due > now else heappop(self._heap)
