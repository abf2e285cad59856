"""Answers over bare ASGI, as few calls and bytes copied as the protocol allows.

The app puts the ready header pair `(b"x-request-id", ...)` into the scope under
`REQUEST_ID`, so that no wrapper of `send` costs time on these paths.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Receive, Scope, Send

from queuesvc.domain.errors import Code, Refused

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]

REQUEST_ID: Final = "queuesvc.request_id"
CONTENT_ENCODING: Final = b"content-encoding"
PIECE_BYTES: Final = 64 * 1024
"""Larger answers leave in pieces of this size: about what a transport buffers before it makes a writer wait."""

_JSON: Final = (b"content-type", b"application/json")


def refuse_encoded(scope: Scope) -> None:
    """Raise `unsupported-media-type` for a body with a Content-Encoding.

    We neither decode one nor hand it on with the message, so its reader could not make sense of the bytes.
    """
    for name, value in scope["headers"]:
        if name == CONTENT_ENCODING and value.strip().lower() != b"identity":
            raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, "a body must come without a Content-Encoding")


def json_head(body: bytes) -> Pairs:
    """The headers of an answer that is JSON."""
    return [_JSON, (b"content-length", b"%d" % len(body))]


async def send_json(scope: Scope, send: Send, status: int, body: bytes) -> None:
    """Answer with a body that is JSON already."""
    await send_bytes(scope, send, status, json_head(body), body)


async def send_bytes(scope: Scope, send: Send, status: int, headers: Pairs, body: bytes) -> None:
    """Answer with headers and a body.

    A large body leaves in pieces, each waiting for room, so that this returns only
    when all of it but the last piece was taken by the connection, or the client is gone.
    """
    request_id = scope.get(REQUEST_ID)
    if request_id is not None:
        headers.append(request_id)
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
