"""Values of fields, from a query or from JSON, checked and turned into what commands hold.

Each takes what JSON (or the query's kind) gave, never None, and raises `invalid-request`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.limits import LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST, REPLY_PREFIX, check_name, check_text
from queuesvc.http.request import DURATION_SECONDS_MOST

_REPLY_ADDRESS: Final = re.compile(re.escape(REPLY_PREFIX) + "[A-Za-z0-9_-]{1,248}")


def text(value: object, field: str) -> str:
    """A routing key, group or the like (§2)."""
    if type(value) is not str:
        raise invalid(field, "must be a string")
    return check_text(value, field)


def is_reply_address(name: str) -> bool:
    """Whether a publish to this "queue" is a reply: an address of a request's, as `Broker.reply_address` makes them."""
    return _REPLY_ADDRESS.fullmatch(name) is not None


def exchange_name(value: object, field: str) -> str:
    """The name of an exchange."""
    if type(value) is not str:
        raise invalid(field, "must be a string")
    return check_name(value, field)


def queue_name(value: object, field: str, *, or_reply_address: bool = False) -> str:
    """The name of a queue, or where that is allowed the address of a reply."""
    if type(value) is not str:
        raise invalid(field, "must be a string")
    return value if or_reply_address and is_reply_address(value) else check_name(value, field)


def boolean(value: object, field: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise invalid(field, "must be true or false")
    return value


def integer(value: object, field: str, least: int, most: int) -> int:
    """A whole number between the two, both allowed."""
    if type(value) is not int:
        raise invalid(field, "must be an integer")
    if not least <= value <= most:
        raise invalid(field, f"must be {least} to {most}")
    return value


def milliseconds(value: object, field: str, least_seconds: float, most_seconds: float) -> int:
    """A number of seconds between the two, both allowed, as whole milliseconds."""
    # A boolean is no number here: it has a type of its own.
    if type(value) is not int and type(value) is not float:
        raise invalid(field, "must be a number")
    if not least_seconds <= value <= most_seconds:
        raise invalid(field, f"must be {least_seconds:g} to {most_seconds:.15g}")
    return round(value * 1000)


def lease_ms(value: object) -> int:
    """`lease_seconds` as milliseconds."""
    return milliseconds(value, "lease_seconds", LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST)


def ttl_ms(value: object) -> int:
    """`ttl_seconds` as milliseconds: above 0, at least one millisecond."""
    found = milliseconds(value, "ttl_seconds", 0, DURATION_SECONDS_MOST)
    if value == 0:
        raise invalid("ttl_seconds", "must be above 0")
    return max(found, 1)


def receipts(value: object, field: str, most: int) -> tuple[str, ...]:
    """A list of at most `most` receipts as they stand; whether they are well-formed is for the store to say."""
    if type(value) is not list:
        raise invalid(field, "must be a list of receipts")
    if len(value) > most:
        raise invalid(field, f"must hold at most {most} receipts")
    for index, receipt in enumerate(value):
        if type(receipt) is not str:
            raise invalid(field, "must hold strings only", index=index)
    return tuple(value)


def refuse_unknown(given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise `invalid-request` naming the first field that is not known."""
    for name in given:
        if name not in known:
            raise invalid(name, "unknown field")


def merged(query: Mapping[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The options of a query together with the fields of a JSON object; nulls count as left out.

    Raises `invalid-request` where both give one, with different values.
    """
    if not query:
        return fields
    both = dict(fields)
    for name, value in query.items():
        given = fields.get(name)
        if given is None:
            both[name] = value
        elif given != value:
            # (Where True stands for 1, it is the field's own check that refuses it.)
            raise invalid(name, "the query and the body give different values")
    return both


def at_index(refused: Refused, index: int) -> Refused:
    """The same refusal, naming the place in the batch."""
    refused.extra.setdefault("index", index)
    return refused
