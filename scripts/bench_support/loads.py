"""Publishers and consumers on connections, and what they count together."""

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Callable

from scripts.bench_support.connection import Connection, request
from scripts.bench_support.spec import BODY_BYTES, Consume, Publish, Spec

STAMP_BYTES = 20
_RECEIPT = re.compile(rb'"receipt":("[^"]+")')
_FILLING = b"the quick brown fox jumps over the lazy dog; "
_FILL = (_FILLING * (BODY_BYTES // len(_FILLING) + 1))[: BODY_BYTES - STAMP_BYTES]


class Tally:
    """What was counted so far, and the moments that a run goes by (nanoseconds of the monotonic clock)."""

    def __init__(self, spec: Spec) -> None:
        self.most = spec.most
        self.stop_at = time.monotonic_ns() + round(spec.seconds * 1e9)
        self.asked = 0
        self.published = 0
        self.received = 0
        self.acked = 0
        self.requests = 0
        self.last_at = 0
        self.publishing = spec.publish is not None
        self.answer: list[int] = []
        self.delivery: list[int] = []

    def may_publish(self, messages: int) -> bool:
        """Whether there are more to publish, counted as asked for."""
        if time.monotonic_ns() >= self.stop_at or (self.most and self.asked >= self.most):
            return False
        self.asked += messages
        return True

    @property
    def all_received(self) -> bool:
        """Whether nothing more is to come."""
        return not self.publishing and self.received >= self.published


class Publisher(Connection):
    """Publishes the same again and again; one by one with the moment of its intended sending at the body's begin."""

    def __init__(self, failed: asyncio.Future[None], tally: Tally, load: Publish, done: Callable[[], None]) -> None:
        super().__init__(failed)
        self._tally = tally
        self._done = done
        self._batch = load.batch
        self._free: deque[Publisher] | None = None
        self._late: deque[int] | None = None
        self._intended = 0
        body = b"%020d" % 0 + _FILL
        key = f"?routing_key={load.routing_key}" if load.routing_key else ""
        if load.batch == 1:
            self._request = request(f"{load.path}{key}", body, "text/plain")[: -len(body)]
        else:
            envelope = {"routing_key": load.routing_key or None, "body": body.decode()}
            batch = {"messages": [{k: v for k, v in envelope.items() if v is not None}] * load.batch}
            self._request = request(f"{load.path}/batch", json.dumps(batch, separators=(",", ":")).encode())

    def keep_pace(self, free: "deque[Publisher]", late: deque[int], idle: Callable[[], None]) -> None:
        """Send only what is `late`, or when called upon while among the `free`; say when all is `idle` at the end."""
        self._free, self._late, self._done = free, late, idle

    def publish(self, intended: int) -> None:
        """Send one request, which was to be sent at this moment."""
        self._intended = intended
        self.transport.write(self._request + b"%020d" % intended + _FILL if self._batch == 1 else self._request)

    def start(self) -> None:
        """Begin, without a pace."""
        if self._tally.may_publish(self._batch):
            self.publish(time.monotonic_ns())
        else:
            self._done()

    def answered(self, data: bytes) -> None:
        """201: the next one."""
        tally, now = self._tally, time.monotonic_ns()
        tally.published += self._batch
        tally.requests += 1
        tally.last_at = now
        tally.answer.append(now - self._intended)
        if self._free is None or self._late is None:
            if tally.may_publish(self._batch):
                self.publish(now)
            else:
                self._done()
        elif self._late:
            self.publish(self._late.popleft())
        else:
            self._free.append(self)
            if now >= tally.stop_at and tally.published >= tally.asked:
                self._done()


class Consumer(Connection):
    """Receives and acknowledges until everything is, and checks that what it acknowledged was acknowledged."""

    def __init__(
        self, failed: asyncio.Future[None], tally: Tally, load: Consume, done: Callable[[], None], *, stamped: bool
    ) -> None:
        super().__init__(failed)
        self._tally = tally
        self._done = done
        self._stamped = stamped
        self._by_call = load.ack == "call"
        self._alone = not tally.publishing
        self._path = f"/v1/queues/{load.queue}"
        options = json.dumps({"max_messages": load.batch, "wait_seconds": load.wait_seconds}, separators=(",", ":"))
        self._options = options.encode()
        self._receive = request(f"{self._path}/receive", self._options)
        self._acking = 0
        self._receiving = False
        self._sent = 0

    def start(self) -> None:
        """Begin to receive."""
        self._send(self._receive, receiving=True)

    def _send(self, data: bytes, *, receiving: bool) -> None:
        self._receiving = receiving
        self._sent = time.monotonic_ns()
        self.transport.write(data)

    def answered(self, data: bytes) -> None:
        """What was received, and what was acknowledged with it, or that alone."""
        tally, now = self._tally, time.monotonic_ns()
        tally.requests += 1
        if self._acking:
            self._count_acked(data)
        receipts: list[bytes] = []
        if self._receiving:
            receipts = _RECEIPT.findall(data)
            if receipts:
                self._count_received(data, len(receipts), now)
            elif self._acked_all_there_is():
                self._done()
                return
        if receipts:
            self._acknowledge(receipts)
        elif self._over():
            tally.last_at = now
            self._done()
        else:
            self._send(self._receive, receiving=True)

    def _count_acked(self, data: bytes) -> None:
        at = data.rfind(b'"acked":')
        if at < 0 or int(data[at + 8 : data.find(b",", at)]) != self._acking:
            self.fail(f"{self._acking} receipts were sent: {data[-300:].decode()}")
        self._tally.acked += self._acking
        self._acking = 0

    def _count_received(self, data: bytes, count: int, now: int) -> None:
        tally = self._tally
        tally.received += count
        tally.last_at = now
        if self._alone:
            tally.answer.append(now - self._sent)
        elif self._stamped:
            at = data.rfind(b'"body":"') + 8
            tally.delivery.append(now - int(data[at : at + STAMP_BYTES]))

    def _over(self) -> bool:
        tally = self._tally
        if self._alone:
            return time.monotonic_ns() >= tally.stop_at or bool(tally.most and tally.received >= tally.most)
        return tally.all_received

    def _acked_all_there_is(self) -> bool:
        return self._alone or self._tally.all_received

    def _acknowledge(self, receipts: list[bytes]) -> None:
        self._acking = len(receipts)
        joined = b",".join(receipts)
        if self._by_call or self._over():
            self._send(request(f"{self._path}/ack", b'{"receipts":[%b]}' % joined), receiving=False)
        else:
            body = b'%b,"ack":[%b]}' % (self._options[:-1], joined)
            self._send(request(f"{self._path}/receive", body), receiving=True)
