"""The directory of a store: what is in it must be on the disk by name, too.

SQLite syncs the directory for the files that it makes, but tells nobody when that fails.
"""

import os
from pathlib import Path


def make(folder: Path) -> None:
    """Make a directory, with those above it. Raises `OSError`."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def sync(folder: Path) -> None:
    """Names of files that were made, replaced or removed in it are on the disk when this returns. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
