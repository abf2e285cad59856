"""Reading requests strictly: query, JSON, application headers, `Accept`. Both planes read with these.

Bad syntax raises `malformed-request` (400), bad meaning `invalid-request` (422)
with the field's name. Nothing unknown is passed over.
"""

import re
from collections.abc import Callable, Mapping
from json import JSONDecoder
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import orjson
from starlette.types import Receive, Scope

from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.limits import Limits, check_header_name
from queuesvc.domain.model import Headers, HeaderValue

DURATION_SECONDS_MOST: Final = 100 * 366 * 86_400
"""The longest duration where the contract sets no other limit: a century, so that milliseconds stay exact."""

COUNT_MOST: Final = 2**53 - 1
"""The greatest count: the greatest integer that every JSON reader keeps exactly."""

INTEGER_LEAST: Final = -(2**63)
INTEGER_MOST: Final = 2**64 - 1
"""The integers of JSON that we can write again as they were read."""

MESSAGE_HEADER: Final = b"message-header-"

Pairs = list[tuple[bytes, bytes]]
"""Headers of a request or an answer: lower-cased names, in order."""

Kind = Callable[[str, str], Any]
"""What a query parameter's text means: from (text, field) to the value that JSON would have."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?")
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
# Whether so many digits stand in a row that an integer may be beyond 64 bits. Of 19 digits in a row three are
# among every sixth byte, and most texts need no closer look than that: at a fifth of a nanosecond a byte.
_DIGITS_ALIKE: Final = bytes(ord("0") if chr(byte).isdecimal() else byte for byte in range(256))
_EVERY_SIXTH: Final = b"0" * 3
_LONG: Final = b"0" * 20
# What begins a string is no integer: that much of a text that begins with a time or a number is common.
_LONG_IN_STRING: Final = b'"' + _LONG
_LONG_NEGATIVE: Final = b"-" + b"0" * 19
_DIGITS_READ: Final = 64


class ClientGone(Exception):
    """The client left before its request was read: there is nobody to answer."""


def malformed(detail: str) -> Refused:
    """A `malformed-request`: what cannot even be read."""
    return Refused(Code.MALFORMED_REQUEST, detail)


# --- path and query -----------------------------------------------------------


def path_of(scope: Scope) -> str:
    """The request's path with every segment percent-encoded in the one canonical way.

    So `/v1/queues/a%2Db` is `/v1/queues/a-b`, and `a%2Fb` stays one segment. A legal name needs
    no escape at all: a segment that still has one is simply not a name.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if b"%" not in raw and raw.isascii():
        return raw.decode("ascii")
    return "/".join(quote(unescape(segment, "path"), safe="-._~!$&'()*+,;=:@") for segment in _text(raw).split("/"))


def parse_query(raw: bytes, known: Mapping[str, Kind]) -> dict[str, Any]:
    """The query's parameters with the values that their kinds give them; those left out are absent.

    A known name that ends in `.*` stands for all that begin like it. Raises `malformed-request` for bad
    encoding and `invalid-request` for an unknown parameter, one given twice or a value that is not of its kind.
    """
    values: dict[str, Any] = {}
    if not raw:
        return values
    for pair in _text(raw).split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = unescape(name.replace("+", " "), "query"), unescape(value.replace("+", " "), "query")
        kind = known.get(name) or ("." in name and known.get(f"{name.partition('.')[0]}.*")) or None
        if kind is None:
            raise invalid(name, "unknown query parameter")
        if name in values:
            raise invalid(name, "given more than once")
        values[name] = kind(value, name)
    return values


def text(value: str, field: str) -> str:
    """A query parameter that is text as it stands."""
    return value


def integer(value: str, field: str) -> int:
    """A query parameter that is a whole number."""
    if _INTEGER.fullmatch(value) is None:
        raise invalid(field, "must be an integer")
    return int(value)


def number(value: str, field: str) -> int | float:
    """A query parameter that is a number as JSON writes it."""
    if _INTEGER.fullmatch(value) is not None:
        return int(value)
    if _NUMBER.fullmatch(value) is None or (found := float(value)) in (float("inf"), float("-inf")):
        raise invalid(field, "must be a number")
    return found


def boolean(value: str, field: str) -> bool:
    """A query parameter that is `true` or `false`."""
    if value not in ("true", "false"):
        raise invalid(field, "must be true or false")
    return value == "true"


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise malformed("the address is not UTF-8") from None


def unescape(text: str, what: str) -> str:
    """Percent-decoded once. Raises `malformed-request`, saying what it stood in."""
    if _BAD_ESCAPE.search(text) is not None:
        raise malformed(f"the {what} has a % that begins no escape")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise malformed(f"the {what} is not UTF-8") from None


# --- body ---------------------------------------------------------------------


def transport_of(receive: Receive) -> Any:
    """The transport of the connection that a request came on; None under a server that hides it.

    It is what the `receive` of uvicorn's is bound to.
    """
    return getattr(getattr(receive, "__self__", None), "transport", None)


