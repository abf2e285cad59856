"""The shape of a JSON document of the control plane's, looked at before anything is made of it.

A reader that goes into every part of a document takes long over a million members and trips over a thousand
levels. No document of ours has many of either.
"""

from typing import Any, Final

from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.http.request import parse_object

LEVELS_MOST: Final = 32
"""How deeply objects and lists may be nested."""

MEMBERS_MOST: Final = 1000
"""How many members an object may have."""

VALUES_MOST: Final = 1_000_000
"""How many values a document may hold, about: what brings a value is counted, also where it stands in a string."""

_BRINGS_VALUE: Final = (b",", b"[", b"{")


def parse_document(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty body is `{}`. Raises as `parse_object`, and `invalid-request` for a monstrous one."""
    if sum(map(body.count, _BRINGS_VALUE)) > VALUES_MOST:
        raise Refused(Code.INVALID_REQUEST, f"a document must hold at most {VALUES_MOST} values")
    document = parse_object(body)
    if len(document) > MEMBERS_MOST:
        raise Refused(Code.INVALID_REQUEST, f"an object must have at most {MEMBERS_MOST} members")
    for name, value in document.items():
        _check(value, name)
    return document


def _check(value: object, field: str) -> None:
    """Raise `invalid-request`, naming the field, where the value is nested too deeply or an object in it too large."""
    level: list[Any] = [value]
    for _ in range(LEVELS_MOST):
        below: list[Any] = []
        for one in level:
            if type(one) is dict:
                if len(one) > MEMBERS_MOST:
                    raise invalid(field, f"an object must have at most {MEMBERS_MOST} members")
                below += one.values()
            elif type(one) is list:
                below += one
        level = [one for one in below if type(one) in (dict, list)]
        if not level:
            return
    raise invalid(field, f"must be nested at most {LEVELS_MOST} levels deep")
