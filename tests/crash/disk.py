"""A disk that loses its power: ext4 on a file, shut down as it is, without a last write of its journal.

What was synced is there after the next mount, all else may be gone. Needs the right to mount (root).
"""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.support.until import wait_until

SIZE_BYTES: Final = 256 * 1024 * 1024
EXT4_IOC_SHUTDOWN: Final = 0x8004587D
NO_LOG_FLUSH: Final = struct.pack("I", 2)


class CannotMount(Exception):
    """This process may not do it here, or a tool is missing: the text says which."""


class Disk:
    """An ext4 disk of its own, mounted at `place`, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._image = folder / "disk-1.img"
        self._mounts = 1
        self.place = folder / "disk"
        self._mounted = False

    def __enter__(self) -> "Disk":
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        try:
            _run("mkfs.ext4", "-q", "-F", str(self._image))
            self._mount()
        except CannotMount:
            self._image.unlink()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            self._unmount()
        self._image.unlink()

    def _mount(self) -> None:
        """Mount it; its journal is played back. The loop device goes with the mount."""
        _run("mount", "-o", "loop", str(self._image), str(self.place))
        self._mounted = True

    def _unmount(self) -> None:
        """Nobody may have a file open in it; a process that was killed may take a moment to go."""

        def done() -> bool:
            return subprocess.run(["umount", str(self.place)], capture_output=True).returncode == 0

        wait_until(done, f"umount {self.place}")
        self._mounted = False

    def cut(self, *written_back: Path) -> None:
        """The power fails: nothing reaches the disk from now on, nor what the journal had not written yet.

        What was not synced the system may have written back all the same, in any order: here these files.
        A sync that is under way just now may still succeed without its data on the disk (of 150 under load 25 did, and
        none of those that had succeeded before), so what a program says after this counts for nothing.
        """
        for path in written_back:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        opened = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(opened)

    def back(self) -> None:
        """The power is back, once nobody has a file open in it any more.

        What has reached the disk is mounted as another one: where a process with mounts of its own still has
        the old one, that would be the same again, cut off as it is.
        """
        self._unmount()
        self._mounts += 1
        image = self._folder / f"disk-{self._mounts}.img"
        _run("cp", "--sparse=always", str(self._image), str(image))
        self._image.unlink()
        self._image = image
        self._mount()


def why_not() -> str:
    """Why disks can't be cut off here; empty where they can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Disk(Path(folder)) as disk:
                disk.cut()
        except (CannotMount, OSError) as error:
            return f"power losses need an ext4 mount of our own: {error}"
    return ""


def _run(name: str, *arguments: str) -> None:
    # What only root may do is not on everybody's path.
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if program is None:
        raise CannotMount(f"there is no {name}")
    ran = subprocess.run([program, *arguments], capture_output=True, text=True)
    if ran.returncode:
        raise CannotMount(f"{name}: {ran.stderr.strip()}")