async def read_body(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """The whole body. Raises `body-too-large` as soon as that is known, and `ClientGone`."""
    declared = header(scope["headers"], b"content-length")
    if declared is not None and declared.isdigit() and int(declared[:20]) > most_bytes:
        raise too_large(most_bytes)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        whole = bytearray(body)
        while message.get("more_body", False):
            if len(whole) > most_bytes:
                raise too_large(most_bytes)
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            whole += message.get("body", b"")
        body = bytes(whole)
    if len(body) > most_bytes:
        raise too_large(most_bytes)
    return body


def too_large(most_bytes: int, what: str = "the request's body", **extra: Any) -> Refused:
    """A `body-too-large` that names the limit."""
    return Refused(Code.BODY_TOO_LARGE, f"{what} is larger than {most_bytes} bytes", limit_bytes=most_bytes, **extra)


def parse_json(body: bytes) -> Any:
    """Any JSON value. Raises `malformed-request` for what is none, or holds what UTF-8 or a double cannot.

    Integers beyond 64 bits become floats: only for values that are looked at and not handed on.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"not JSON: {error}") from None


def may_be_beyond(body: bytes) -> bool:
    """Whether a JSON text may hold an integer beyond 64 bits, which `parse_json` makes a float of."""
    if _EVERY_SIXTH not in body[::6].translate(_DIGITS_ALIKE):
        return False
    alike = body.translate(_DIGITS_ALIKE)
    return alike.count(_LONG) > alike.count(_LONG_IN_STRING) or _LONG_NEGATIVE in alike


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty body is `{}`. Raises as `parse_json`, and `invalid-request` for another value.

    Its integers are those that were sent, however great.
    """
    if not body:
        return {}
    value = parse_json(body)
    if type(value) is not dict:
        raise Refused(Code.INVALID_REQUEST, "the request's body must be a JSON object")
    return parse_exactly(body) if may_be_beyond(body) else value


def parse_exactly(body: bytes) -> Any:
    """The value of what is known to be JSON; slow, but its integers are those that were sent."""
    try:
        return _EXACT.decode(body.decode())
    except RecursionError:
        raise malformed("not JSON: nested too deeply") from None


def is_beyond(value: object) -> bool:
    """Whether it is an integer that could not be written again as it was read."""
    return type(value) is int and not INTEGER_LEAST <= value <= INTEGER_MOST


def _integer(text: str) -> int:
    # How far it is beyond what we can write does not matter, and reading very long ones takes long.
    return int(text[:_DIGITS_READ])


_EXACT: Final = JSONDecoder(parse_int=_integer)


# --- headers ------------------------------------------------------------------


def header(headers: Pairs, name: bytes) -> bytes | None:
    """The first header of that lower-cased name, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def message_headers(headers: Pairs, limits: Limits) -> dict[str, HeaderValue]:
    """The application headers of a raw publish: `Message-Header-<Name>: value`, names lower-cased.

    One given several times is joined with commas, as HTTP means it (RFC 9110 §5.3).
    """
    found: dict[str, HeaderValue] = {}
    for key, raw in headers:
        if key.startswith(MESSAGE_HEADER):
            name = check_header_name(key[len(MESSAGE_HEADER) :].decode("latin-1"))
            try:
                value = raw.decode()
            except UnicodeDecodeError:
                raise malformed(f"the header Message-Header-{name} is not UTF-8") from None
            found[name] = f"{found[name]}, {value}" if name in found else value
    if found:
        check_headers_size(found, limits)
    return found


def application_headers(value: object, limits: Limits, field: str = "headers") -> Headers:
    """The `headers` of an envelope or a binding: an object of strings, numbers and booleans.

    Answers with lower-cased names. Raises `invalid-request`.
    """
    if type(value) is not dict:
        raise invalid(field, "must be an object of strings, numbers and booleans")
    found: dict[str, HeaderValue] = {}
    for name, item in value.items():
        if type(item) not in (str, int, float, bool):
            raise invalid(f"{field}.{name}", "must be a string, a number or a boolean")
        if type(item) is int and is_beyond(item):
            raise invalid(f"{field}.{name}", "must not be an integer beyond 64 bits: send it as a string")
        found[check_header_name(name)] = item
    check_headers_size(found, limits)
    return found


def check_headers_size(headers: Headers, limits: Limits) -> None:
    """Raise `invalid-request` where there are more headers, or more bytes in them, than the limits allow."""
    if len(headers) > limits.header_count:
        raise invalid("headers", f"at most {limits.header_count} headers")
    total = 0
    for name, value in headers.items():
        total += len(name) + (len(value.encode()) if type(value) is str else len(str(value)))
    if total > limits.header_bytes:
        raise invalid("headers", f"names and values must be at most {limits.header_bytes} bytes in all")


def negotiate(accept: bytes | None, offers: tuple[str, ...]) -> str:
    """Which of the offered media types the client likes best; the first of them where it does not care.

    Raises `not-acceptable` where it takes none of them (RFC 9110 §12.5.1).
    """
    if not accept or accept == b"*/*":
        return offers[0]
    ranges = [_media_range(part) for part in accept.decode("latin-1").lower().split(",") if part.strip()]
    best, best_quality = "", 0.0
    for offer in offers:
        fitting = [(fit, quality) for pattern, quality in ranges if (fit := _fit(pattern, offer))]
        quality = max(fitting)[1] if fitting else 0.0
        if quality > best_quality:
            best, best_quality = offer, quality
    if ranges and not best:
        raise Refused(Code.NOT_ACCEPTABLE, f"this resource comes as {' or '.join(offers)}", offers=list(offers))
    return best or offers[0]


def _media_range(part: str) -> tuple[str, float]:
    pattern, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return pattern, min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return pattern, 0.0
    return pattern, 1.0


def _fit(pattern: str, offer: str) -> int:
    """How exactly the pattern names the media type: 3 itself, 2 its kind, 1 anything, 0 not at all."""
    if pattern == offer:
        return 3
    if pattern == f"{offer.partition('/')[0]}/*":
        return 2
    return 1 if pattern == "*/*" else 0
