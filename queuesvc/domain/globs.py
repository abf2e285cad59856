"""Globs on names: `*` stands for any run of characters, none among them; all else is itself. Anchored at both ends.

No regular expressions: the pieces between the stars are looked for from left to right, each once, so that a
pattern of many stars takes no longer than its length times the name's.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from queuesvc.domain.errors import invalid

GLOB: Final = re.compile(r"[A-Za-z0-9._:*-]{1,255}")
DECISIONS_CACHED: Final = 16_384


def check_glob(pattern: str, field: str) -> str:
    """A glob as it stands, or `invalid-request`."""
    if GLOB.fullmatch(pattern) is None:
        raise invalid(field, "must be 1 to 255 characters of A-Z a-z 0-9 . _ : - and * for any run of characters")
    return pattern


class Globs:
    """Several globs, any of which may match. Compared by identity; what was decided is kept, within bounds."""

    __slots__ = ("_pieces",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._pieces = tuple(tuple(pattern.split("*")) for pattern in patterns)

    def match(self, name: str) -> bool:
        """Whether the whole name is like one of them."""
        return bool(self._pieces) and _decide(self, name)

    def look(self, name: str) -> bool:
        """The same without the memory."""
        return any(_fits(pieces, name) for pieces in self._pieces)


@lru_cache(maxsize=DECISIONS_CACHED)
def _decide(globs: Globs, name: str) -> bool:
    return globs.look(name)


def _fits(pieces: tuple[str, ...], name: str) -> bool:
    """Whether the pieces stand in the name in this order, the first at its begin and the last at its end."""
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return name == first
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    # The leftmost place of each leaves the most for those behind it, so no other need be tried.
    at, end = len(first), len(name) - len(last)
    for piece in pieces[1:-1]:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
