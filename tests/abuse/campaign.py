"""All kinds of abuse, one after the other; and what a healthy client and the broker's memory say to each."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import uvloop

from scripts.bench_support.machine import resident_mib
from tests.abuse.field import Field, Scale
from tests.abuse.healthy import QUEUE, cycles
from tests.abuse.kinds import KINDS, LARGE
from tests.support.server import Server

HELD_MIB = 64
PATIENCE_SECONDS = 2
SETTINGS = {
    "QUEUESVC_SLOW_CLIENT_SECONDS": str(PATIENCE_SECONDS),
    "QUEUESVC_SLOW_CLIENT_BYTES": str(HELD_MIB * 1024 * 1024),
}
"""A broker that soon loses patience, so that this is seen, too."""

LOOK_SECONDS = 0.1
END_SECONDS = 60.0
START_CYCLES = 20
HEAD = f"{'':18}{'cycles':>7}{'p50':>8}{'p99':>8}{'max ms':>8}{'MiB':>7}{'most':>6}  what was answered"


@dataclass(frozen=True, slots=True)
class Told:
    """What one kind of abuse did: to the healthy client (milliseconds a cycle), and to the broker."""

    kind: str
    cycles: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    memory_mib: float
    most_mib: float
    left_open: int
    """files that are open more than before"""
    answered: str

    def __str__(self) -> str:
        latencies = "".join(f"{one:8.1f}" for one in (self.p50_ms, self.p99_ms, self.most_ms))
        memory = f"{self.memory_mib:7.0f}{self.most_mib:6.0f}"
        return f"{self.kind:18}{self.cycles:7}{latencies}{memory}  {self.answered}"


class Memory(threading.Thread):
    """Looks at a process's memory ten times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.most_mib = 0.0
        self._pid = pid
        self._enough = threading.Event()

    def run(self) -> None:
        """Look until told not to."""
        while not self._enough.wait(LOOK_SECONDS):
            self.most_mib = max(self.most_mib, resident_mib(self._pid))

    def stop(self) -> float:
        """The most there was, in MiB."""
        self._enough.set()
        self.join()
        return self.most_mib


def campaign(folder: Path, scale: Scale, kinds: Iterable[str], seed: int, say: Callable[[str], object]) -> list[Told]:
    """Abuse of these kinds, and what came of it. Raises `AssertionError` where it harmed anyone."""
    server = Server(folder / "data", env=SETTINGS)
    figures = folder / "cycles"
    try:
        server.start()
        asyncio.run(_prepare(server.port))
        command = [sys.executable, "-m", "tests.abuse.healthy", str(server.port), str(figures)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as healthy:
            assert healthy.stdin is not None
            assert healthy.stderr is not None
            try:
                _wait(lambda: figures.exists() and len(cycles(figures)) >= START_CYCLES, "the healthy client")
                say(HEAD)
                told = []
                for number, kind in enumerate(kinds):
                    told.append(_one(server, scale, kind, random.Random(seed + number), figures))
                    say(str(told[-1]))
                    assert healthy.poll() is None, f"during {kind}: {healthy.stderr.read().decode()}"
            finally:
                healthy.stdin.close()
        assert "Traceback" not in server.log, server.log[-5000:]
        assert server.stop() == 0
    finally:
        server.close()
    return told


async def _prepare(port: int) -> None:
    field = Field(port, Scale(0, 0, 0, 0, 0), random.Random(), lambda: 0.0)
    for queue in (QUEUE, LARGE, "abused", "left", "empty"):
        await field.call("PUT", f"/v1/queues/{queue}")
    await field.call("PATCH", "/v1/queues/abused", {"max_messages": 1000, "overflow": "drop_oldest"})
    for _ in range(14):
        await field.call("POST", f"/v1/queues/{LARGE}/messages", b"x" * 1_000_000)


def _one(server: Server, scale: Scale, kind: str, chance: random.Random, figures: Path) -> Told:
    files = _open_files(server)
    field = Field(server.port, scale, chance, lambda: resident_mib(server.pid))
    memory = Memory(server.pid)
    memory.start()
    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(KINDS[kind](field))
    ended = time.monotonic()
    # Connections that were broken off are gone, and those that are only slow soon are.
    _wait(lambda: _open_files(server) <= files, f"the end of all connections after {kind}")
    # The cycle that was under way at the end counts.
    _wait(lambda: cycles(figures)[-1][0] > ended, f"the healthy client after {kind}")
    during = sorted(took * 1000 for start, took in cycles(figures) if start + took >= began and start <= ended)
    cuts = quantiles(during, n=100, method="inclusive") if len(during) > 1 else during * 99
    most = memory.stop()
    met = ", ".join(f"{field.met[what]:,} × {what}" for what in sorted(field.met))
    return Told(
        kind,
        len(during),
        cuts[49],
        cuts[98],
        during[-1],
        resident_mib(server.pid),
        most,
        _open_files(server) - files,
        "; ".join([met, *field.notes]),
    )


def _open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline, never = time.monotonic() + END_SECONDS, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {END_SECONDS:g} s"
        never.wait(0.01)
