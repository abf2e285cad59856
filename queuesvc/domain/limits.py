"""Names and limits: the contract's §2 and §11 as functions and numbers."""

import re
from dataclasses import dataclass
from typing import Final

from queuesvc.domain.errors import invalid, shown

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")

REPLY_PREFIX: Final = "_reply."
"""How reply addresses begin: no name of a queue does."""

TEXT_BYTES: Final = 255
HEADER_COUNT: Final = 64
HEADER_BYTES: Final = 16 * 1024
LEASE_SECONDS_LEAST: Final = 0.1
LEASE_SECONDS_MOST: Final = 43_200
PRIORITY_MOST: Final = 255
LIST_ITEMS: Final = 1000
LIST_ITEMS_DEFAULT: Final = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that an operator may set (§11), with their defaults."""

    body_bytes: int = 1024 * 1024
    request_bytes: int = 16 * 1024 * 1024
    batch_messages: int = 1000
    receive_messages: int = 1000
    receive_bytes: int = 16 * 1024 * 1024
    header_count: int = HEADER_COUNT
    header_bytes: int = HEADER_BYTES
    wait_seconds: float = 60
    delay_seconds: float = 366 * 86_400
    document_bytes: int = 1024 * 1024
    """a request's body that holds neither messages nor definitions"""


def check_name(name: str, field: str) -> str:
    """The name of an exchange or a queue as it stands, or `invalid-request`."""
    if NAME.fullmatch(name) is None:
        raise invalid(field, "must be 1 to 255 characters of A-Z a-z 0-9 . _ : - starting with a letter or a digit")
    return name


def check_text(text: str, field: str) -> str:
    """A routing key, group or the like as it stands, or `invalid-request`."""
    if len(text) > TEXT_BYTES or (not text.isascii() and _utf8_length(text, field) > TEXT_BYTES):
        raise invalid(field, f"must be at most {TEXT_BYTES} bytes of UTF-8")
    if not text.isprintable() and _CONTROL.search(text) is not None:
        raise invalid(field, "must have no control characters")
    return text


def _utf8_length(text: str, field: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise invalid(field, "must be valid Unicode") from None


def check_header_name(name: str) -> str:
    """The name of an application header, lower-cased, or `invalid-request`."""
    # Matched before it is lowered: some letters beyond ASCII are ASCII once lowered.
    if HEADER_NAME.fullmatch(name) is None:
        raise invalid("headers", f"{shown(name)!r} is not a header name: it must match [a-z0-9-]+")
    return name.lower()
