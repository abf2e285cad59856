"""The receives that wait: a line at each queue, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Collection

from queuesvc.domain.commands import Receive
from queuesvc.domain.model import Content
from queuesvc.domain.replies import Received


class Waiter:
    """One receive and the future of its answer; `over` once it left the line unserved."""

    __slots__ = ("answer", "over", "receive", "taken")

    def __init__(self, receive: Receive, answer: asyncio.Future[Received]) -> None:
        self.receive = receive
        self.answer = answer
        self.over = False
        self.taken = False


class Waiters:
    """All lines. It is the `Waiting` of the store's interface."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Waiter]] = {}
        self._counts: dict[str, int] = {}
        self._by_receive: dict[Receive, Waiter] = {}
        self._new: dict[str, None] = {}
        self._askers: dict[str, asyncio.Future[Content | None]] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def join(self, waiter: Waiter) -> None:
        """To the end of its queue's line."""
        queue = waiter.receive.queue
        self._lines.setdefault(queue, deque()).append(waiter)
        self._counts[queue] = self._counts.get(queue, 0) + 1
        self._new[queue] = None

    def leave(self, waiter: Waiter) -> bool:
        """Out of the line, unserved; False if it was served already or had left."""
        if waiter.over or waiter.taken:
            return False
        waiter.over = True
        self._new[waiter.receive.queue] = None
        self._one_less(waiter.receive.queue)
        line = self._lines[waiter.receive.queue]
        # Those who left stand in the line until they are half of it: leaving is cheap for 15,000, too.
        if len(line) > 2 * self._counts.get(waiter.receive.queue, 0):
            self._lines[waiter.receive.queue] = deque(w for w in line if not w.over)
            self._forget_if_empty(waiter.receive.queue)
        return True

    def new(self) -> Collection[str]:
        """The queues whose line somebody joined, or left unserved, since the last call."""
        new, self._new = self._new, {}
        return new

    def take(self, queue: str) -> Receive | None:
        """The first in line, out of it."""
        line = self._lines.get(queue)
        while line:
            waiter = line.popleft()
            if waiter.over:
                continue
            waiter.taken = True
            self._one_less(queue)
            self._by_receive[waiter.receive] = waiter
            self._forget_if_empty(queue)
            return waiter.receive
        self._lines.pop(queue, None)
        return None

    def served(self, receive: Receive) -> Waiter:
        """The waiter of a receive that was taken."""
        return self._by_receive.pop(receive)

    def take_taken(self) -> list[Waiter]:
        """Those taken by a batch that failed, to be told so."""
        taken = list(self._by_receive.values())
        self._by_receive.clear()
        return taken

    def put_back(self) -> None:
        """Those taken by a batch that failed are first in line again, as they were."""
        for waiter in reversed(self.take_taken()):
            queue = waiter.receive.queue
            waiter.taken = False
            self._lines.setdefault(queue, deque()).appendleft(waiter)
            self._counts[queue] = self._counts.get(queue, 0) + 1
            if waiter.answer.done():  # gone in the meantime
                self.leave(waiter)

    def renew(self) -> None:
        """Everyone who waits is to be tried by the next batch."""
        self._new = dict.fromkeys(self._lines)

    def count(self, queue: str) -> int:
        """How many wait at a queue."""
        return self._counts.get(queue, 0)

    def everyone(self) -> list[Waiter]:
        """All who wait, to be sent away."""
        return [waiter for line in self._lines.values() for waiter in line if not waiter.over]

    # --- requests that wait for a reply -----------------------------------------------

    def expect(self, address: str, answer: asyncio.Future[Content | None]) -> None:
        """Somebody waits for the reply to this address."""
        self._askers[address] = answer

    def give_up(self, address: str) -> None:
        """And waits no more."""
        self._askers.pop(address, None)

    def asks(self, address: str) -> bool:
        """Whether somebody waits for a reply there (and has none yet)."""
        answer = self._askers.get(address)
        return answer is not None and not answer.done()

    def hand_reply(self, address: str, content: Content) -> None:
        """The reply is there. A second one, or one to nobody, is nothing."""
        if self.asks(address):
            self._askers[address].set_result(content)

    def end_requests(self) -> None:
        """The broker is shutting down: nobody waits for a reply any more."""
        for answer in self._askers.values():
            if not answer.done():
                answer.set_result(None)

    def _one_less(self, queue: str) -> None:
        self._counts[queue] -= 1
        if not self._counts[queue]:
            del self._counts[queue]

    def _forget_if_empty(self, queue: str) -> None:
        if not self._lines.get(queue, True):
            del self._lines[queue]
