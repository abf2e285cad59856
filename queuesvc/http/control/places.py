"""Documents that are lists of things: their items, and refusals that name the place of one (`queues.3.name`)."""

from collections.abc import Mapping
from typing import Any

from queuesvc.domain.errors import Refused, invalid


def items(document: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The objects of a list in a document; null and nothing at all are an empty list. Raises `invalid-request`."""
    value = document.get(field)
    if value is None:
        return []
    if type(value) is not list:
        raise invalid(field, "must be a list of objects")
    for index, item in enumerate(value):
        if type(item) is not dict:
            raise invalid(f"{field}.{index}", "must be an object")
    return value


def at_place(refused: Refused, place: str) -> Refused:
    """The same refusal of an item, with its field named from the top of the document."""
    field = refused.extra.get("field")
    if not isinstance(field, str):
        return refused
    why = refused.detail.removeprefix(f"{field}: ")
    whole = f"{place}.{field}" if field else place
    return Refused(refused.code, f"{whole}: {why}", **{**refused.extra, "field": whole})
