"""How replies are compared."""

from dataclasses import fields, is_dataclass
from typing import Any

from queuesvc.domain.errors import Refused
from queuesvc.domain.model import QueueStats


class Difference(AssertionError):
    """A store and the model do not agree."""


def plain(value: Any) -> Any:
    """A reply as it is compared: of a refusal the code and what the contract names, no wording."""
    if isinstance(value, Refused):
        named = {name: value.extra[name] for name in ("field", "index", "receipt") if name in value.extra}
        return "Refused", value.code.value, named, sorted(value.extra.get("fields", ()))
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return repr(value) if isinstance(value, bool) else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if is_dataclass(value):
        return type(value).__name__, {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return repr(value)


def difference(wanted: Any, got: Any, place: str = "") -> str:
    """Where two plain values differ first, and how; empty where they do not."""
    if wanted == got:
        return ""
    if isinstance(wanted, dict) and isinstance(got, dict) and wanted.keys() == got.keys():
        return next(filter(None, (difference(wanted[key], got[key], f"{place}.{key}") for key in wanted)))
    if isinstance(wanted, tuple) and isinstance(got, tuple) and len(wanted) == len(got):
        return next(
            filter(None, (difference(*pair, f"{place}.{at}") for at, pair in enumerate(zip(wanted, got, strict=True))))
        )
    return f"\n  expected {place} = {wanted!r}\n  got      {place} = {got!r}"


def conserved(stats: QueueStats) -> None:
    """The contract's §10.5."""
    came = stats.published + stats.moved_in
    here = stats.ready + stats.leased + stats.delayed + stats.dead
    left = stats.acked + stats.expired + stats.dropped + stats.purged + stats.moved_out
    if came != here + left:
        raise Difference(f"conservation: {came} came, {here} are here, {left} left: {stats}")
