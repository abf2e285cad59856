"""Direct: the routing key equals the binding's."""

from collections.abc import Iterable

from queuesvc.domain.model import Binding, Headers


class DirectTable:
    """Bindings by routing key."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[int, Binding]] = {}

    def add(self, binding: Binding) -> None:
        """Take in a binding."""
        self._by_key.setdefault(binding.routing_key, {})[binding.id] = binding

    def remove(self, binding: Binding) -> None:
        """Forget a binding."""
        bindings = self._by_key[binding.routing_key]
        del bindings[binding.id]
        if not bindings:
            del self._by_key[binding.routing_key]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Binding]:
        """Those bound with exactly this key."""
        return self._by_key.get(routing_key, {}).values()
