"""Where a history's choices come from, and the values that it chooses from."""

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from queuesvc.domain.model import HeaderValue, Overflow, RetryBackoff
from tests.model.side import ASKED, NEVER_ASKED

T = TypeVar("T")

QUEUES = ["a", "b", "c", "d"]
EXCHANGES = ["direct-1", "fanout-1", "fanout-2", "headers-1", "headers-2", "topic-1", "topic-2"]
KEYS = ["", "a", "b", "a.b", "a.a", "a.b.c", "b.a.a.b", ".", "a..b", "ä.b"]
PATTERNS = [*KEYS, "*", "#", "*.*", "a.*", "a.#", "#.b", "#.#", "*.#.b", "#.a.#", "a.*.#", "##", "a*"]
VALUES: list[HeaderValue] = ["1", 1, 1.0, 1.5, True, False, "true", "ä", "", 0, -3]
SIZES = [0, 0, 0, 1, 100, 1023, 1024, 1025, 5000]
GROUPS = ["", "", "g", "g", "g", "h", 'ä€😀"']
PRIORITIES = [0, 0, 0, 1, 2, 3, 255]
LEASES_MS = [100, 101, 1000, 1001, 5000, 30_000, 43_200_000]
DELAYS_MS = [None, None, None, 0, 1, 1000, 3_600_000]
TTLS_MS = [None, None, None, None, 1, 1, 100, 1000, 5000, 60_000, 3_600_000]
ADVANCES_MS = [0, 0, 0, 0, 1, 50, 100, 1000, 5000, 29_999, 60_000]
TWISTS = ["other", "other", "past", "flip0", "flip9", "flip31", "tail", "head", "junk", "none", "bare", "line"]
IDEMPOTENCY_KEYS = ["k", "k", "l", "m", "ä"]
ADDRESSES = [ASKED, ASKED, NEVER_ASKED]
BACKOFFS = [
    None,
    None,
    RetryBackoff(),
    RetryBackoff(1, 2, 3, 0),
    RetryBackoff(0.1, 10, 300, 0),
    RetryBackoff(0.5, 1.5, 60, 1),
    RetryBackoff(0, 1, 0, 0.5),
]
TOKENS = ["t", "u", "v"]
TOKEN_IDS = ["", "", "", "", "1", "1", "2", "3"]
GLOBS = [None, None, None, ("*",), (), ("a",), ("b", "c*"), ("*-1", "a"), ("*a*", "f*-*")]
SETTINGS: dict[str, list[Any]] = {
    "lease_seconds": [0.1, 1, 5, 30],
    "delivery_limit": [None, 1, 2, 3, 20],
    "retry_backoff": BACKOFFS,
    "dead_letter_exchange": [None, *EXCHANGES],
    "dead_letter_routing_key": [None, None, None, "", "a", "a.b"],
    "message_ttl_seconds": [None, None, None, 0.001, 1, 5, 60],
    "delay_seconds": [0, 0, 0, 1, 2.5],
    "max_messages": [None, None, None, 1, 2, 5, 10],
    "max_bytes": [None, None, None, None, 10, 1030, 8000],
    "overflow": [Overflow.REJECT_PUBLISH, Overflow.DROP_OLDEST, Overflow.DROP_OLDEST],
    "dead_max_messages": [100_000, 100_000, 0, 1, 3],
    "max_priority": [0, 1, 3, 255],
    "deduplication_window_seconds": [300, 60, 1],
    "expires_seconds": [None, None, None, 1, 5, 60],
    "paused": [False, False, False, False, True],
}


class Choices(Protocol):
    """Where the choices come from."""

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        ...

    def number(self, least: int, most: int) -> int:
        """A number from `least` to `most`, both included."""
        ...


class Seeded:
    """Choices of a seeded generator: the same seed, the same history."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random.random() * len(items))]

    def number(self, least: int, most: int) -> int:
        return self._random.randint(least, most)
