"""What a server keeps in memory for slow clients, bounded over all of its connections.

A client may take its time with a body, or with reading an answer, and meanwhile we keep what there is of it.
One alone keeps little; a thousand could fill the memory. So all of them together
may hold so much, and where that is not enough, the one that has held for longest is let go.
"""

from collections.abc import Callable

LetGo = Callable[[], None]


class Held:
    """Who holds how many bytes. At most `most_bytes` in all."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.total_bytes = 0
        self._bytes: dict[LetGo, int] = {}  # the longest holder first

    def put(self, holder: LetGo, count: int) -> None:
        """The holder holds so many bytes now; 0 is none. A holder is what is called to have it let go."""
        self.total_bytes += count - self._bytes.get(holder, 0)
        if count:
            self._bytes[holder] = count
        else:
            self._bytes.pop(holder, None)
        while self.total_bytes > self.most_bytes:
            longest = next(iter(self._bytes))
            self.total_bytes -= self._bytes.pop(longest)
            longest()
