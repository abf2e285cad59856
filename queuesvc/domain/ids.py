"""Public message ids: UUIDv7 that carry the store's own number of the message.

    tttttttt-tttt-7ggg-hhhh-nnnnnnnnnnnn

`t` is the moment of the publish (48 bits of milliseconds), `n` the number of
the publish's first copy, and `g` with `h` a 26-bit tag of the store (after the two
variant bits), so that ids of two stores do not meet. Numbers ascend and are never used
twice, so looking a message up by its id needs no index. (RFC 9562 §5.7 leaves
the bits behind the time to us.)
"""

import re
from typing import Final

TAG_BITS: Final = 26
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_id(text: str) -> bool:
    """Whether it has the form of one, be it of this store or another."""
    return _ID.fullmatch(text) is not None


class Ids:
    """Makes and reads the ids of one store, known by its tag (0 to 2^26 - 1)."""

    def __init__(self, tag: int) -> None:
        self._tail = f"-7{tag >> 14 & 0xFFF:03x}-{0x8000 | tag & 0x3FFF:04x}-"
        self._at = -1
        self._head = ""

    def head(self, published_at: int) -> str:
        """What the ids of all messages published at this moment begin with: the first 24 characters."""
        if published_at != self._at:
            time = f"{published_at & 0xFFFFFFFFFFFF:012x}"
            self._at, self._head = published_at, f"{time[:8]}-{time[8:]}{self._tail}"
        return self._head

    def make(self, published_at: int, first: int) -> str:
        """The id of the message whose first copy has the number `first`."""
        return f"{self.head(published_at)}{first:012x}"

    def parse(self, text: str) -> tuple[int, int] | None:
        """`(published_at, first)` of an id of this store, or None."""
        if not is_id(text) or text[13:24] != self._tail:
            return None
        return int(text[:8] + text[9:13], 16), int(text[24:], 16)
