"""A wait that ends when the client leaves, or may wait no more: neither must take a message along (§5)."""

import asyncio
from typing import Any

from queuesvc.domain.tokens import no_longer_valid
from queuesvc.http.data.wire import Request
from queuesvc.http.request import ClientGone


class Interruption:
    """Cancels the task that made it when the client leaves, when its token ends, or when `now` is called.

    The task tells such a cancellation from others by `forgive`, and then raises its `reason`.
    """

    __slots__ = ("_asked", "_ended", "_fired", "_stopped", "_task")

    def __init__(self, asked: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._asked = asked
        self._fired = self._stopped = self._ended = False
        asked.watch(self.now)
        asked.grant.watch(self._end)

    def now(self) -> None:
        """Interrupt the task, once, unless stopped."""
        if not self._fired and not self._stopped:
            self._fired = True
            self._task.cancel()

    def stop(self) -> None:
        """Interrupt no more. This comes last."""
        self._stopped = True
        del self._task  # which knows us
        self._asked.unwatch()
        self._asked.grant.unwatch(self._end)

    def forgive(self) -> bool:
        """Whether the task's `CancelledError` was ours, and only ours; it then goes on uncancelled."""
        return self._fired and self._task.uncancel() == 0

    def reason(self) -> Exception:
        """Why: `unauthenticated` where the token ended, and otherwise `ClientGone`."""
        return no_longer_valid() if self._ended else ClientGone()

    def _end(self) -> None:
        self._ended = self._ended or not self._fired
        self.now()


class Departure:
    """The same for a wait that is a future: it raises `ClientGone` or `unauthenticated` if it is not done by then."""

    __slots__ = ("_asked", "_wait")

    def __init__(self, asked: Request, wait: asyncio.Future[Any]) -> None:
        self._asked = asked
        self._wait = wait
        asked.watch(self._left)
        asked.grant.watch(self._ended)
        wait.add_done_callback(self._stop)

    def _left(self) -> None:
        if not self._wait.done():
            self._wait.set_exception(ClientGone())

    def _ended(self) -> None:
        if not self._wait.done():
            self._wait.set_exception(no_longer_valid())

    def _stop(self, _: asyncio.Future[Any]) -> None:
        self._asked.unwatch()
        self._asked.grant.unwatch(self._ended)
