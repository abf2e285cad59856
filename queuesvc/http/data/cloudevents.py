"""CloudEvents 1.0 over HTTP: which requests carry them, and whether they are well-formed.

An event is checked and otherwise left alone: a structured one is stored byte for byte, the
attributes of a binary one become the message's headers. (Why not the SDK: docs/architecture.md.)

The specification: CloudEvents 1.0.2 with its JSON format and HTTP protocol binding.
"""

import binascii
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from json import JSONDecoder
from typing import Any, Final

from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import check_text
from queuesvc.http import request
from queuesvc.http.data import values

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
HEADER: Final = b"ce-"
"""What the names of a binary event's request headers begin with."""

REQUIRED: Final = ("specversion", "id", "source", "type")
INTEGER_MOST: Final = 2**31 - 1

# The data of an event, and what says that it is there: no attributes.
_DATA: Final = frozenset({"data", "data_base64"})
_NAME: Final = re.compile(r"[a-z0-9]+")
_PLANES = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NO_TEXT: Final = re.compile(f"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_PLANES}]")
_URI_REFERENCE: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_ABSOLUTE_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")
_TIME: Final = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt ](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;.*)?")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
# Only the places of values are wanted of it, so numbers stay text.
_DECODER: Final = JSONDecoder(parse_int=str, parse_float=str)


@lru_cache(maxsize=256)
def media_type(content_type: bytes) -> str:
    """The media type of a `Content-Type`, lower-cased and without its parameters."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


def parse(body: bytes) -> dict[str, Any]:
    """The event of a structured request, checked. Raises `malformed-request` or `invalid-request`."""
    return check(request.parse_json(body))


def check(event: object) -> dict[str, Any]:
    """The event of a JSON value. Raises `invalid-request` that names what is wrong with it."""
    if type(event) is not dict:
        raise invalid("event", "must be a JSON object")
    check_attributes({name: value for name, value in event.items() if name not in _DATA and value is not None})
    coded = event.get("data_base64")
    if coded is not None:
        if "data" in event:
            raise invalid("data_base64", "data is given too")
        _check_base64(coded)
    return event


def split(body: bytes, most: int) -> list[tuple[dict[str, Any], bytes]]:
    """The events of a batched request, at most so many, checked, each with its own bytes of the body.

    There may be none. Raises `malformed-request`, or `invalid-request` with the place in the batch.
    """
    events = request.parse_json(body)
    if type(events) is not list:
        raise invalid("events", "a batch of CloudEvents must be a JSON array")
    if len(events) > most:
        raise invalid("events", f"a batch holds at most {most} CloudEvents")
    for index, event in enumerate(events):
        try:
            check(event)
        except Refused as refused:
            raise values.at_index(refused, index) from None
    return list(zip(events, _pieces(body.decode(), len(events)), strict=True))


def publish_options(options: Mapping[str, Any], event: Mapping[str, Any], queue: str | None) -> Mapping[str, Any]:
    """The options of an event's publish: towards an exchange its type is the routing key unless one is given."""
    if queue is not None or options.get("routing_key") is not None:
        return options
    return {**options, "routing_key": check_text(event["type"], "type")}


def check_attributes(attributes: Mapping[str, Any], prefix: str = "") -> None:
    """Raise `invalid-request` unless these are the attributes of an event; `prefix` goes before their names."""
    for name, value in attributes.items():
        if _NAME.fullmatch(name) is None:
            raise invalid(prefix + name, "is no attribute of a CloudEvent: names must match [a-z0-9]+")
        kind = type(value)
        if kind is str:
            if not value.isprintable() and _NO_TEXT.search(value) is not None:
                raise invalid(prefix + name, "must have no control characters or noncharacters")
            fault = _FAULTS.get(name)
            if fault is not None and (why := fault(value)):
                raise invalid(prefix + name, why)
        elif name in _FAULTS:
            raise invalid(prefix + name, "must be a string")
        elif kind is int:
            if not -INTEGER_MOST - 1 <= value <= INTEGER_MOST:
                raise invalid(prefix + name, "must be an integer of 32 bits")
        elif kind is not bool:
            raise invalid(prefix + name, "must be a string, an integer or a boolean")
    for name in REQUIRED:
        if name not in attributes:
            raise invalid(prefix + name, "is required")


