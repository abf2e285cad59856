"""The data plane over bare ASGI, as few calls and bytes copied as the protocol allows.

uvicorn's `send` to a client that is gone succeeds silently. So the answer to a
receive is written only after a look at the connection with no await between the two, and a long wait is
interrupted when the client leaves.

uvicorn tells `http.disconnect` one turn of the loop after its transport has begun to close. An
answer written in that turn would be lost, so we look at the transport itself, which
is what the `receive` of uvicorn's is bound to; under another server we ask `receive`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from queuesvc.http.data.peer import is_gone
from queuesvc.http.data.plane import Call
from queuesvc.http.data.wire import Answer, Request
from queuesvc.http.request import read_body, transport_of

WATCH_AFTER_SECONDS: Final = 0.05
"""How long a wait goes on before somebody watches for the client's leaving: shorter ones cost no task."""

PIECE_BYTES: Final = 64 * 1024
"""Larger answers leave in pieces of this size: about what a transport buffers before it makes a writer wait."""


async def serve(call: Call, scope: Scope, receive: Receive, send: Send, request_id: tuple[bytes, bytes]) -> None:
    """Serve one request. Raises `Refused`, and `ClientGone` where nobody is left to answer."""
    call.check(scope["headers"])
    body = await read_body(scope, receive, call.most_bytes(scope["headers"]))
    asked = AsgiRequest(scope, receive, body)
    answer = await _outcome(*call.begin(asked))
    answer.headers.append(request_id)
    unsent = answer.unsent
    if unsent is None:
        await _send(send, answer)
        return
    # From this look to the writing of the answer (or its first piece) nothing else runs.
    if asked.gone():
        unsent()
        return
    await _send(send, answer)
    if len(answer.body) > PIECE_BYTES and asked.gone():
        # It went out in pieces, and the client left before the end.
        unsent()


async def _outcome(work: Awaitable[Any], make_answer: Callable[[Any], Answer]) -> Answer:
    """The answer. Where we are cancelled when it is just there, what it would have told is undone."""
    try:
        return make_answer(await work)
    except asyncio.CancelledError:
        if isinstance(work, asyncio.Future) and not work.cancelled() and work.exception() is None:
            unsent = make_answer(work.result()).unsent
            if unsent is not None:
                unsent()
        raise
    finally:
        del work  # what it raised knows this frame: were it known here, both would stay in memory


async def _send(send: Send, answer: Answer) -> None:
    """A large body leaves in pieces, each waiting for room.

    So this returns only when all of it but the last piece was taken by the connection, or the client is gone.
    """
    status, headers, body, _ = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if len(body) <= PIECE_BYTES:
        await send({"type": "http.response.body", "body": body})
        return
    rest = memoryview(body)
    while len(rest) > PIECE_BYTES:
        await send({"type": "http.response.body", "body": bytes(rest[:PIECE_BYTES]), "more_body": True})
        rest = rest[PIECE_BYTES:]
    # Nothing is left to write when this returns: it waits for room like the others, then ends the answer.
    await send({"type": "http.response.body", "body": bytes(rest), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class AsgiRequest(Request):
    """A request that came over ASGI."""

    __slots__ = ("_cycle", "_receive", "_timer", "_watcher")

    def __init__(self, scope: Scope, receive: Receive, body: bytes) -> None:
        self.query = scope["query_string"]
        self.headers = scope["headers"]
        self.body = body
        self._receive = receive
        self._cycle: Any = getattr(receive, "__self__", None)
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def transport(self) -> Any:
        """The connection's, under uvicorn."""
        return transport_of(self._receive)

    def gone(self) -> bool:
        """Whether nothing written now would leave."""
        if hasattr(self._cycle, "transport"):
            return is_gone(self._cycle.transport, self._cycle.flow)
        return self._told_to_disconnect()

    def watch(self, left: Callable[[], None]) -> None:
        """Have `left` called once when the client leaves."""
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start, left)

    def unwatch(self) -> None:
        """Call nobody any more. Nothing of the watch is left running."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        self._timer = self._watcher = None  # which know us

    def _told_to_disconnect(self) -> bool:
        # One step of `receive` by hand: it ends at once with the news, or it would wait, and is given up.
        waiting: Any = self._receive()
        try:
            waiting.send(None)
        except StopIteration as told:
            return bool(told.value["type"] == "http.disconnect")
        waiting.close()
        return False

    def _start(self, left: Callable[[], None]) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch(left))

    async def _watch(self, left: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        left()
