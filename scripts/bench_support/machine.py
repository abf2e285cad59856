"""What the machine tells: time on its processors and memory of a process. Zeros where it has no /proc."""

import os
import platform
import sys
import time
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def resident_mib(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def process_seconds(pid: int) -> float:
    """Processor time that a process, with all of its threads, has used so far."""
    if sys.platform != "linux":
        return 0.0
    try:
        # The clock that clock_getcpuclockid(3) names: nanoseconds, where /proc/PID/stat counts hundredths.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def thread_seconds(pid: int) -> dict[int, float]:
    """Processor time that each thread of a process has used so far."""
    tasks = Path(f"/proc/{pid}/task")
    return {int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks.iterdir()}


def _busy_seconds() -> float:
    try:
        numbers = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    except OSError:
        return 0.0
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS_PER_SECOND


class Watch:
    """Processor time of this process, of a server and of all else, from now to `stop`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = self._read()
        self.seconds = self.own = self.server = self.others = 0.0

    def _read(self) -> tuple[float, float, float, float]:
        return time.monotonic(), time.process_time(), process_seconds(self._pid), _busy_seconds()

    def stop(self) -> None:
        """`seconds` have passed; the others are in cores."""
        self.seconds, own, server, busy = (now - then for now, then in zip(self._read(), self._began, strict=True))
        self.own, self.server = own / self.seconds, server / self.seconds
        self.others = max(0.0, busy / self.seconds - self.own - self.server)
