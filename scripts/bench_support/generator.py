"""The load generator: a process of its own on uvloop. A `Spec` on stdin, a `Result` on stdout."""

import asyncio
import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import uvloop

from scripts.bench_support.connection import BadAnswer, Connection
from scripts.bench_support.loads import Consumer, Publisher, Tally
from scripts.bench_support.machine import Watch
from scripts.bench_support.pace import Pacer
from scripts.bench_support.spec import Latency, Result, Spec

DRAIN_SECONDS = 60.0
A = TypeVar("A", bound=Connection)


class Crowd:
    """Some publishers, or consumers, of which each says when it has done its part."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    async def gather(self, port: int, count: int, make: Callable[[Callable[[], None]], A]) -> list[A]:
        """Connect so many of them."""
        loop = asyncio.get_running_loop()
        self.left = count
        return [(await loop.create_connection(lambda: make(self._one), "127.0.0.1", port))[1] for _ in range(count)]

    def _one(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


async def run(spec: Spec) -> Result:
    """Do what the spec says. Raises `BadAnswer`, and `TimeoutError` where it does not come to an end."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(spec.seconds + DRAIN_SECONDS):
        work = asyncio.ensure_future(_work(spec, failed))
        await asyncio.wait((work, failed), return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        work.cancel()
        failed.result()
    failed.cancel()
    return work.result()


async def _work(spec: Spec, failed: asyncio.Future[None]) -> Result:
    tally = Tally(spec)
    publishing, consuming = Crowd(), Crowd()
    publishers: list[Publisher] = []
    consumers: list[Consumer] = []
    if (publish := spec.publish) is not None:
        publishers = await publishing.gather(
            spec.port, publish.connections, lambda done: Publisher(failed, tally, publish, done)
        )
    paced = publish is not None and publish.rate > 0
    if (consume := spec.consume) is not None:
        consumers = await consuming.gather(
            spec.port, consume.connections, lambda done: Consumer(failed, tally, consume, done, stamped=paced)
        )
    gc.collect()
    gc.freeze()
    began = time.monotonic_ns()
    tally.stop_at = began + round(spec.seconds * 1e9)
    for consumer in consumers:
        consumer.start()
    window = Window(spec, tally)
    if publishers:
        await _publish(spec, tally, publishers, publishing)
        tally.publishing = False
    if consumers:
        await consuming.done.wait()
    result = window.result()
    for connection in (*publishers, *consumers):
        connection.close()
    return result


async def _publish(spec: Spec, tally: Tally, publishers: list[Publisher], crowd: Crowd) -> None:
    assert spec.publish is not None
    if not spec.publish.rate:
        for publisher in publishers:
            publisher.start()
        await crowd.done.wait()
        return
    free, late = deque(publishers), deque[int]()
    for publisher in publishers:
        publisher.keep_pace(free, late, crowd.done.set)

    def fire(due: int) -> None:
        if not tally.may_publish(1):
            return
        if free:
            free.popleft().publish(due)
        else:
            late.append(due)

    pacer = Pacer(spec.publish.rate, fire)
    await asyncio.sleep(spec.seconds)
    pacer.stop()
    tally.stop_at = min(tally.stop_at, time.monotonic_ns())
    if tally.published < tally.asked:
        await crowd.done.wait()


class Window:
    """What is counted: from the end of the warm-up to the end of publishing, or all where there are consumers."""

    def __init__(self, spec: Spec, tally: Tally) -> None:
        self._spec = spec
        self._tally = tally
        self._alone = spec.publish is None or spec.consume is None
        self._open()
        loop = asyncio.get_running_loop()
        self._stop: asyncio.TimerHandle | None = None
        if self._alone:
            if spec.warm_seconds:
                loop.call_later(spec.warm_seconds, self._open)
            self._stop = loop.call_later(spec.seconds, self._close)
        self._closed: tuple[int, int, int] | None = None

    def _counts(self) -> tuple[int, int, int]:
        tally = self._tally
        messages = tally.published if self._spec.consume is None else tally.acked
        return messages, tally.requests, len(tally.answer)

    def _open(self) -> None:
        self._watch = Watch(self._spec.pid)
        self._opened = self._counts()
        self._began = time.monotonic_ns()

    def _close(self) -> None:
        self._watch.stop()
        self._closed = self._counts()
        self._ended = time.monotonic_ns()

    def result(self) -> Result:
        """The figures."""
        if self._closed is None:
            self._close()
            self._ended = self._tally.last_at
            if self._stop is not None:
                self._stop.cancel()
        assert self._closed is not None
        (m0, r0, a0), (m1, r1, a1) = self._opened, self._closed
        watch = self._watch
        return Result(
            m1 - m0,
            (self._ended - self._began) / 1e9,
            r1 - r0,
            Latency.of(self._tally.answer[a0:a1]),
            Latency.of(self._tally.delivery),
            *(round(cores, 3) for cores in (watch.own, watch.server, watch.others)),
        )


def main() -> None:
    """Run what stdin says."""
    spec = Spec.loads(sys.stdin.read())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(run(spec)).dumps())
    except (BadAnswer, OSError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
