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

from queuesvc.domain.messages import LEASED, READY, Group, Message

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
        chunk = self._last()
        chunk.numbers.append(number)
        chunk.sizes.append(size)
        chunk.published.append(published_at)

    def extend(self, numbers: range, sizes: list[int], published_at: int) -> None:
        """Add many, whose numbers are above all others here."""
        at = 0
        while at < len(sizes):
            chunk = self._last()
            end = at + CHUNK - len(chunk.numbers)
            some = numbers[at:end]
            chunk.numbers.extend(some)
            chunk.sizes.extend(sizes[at:end])
            chunk.published.extend([published_at] * len(some))
            at = end

    def _last(self) -> Chunk:
        """The last chunk, with room for at least one more."""
        chunks = self._chunks
        if not chunks or len(chunks[-1].numbers) >= CHUNK:
            chunks.append(Chunk())
        return chunks[-1]

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
        if chunk.numbers[at] != number:
            return None
        found = chunk.numbers.pop(at), chunk.sizes.pop(at), chunk.published.pop(at)
        if chunk.start == len(chunk.numbers):
            del self._chunks[index]
        return found

    def find(self, number: int) -> int | None:
        """The moment of publish of one; None where it is not here."""
        for chunk in self._chunks:
            if chunk.numbers[-1] >= number:
                at = bisect_left(chunk.numbers, number, chunk.start)
                return chunk.published[at] if chunk.numbers[at] == number else None
        return None

    def after(self, number: int) -> Iterator[tuple[int, int, int]]:
        """Those behind a number, in order. What changes meanwhile may be missed."""
        for chunk in list(self._chunks):
            if chunk.numbers[-1] > number:
                span = slice(bisect_left(chunk.numbers, number + 1, chunk.start), None)
                yield from zip(chunk.numbers[span], chunk.sizes[span], chunk.published[span], strict=True)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for chunk in self._chunks:
            span = slice(chunk.start, None)
            yield from zip(chunk.numbers[span], chunk.sizes[span], chunk.published[span], strict=True)

    def chunks(self) -> Iterator[Chunk]:
        """The arrays, in order."""
        return iter(self._chunks)

    def clear(self) -> None:
        """Forget all of them."""
        self._chunks.clear()


class Band:
    """The ready messages of one priority: fresh ones in arrays, the others by number in a heap.

    Of a group only the head stands here, and only while nothing holds the group up. The heap
    may hold numbers of messages that are not (or not yet again) to be handed out: they are passed over.
    """

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh = Fresh()
        self.returned: list[int] = []


