"""Whether the client of a request is still there.

A consumer that goes away while it waits must not take a message along (§5), and
uvicorn's `send` to a client that is gone succeeds silently. So the answer to a
receive is written only after a look at the connection with no await between the two, and a long wait is
interrupted when the client leaves.

uvicorn tells `http.disconnect` one turn of the loop after its transport has begun to close. An
answer written in that turn would be lost, so we look at the transport itself, which
is what the `receive` of uvicorn's is bound to; under another server we ask `receive`.
"""

import asyncio
from typing import Any, Final

from starlette.types import Receive

WATCH_AFTER_SECONDS: Final = 0.05
"""How long a wait goes on before somebody watches for the client's leaving: shorter ones cost no task."""


class Client:
    """The far end of one request."""

    __slots__ = ("_receive", "_transport")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)

    def gone(self) -> bool:
        """Whether nothing written now would leave. Only after the whole request was read."""
        if self._transport is not None:
            return bool(self._transport.is_closing())
        return self._told_to_disconnect()

    def _told_to_disconnect(self) -> bool:
        # One step of `receive` by hand: it ends at once with the news, or it would wait, and is given up.
        waiting: Any = self._receive()
        try:
            waiting.send(None)
        except StopIteration as told:
            return bool(told.value["type"] == "http.disconnect")
        waiting.close()
        return False


class Interruption:
    """Cancels the task that made it when the client leaves, or when `now` is called.

    The task tells such a cancellation from others by `forgive`.
    """

    __slots__ = ("_fired", "_receive", "_stopped", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._receive = receive
        self._task = task
        self._fired = self._stopped = False
        self._watcher: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_SECONDS, self._start)

    def now(self) -> None:
        """Interrupt the task, once, unless stopped."""
        if not self._fired and not self._stopped:
            self._fired = True
            self._task.cancel()

    def stop(self) -> None:
        """Interrupt no more. Nothing of this is left running."""
        self._stopped = True
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def forgive(self) -> bool:
        """Whether the task's `CancelledError` was ours, and only ours; it then goes on uncancelled."""
        return self._fired and self._task.uncancel() == 0

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.now()
