"""Fanout: every binding matches."""

from collections.abc import Iterable

from queuesvc.domain.model import Binding, Headers


class FanoutTable:
    """All bindings."""

    def __init__(self) -> None:
        self._bindings: dict[int, Binding] = {}

    def add(self, binding: Binding) -> None:
        """Take in a binding."""
        self._bindings[binding.id] = binding

    def remove(self, binding: Binding) -> None:
        """Forget a binding."""
        del self._bindings[binding.id]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Binding]:
        """All of them."""
        return self._bindings.values()
