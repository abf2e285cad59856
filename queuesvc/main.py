"""The composition root: which thing of ours stands behind which verb. With `running.py` it alone chooses a store.

Each is loaded when its verb is asked for: `queuesvc token` need not wait until a whole broker is loaded.
"""

import gc
import os
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from queuesvc.cli.app import make_cli
from queuesvc.cli.keeping import Keeping
from queuesvc.cli.remote import Ask
from queuesvc.store.keeping import CannotKeep

if TYPE_CHECKING:
    from queuesvc.settings import Settings


def main() -> None:
    """The console script `queuesvc`."""
    os.umask(0o077)  # what we write holds other people's messages: only whoever runs us may read it
    make_cli(serve=_serve, offline=_offline, keeping=_keeping)(prog_name="queuesvc")


def _serve(settings: "Settings") -> int:
    gc.disable()  # loading it all makes objects and no garbage, and so does building the machine; then it is on again
    from queuesvc.running import serve

    return serve(settings)


def _offline(data: Path) -> AbstractContextManager[Ask]:
    from queuesvc.running import offline

    return offline(data)


def _keeping() -> Keeping:
    from queuesvc.store.sqlite.backup import check_copy
    from queuesvc.store.sqlite.check.checker import check_store
    from queuesvc.store.sqlite.restoring import copy_stopped, restore
    from queuesvc.store.sqlite.store import FILE

    def check_what_came(copy: Path) -> None:
        """As `check_copy`, in the words of a verb."""
        try:
            check_copy(copy)
        except sqlite3.Error as error:
            raise CannotKeep(f"what came is damaged: {error}") from None

    return Keeping(lambda data: data / FILE, check_store, copy_stopped, check_what_came, restore)
