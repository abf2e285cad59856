"""How much room there is on a store's disk, and whether it is enough for what grows."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from queuesvc.domain.commands import Command, Publish, Transaction
from queuesvc.store.interface import StoreUnavailable

# Kept free, so that receives and acks go on; of a small disk only a part of it. Above PLENTY nobody counts.
PLENTY_BYTES: Final = 256 * 1024 * 1024
RESERVE_BYTES: Final = 64 * 1024 * 1024
MARGIN_BYTES: Final = 512 * 1024
RESERVE_PART: Final = 4


class Room:
    """The disk of a directory, and SQLite's log in it. `reserve_bytes` are kept free (None: 64 MiB, or a quarter)."""

    def __init__(self, folder: Path, log: Path, reserve_bytes: int | None) -> None:
        self._folder = folder
        self._log = log
        self._reserve_bytes = reserve_bytes

    def log_bytes(self) -> int:
        """The size of the log; 0 where there is none, or it can't be looked at: whoever writes it will find out."""
        try:
            return os.stat(self._log).st_size
        except OSError:
            return 0

    def reserve(self) -> int:
        """What is kept free of the disk."""
        if self._reserve_bytes is not None:
            return self._reserve_bytes
        disk = os.statvfs(self._folder)
        return min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // RESERVE_PART)

    def check(self, commands: Iterable[Command]) -> None:
        """Refuse what grows before the disk is full: an ack, too, must be written before it frees anything.

        A batch needs room in the log and, when that is emptied, what the log holds needs it in the file.
        Raises `StoreUnavailable`.
        """
        try:
            disk = os.statvfs(self._folder)
            free = disk.f_bavail * disk.f_frsize
            if self._reserve_bytes is None and free >= PLENTY_BYTES:
                return
            least = max(self.reserve(), self.log_bytes() + 3 * sum(map(_weight, commands)) + MARGIN_BYTES)
        except OSError as error:
            raise StoreUnavailable(f"can't look at {self._folder}: {error.strerror}") from error
        if free < least:
            raise StoreUnavailable(f"only {free >> 10} KiB are free on the disk, {least >> 10} KiB are kept for acks")


def _weight(command: Command) -> int:
    """About how many bytes a publish or transaction adds to the store."""
    if isinstance(command, Transaction):
        return sum(map(_weight, command.publishes))
    if isinstance(command, Publish):
        return sum(len(envelope.body) + len(envelope.properties) + 200 for envelope in command.envelopes)
    return 0
