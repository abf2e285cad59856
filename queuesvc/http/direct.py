"""A request of the data plane's that is answered straight from the connection, with no ASGI between.

Most requests to a broker are a plain POST that publishes, receives or settles. For one of those uvicorn
would make a scope, an event, a task and two writes. Here the bytes that were parsed go
to the data plane (`data/plane.py`: the same calls that the ASGI app makes), and
head and body of the answer leave in one write. `Connection` decides what is plain; all else is the ASGI app's.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from queuesvc.domain.errors import Refused
from queuesvc.http.data.peer import is_gone
from queuesvc.http.data.plane import Call, DataPlane
from queuesvc.http.data.wire import Answer, Request
from queuesvc.http.guard import Guard
from queuesvc.http.problems import render, shutting_down, unforeseen
from queuesvc.http.request import ClientGone, Pairs
from queuesvc.http.request_ids import RequestIds

CLOSE: Final = (b"connection", b"close")
JOINED_BYTES: Final = 64 * 1024
"""Larger bodies are not copied behind their heads."""

UNASKED_BYTES: Final = 64 * 1024
"""A body that is larger is taken only from who may make the call: it is kept until it is whole."""


class Edge:
    """What the connections of one server share: the data plane, who may call it, and what all answers bear."""

    def __init__(self, plane: DataPlane, guard: Guard, request_ids: RequestIds) -> None:
        self.plane = plane
        self.guard = guard
        self.request_ids = request_ids
        self._defaults: Pairs = []
        self._default_lines = b""

    def find(self, url: bytes, headers: Pairs, body_bytes: int) -> tuple[Call, bytes] | None:
        """The call of a POST to this address, and its query; None for one that must be read with more care.

        So must one with a large body that is to be refused: the app does that before the body has come.
        """
        path, _, query = url.partition(b"?")
        if b"%" in path or b"#" in url or not url.isascii():
            return None
        call = self.plane.find("POST", path.decode("ascii"))
        if call is None or (body_bytes > UNASKED_BYTES and not call.allowed(headers)):
            return None
        return call, query

    def head(self, status: int, defaults: Pairs, headers: Pairs) -> bytes:
        """The head of an answer. `defaults` are the server's own headers: another list as soon as they change."""
        if defaults is not self._defaults:
            self._defaults, self._default_lines = defaults, _lines(defaults)
        return b"%b%b%b\r\n" % (STATUS_LINE[status], self._default_lines, _lines(headers))


def _lines(headers: Pairs) -> bytes:
    """Headers as they are written. Raises `ValueError` for one that would be two."""
    lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    if lines.count(b"\n") != len(headers):
        raise ValueError("a header has a line break in it")
    return lines


class Stage(enum.Enum):
    """How far a request has come."""

    WAITING = enum.auto()
    """for the rest of its body, for its turn or for the client to read what it was told before"""

    BEGUN = enum.auto()
    """the broker has it"""

    WRITTEN = enum.auto()
    """its answer is written, but there is more of it than the connection takes at once"""

    ENDED = enum.auto()


