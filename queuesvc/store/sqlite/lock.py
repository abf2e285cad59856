"""One broker a data file: an advisory lock beside it, let go by the kernel when the process ends."""

import contextlib
import fcntl
import os
from pathlib import Path

from queuesvc.store.interface import StoreInUse


class FileLock:
    """Held from `acquire` to `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise `StoreInUse` naming the process that has it."""
        self._file = file = self._take(os.O_RDWR | os.O_CREAT)
        # Only to tell the next one who has it: not worth failing for on a full disk.
        with contextlib.suppress(OSError):
            os.truncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)

    def _take(self, mode: int) -> int:
        file = os.open(self._path, mode | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 32).decode(errors="replace").strip()
            os.close(file)
            raise StoreInUse(
                f"another broker (process {owner or 'unknown'}) is running on {self._path.parent}: "
                "stop it first, or choose another --data"
            ) from None
        return file

    def keep_out(self) -> None:
        """Keep brokers out until `release`, and write nothing. Raises `StoreInUse` where one is running.

        Where there is no lock file no broker has ever run.
        """
        with contextlib.suppress(FileNotFoundError):
            self._file = self._take(os.O_RDONLY)

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._file is not None

    def release(self) -> None:
        """Let go. The file stays: removing it would let two brokers in."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
