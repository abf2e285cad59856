"""One broker a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from queuesvc.store.interface import StoreRefused
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.server import Server, ServerFailed


async def test_a_second_store_in_the_folder_is_refused_and_the_first_goes_on(folder: Path) -> None:
    first = SqliteStore(folder)
    await first.open()
    with pytest.raises(StoreRefused, match=rf"another broker \(process {os.getpid()}\) is running on .*data"):
        await SqliteStore(folder).open()
    await first.close()
    again = SqliteStore(folder)
    await again.open()
    await again.close()


def test_a_second_process_is_refused_naming_the_first(server: Server) -> None:
    second = Server(server.data, log_file=server.data.with_name("second.log"))
    with pytest.raises(ServerFailed, match=rf"another broker \(process {server.pid}\)"):
        second.start()
    assert server.running


def test_the_lock_is_free_after_a_kill(server: Server) -> None:
    server.kill()
    server.start()


def test_the_lock_is_not_inherited_by_children(folder: Path) -> None:
    """A process that a broker started and that outlives it does not keep the folder."""
    holder = (
        "import asyncio, subprocess, sys\n"
        "from queuesvc.store.sqlite.store import SqliteStore\n"
        f"store = SqliteStore({str(folder)!r})\n"
        "asyncio.run(store.open())\n"
        "child = subprocess.Popen(['tail', '-f', '/dev/null'], close_fds=False)\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            server = Server(folder)
            server.start()
            assert server.stop() == 0
        finally:
            os.kill(child, signal.SIGKILL)
