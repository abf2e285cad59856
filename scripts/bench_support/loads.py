"""Publishers and consumers on connections, and what they count together."""

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Callable

from scripts.bench_support.connection import Connection, request
from scripts.bench_support.spec import Consume, Publish, Spec

STAMP_BYTES = 20
RECEIPT = re.compile(rb'"receipt":("[^"]+")')
_FILLING = b"the quick brown fox jumps over the lazy dog; "


def filling(body_bytes: int) -> bytes:
    """A body of this size without the stamp at its begin."""
    return (_FILLING * (body_bytes // len(_FILLING) + 1))[: body_bytes - STAMP_BYTES]


class Tally:
    """What was counted so far, and the moments that a run goes by (nanoseconds of the monotonic clock)."""

    def __init__(self, spec: Spec) -> None:
        self.most = spec.most
        self.stop_at = time.monotonic_ns() + round(spec.seconds * 1e9)
        self.asked = 0
        self.finished = 0
        self.published = 0
        self.received = 0
        self.acked = 0
        self.requests = 0
        self.last_at = 0
        self.publishing = spec.publish is not None
        self.drained = asyncio.Event()
        self.answer: list[int] = []
        self.delivery: list[int] = []

    def may_publish(self, messages: int) -> bool:
        """Whether there are more to publish, counted as asked for."""
        if time.monotonic_ns() >= self.stop_at or (self.most and self.asked >= self.most):
            return False
        self.asked += messages
        return True

    def count_acked(self, messages: int) -> None:
        """So many more are settled; `drained` is set once nothing is left."""
        self.acked += messages
        if not self.publishing and self.acked >= self.published:
            self.drained.set()

    def end_publishing(self) -> None:
        """Nothing more will be published."""
        self.publishing = False
        self.count_acked(0)

    @property
    def all_received(self) -> bool:
        """Whether nothing more is to come."""
        return not self.publishing and self.received >= self.published


class Worker(Connection):
    """Publishes `batch` messages again and again: when done with the last ones or, at a pace, when they are due."""

    def __init__(self, failed: asyncio.Future[None], tally: Tally, batch: int, done: Callable[[], None]) -> None:
        super().__init__(failed)
        self._tally = tally
        self._batch = batch
        self._done = done
        self._free: deque[Worker] | None = None
        self._late: deque[int] | None = None
        self._intended = 0

    def begin(self, intended: int) -> None:
        """Begin what was to begin at this moment."""
        raise NotImplementedError

    def keep_pace(self, free: "deque[Worker]", late: deque[int], idle: Callable[[], None]) -> None:
        """Begin only what is `late`, or when called upon while among the `free`; say when all is `idle` at the end."""
        self._free, self._late, self._done = free, late, idle

    def start(self) -> None:
        """Begin, without a pace."""
        if self._tally.may_publish(self._batch):
            self.begin(time.monotonic_ns())
        else:
            self._done()

    def go_on(self, now: int) -> None:
        """What was begun is done: the next."""
        tally = self._tally
        tally.finished += self._batch
        if self._free is None or self._late is None:
            if tally.may_publish(self._batch):
                self.begin(now)
            else:
                self._done()
        elif self._late:
            self.begin(self._late.popleft())
        else:
            self._free.append(self)
            if now >= tally.stop_at and tally.finished >= tally.asked:
                self._done()


Parts = list[tuple[bytes, bytes]]


def publish_requests(load: Publish) -> Parts:
    """The requests that a load's publishers send in turn, in two parts: a single one's stamp comes between them."""
    fill = filling(load.body_bytes)
    body = b"%020d" % 0 + fill
    parts: Parts = []
    batches: dict[str, bytes] = {}
    for at in range(load.spread):
        path, key = load.path.replace("{}", str(at)), load.routing_key.replace("{}", str(at))
        if load.batch == 1:
            whole = request(f"{path}?routing_key={key}" if key else path, body, "text/plain")
            parts.append((whole[: -len(body)], fill))
            continue
        if key not in batches:
            envelope = ({"routing_key": key} if key else {}) | {"body": body.decode()}
            batches[key] = json.dumps({"messages": [envelope] * load.batch}, separators=(",", ":")).encode()
        whole = request(f"{path}/batch", batches[key])
        parts.append((whole[: -len(batches[key])], batches[key]))
    return parts


class Publisher(Worker):
    """Publishes `parts` in turn; one by one with the moment of its intended sending at the body's begin."""

    def __init__(
        self, failed: asyncio.Future[None], tally: Tally, parts: Parts, batch: int, at: int, done: Callable[[], None]
    ) -> None:
        super().__init__(failed, tally, batch, done)
        self._parts_sent = parts
        self._at = at % len(parts)

    def begin(self, intended: int) -> None:
        """Send one request, which was to be sent at this moment."""
        self._intended = intended
        head, rest = self._parts_sent[self._at]
        self._at = (self._at + 1) % len(self._parts_sent)
        self.transport.write(b"%b%020d%b" % (head, intended, rest) if self._batch == 1 else head + rest)

    def answered(self, data: bytes) -> None:
        """201: the next one."""
        tally, now = self._tally, time.monotonic_ns()
        tally.published += self._batch
        tally.requests += 1
        tally.last_at = now
        tally.answer.append(now - self._intended)
        self.go_on(now)


class Consumer(Connection):
    """Receives and acknowledges until everything is, and checks that what it acknowledged was acknowledged."""

    def __init__(
        self,
        failed: asyncio.Future[None],
        tally: Tally,
        load: Consume,
        at: int,
        done: Callable[[], None],
        *,
        stamped: bool,
    ) -> None:
        super().__init__(failed)
        self._tally = tally
        self._done = done
        self._stamped = stamped
        # One who is parked would wait with its acks.
        self._by_call = load.ack == "call" or load.parked
        self._alone = not tally.publishing
        self._path = f"/v1/queues/{load.queue.replace('{}', str(at % load.spread))}"
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
            receipts = RECEIPT.findall(data)
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
        if acked_in(data) != self._acking:
            self.fail(f"{self._acking} receipts were sent: {data[-300:].decode()}")
        acking, self._acking = self._acking, 0
        self._tally.count_acked(acking)

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


def acked_in(answer: bytes) -> int:
    """How many messages an answer says were acknowledged."""
    at = answer.rfind(b'"acked":')
    return int(answer[at + 8 : answer.find(b",", at)]) if at >= 0 else 0