class Direct(Request):
    """One such request, where uvicorn would have its cycle: from its head to the end of its answer.

    It is begun when it is whole and its turn has come, and not while the client does not
    read: nothing is leased to one that doesn't.
    """

    __slots__ = (
        "_call",
        "_connection",
        "_edge",
        "_left",
        "_lost",
        "_make_answer",
        "_unsent",
        "keep_alive",
        "stage",
        "whole",
    )

    def __init__(self, connection: HttpToolsProtocol, edge: Edge, call: Call, query: bytes, headers: Pairs) -> None:
        self.query = query
        self.headers = headers
        self.body: bytes | bytearray = b""  # type: ignore[assignment]  # bytes, once it is whole
        self.whole = False
        self.keep_alive = True
        self.stage = Stage.WAITING
        self._connection = connection
        self._edge = edge
        self._call = call
        self._lost = False
        self._left: Callable[[], None] | None = None
        self._unsent: Callable[[], None] | None = None

    @property
    def response_complete(self) -> bool:
        """Whether the answer is given."""
        return self.stage is Stage.ENDED

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's."""
        return self._connection.transport

    def gone(self) -> bool:
        """Whether nothing written now would leave."""
        return is_gone(self._connection.transport, self._connection.flow)

    def watch(self, left: Callable[[], None]) -> None:
        """Have `left` called once when the client leaves."""
        self._left = left
        if self._lost:
            self._connection.loop.call_soon(left)

    def unwatch(self) -> None:
        """Call nobody any more."""
        self._left = None

    # --- what the connection tells ----------------------------------------------------

    def add(self, piece: bytes) -> None:
        """Some of the body."""
        if not self.body:
            self.body = piece
        elif type(self.body) is bytearray:
            self.body += piece
        else:
            self.body = bytearray(self.body) + piece

    def end(self) -> None:
        """All of the body is there."""
        self.whole = True
        self.body = bytes(self.body)

    def go_on(self) -> None:
        """Take the next step, if it may be taken: its turn has come, it is whole, or the client reads again."""
        if self._connection.flow.write_paused:
            return
        if self.stage is Stage.WAITING and self.whole:
            self._begin()
        elif self.stage is Stage.WRITTEN:
            self._finish()

    def lose(self) -> None:
        """The connection is lost."""
        self._lost = True
        if self._left is not None:
            self._left()
        if self._unsent is not None:
            self._unsent()

    def cut_off(self) -> None:
        """The server's end comes first: the client is told so, if it can still be told anything."""
        self.keep_alive = False
        if self.stage in (Stage.WAITING, Stage.BEGUN) and not self._connection.flow.write_paused:
            self._write(Answer(*render(shutting_down())))
        self._connection.transport.close()

    # --- from the request to its answer -----------------------------------------------

    def _begin(self) -> None:
        self.stage = Stage.BEGUN
        try:
            work, self._make_answer = self._call.begin(self)
        except Exception as error:
            # Not at once: a thousand of these may be pipelined, and each would be begun by the one before.
            self._connection.loop.call_soon(self._write, self._explain(error))
        else:
            self._run(work).add_done_callback(self._answer)

    def _run(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        """A future of the broker's as it is, anything else in a task."""
        if isinstance(work, asyncio.Future):
            return work
        task = asyncio.ensure_future(work)
        tasks = self._connection.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _answer(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self.cut_off()
            return
        # Not raised from here: its traceback would know the future, which knows it, and both stay in memory.
        refusal = done.exception()
        if isinstance(refusal, ClientGone):
            self._connection.transport.close()
        elif isinstance(refusal, Exception):
            self._write(self._explain(refusal))
        else:
            self._succeed(done.result())

    def _succeed(self, result: Any) -> None:
        try:
            self._write(self._make_answer(result))
        except Exception as error:
            if self.stage is Stage.BEGUN:
                self._write(self._explain(error))
            elif not isinstance(error, Refused):
                raise  # something was answered already

    def _write(self, answer: Answer) -> None:
        """Answer, or undo what the answer would have told to one who has left. Nothing runs between the two."""
        connection = self._connection
        transport = connection.transport
        status, headers, body, unsent = answer
        if self.gone():
            if unsent is not None:
                unsent()
            transport.close()
            return
        headers.append(self._edge.request_ids.of(self.headers))
        if not self.keep_alive:
            headers.append(CLOSE)
        head = self._edge.head(status, connection.server_state.default_headers, headers)
        if len(body) <= JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        self.stage = Stage.WRITTEN
        self._unsent = unsent
        self.go_on()

    def _finish(self) -> None:
        self.stage = Stage.ENDED
        self._unsent = None
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()

    def _explain(self, error: Exception) -> Answer:
        if not isinstance(error, Refused):
            _, request_id = self._edge.request_ids.of(self.headers)
            error = unforeseen(request_id, "POST", "a plain call")
        return Answer(*render(error))
