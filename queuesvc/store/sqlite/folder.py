"""The directory of a store: what is in it must be on the disk by name, too.

SQLite syncs the directory for the files that it makes, but tells nobody when that fails.
"""

import errno
import os
from pathlib import Path
from typing import Final

UNKNOWN: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def make(folder: Path) -> None:
    """Make a directory, with those above it. Raises `OSError`."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def sync(folder: Path) -> None:
    """Names of files that were made, replaced or removed in it are on the disk when this returns. Raises `OSError`.

    Some file systems of networks and virtual machines have no such thing: there it is left to them.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
    finally:
        os.close(handle)
