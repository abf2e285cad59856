"""Topic: words parted by dots; `*` is exactly one word, `#` is zero or more.

The patterns stand in a tree, a word a step, so that a message meets only those
that begin like its key, however many are bound. The empty key has zero words.
"""

from collections.abc import Iterable, Sequence

from queuesvc.domain.model import Binding, Headers


def words_of(key: str) -> list[str]:
    """The words of a routing key or pattern."""
    return key.split(".") if key else []


class _Node:
    __slots__ = ("bindings", "children")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.bindings: dict[int, Binding] = {}


class TopicTable:
    """A tree of patterns."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, binding: Binding) -> None:
        """Take in a binding."""
        node = self._root
        for word in words_of(binding.routing_key):
            node = node.children.setdefault(word, _Node())
        node.bindings[binding.id] = binding

    def remove(self, binding: Binding) -> None:
        """Forget a binding, and the branch that only it needed."""
        path = [self._root]
        words = words_of(binding.routing_key)
        for word in words:
            path.append(path[-1].children[word])
        del path[-1].bindings[binding.id]
        for parent, word, node in reversed(list(zip(path, words, path[1:], strict=False))):
            if not node.bindings and not node.children:
                del parent.children[word]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Binding]:
        """Those whose pattern the key fits."""
        found: dict[int, Binding] = {}
        # A pattern of many `#` can reach one place in the tree on many ways: each is walked once.
        seen: set[tuple[int, int]] = set()
        words = words_of(routing_key)
        steps = [(self._root, 0)]
        while steps:
            node, at = steps.pop()
            if (id(node), at) in seen:
                continue
            seen.add((id(node), at))
            self._step(node, words, at, found, steps)
        return found.values()

    @staticmethod
    def _step(
        node: _Node, words: Sequence[str], at: int, found: dict[int, Binding], steps: list[tuple[_Node, int]]
    ) -> None:
        if at == len(words):
            found.update(node.bindings)
        else:
            for word in {words[at], "*"} - {"#"}:
                if (child := node.children.get(word)) is not None:
                    steps.append((child, at + 1))
        if (rest := node.children.get("#")) is not None:
            steps.extend((rest, end) for end in range(at, len(words) + 1))
