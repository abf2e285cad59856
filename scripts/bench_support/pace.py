"""Sending on time: what a rate asks for, finer than the millisecond of an event loop's timers."""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class _Times(ctypes.Structure):
    """`struct itimerspec` of timerfd_settime(2)."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


class Pacer:
    """Calls `fire` with the moment it was due (nanoseconds of the monotonic clock), `rate` times a second.

    What could not be called in time is called late, with the moment it was due.
    """

    def __init__(self, rate: float, fire: Callable[[int], None]) -> None:
        self._interval = round(1e9 / rate)
        self._fire = fire
        self._due = time.monotonic_ns() + self._interval
        self._loop = asyncio.get_running_loop()
        libc = ctypes.CDLL(None, use_errno=True)
        self._timer: int = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        seconds, nanoseconds = divmod(self._interval, 10**9)
        times = _Times(seconds, nanoseconds, seconds, nanoseconds)
        if self._timer < 0 or libc.timerfd_settime(self._timer, 0, ctypes.byref(times), None) != 0:
            raise OSError(ctypes.get_errno(), "cannot make a timer")
        self._loop.add_reader(self._timer, self._tick)

    def _tick(self) -> None:
        os.read(self._timer, 8)
        now = time.monotonic_ns()
        while self._due <= now:
            self._fire(self._due)
            self._due += self._interval

    def stop(self) -> None:
        """Fire no more."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)
