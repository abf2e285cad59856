"""A wait that ends when the client leaves: a consumer that goes away must not take a message along (§5)."""

import asyncio

from queuesvc.http.data.wire import Request


class Interruption:
    """Cancels the task that made it when the client leaves, or when `now` is called.

    The task tells such a cancellation from others by `forgive`.
    """

    __slots__ = ("_asked", "_fired", "_stopped", "_task")

    def __init__(self, asked: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._asked = asked
        self._fired = self._stopped = False
        asked.watch(self.now)

    def now(self) -> None:
        """Interrupt the task, once, unless stopped."""
        if not self._fired and not self._stopped:
            self._fired = True
            self._task.cancel()

    def stop(self) -> None:
        """Interrupt no more."""
        self._stopped = True
        self._asked.unwatch()

    def forgive(self) -> bool:
        """Whether the task's `CancelledError` was ours, and only ours; it then goes on uncancelled."""
        return self._fired and self._task.uncancel() == 0
