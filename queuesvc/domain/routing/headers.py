"""Headers: the message's headers hold all, or any, of the binding's.

Values are compared as text, so that a raw header `3` equals the number 3: a
string is itself, a number or a boolean its JSON text.
"""

import json
from collections.abc import Iterable

from queuesvc.domain.model import Binding, Headers, HeaderValue


def text_of(value: HeaderValue) -> str:
    """The text by which a header's value is compared."""
    return value if isinstance(value, str) else json.dumps(value)


def matches(binding: Binding, texts: dict[str, str]) -> bool:
    """Whether message headers, given as texts, fit a binding. `any` of nothing never does."""
    wanted = (texts.get(name) == text_of(value) for name, value in (binding.headers or {}).items())
    return any(wanted) if binding.match == "any" else all(wanted)


class HeadersTable:
    """All bindings, each compared in turn."""

    def __init__(self) -> None:
        self._bindings: dict[int, Binding] = {}

    def add(self, binding: Binding) -> None:
        """Take in a binding."""
        self._bindings[binding.id] = binding

    def remove(self, binding: Binding) -> None:
        """Forget a binding."""
        del self._bindings[binding.id]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Binding]:
        """Those whose headers the message bears."""
        texts = {name: text_of(value) for name, value in headers.items()}
        return [binding for binding in self._bindings.values() if matches(binding, texts)]
