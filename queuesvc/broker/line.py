"""The line of what waits to be committed or answered, bounded in number and in bytes."""

import asyncio
from collections import deque

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.replies import Reply

BATCH_COMMANDS = 1000
BATCH_BYTES = 16 * 1024 * 1024
BACKLOG_COMMANDS = 20_000
BACKLOG_BYTES = 128 * 1024 * 1024

Answer = asyncio.Future[Reply]
Item = tuple[c.Command, Answer]
Question = tuple[c.Query, Answer]


def unavailable(why: str) -> Refused:
    """503: try again in a second."""
    return Refused(Code.UNAVAILABLE, why, retry_after_seconds=1)


def weight_of(command: c.Command | c.Query) -> int:
    """About how many bytes a command keeps in memory while it waits."""
    if isinstance(command, c.Transaction):
        parts: list[c.Command] = [*command.acks, *command.nacks, *command.publishes]
        return 200 + sum(weight_of(part) for part in parts)
    if isinstance(command, c.Publish):
        return sum(len(envelope.body) + len(envelope.properties) + 200 for envelope in command.envelopes)
    if isinstance(command, c.Ack | c.Nack | c.Extend):
        return 200 + 100 * len(command.receipts)
    if isinstance(command, c.Release | c.Redrive):
        return 200 + 100 * len(command.ids or ())
    if isinstance(command, c.PutDefinitions):
        return 200 + 1000 * (len(command.exchanges) + len(command.queues) + len(command.bindings))
    return 200


class Line:
    """First come, first served. Each command and question has a future for its answer."""

    def __init__(self) -> None:
        self._items: deque[tuple[c.Command | c.Query, Answer, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, command: c.Command | c.Query) -> Answer:
        """To the end. Raises `unavailable` where the line is too long."""
        weight = weight_of(command)
        if len(self._items) >= BACKLOG_COMMANDS or self._bytes + weight > BACKLOG_BYTES:
            raise unavailable("too much is waiting to be written")
        return self.append(command, weight)

    def append(self, command: c.Command | c.Query, weight: int = 0) -> Answer:
        """To the end, however long the line is."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._items.append((command, answer, weight))
        self._bytes += weight
        return answer

    def take(self) -> tuple[list[Item], list[Question]]:
        """As much as makes one batch, out of the line."""
        commands: list[Item] = []
        questions: list[Question] = []
        weight = 0
        while self._items and len(commands) < BATCH_COMMANDS and weight < BATCH_BYTES:
            item, answer, weighs = self._items.popleft()
            weight += weighs
            if isinstance(item, c.Query):
                questions.append((item, answer))
            else:
                commands.append((item, answer))
        self._bytes -= weight
        return commands, questions

    def put_back(self, questions: list[Question]) -> None:
        """Questions that were taken are first again, as they were."""
        self._items.extendleft((*question, 0) for question in reversed(questions))

    def clear(self) -> list[Answer]:
        """Nothing waits any more: the answers that are owed."""
        answers = [answer for _, answer, _ in self._items]
        self._items.clear()
        self._bytes = 0
        return answers
