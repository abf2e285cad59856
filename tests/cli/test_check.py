"""`queuesvc check` from the command line."""

import asyncio
import re
import sqlite3
from pathlib import Path

import httpx2

from tests.cli.test_serve import run
from tests.support.lived_in import make
from tests.support.server import Server


def test_a_whole_store_is_exit_0_and_told_in_a_line(tmp_path: Path) -> None:
    asyncio.run(make(tmp_path / "queuesvc-data"))
    for args in ((), ("queuesvc-data/queuesvc.db",), ("--data", "queuesvc-data")):
        result = run("check", *args, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert re.fullmatch(
            r"queuesvc-data/queuesvc\.db: all is well, version \d+: 5 exchanges, 7 queues, 7 bindings, 65 messages, "
            r"3 leases, 5 records, 21 rows to reclaim \(\d+\.\d s\)\n",
            result.stdout,
        )


def test_each_finding_is_a_line_and_exit_1(tmp_path: Path) -> None:
    hand, _ = asyncio.run(make(tmp_path / "data"))
    with sqlite3.connect(hand.file) as db:
        db.execute("UPDATE queue SET published = published + 1 WHERE name = 'plain'")
        db.execute("UPDATE body SET refs = refs + 1 WHERE id = 1")
    db.close()
    result = run("check", "--data", "data", cwd=tmp_path)
    assert result.returncode == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("conservation: queue plain (1): 39 came")
    assert second == "bodies: body 1 has 3 references, but 2 messages have it"
    assert result.stderr == "queuesvc: data/queuesvc.db: 2 findings\n"


def test_what_cannot_be_checked_is_exit_2(server: Server, http: httpx2.Client, tmp_path: Path) -> None:
    for args, words in (
        (("none.db",), "there is no file none.db"),
        ((), "there is no file queuesvc-data/queuesvc.db"),
        (("--data", str(server.data)), "queuesvc backup FILE"),
        (("none.db", "--data", "x"), "not both"),
    ):
        result = run("check", *args, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert words in result.stderr
    assert http.get("/readyz").status_code == 200


def test_a_store_that_was_killed_is_whole(server: Server, http: httpx2.Client, tmp_path: Path) -> None:
    http.put("/v1/queues/q", json={})
    for _ in range(20):
        http.post("/v1/queues/q/messages", content=b"x")
    http.post("/v1/queues/q/receive?max_messages=5")
    server.kill()
    result = run("check", "--data", str(server.data), cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert "20 messages, 1 leases" in result.stdout