def header_attributes(headers: request.Pairs) -> dict[str, str]:
    """The attributes in the `ce-*` headers of a request, by their names without the prefix.

    Raises `malformed-request` for bad encoding, `invalid-request` for one given twice or that must not be there.
    """
    found: dict[str, str] = {}
    for key, raw in headers:
        if not key.startswith(HEADER):
            continue
        header = key.decode("latin-1")
        name = header[len(HEADER) :]
        if name in found:
            raise invalid(header, "given more than once")
        if name == "datacontenttype":
            raise invalid(header, "the type of a binary event's data is the Content-Type")
        if name in _DATA:
            raise invalid(header, "the data of a binary event is the body")
        found[name] = _decode(raw, header)
    return found


def check_same(attributes: Mapping[str, str], event: Mapping[str, Any]) -> None:
    """Raise `invalid-request` where a structured event's headers (it may have them) say something else than it does."""
    for name, value in attributes.items():
        own = event.get(name)
        text = str(own).lower() if type(own) is bool else str(own)
        if own is None or text != value:
            raise invalid(f"ce-{name}", "is not what the event itself says")


def _decode(raw: bytes, header: str) -> str:
    """A header's value: a quoted string or not, then percent-decoded once (§3.1.3.2 of the binding)."""
    try:
        text = raw.decode()
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = _QUOTED_PAIR.sub(r"\1", text[1:-1])
    except UnicodeDecodeError:
        raise request.malformed(f"the header {header} is not UTF-8") from None
    return request.unescape(text, f"header {header}") if "%" in text else text


def _pieces(text: str, count: int) -> list[bytes]:
    """The text of each item of a JSON array that is known to be one of so many."""
    pieces: list[bytes] = []
    at = text.index("[") + 1
    for index in range(count):
        start = _after_space(text, at)
        try:
            end = _DECODER.raw_decode(text, start)[1]
        except RecursionError:
            raise invalid("data", "is nested too deeply", index=index) from None
        pieces.append(text[start:end].encode())
        at = _after_space(text, end) + 1  # behind the comma
    return pieces


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _check_base64(value: object) -> None:
    if type(value) is not str:
        raise invalid("data_base64", "must be a string")
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise invalid("data_base64", "must be base64 (RFC 4648 §4, with padding)") from None


def _empty(value: str) -> str:
    return "" if value else "must not be empty"


def _no_version(value: str) -> str:
    return "" if value == "1.0" else "must be 1.0"


def _no_uri_reference(value: str) -> str:
    return "" if _URI_REFERENCE.fullmatch(value) else "must be a URI reference (RFC 3986), and not empty"


def _no_uri(value: str) -> str:
    good = _ABSOLUTE_URI.match(value) and _URI_REFERENCE.fullmatch(value)
    return "" if good else "must be a URI with a scheme (RFC 3986)"


def _no_media_type(value: str) -> str:
    return "" if _MEDIA_TYPE.fullmatch(value) else "must be a media type (RFC 2046)"


def _no_time(value: str) -> str:
    return "" if _TIME.fullmatch(value) else "must be a time as RFC 3339 writes it"


_FAULTS: Final[Mapping[str, Callable[[str], str]]] = {
    "specversion": _no_version,
    "id": _empty,
    "source": _no_uri_reference,
    "type": _empty,
    "datacontenttype": _no_media_type,
    "dataschema": _no_uri,
    "subject": _empty,
    "time": _no_time,
}
"""What is wrong with the value of an attribute that the specification knows, or the empty text."""
