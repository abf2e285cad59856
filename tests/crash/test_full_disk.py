"""A disk that is really full: publishes stop, and the broker can be emptied all the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.server import Server

PYTHON_ON_A_SMALL_DISK = """#!/bin/sh
exec unshare --mount sh -c 'mount -t tmpfs -o size={size} tmpfs {disk} && exec {python} "$@"' sh "$@"
"""


def may_mount() -> bool:
    """Whether this process may make a mount of its own (it must be root, and not be confined)."""
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return tried.returncode == 0


@pytest.fixture
def small(disk_size: str, tmp_path: Path) -> Iterator[Server]:
    """A broker whose store has a disk of its own, of this size."""
    if not may_mount():
        pytest.skip("a disk of a given size takes the right to mount one")
    disk = tmp_path / "disk"
    disk.mkdir()
    python = tmp_path / "python"
    python.write_text(PYTHON_ON_A_SMALL_DISK.format(size=disk_size, disk=disk, python=sys.executable))
    python.chmod(0o755)
    server = Server(disk / "data", python=python, log_file=tmp_path / "log")
    yield server.start()
    server.close()


def post(http: httpx2.Client, path: str, document: dict[str, Any]) -> Any:
    """The answer; on the smallest disk the log may be in the way of a call, which makes room for its second try."""
    for _ in range(3):
        answer = http.post(path, json=document)
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text
    return answer.json()


def room(server: Server) -> int:
    """How much is free on the broker's own disk, in bytes."""
    disk = os.statvfs(f"/proc/{server.pid}/root{server.data}")
    return disk.f_bavail * disk.f_frsize


@pytest.mark.parametrize(
    ("disk_size", "messages", "size"),
    [
        ("10m", 100, 256),
        ("10m", 10, 1_000_000),
        ("40m", 10, 1_000_000),
        pytest.param("40m", 100, 256, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_can_be_emptied(small: Server, messages: int, size: int) -> None:
    """It never gets really full: the floor holds, and what is kept free is enough for all receives and acks."""
    batch = {"messages": [{"body": "x" * size}] * messages}
    with httpx2.Client(base_url=small.url, timeout=30) as http:
        http.put("/v1/queues/q", json={"lease_seconds": 3600})
        stored = 0
        while (answer := http.post("/v1/queues/q/messages/batch", json=batch)).status_code == 201:
            stored += messages
        assert "are kept for acks" in answer.json()["detail"]
        assert room(small) > 1_000_000
        assert http.get("/readyz").status_code == 503
        acked = 0
        while taken := post(http, "/v1/queues/q/receive", {"max_messages": 50})["messages"]:
            acked += post(http, "/v1/queues/q/ack", {"receipts": [message["receipt"] for message in taken]})["acked"]
        assert acked == stored
        # What was freed is used again, a second after the last refusal.
        small_batch = {"messages": [{"body": "x"}]}
        answers = (http.post("/v1/queues/q/messages/batch", json=small_batch) for _ in range(20_000))
        assert any(answer.status_code == 201 for answer in answers)
    assert "SQLITE_FULL" not in small.log
    assert small.stop() == 0
