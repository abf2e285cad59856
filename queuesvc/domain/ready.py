"""The ready messages of a queue, in the order in which they are handed out.

Highest priority first, then lowest number. A million ready messages must cost
little memory, so what was never leased stands as three numbers in arrays (20
bytes); only what came back, or has more to it, is an object.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import repeat

from queuesvc.domain.messages import LEASED, READY, Message

CHUNK = 4096


class Chunk:
    """Some messages in order of number, from index `start` on."""

    __slots__ = ("numbers", "published", "sizes", "start")

    def __init__(self) -> None:
        self.numbers = array("q")
        self.sizes = array("I")
        self.published = array("q")
        self.start = 0


class Fresh:
    """Messages of one priority that never were anything but ready, in order of number."""

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()

    def append(self, number: int, size: int, published_at: int) -> None:
        """Add a message, whose number is above all others here."""
        chunks = self._chunks
        if not chunks or len(chunks[-1].numbers) >= CHUNK:
            chunks.append(Chunk())
        chunk = chunks[-1]
        chunk.numbers.append(number)
        chunk.sizes.append(size)
        chunk.published.append(published_at)

    def head(self) -> tuple[int, int, int] | None:
        """Number, size and moment of publish of the first one."""
        if not self._chunks:
            return None
        chunk = self._chunks[0]
        at = chunk.start
        return chunk.numbers[at], chunk.sizes[at], chunk.published[at]

    def take(self, most: int, most_bytes: int) -> list[tuple[int, int, int]]:
        """Remove the first ones: at most so many, and no more bytes than given (but always one)."""
        taken: list[tuple[int, int, int]] = []
        room = most_bytes
        while len(taken) < most and self._chunks:
            chunk = self._chunks[0]
            end = min(chunk.start + most - len(taken), len(chunk.numbers))
            span = slice(chunk.start, end)
            size = sum(chunk.sizes[span])
            if size > room:
                end = self._fitting(chunk, end, room, not taken)
                span = slice(chunk.start, end)
            taken += zip(chunk.numbers[span], chunk.sizes[span], chunk.published[span], strict=True)
            self._drop(chunk, end)
            if size > room:
                break
            room -= size
        return taken

    @staticmethod
    def _fitting(chunk: Chunk, end: int, room: int, first: bool) -> int:
        at = chunk.start
        while at < end and (chunk.sizes[at] <= room or first):
            room -= chunk.sizes[at]
            first = False
            at += 1
        return at

    def _drop(self, chunk: Chunk, end: int) -> None:
        chunk.start = end
        if end == len(chunk.numbers):
            self._chunks.popleft()

    def remove(self, number: int) -> tuple[int, int, int] | None:
        """Remove one from anywhere: number, size, moment of publish; None where it is not here."""
        for index, chunk in enumerate(self._chunks):
            if chunk.numbers[-1] >= number:
                return self._remove_from(index, chunk, number)
        return None

    def _remove_from(self, index: int, chunk: Chunk, number: int) -> tuple[int, int, int] | None:
        at = bisect_left(chunk.numbers, number, chunk.start)
        if at == len(chunk.numbers) or chunk.numbers[at] != number:
            return None
        found = chunk.numbers.pop(at), chunk.sizes.pop(at), chunk.published.pop(at)
        if chunk.start == len(chunk.numbers):
            del self._chunks[index]
        return found

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for chunk in self._chunks:
            span = slice(chunk.start, None)
            yield from zip(chunk.numbers[span], chunk.sizes[span], chunk.published[span], strict=True)


class Band:
    """The ready messages of one priority: fresh ones in arrays, the others by number in a heap.

    The heap may hold numbers of messages that are not ready any more: they are skipped.
    """

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh = Fresh()
        self.returned: list[int] = []


class Ready:
    """All ready messages of a queue. `messages` is the queue's own dict of message objects."""

    __slots__ = ("_bands", "_messages", "_order")

    def __init__(self, messages: dict[int, Message]) -> None:
        self._messages = messages
        self._bands: dict[int, Band] = {}
        self._order: list[int] = []

    def _band(self, priority: int) -> Band:
        band = self._bands.get(priority)
        if band is None:
            band = self._bands[priority] = Band()
            self._order = sorted(self._bands, reverse=True)
        return band

    def add_fresh(self, number: int, size: int, published_at: int, priority: int) -> None:
        """Add a message just published, whose number is above all others."""
        self._band(priority).fresh.append(number, size, published_at)

    def add(self, message: Message) -> None:
        """Add a message (already in state ready) at its place by number."""
        heappush(self._band(message.priority).returned, message.number)

    def _returned_head(self, band: Band) -> Message | None:
        while band.returned:
            message = self._messages.get(band.returned[0])
            if message is not None and message.state is READY:
                return message
            heappop(band.returned)
        return None

    def any(self) -> bool:
        """Whether a receive would get something."""
        for priority in self._order:
            band = self._bands[priority]
            if band.fresh.head() is not None or self._returned_head(band) is not None:
                return True
        return False

    def take(self, most: int, most_bytes: int) -> list[Message]:
        """Remove the first messages in order: at most so many and so many bytes (but always one, if any is here).

        Fresh ones become message objects in the queue's dict. All of them are marked leased here,
        since the heap may name a message twice.
        """
        taken: list[Message] = []
        room = most_bytes
        for priority in self._order:
            band = self._bands[priority]
            room = self._take_from(band, priority, most, room, taken)
            if len(taken) >= most or room <= 0:
                break
            # Nothing is left of this priority: forget it, so that an empty one costs no later receive.
            del self._bands[priority]
        if len(self._bands) != len(self._order):
            self._order = sorted(self._bands, reverse=True)
        return taken

    def _take_from(self, band: Band, priority: int, most: int, room: int, taken: list[Message]) -> int:
        """Take from one band; returns the bytes left, 0 where the next message did not fit."""
        while len(taken) < most:
            back = self._returned_head(band)
            fresh = band.fresh.head()
            if back is None and fresh is None:
                return max(room, 1)
            if fresh is None or (back is not None and back.number < fresh[0]):
                assert back is not None
                if back.size > room and taken:
                    return 0
                heappop(band.returned)
                back.state = LEASED
                taken.append(back)
                room -= back.size
                continue
            if fresh[1] > room and taken:
                return 0
            # Without returned ones in between, a run of fresh ones goes at once.
            run = band.fresh.take(1 if back is not None else most - len(taken), max(room, 1))
            for message in map(Message, *zip(*run, strict=True), repeat(priority)):
                message.state = LEASED
                self._messages[message.number] = message
                taken.append(message)
                room -= message.size
        return max(room, 1)

    def remove_fresh(self, number: int, priority: int) -> tuple[int, int, int] | None:
        """Remove a message that stands in the arrays; None where it does not."""
        band = self._bands.get(priority)
        return None if band is None else band.fresh.remove(number)

    def oldest(self) -> tuple[int, int] | None:
        """Number and moment of publish of the oldest ready message, whatever its priority."""
        oldest: tuple[int, int] | None = None
        for band in self._bands.values():
            fresh = band.fresh.head()
            back = self._returned_head(band)
            if fresh is not None and (oldest is None or fresh[0] < oldest[0]):
                oldest = (fresh[0], fresh[2])
            if back is not None and (oldest is None or back.number < oldest[0]):
                oldest = (back.number, back.published_at)
        return oldest

    def __iter__(self) -> Iterator[int]:
        """The numbers in the order of delivery (for tests and checks; not for the hot path)."""
        for priority in self._order:
            band = self._bands[priority]
            back = {n for n in band.returned if n in self._messages and self._messages[n].state is READY}
            yield from sorted(back | {number for number, _, _ in band.fresh})
