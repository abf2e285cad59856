"""A broker whose wall clock jumps when a test says so: a real process, in which `time.time` is off by what a file says.

    python tests/support/wall.py FILE -m queuesvc serve ...

runs a module as `python -m` would. The file holds the seconds by which the wall clock is off.
"""

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Wall:
    """The wall clock of the brokers that `python` runs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-is-off-by"
        self.set(0)
        self.python = folder / "python-with-a-wall-clock"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{self._file}" "$@"\n')
        self.python.chmod(0o755)

    def set(self, seconds: float) -> None:
        """It is off by so much from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


def off_by(file: Path, real: Callable[[], float]) -> Callable[[], float]:
    """A wall clock that is off by what the file says at the moment."""
    return lambda: real() + float(file.read_text())


if __name__ == "__main__":
    time.time = off_by(Path(sys.argv[1]), time.time)
    module = sys.argv[3]
    sys.argv = sys.argv[3:]
    sys.path[0] = ""
    runpy.run_module(module, run_name="__main__", alter_sys=True)
