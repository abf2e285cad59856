"""What falls due, in order, for the whole store.

An entry that came to nothing (an acked lease) stays until its moment, or until housekeeping
finds that there are many of them.
"""

from collections.abc import Callable
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import NamedTuple

# Timers are kept by due >> 10: about by the second.
SECOND_BITS = 10
PASSED_OVER_AT_ONCE = 1000
LEAST_SWEPT = 10_000


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
    """All timers. `alive` tells whether one still means something.

    Those of the seconds up to the next one that has any stand in a heap, the others by their second:
    setting a far one and passing over a million dead ones costs nobody a pause.
    """

    def __init__(self, alive: Callable[[Timer], bool]) -> None:
        self.alive = alive
        self._soon: list[Timer] = []
        self._upto = -1
        self._later: dict[int, list[Timer]] = {}
        self._seconds: list[int] = []
        self._count = 0
        self._swept_count = 0
        self._to_sweep: list[int] = []

    def add(self, timer: Timer) -> None:
        """Set a timer."""
        self._count += 1
        second = timer.due >> SECOND_BITS
        if second <= self._upto:
            heappush(self._soon, timer)
            return
        others = self._later.get(second)
        if others is None:
            self._later[second] = [timer]
            heappush(self._seconds, second)
        else:
            others.append(timer)

    def next_due(self) -> int | None:
        """The earliest moment at which something happens (or nothing: it may be that of a dead timer)."""
        for _ in range(PASSED_OVER_AT_ONCE):
            if not self._soon and not self._open_next():
                return None
            if self.alive(self._soon[0]):
                break
            heappop(self._soon)
            self._count -= 1
        return self._soon[0].due if self._soon or self._open_next() else None

    def pop_due(self, now: int) -> Timer | None:
        """The next timer that is due by now, dead or alive, removed; None where none is."""
        if (not self._soon and not self._open_next()) or self._soon[0].due > now:
            return None
        self._count -= 1
        return heappop(self._soon)

    def _open_next(self) -> bool:
        """Take up the next second that has timers; False where there is none."""
        while self._seconds:
            second = heappop(self._seconds)
            timers = self._later.pop(second, None)
            if timers:
                self._soon, self._upto = timers, second
                heapify(self._soon)
                return True
        return False

    def tidy(self, most: int) -> bool:
        """Throw out dead ones that are far off, a bounded number at a time; True if there is more to look at."""
        if not self._to_sweep:
            if self._count <= max(LEAST_SWEPT, 2 * self._swept_count):
                return False
            self._to_sweep = list(self._later)
        while self._to_sweep and most > 0:
            second = self._to_sweep.pop()
            timers = self._later.pop(second, [])
            most -= len(timers) + 1
            alive = [timer for timer in timers if self.alive(timer)]
            self._count -= len(timers) - len(alive)
            if alive:
                self._later[second] = alive
        if not self._to_sweep:
            self._swept_count = self._count
        return bool(self._to_sweep)
