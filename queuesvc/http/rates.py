"""What one token may use of the broker at a time: requests and messages a second, connections, waits.

Every limit is off unless it is set: a broker cannot know what its clients need, and what bounds all of them
together (connections, bodies, what waits to be written) is on. Without tokens all clients together are one.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from queuesvc.broker.tokens import Grant
from queuesvc.domain.errors import Code, Refused

Done = TypeVar("Done")

KEPT: Final = 100_000
BUSY_SECONDS: Final = 1.0
"""When to try again where no clock tells."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The limits of each token; None: none."""

    requests_per_second: float | None = None
    publishes_per_second: float | None = None
    connections_per_token: int | None = None
    waits_per_token: int | None = None

    def rates(self) -> "Rates | None":
        """What keeps them; None where there are none to keep."""
        return None if self == TokenLimits() else Rates(self)


class Bucket:
    """A token bucket: it fills at `rate` a second up to one second's worth, but never less than 1.

    It may be overdrawn once: what is taken when there is something in it may be more than that, and then it has to
    fill up again. So a batch larger than a second's worth gets through, and the rate is kept all the same.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._level = self._most
        self._at = now

    def take(self, count: int, now: float) -> float:
        """Take so many, and return 0; or take none, and return how many seconds to wait."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        need = min(1.0, count)
        if self._level < need:
            return (need - self._level) / self._rate
        self._level -= count
        return 0.0


class Use:
    """What one token uses."""

    def __init__(self, limits: TokenLimits, now: float) -> None:
        self.requests = Bucket(limits.requests_per_second, now) if limits.requests_per_second else None
        self.publishes = Bucket(limits.publishes_per_second, now) if limits.publishes_per_second else None
        self.connections: set[Any] = set()
        self.waits = 0


class Rates:
    """Keeps the limits of all tokens. `now` is the monotonic clock. All raise `too-many-requests`."""

    def __init__(self, limits: TokenLimits, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._uses: dict[str, Use] = {}

    def request(self, grant: Grant, transport: Any) -> None:
        """One more request of this token's, on this connection."""
        use = self._use(grant)
        if self._limits.connections_per_token is not None and transport not in use.connections:
            self._connect(use, transport, self._limits.connections_per_token)
        if use.requests is not None:
            _check(use.requests.take(1, self._now()), "requests")

    def publish(self, grant: Grant, count: int) -> None:
        """So many more messages."""
        bucket = self._use(grant).publishes
        if bucket is not None and count:
            _check(bucket.take(count, self._now()), "messages")

    def wait(self, grant: Grant) -> Callable[[], None]:
        """One more receive or request that waits. Returns what ends it."""
        use = self._use(grant)
        most = self._limits.waits_per_token
        if most is not None and use.waits >= most:
            raise _too_many(f"this token has {most} calls waiting, and may have no more", BUSY_SECONDS)
        use.waits += 1

        def end() -> None:
            """It waits no more."""
            use.waits -= 1

        return end

    def _connect(self, use: Use, transport: Any, most: int) -> None:
        if len(use.connections) >= most:
            use.connections = {one for one in use.connections if not one.is_closing()}
            if len(use.connections) >= most:
                raise _too_many(f"this token is used on {most} connections, and may be on no more", BUSY_SECONDS)
        use.connections.add(transport)

    def _use(self, grant: Grant) -> Use:
        use = self._uses.get(grant.id)
        if use is None:
            if len(self._uses) >= KEPT:
                self._uses.clear()  # so many tokens came and went: what is left of them begins anew
            use = self._uses[grant.id] = Use(self._limits, self._now())
        return use


def until(end: Callable[[], None], work: Awaitable[Done]) -> Awaitable[Done]:
    """What a wait brings; then it is over, however it ended."""
    if isinstance(work, asyncio.Future):
        work.add_done_callback(lambda _: end())
        return work
    return _until(end, work)


async def _until(end: Callable[[], None], work: Awaitable[Done]) -> Done:
    try:
        return await work
    finally:
        end()


def _check(seconds: float, what: str) -> None:
    if seconds:
        raise _too_many(f"too many {what} a second under this token", seconds)


def _too_many(why: str, seconds: float) -> Refused:
    return Refused(Code.TOO_MANY_REQUESTS, why, retry_after_seconds=math.ceil(seconds * 1000) / 1000)
