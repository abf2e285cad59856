"""System calls of a broker that fail as on a bad disk: strace answers in the kernel's place."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.support.server import Server

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="system calls are made to fail with strace")

READS = "pread64"
WRITES = "pwrite64"
SYNCS = "fdatasync,fsync"


def injection(calls: str, error: str, path: Path | None, when: str) -> list[str]:
    """strace's words for it: of these calls on a path those of the `when` (`3`, `3+`: from the third on) fail.

    Instead of an error it may be a signal: `SIGKILL`.
    """
    only = [] if path is None else ["-P", str(path)]
    what = f"signal={error}" if error.startswith("SIG") else f"error={error}"
    return [*only, "-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={when}"]


@contextlib.contextmanager
def failing(server: Server, calls: str, error: str, path: Path | None = None, when: str = "1+") -> Iterator[None]:
    """While inside, these calls of a running broker's fail with this error, and do nothing.

    `when` counts for each thread by itself.
    """
    words = ["strace", "-f", "-p", str(server.pid), "-o", "/dev/null", *injection(calls, error, path, when)]
    strace = subprocess.Popen(words, stderr=subprocess.PIPE)
    try:
        assert strace.stderr is not None
        _wait_for_attached(strace.stderr)
        yield
    finally:
        strace.terminate()
        strace.communicate()


def _wait_for_attached(stream: IO[bytes]) -> None:
    line = stream.readline()
    assert b"attached" in line, line


def python_that_fails(folder: Path, calls: str, error: str, path: Path | None = None, when: str = "1+") -> Path:
    """A Python for `Server` whose calls fail from the beginning."""
    words: Sequence[str] = [
        "exec",
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        *injection(calls, error, path, when),
    ]
    script = folder / "failing-python"
    # What it compiles it must not write: those calls would be counted, too, if they were not done by one before it.
    alone = "export PYTHONDONTWRITEBYTECODE=1"
    script.write_text(f'#!/bin/sh\n{alone}\n{" ".join(words)} {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script
