"""What the broker refuses, by the codes of the contract's §9.

The domain raises `Refused` with a code; the one place that knows HTTP statuses
is `queuesvc.http.problems`.
"""

from enum import StrEnum
from typing import Any, Final

SHOWN_CHARACTERS: Final = 80
"""So much is shown of what a client sent as a name where it may be none."""


class Code(StrEnum):
    """Every error code of the contract."""

    MALFORMED_REQUEST = "malformed-request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    EXCHANGE_NOT_FOUND = "exchange-not-found"
    QUEUE_NOT_FOUND = "queue-not-found"
    MESSAGE_NOT_FOUND = "message-not-found"
    BINDING_NOT_FOUND = "binding-not-found"
    STREAM_NOT_FOUND = "stream-not-found"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    NOT_ACCEPTABLE = "not-acceptable"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    CONFLICT = "conflict"
    LEASE_LOST = "lease-lost"
    GONE = "gone"
    QUEUE_NOT_EMPTY = "queue-not-empty"
    BODY_TOO_LARGE = "body-too-large"
    INVALID_REQUEST = "invalid-request"
    UNROUTABLE = "unroutable"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    QUEUE_FULL = "queue-full"
    TOO_MANY_REQUESTS = "too-many-requests"
    UNAVAILABLE = "unavailable"
    NO_REPLY = "no-reply"
    INTERNAL_ERROR = "internal-error"


class Refused(Exception):
    """A command or a request that was refused and left no trace.

    `extra` holds members of the problem document beside `detail`, such as
    `field`, `index`, `fields` or `receipt`.
    """

    def __init__(self, code: Code, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused) and (self.code, self.extra) == (other.code, other.extra)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Refused({self.code.value!r}, {self.detail!r}, {self.extra!r})"


def shown(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """What a client sent, cut where it is too long to be said back."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def no_binding(id_: int) -> Refused:
    """A `binding-not-found`."""
    return Refused(Code.BINDING_NOT_FOUND, f"there is no binding {id_}")


def no_message(queue: str, id_: str) -> Refused:
    """A `message-not-found`."""
    id_ = shown(id_)
    return Refused(Code.MESSAGE_NOT_FOUND, f"queue {queue!r} has no message {id_!r}", id=id_)


def invalid(field: str, why: str, **extra: Any) -> Refused:
    """An `invalid-request`: the field's name and what is wrong with its value."""
    field = shown(field)
    return Refused(Code.INVALID_REQUEST, f"{field}: {why}", field=field, **extra)
