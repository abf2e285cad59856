"""One client that calls a broker, a call at a time, and what a call cost."""

import http.client
import json
import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from scripts.bench_support.machine import process_seconds
from scripts.bench_support.servers import BenchFailed
from scripts.bench_support.spec import BODY_BYTES
from scripts.bench_support.tokens import authorization
from tests.support.server import Server

PATIENCE_SECONDS = 60.0
IDLE_SECONDS = 10.0
BATCH_MOST = 1000
_RECEIPT = re.compile(rb'"receipt":("[^"]+")')
_BODY = "x" * BODY_BYTES


def batch_of(messages: int, **properties: Sequence[Any]) -> bytes:
    """A batch of so many messages of 256 bytes. Each property is a sequence that the messages take in turn."""
    envelopes = [
        {"body": _BODY} | {name: values[at % len(values)] for name, values in properties.items()}
        for at in range(messages)
    ]
    return json.dumps({"messages": envelopes}, separators=(",", ":")).encode()


class Caller:
    """A kept connection to a broker. `answer_ms` and `cpu_us` are what the last call took and the server's part.

    `longest_ms` is what the longest of them took.
    """

    def __init__(self, server: Server) -> None:
        self.pid = server.pid
        self._headers = authorization(server.port)
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
        self._used_at = 0.0
        self.answer_ms = 0.0
        self.cpu_us = 0.0
        self.longest_ms = 0.0

    def __enter__(self) -> "Caller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer. Raises `BenchFailed` for a refusal, or where none comes."""
        if time.monotonic() - self._used_at > IDLE_SECONDS:
            # The broker may be about to hang up on an idle client.
            self._connection.close()
            self._connection.connect()
        cpu, began = process_seconds(self.pid), time.perf_counter()
        try:
            self._connection.request(method, f"/v1/{path}", body, self._headers)
            answer = self._connection.getresponse()
            found = answer.read()
        except OSError as error:
            raise BenchFailed(f"{method} {path}: {error!r}") from None
        self._used_at = time.monotonic()
        self.answer_ms = (time.perf_counter() - began) * 1e3
        self.longest_ms = max(self.longest_ms, self.answer_ms)
        self.cpu_us = (process_seconds(self.pid) - cpu) * 1e6
        if answer.status >= 400:
            raise BenchFailed(f"{method} {path}: {answer.status} {found[:300].decode(errors='replace')}")
        return found

    def publish(self, queue: str, batch: bytes) -> None:
        """Publish a batch straight into a queue."""
        self.call("POST", f"queues/{queue}/messages/batch", batch)

    def fill(self, queue: str, messages: int, **properties: Sequence[Any]) -> None:
        """Publish so many, which take the properties in turn."""
        cycle = max((len(values) for values in properties.values()), default=1)
        if cycle <= BATCH_MOST:
            whole = batch_of(BATCH_MOST, **properties) if messages >= BATCH_MOST else b""
            for _ in range(messages // BATCH_MOST):
                self.publish(queue, whole)
            if messages % BATCH_MOST:
                self.publish(queue, batch_of(messages % BATCH_MOST, **properties))
            return
        for start in range(0, messages, BATCH_MOST):
            these = {
                name: [values[at % len(values)] for at in range(start, start + BATCH_MOST)]
                for name, values in properties.items()
            }
            self.publish(queue, batch_of(min(BATCH_MOST, messages - start), **these))

    def receive(self, queue: str, most: int, ack: Sequence[bytes] = ()) -> list[bytes]:
        """Receive that many and acknowledge some; their receipts. Raises `BenchFailed` where there are fewer."""
        acks = b',"ack":[%b]' % b",".join(ack) if ack else b""
        body = b'{"max_messages":%d%b}' % (most, acks)
        found = self.call("POST", f"queues/{queue}/receive", body)
        if ack and b'"acked":%d,' % len(ack) not in found[-200:]:
            raise BenchFailed(f"{len(ack)} receipts of {queue} were sent: {found[-200:].decode()}")
        # Those that failed stand behind the messages; there are none.
        receipts: list[bytes] = _RECEIPT.findall(found)
        if len(receipts) != most:
            raise BenchFailed(f"{len(receipts)} messages of {queue} came where {most} were ready")
        return receipts

    def settle(self, queue: str, verb: str, receipts: Sequence[bytes], more: bytes = b"") -> None:
        """Ack, or nack, all of these. Raises `BenchFailed` where one does not settle."""
        found = self.call("POST", f"queues/{queue}/{verb}", b'{"receipts":[%b]%b}' % (b",".join(receipts), more))
        if b'"%bed":%d,' % (verb.encode(), len(receipts)) not in found:
            raise BenchFailed(f"{len(receipts)} receipts of {queue} were sent: {found[:200].decode()}")

    def stats(self, queue: str) -> dict[str, Any]:
        """A queue's counts."""
        found: dict[str, Any] = json.loads(self.call("GET", f"queues/{queue}"))["stats"]
        return found