class Ready:
    """All ready messages of a queue. `messages` is the queue's own dict of message objects."""

    __slots__ = ("_bands", "_grouped", "_order", "messages")

    def __init__(self, messages: dict[int, Message]) -> None:
        self.messages = messages
        self._bands: dict[int, Band] = {}
        self._order: list[int] = []
        # Numbers of all ready messages with a group, held up or not: for `oldest` alone.
        self._grouped: list[int] = []

    def _band(self, priority: int) -> Band:
        band = self._bands.get(priority)
        if band is None:
            band = self._bands[priority] = Band()
            self._order = sorted(self._bands, reverse=True)
        return band

    def add_fresh(self, number: int, size: int, published_at: int, priority: int) -> None:
        """Add a message just published, whose number is above all others."""
        self._band(priority).fresh.append(number, size, published_at)

    def add_fresh_run(self, numbers: range, sizes: list[int], published_at: int) -> None:
        """The same of many of priority 0."""
        self._band(0).fresh.extend(numbers, sizes, published_at)

    def add(self, message: Message, now: int) -> None:
        """Add a message (already in state ready) at its place by number."""
        group = message.group
        if group is None:
            heappush(self._band(message.priority).returned, message.number)
        else:
            heappush(self._grouped, message.number)
            group.add(message)
            if not group.held and group.head(self.messages, now) is message:
                heappush(self._band(message.priority).returned, message.number)

    def offer(self, group: Group, now: int) -> None:
        """Put the head of a group among those to be handed out, unless the group is held up."""
        head = None if group.held else group.head(self.messages, now)
        if head is not None:
            heappush(self._band(head.priority).returned, head.number)

    def _returned_head(self, band: Band, priority: int, now: int) -> Message | None:
        while band.returned:
            message = self.messages.get(band.returned[0])
            if message is not None and message.state is READY and message.priority == priority:
                group = message.group
                if group is None:
                    if not message.expired(now):
                        return message
                elif not group.held and group.head(self.messages, now) is message:
                    return message
            heappop(band.returned)
        return None

    def _top(self, now: int) -> tuple[int, Band, Message | None] | None:
        """The highest priority that has something, and its first message that is not fresh."""
        while self._order:
            priority = self._order[0]
            band = self._bands[priority]
            back = self._returned_head(band, priority, now)
            if back is not None or band.fresh.head() is not None:
                return priority, band, back
            if len(self._order) == 1:
                return None
            # Nothing is left of this priority: forget it, so that it costs no later receive.
            del self._bands[priority], self._order[0]
        return None

    def any(self, now: int) -> bool:
        """Whether a receive would get something."""
        return self._top(now) is not None

    def take(self, most: int, most_bytes: int, now: int) -> list[Message]:
        """Remove the first messages in order: at most so many and so many bytes (but always one, if any is here).

        Fresh ones become message objects in the queue's dict. All of them are marked leased here,
        since the heap may name a message twice, and so that the next of a group comes up.
        """
        taken: list[Message] = []
        room = most_bytes
        while len(taken) < most and (top := self._top(now)) is not None:
            priority, band, back = top
            fresh = band.fresh.head()
            size = fresh[1] if fresh is not None else 0
            if back is not None and (fresh is None or back.number < fresh[0]):
                size = back.size
            if size > room and taken:
                break
            if back is not None and (fresh is None or back.number < fresh[0]):
                heappop(band.returned)
                run = [back]
            else:
                # Without returned ones in between, a run of fresh ones goes at once.
                run = self._take_fresh(band, priority, 1 if back is not None else most - len(taken), room)
            for message in run:
                message.state = LEASED
                room -= message.size
                if message.group is not None:
                    self.offer(message.group, now)
            taken += run
        return taken

    def _take_fresh(self, band: Band, priority: int, most: int, room: int) -> list[Message]:
        rows = band.fresh.take(most, max(room, 1))
        run = list(map(Message, *zip(*rows, strict=True), repeat(priority)))
        self.messages.update((message.number, message) for message in run)
        return run

    def materialise(self, number: int) -> Message | None:
        """The message of this number as an object, out of the arrays where it stood there; None if it is neither."""
        message = self.messages.get(number)
        if message is not None:
            return message
        for priority, band in self._bands.items():
            row = band.fresh.remove(number)
            if row is not None:
                message = self.messages[number] = Message(*row, priority)
                message.state = READY
                return message
        return None

    def find_fresh(self, number: int) -> tuple[int, int] | None:
        """Priority and moment of publish of a message in the arrays; None where it is not there."""
        for priority, band in self._bands.items():
            published_at = band.fresh.find(number)
            if published_at is not None:
                return priority, published_at
        return None

    def oldest(self, now: int) -> tuple[int, int] | None:
        """Number and moment of publish of the oldest ready message, whatever its priority or group."""
        found: list[tuple[int, int]] = []
        for priority, band in self._bands.items():
            fresh = band.fresh.head()
            if fresh is not None:
                found.append((fresh[0], fresh[2]))
            back = self._returned_head(band, priority, now)
            if back is not None:
                found.append((back.number, back.published_at))
        while self._grouped:
            grouped = self.messages.get(self._grouped[0])
            if grouped is not None and grouped.state is READY and not grouped.expired(now):
                found.append((grouped.number, grouped.published_at))
                break
            heappop(self._grouped)
        return min(found, default=None)

    def fresh_after(self, priority: int, number: int) -> Iterator[tuple[int, int, int]]:
        """The fresh messages of a priority behind a number, in order."""
        band = self._bands.get(priority)
        return iter(()) if band is None else band.fresh.after(number)

    def fresh_priorities(self) -> list[int]:
        """The priorities that may have fresh messages."""
        return list(self._order)

    def clear_fresh(self) -> "tuple[array[int], int]":
        """Forget the fresh messages; returns their numbers, in order, and how many bytes they were."""
        numbers = array("q")
        size = 0
        for band in self._bands.values():
            for chunk in band.fresh.chunks():
                numbers.extend(chunk.numbers[chunk.start :])
                size += sum(chunk.sizes[chunk.start :])
            band.fresh.clear()
        return (numbers if len(self._bands) == 1 else array("q", sorted(numbers))), size

    def __iter__(self) -> Iterator[int]:
        """The numbers in the order of delivery, as far as it can be told before groups move on (for checks)."""
        ready = [(-m.priority, m.number) for m in self.messages.values() if m.state is READY]
        for priority, band in self._bands.items():
            ready.extend((-priority, number) for number, _, _ in band.fresh)
        return (number for _, number in sorted(ready))
