"""The seam between the data plane and what carries it: a whole request goes in, an answer comes out.

    ASGI ─────────────── asgi.AsgiRequest ──┐
                                            ├── plane.Call ── work to await ── Answer
    bytes of a socket ── direct.Direct ─────┘

A call reads its request at once, so what it refuses it raises there. What it then
waits for is a future of the broker's or a coroutine, and what comes of that is rendered as the answer.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from queuesvc.broker.tokens import Grant
from queuesvc.domain.errors import Code, Refused
from queuesvc.http.request import Pairs

CONTENT_ENCODING: Final = b"content-encoding"

_JSON: Final = (b"content-type", b"application/json")


class Request:
    """A request that is there as a whole, and whether its client still is.

    `query` is what follows the `?`; the names of `headers` are lower-cased. `grant` is what its client may do,
    once that was looked at.
    """

    __slots__ = ("body", "grant", "headers", "query")

    query: bytes
    headers: Pairs
    body: bytes
    grant: Grant

    @property
    @abstractmethod
    def transport(self) -> Any:
        """The connection's; None where whoever serves us hides it."""

    @abstractmethod
    def gone(self) -> bool:
        """Whether nothing written now would leave."""

    @abstractmethod
    def watch(self, left: Callable[[], None]) -> None:
        """Have `left` called once when the client leaves, until `unwatch`. One at a time."""

    @abstractmethod
    def unwatch(self) -> None:
        """Call nobody any more."""


class Answer(NamedTuple):
    """What goes back. `unsent` undoes what the answer would have told, if it cannot be written."""

    status: int
    headers: Pairs
    body: bytes
    unsent: Callable[[], None] | None = None


Begun = tuple[Awaitable[Any], Callable[[Any], Answer]]
"""What to await, and what makes the answer of that. Both may raise `Refused`, the first also `ClientGone`."""


def refuse_encoded(headers: Pairs) -> None:
    """Raise `unsupported-media-type` for a body with a Content-Encoding.

    We neither decode one nor hand it on with the message, so its reader could not make sense of the bytes.
    """
    for name, value in headers:
        if name == CONTENT_ENCODING and value.strip().lower() != b"identity":
            raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, "a body must come without a Content-Encoding")


def json_answer(status: int, body: bytes, unsent: Callable[[], None] | None = None) -> Answer:
    """An answer whose body is JSON already."""
    return Answer(status, [_JSON, (b"content-length", b"%d" % len(body))], body, unsent)
