"""The load generator: a process of its own on uvloop. A `Spec` on stdin, a `Result` on stdout."""

import asyncio
import contextlib
import functools
import gc
import http.client
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import uvloop

from scripts.bench_support.connection import BadAnswer, Connection
from scripts.bench_support.cycles import Cycler, cycle_requests
from scripts.bench_support.loads import Consumer, Publisher, Tally, Worker, publish_requests
from scripts.bench_support.machine import Watch, resident_mib
from scripts.bench_support.pace import Pacer
from scripts.bench_support.spec import Cycle, Latency, Publish, Result, Spec
from scripts.bench_support.tokens import authorization

DRAIN_SECONDS = 60.0
PARK_SECONDS = 40.0
_WAITING = re.compile(rb"^queuesvc_receives_waiting ([0-9.e+]+)$", re.MULTILINE)
A = TypeVar("A", bound=Connection)


class Crowd:
    """Some publishers, or consumers, of which each says when it has done its part."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    async def gather(self, port: int, count: int, make: Callable[[int, Callable[[], None]], A]) -> list[A]:
        """Connect so many of them, each made with its number."""
        loop = asyncio.get_running_loop()
        self.left = count
        return [
            (await loop.create_connection(functools.partial(make, at, self._one), "127.0.0.1", port))[1]
            for at in range(count)
        ]

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
    workers = await _workers(spec, failed, tally, publishing)
    load = spec.publish or spec.cycle
    paced = load is not None and load.rate > 0
    consumers: list[Consumer] = []
    memory = [resident_mib(spec.pid)]
    if (consume := spec.consume) is not None:
        consumers = await consuming.gather(
            spec.port,
            consume.connections,
            lambda at, done: Consumer(failed, tally, consume, at, done, stamped=paced),
        )
    gc.collect()
    gc.freeze()
    parked = consume is not None and consume.parked
    if parked:
        memory.append(resident_mib(spec.pid))
        for consumer in consumers:
            consumer.start()
        await asyncio.to_thread(wait_until_parked, spec.port, len(consumers))
        memory.append(resident_mib(spec.pid))
    tally.stop_at = time.monotonic_ns() + round(spec.seconds * 1e9)
    if not parked:
        for consumer in consumers:
            consumer.start()
    window = Window(spec, tally)
    if load is not None:
        await _publish(spec.seconds, load, tally, workers, publishing)
        tally.end_publishing()
    if consumers:
        await (tally.drained if parked else consuming.done).wait()
    result = window.result()
    for connection in (*workers, *consumers):
        connection.close()
    if parked:
        result.memory_mib = tuple(memory)
    return result


async def _workers(spec: Spec, failed: asyncio.Future[None], tally: Tally, crowd: Crowd) -> Sequence[Worker]:
    """The publishers, or those that do all by turns. They begin at different places of what they spread over."""
    if (publish := spec.publish) is not None:
        parts, step = publish_requests(publish), max(1, publish.spread // publish.connections)
        return await crowd.gather(
            spec.port,
            publish.connections,
            lambda at, done: Publisher(failed, tally, parts, publish.batch, at * step, done),
        )
    if (cycle := spec.cycle) is not None:
        parts, step = cycle_requests(cycle), max(1, cycle.spread // cycle.connections)
        return await crowd.gather(
            spec.port, cycle.connections, lambda at, done: Cycler(failed, tally, cycle, parts, at * step, done)
        )
    return []


async def _publish(
    seconds: float, load: Publish | Cycle, tally: Tally, workers: Sequence[Worker], crowd: Crowd
) -> None:
    if not load.rate:
        for worker in workers:
            worker.start()
        await crowd.done.wait()
        return
    free, late = deque(workers), deque[int]()
    for worker in workers:
        worker.keep_pace(free, late, crowd.done.set)

    def fire(due: int) -> None:
        if not tally.may_publish(load.batch):
            return
        if free:
            free.popleft().begin(due)
        else:
            late.append(due)

    pacer = Pacer(load.rate / load.batch, fire)
    await asyncio.sleep(seconds)
    pacer.stop()
    tally.stop_at = min(tally.stop_at, time.monotonic_ns())
    if tally.finished < tally.asked:
        await crowd.done.wait()


def wait_until_parked(port: int, count: int) -> None:
    """Until so many receives wait in the broker, by its own count. Raises `TimeoutError`."""
    deadline = time.monotonic() + PARK_SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PARK_SECONDS)
    with contextlib.closing(connection):
        while time.monotonic() < deadline:
            connection.request("GET", "/metrics", headers=authorization())
            found = _WAITING.search(connection.getresponse().read())
            if found is not None and int(float(found[1])) >= count:
                return
            time.sleep(0.02)
    raise TimeoutError(f"{count} consumers did not come to wait within {PARK_SECONDS:.0f} seconds")


class Window:
    """What is counted: from the end of the warm-up to the end of the time, or all that was begun until then.

    All of it where there are consumers, and at a pace, for what is late must not be left out.
    """

    def __init__(self, spec: Spec, tally: Tally) -> None:
        self._spec = spec
        self._tally = tally
        self._alone = spec.consume is None or (spec.publish is None and spec.cycle is None)
        self._open()
        loop = asyncio.get_running_loop()
        self._stop: asyncio.TimerHandle | None = None
        if self._alone:
            if spec.warm_seconds:
                loop.call_later(spec.warm_seconds, self._open)
            load = spec.publish or spec.cycle
            if load is None or not load.rate:
                self._stop = loop.call_later(spec.seconds, self._close)
        self._closed: tuple[int, int, int, int] | None = None

    def _counts(self) -> tuple[int, int, int, int]:
        tally, spec = self._tally, self._spec
        messages = tally.published if spec.consume is None and spec.cycle is None else tally.acked
        return messages, tally.requests, len(tally.answer), len(tally.delivery)

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
        (m0, r0, a0, d0), (m1, r1, a1, d1) = self._opened, self._closed
        watch = self._watch
        return Result(
            m1 - m0,
            (self._ended - self._began) / 1e9,
            r1 - r0,
            Latency.of(self._tally.answer[a0:a1]),
            Latency.of(self._tally.delivery[d0:d1]),
            generator_cpu=round(watch.own, 3),
            server_cpu=round(watch.server, 3),
            others_cpu=round(watch.others, 3),
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
