"""The running broker: its verbs over one store."""

import asyncio
import logging
from collections.abc import Callable

from queuesvc.broker.clock import Clock
from queuesvc.broker.committer import Answer, Committer, unavailable
from queuesvc.broker.meter import Meter
from queuesvc.broker.waiters import Waiter, Waiters
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.replies import Received
from queuesvc.store.interface import Store

log = logging.getLogger(__name__)


class Broker:
    """One store, run. All methods belong to one event loop.

    `accepting` is False before `open` and from `shut_down` on; `broken` is set when the store
    failed in a way that only a new start can mend.
    """

    def __init__(self, store: Store, clock: Callable[[int], Clock] = Clock) -> None:
        self._store = store
        self._make_clock = clock
        self._waiters = Waiters()
        self._clock: Clock
        self.ids: Ids
        self.meter = Meter()
        self.accepting = False
        self._committer = Committer(store, self._waiters, self.meter, lambda: self._clock.now())
        self.broken = self._committer.broken

    async def open(self) -> None:
        """Open the store, do what fell due meanwhile, and begin. Raises `StoreRefused`."""
        opened = await self._store.open()
        self._clock = self._make_clock(opened.latest_at)
        self.ids = Ids(opened.tag)
        self._committer.start()
        self.accepting = True
        try:
            await self.submit(c.Tick())
        except Refused as refusal:
            # Reads and acks may work all the same, and `/readyz` tells.
            log.error("the store can be read but not written to: %s", refusal.detail)

    def now(self) -> int:
        """Broker time, in milliseconds since 1970 UTC."""
        return self._clock.now()

    @property
    def waiting(self) -> int:
        """How many receives wait."""
        return len(self._waiters)

    def submit(self, command: c.Command) -> Answer:
        """Have a command applied. The future is resolved once it is on the disk, or raises `Refused`.

        Commands are applied in the order of their submits, whoever awaits them. Raises
        `unavailable` at once for a publish while shutting down, or while too much waits.
        """
        if not self.accepting and isinstance(command, c.Publish):
            raise unavailable("the broker is shutting down")
        return self._committer.put(command)

    def ask(self, query: c.Query) -> Answer:
        """Have a question answered from what is on the disk. The future may raise `Refused`."""
        return self._committer.put(query)

    async def receive(self, receive: c.Receive, wait_ms: int) -> Received:
        """Lease messages, waiting up to so long for the first. Raises `Refused`.

        It stands in line from the first step of this coroutine on. Cancelled, it leaves
        the line, and what was leased for it meanwhile is ready again.
        """
        loop = asyncio.get_running_loop()
        waiter = Waiter(receive, loop.create_future())
        patient = wait_ms > 0 and self.accepting
        self._committer.join(waiter, patient)
        timeout = loop.call_later(wait_ms / 1000, self._committer.send_away, waiter) if patient else None
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        finally:
            if timeout is not None:
                timeout.cancel()

    def _abandon(self, waiter: Waiter) -> None:
        if self._waiters.leave(waiter) or waiter.answer.cancelled():
            return  # not served, or the committer will see that nobody wants the answer
        if waiter.answer.exception() is None and waiter.answer.result().lease:
            self._committer.undeliver(waiter.receive.queue, waiter.answer.result().lease)

    async def undeliver(self, queue: str, lease: int) -> None:
        """The answer with this lease could not be written: its messages are ready again, uncounted."""
        await self._committer.undeliver(queue, lease)

    def shut_down(self) -> None:
        """Begin to end: no publishes any more, and every waiting receive ends empty."""
        self.accepting = False
        for waiter in self._waiters.everyone():
            self._committer.send_away(waiter)

    async def close(self) -> None:
        """Finish what was submitted, and close the store."""
        self.shut_down()
        await self._committer.stop()
        await self._store.close()
