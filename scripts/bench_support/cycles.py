"""Clients that publish, receive and acknowledge by turns, so that a queue stays as deep as it is."""

import asyncio
import enum
import json
import time
from collections.abc import Callable

from scripts.bench_support.connection import request
from scripts.bench_support.loads import RECEIPT, Parts, Tally, Worker, acked_in, publish_requests
from scripts.bench_support.spec import Cycle, Publish


class Step(enum.Enum):
    """What a client waits for."""

    PUBLISHED = enum.auto()
    RECEIVED = enum.auto()
    ACKED = enum.auto()


def cycle_requests(load: Cycle) -> Parts:
    """The publishes of a load, in turn."""
    path = f"/v1/queues/{load.queue}/messages"
    return publish_requests(Publish(path, load.connections, load.batch, spread=load.spread))


class Cycler(Worker):
    """Publishes, receives as many from the same queue and acknowledges them; then the same with the next queue.

    `answer` is the latency of the publish, `delivery` that of publish and receive together, both from
    the moment at which the cycle was to begin. It ends the run where fewer messages come.
    """

    def __init__(
        self, failed: asyncio.Future[None], tally: Tally, load: Cycle, parts: Parts, at: int, done: Callable[[], None]
    ) -> None:
        super().__init__(failed, tally, load.batch, done)
        self._queue = load.queue
        self._parts_sent = parts
        self._at = at % len(parts) - 1
        self._step = Step.PUBLISHED
        self._options = json.dumps({"max_messages": load.batch}, separators=(",", ":")).encode()

    def begin(self, intended: int) -> None:
        """Publish to the next queue."""
        self._intended = intended
        self._at = (self._at + 1) % len(self._parts_sent)
        head, rest = self._parts_sent[self._at]
        self._step = Step.PUBLISHED
        self.transport.write(b"%b%020d%b" % (head, intended, rest) if self._batch == 1 else head + rest)

    def answered(self, data: bytes) -> None:
        """One of the three calls is answered: the next."""
        tally, now = self._tally, time.monotonic_ns()
        tally.requests += 1
        tally.last_at = now
        path = f"/v1/queues/{self._queue.replace('{}', str(self._at))}"
        if self._step is Step.PUBLISHED:
            tally.published += self._batch
            tally.answer.append(now - self._intended)
            self._step = Step.RECEIVED
            self.transport.write(request(f"{path}/receive", self._options))
        elif self._step is Step.RECEIVED:
            receipts = RECEIPT.findall(data)
            if len(receipts) != self._batch:
                self.fail(f"{len(receipts)} messages came where {self._batch} were published: {data[:300].decode()}")
                return
            tally.received += self._batch
            tally.delivery.append(now - self._intended)
            self._step = Step.ACKED
            self.transport.write(request(f"{path}/ack", b'{"receipts":[%b]}' % b",".join(receipts)))
        else:
            if acked_in(data) != self._batch:
                self.fail(f"{self._batch} receipts were sent: {data[-300:].decode()}")
                return
            tally.count_acked(self._batch)
            self.go_on(now)
