"""Refusals on the wire: RFC 9457 `application/problem+json`.

The one place that knows which HTTP status a code of the contract's §9 has.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson
from starlette.types import Send

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import REPLY_PREFIX
from queuesvc.domain.tokens import PREFIX

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[Code, int]] = MappingProxyType(
    {
        Code.MALFORMED_REQUEST: 400,
        Code.UNAUTHENTICATED: 401,
        Code.FORBIDDEN: 403,
        Code.EXCHANGE_NOT_FOUND: 404,
        Code.QUEUE_NOT_FOUND: 404,
        Code.MESSAGE_NOT_FOUND: 404,
        Code.BINDING_NOT_FOUND: 404,
        Code.STREAM_NOT_FOUND: 404,
        Code.NOT_FOUND: 404,
        Code.METHOD_NOT_ALLOWED: 405,
        Code.NOT_ACCEPTABLE: 406,
        Code.CONFLICT: 409,
        Code.LEASE_LOST: 409,
        Code.GONE: 409,
        Code.QUEUE_NOT_EMPTY: 409,
        Code.BODY_TOO_LARGE: 413,
        Code.UNSUPPORTED_MEDIA_TYPE: 415,
        Code.INVALID_REQUEST: 422,
        Code.UNROUTABLE: 422,
        Code.IDEMPOTENCY_KEY_REUSED: 422,
        Code.QUEUE_FULL: 429,
        Code.TOO_MANY_REQUESTS: 429,
        Code.INTERNAL_ERROR: 500,
        Code.UNAVAILABLE: 503,
        Code.NO_REPLY: 504,
    }
)

RETRY_AFTER_SECONDS: Final = 1
"""The wait that is asked for where a refusal that may pass names none itself."""

MAY_PASS: Final = frozenset({Code.QUEUE_FULL, Code.TOO_MANY_REQUESTS, Code.UNAVAILABLE})
"""The refusals that come with `Retry-After`."""

Head = list[tuple[bytes, bytes]]

log = logging.getLogger("queuesvc.http")
_REPLY_ADDRESS: Final = re.compile(re.escape(REPLY_PREFIX) + r"[\w-]*")
_TOKEN: Final = re.compile(PREFIX + r"_([0-9a-f]{16})_[\w-]+")


def title(code: Code) -> str:
    """The code as a person reads it: `Queue not found`."""
    return code.value.replace("-", " ").capitalize()


def method_not_allowed(allow: Iterable[str]) -> Refused:
    """A 405, which must name the methods that there are (RFC 9110 §15.5.6)."""
    methods = sorted(allow)
    return Refused(Code.METHOD_NOT_ALLOWED, f"this resource answers to {', '.join(methods)}", allow=methods)


def not_found() -> Refused:
    """The 404 of a path that names nothing the broker has."""
    return Refused(Code.NOT_FOUND, "there is nothing at this path; GET /docs lists what there is")


def shutting_down() -> Refused:
    """The 503 of a request that the broker's end cuts off."""
    return Refused(Code.UNAVAILABLE, "the broker is shutting down", retry_after_seconds=RETRY_AFTER_SECONDS)


def hide_secrets(text: str) -> str:
    """The text for the log: who knows a reply address may answer there, and a token may stand where a name should."""
    return _TOKEN.sub(rf"{PREFIX}_\1_...", _REPLY_ADDRESS.sub(f"{REPLY_PREFIX}...", text))


def unforeseen(request_id: bytes, method: str, path: str) -> Refused:
    """The `internal-error` for the exception that is being handled, which is told to the log only."""
    shown, fields = hide_secrets(path), {"request_id": request_id.decode()}
    log.exception("request %s failed: %s %s", request_id.decode(), method, shown, extra={"fields": fields})
    return Refused(Code.INTERNAL_ERROR, "this is a fault of the broker's")


def render(refused: Refused) -> tuple[int, Head, bytes]:
    """A refusal's status, headers (lower-cased names) and body.

    `retry_after_seconds` among its members is also sent as `Retry-After` in whole
    seconds, rounded up, and `allow` as `Allow`; what needs a token says so in `WWW-Authenticate`.
    """
    code = refused.code
    status = STATUS[code]
    members: dict[str, Any] = {"type": f"urn:queuesvc:{code.value}", "title": title(code), "status": status}
    members["detail"] = refused.detail
    members.update(refused.extra)
    if code in MAY_PASS:
        members.setdefault("retry_after_seconds", RETRY_AFTER_SECONDS)
    body = orjson.dumps(members, default=str)
    headers: Head = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    if "retry_after_seconds" in members:
        headers.append((b"retry-after", b"%d" % math.ceil(members["retry_after_seconds"])))
    if code is Code.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b'Bearer realm="queuesvc"'))
    if "allow" in members:
        headers.append((b"allow", ", ".join(members["allow"]).encode()))
    return status, headers, body


async def send_problem(send: Send, refused: Refused, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a problem over bare ASGI, and with more headers than its own."""
    status, headers, body = render(refused)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": body})
