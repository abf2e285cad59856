"""A real broker: `queuesvc serve` in a process of its own, on a real socket and a real file."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.until import wait_until

START_SECONDS = 30.0
STOP_SECONDS = 30.0
_LISTENING = re.compile(r"listening on (https?)://([0-9.]+|\[[0-9a-f:]+\]):(\d+),")


class ServerFailed(Exception):
    """The broker did not start or did not stop; the text holds what it said on stderr."""


class Server:
    """A broker process with its data in `data`, started, killed and started again at will.

    It takes a free port at the first start and the same one at every later start,
    so that `url` holds. What it writes on stderr is appended to `log_file`.
    """

    def __init__(
        self,
        data: Path,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        *,
        python: Path | str = sys.executable,
        cwd: Path | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.python = str(python)
        self.cwd = cwd
        self.data = data
        self.args = list(args)
        self.env = dict(env or {})
        self.host = "127.0.0.1"
        self.port = 0
        self.scheme = "http"
        self.log_file = log_file or data.with_name(data.name + ".log")
        self.start_line = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has written on stderr since the first start."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def code(self) -> int | None:
        """How it ended (a signal's number is negative); None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Server":
        """Start, and return when it takes requests. Raises `ServerFailed` if it does not within 30 seconds."""
        self.begin()
        return self.await_start()

    def begin(self) -> None:
        """Start, and do not wait for it."""
        assert not self.running, "already running"
        command = [self.python, "-m", "queuesvc", "serve", "--port", str(self.port), "--data", str(self.data)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.args], stdout=subprocess.PIPE, stderr=log, env=os.environ | self.env, cwd=self.cwd
            )

    def await_start(self) -> "Server":
        """Wait until what was begun takes requests. Raises as `start`."""
        assert self._process is not None, "not begun"
        assert self._process.stdout is not None
        self.start_line = _read_line(self._process.stdout, START_SECONDS)
        match = _LISTENING.search(self.start_line)
        if match is None:
            code = self._end()
            raise ServerFailed(f"no start-up line but {self.start_line!r}, exit code {code}\n{self.log}")
        self.scheme, self.port = match[1], int(match[3])
        return self

    def rest(self) -> None:
        """Wait until it has nothing left to do after a write: the last of it is that SQLite's log is emptied."""
        log = self.data / "queuesvc.db-wal"
        wait_until(lambda: log.stat().st_size == 0, "an idle broker")

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to stop (SIGTERM), wait until it has, and return its exit code."""
        self.end()
        return self.wait()

    def end(self) -> None:
        """Ask it to stop, and do not wait for it."""
        self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        assert self._process is not None, "not started"
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._end()
            raise ServerFailed(f"did not stop within {STOP_SECONDS:.0f} seconds\n{self.log}") from None
        self._close_pipe()
        return code

    def restart(self) -> "Server":
        """Stop it if it runs, and start it again on the same data and port."""
        if self.running:
            self.stop()
        return self.start()

    def close(self) -> None:
        """End it if it still runs, whatever state it is in."""
        if self._process is not None:
            self._end()

    def _signal(self, number: int) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def _end(self) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        self._close_pipe()
        return code

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()


def _read_line(stream: IO[bytes], seconds: float) -> str:
    """The first line that a process writes, or what there is of it when it ends or the time is up."""
    deadline = time.monotonic() + seconds
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(stream.fileno(), 1024)
            if not chunk:
                break
            line += chunk
    return line.decode()
