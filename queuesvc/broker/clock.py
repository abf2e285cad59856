"""Broker time: it never steps back and does not jump.

It runs with the monotonic clock and leans towards the wall clock: while the two
differ it runs up to a tenth faster or slower. So a wall clock that is set an hour ahead
expires no lease, and message times come right again in ten hours.
"""

import time
from collections.abc import Callable

SLEW = 0.1


class Clock:
    """Milliseconds since 1970 UTC, never less than at any earlier call.

    Starts at the later of `not_before` (what the store last saw) and the wall clock.
    """

    def __init__(
        self,
        not_before: int = 0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._at = max(float(not_before), wall() * 1000)
        self._seen = monotonic()

    def now(self) -> int:
        """The moment."""
        seen = self._monotonic()
        passed = (seen - self._seen) * 1000
        self._seen = seen
        behind = self._wall() * 1000 - (self._at + passed)
        most = passed * SLEW
        self._at += passed + min(max(behind, -most), most)
        return int(self._at)
