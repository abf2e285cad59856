"""`queuesvc backup` and `restore` from the command line, and what there is of them over HTTP."""

import http.client as http_client
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
from pathlib import Path

import httpx2
import pytest

from queuesvc.store.sqlite.check.checker import check_store
from tests.cli.test_serve import run
from tests.support.faults import SYNCS, WRITES, failing, needs_strace, python_that_fails
from tests.support.server import Server
from tests.support.stores import look
from tests.support.until import wait_until


def publish(http: httpx2.Client, body: str) -> str:
    """Publish; returns the id."""
    answer = http.post("/v1/queues/q/messages", content=body)
    assert answer.status_code == 201
    return str(answer.json()["id"])


@pytest.fixture
def q(http: httpx2.Client) -> httpx2.Client:
    """A client of a broker that has a queue `q`."""
    assert http.put("/v1/queues/q", json={}).status_code == 201
    return http


def test_a_backup_while_publishing_goes_on_is_of_one_moment(server: Server, q: httpx2.Client, tmp_path: Path) -> None:
    """All that was answered before it began is in it, and nothing without what came before that."""
    for n in range(500):
        publish(q, str(n))
    stop = threading.Event()
    published = [500]

    def go_on() -> None:
        with httpx2.Client(base_url=server.url) as other:
            while not stop.is_set():
                publish(other, str(published[0]))
                published[0] += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for name in ("one.db", "two.db", "three.db"):
            before = published[0]
            result = run("backup", name, "--url", server.url, cwd=tmp_path)
            assert (result.returncode, result.stderr) == (0, "")
            assert check_store(tmp_path / name).findings == []
            bodies = [int(body) for (body,) in look(tmp_path / name, "SELECT body FROM message ORDER BY id")]
            assert bodies == list(range(len(bodies)))
            assert before <= len(bodies) <= published[0] + 1
    finally:
        stop.set()
        thread.join()
    assert published[0] > 500
    assert sorted(path.name for path in server.data.iterdir() if path.name.startswith("backup-")) == []


def test_the_file_is_whole_its_owners_and_never_in_place_of_another(
    server: Server, q: httpx2.Client, tmp_path: Path
) -> None:
    result = run("backup", "b.db", "--url", server.url, cwd=tmp_path)
    size = (tmp_path / "b.db").stat().st_size
    assert result.stdout == f"b.db: {size:,} bytes, checked\n"
    assert (tmp_path / "b.db").stat().st_mode & 0o777 == 0o600
    publish(q, "x")
    before = (tmp_path / "b.db").read_bytes()
    result = run("backup", "b.db", "--url", server.url, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "there already" in result.stderr
    assert (tmp_path / "b.db").read_bytes() == before
    assert run("backup", "b.db", "--force", "--url", server.url, cwd=tmp_path).returncode == 0
    assert look(tmp_path / "b.db", "SELECT count(*) FROM message") == [(1,)]
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


def test_what_cannot_be_backed_up_is_a_line_and_leaves_no_file(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", env={"QUEUESVC_RESERVE_BYTES": str(2**60)})
    try:
        server.start()
        for args, words in (
            (("--url", server.url), "a backup needs"),
            (("--url", "http://127.0.0.1:9"), "no answer from http://127.0.0.1:9"),
            (("--url", "nowhere"), "no address of a broker"),
            (("--data", str(server.data)), "another broker (process"),
            (("--data", "none"), "there is no file none/queuesvc.db"),
        ):
            result = run("backup", "b.db", *args, cwd=tmp_path)
            assert (result.returncode, result.stdout) == (1, "")
            assert words in result.stderr
            assert result.stderr.count("\n") == 1
            assert not (tmp_path / "b.db").exists()
        assert not list(server.data.glob("backup-*"))
    finally:
        server.close()


def test_it_takes_a_token_with_admin(server: Server, q: httpx2.Client, tmp_path: Path) -> None:
    admin = q.post("/v1/tokens", json={"name": "root", "admin": True}).json()["token"]
    header = {"Authorization": f"Bearer {admin}"}
    answer = q.post("/v1/tokens", json={"name": "other", "manage": ["*"]}, headers=header)
    for token, status in ((None, 401), (answer.json()["token"], 403)):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        assert q.post("/v1/backup", headers=headers).status_code == status
        env = {} if token is None else {"QUEUESVC_TOKEN": token}
        assert run("backup", "b.db", "--url", server.url, cwd=tmp_path, env=env).returncode == 1
    result = run("backup", "b.db", cwd=tmp_path, env={"QUEUESVC_TOKEN": admin, "QUEUESVC_URL": server.url})
    assert result.returncode == 0, result.stderr
    restored = run("restore", "b.db", "--data", "again", cwd=tmp_path)
    assert restored.stderr == "2 tokens are as they were: revoke again what was revoked since\n"


def test_the_answer_is_a_file(q: httpx2.Client, tmp_path: Path) -> None:
    publish(q, "x" * 100_000)
    answer = q.post("/v1/backup")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.sqlite3"
    (tmp_path / "b.db").write_bytes(answer.content)
    assert check_store(tmp_path / "b.db").findings == []
    assert q.post("/v1/backup?path=/tmp/x").status_code == 422


def test_one_larger_than_what_is_kept_for_slow_readers_comes_whole(tmp_path: Path) -> None:
    """It was cut off when its reader was slow for a moment: an answer of known length is taken to be in memory."""
    server = Server(tmp_path / "data", env={"QUEUESVC_SLOW_CLIENT_BYTES": str(4 * 1024 * 1024)})
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            http.put("/v1/queues/q", json={})
            for _ in range(20):
                publish(http, "x" * 1_000_000)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # so that the broker has to wait
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"POST /v1/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            answer = http_client.HTTPResponse(client)
            answer.begin()
            (tmp_path / "b.db").write_bytes(answer.read())
        assert (tmp_path / "b.db").stat().st_size > 20_000_000
        assert check_store(tmp_path / "b.db").findings == []
    finally:
        server.close()


def test_nothing_is_left_where_the_client_leaves(server: Server, q: httpx2.Client) -> None:
    for _ in range(20):
        publish(q, "x" * 1_000_000)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /v1/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert deleted_files(server) == 1
    wait_until(lambda: deleted_files(server) == 0)
    assert not list(server.data.glob("backup-*"))


def deleted_files(server: Server) -> int:
    """How many files the broker has open that have no name any more."""
    folder = Path(f"/proc/{server.pid}/fd")
    names = []
    for file in folder.iterdir():
        try:
            names.append(os.readlink(file))
        except FileNotFoundError:
            continue
    return sum(name.endswith("(deleted)") and "backup-" in name for name in names)


def test_what_a_killed_broker_left_is_removed(server: Server, q: httpx2.Client) -> None:
    server.kill()
    (server.data / "backup-abc.tmp").write_bytes(b"half of it")
    server.start()
    assert not list(server.data.glob("backup-*"))


@needs_strace
def test_a_broker_killed_in_the_middle_of_a_backup_tidies_up_at_the_next_start(
    server: Server, q: httpx2.Client, tmp_path: Path
) -> None:
    """While it copies, and while it sends: no file where the backup was to be, and the store is whole."""
    for _ in range(20):
        publish(q, "x" * 1_000_000)
    wait_until(lambda: not (server.data / "queuesvc.db-wal").stat().st_size, "an idle broker")
    for calls, when, left in ((WRITES, "3000", 1), ("read", "8", 0)):
        with failing(server, calls, "SIGKILL", when=when):
            result = run("backup", "b.db", "--url", server.url, cwd=tmp_path)
            server.wait()
        assert result.returncode == 1
        assert re.fullmatch(r"queuesvc: (no answer from|the answer of) [^\n]+\n", result.stderr)
        assert [path.name for path in tmp_path.iterdir() if "b.db" in path.name] == []
        assert len(list(server.data.glob("backup-*"))) == left
        assert check_store(server.data / "queuesvc.db").findings == []
        server.start()
        assert not list(server.data.glob("backup-*"))
    assert q.get("/v1/queues/q").json()["stats"]["ready"] == 20


@needs_strace
def test_a_backup_that_is_killed_leaves_nothing_under_the_name(
    server: Server, q: httpx2.Client, tmp_path: Path
) -> None:
    for _ in range(5):
        publish(q, "x" * 1_000_000)
    killed = python_that_fails(tmp_path, "write", "SIGKILL", when="3")
    command = [str(killed), "-m", "queuesvc", "backup", "b.db", "--url", server.url]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60).returncode != 0
    assert not (tmp_path / "b.db").exists()
    (part,) = tmp_path.glob(".b.db.*.part")
    assert 0 < part.stat().st_size < 5_000_000
    assert run("backup", "b.db", "--url", server.url, cwd=tmp_path).returncode == 0
    assert check_store(tmp_path / "b.db").findings == []


# --- restore ---------------------------------------------------------------------------


def test_a_backup_of_a_stopped_store_is_restored_and_served(server: Server, q: httpx2.Client, tmp_path: Path) -> None:
    ids = [publish(q, str(n)) for n in range(3)]
    held = q.post("/v1/queues/q/receive").json()["messages"][0]["receipt"]
    server.kill()
    assert run("backup", "b.db", "--data", str(server.data), cwd=tmp_path).returncode == 0
    result = run("restore", "b.db", "--data", "again", cwd=tmp_path)
    assert result.stdout == "again/queuesvc.db: 3 messages, of which 1 were leased and are ready again\n"
    again = Server(tmp_path / "again")
    try:
        with httpx2.Client(base_url=again.start().url) as http:
            old = http.post("/v1/queues/q/ack", json={"receipts": [held]}).json()
            assert old == {"acked": 0, "failed": [{"receipt": held, "code": "lease-lost"}]}
            messages = http.post("/v1/queues/q/receive?max_messages=10").json()["messages"]
            assert [message["id"] for message in messages] == ids
            assert [message["delivery_count"] for message in messages] == [2, 1, 1]
            assert [message["failed_count"] for message in messages] == [0, 0, 0]
            acked = http.post("/v1/queues/q/ack", json={"receipts": [message["receipt"] for message in messages]})
            assert acked.json()["acked"] == 3
    finally:
        again.close()


def test_what_is_not_to_be_restored_is_a_line_and_changes_nothing(
    server: Server, q: httpx2.Client, tmp_path: Path
) -> None:
    publish(q, "x")
    assert run("backup", "b.db", "--url", server.url, cwd=tmp_path).returncode == 0
    shutil.copy(tmp_path / "b.db", tmp_path / "damaged.db")
    with sqlite3.connect(tmp_path / "damaged.db") as db:
        db.execute("UPDATE queue SET published = 7")
    db.close()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "queuesvc.db").write_text("something")
    for file, data, args, words in (
        ("damaged.db", "new", (), "is damaged, and is not restored: conservation"),
        ("none.db", "new", (), "there is no file none.db"),
        ("b.db", "full", (), "there is a store in full already"),
        ("b.db", str(server.data), ("--force",), "another broker (process"),
    ):
        result = run("restore", file, "--data", data, *args, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert words in result.stderr
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full" / "queuesvc.db").read_text() == "something"
    assert q.get("/v1/queues/q").json()["stats"]["ready"] == 1


def test_with_force_the_old_store_is_kept_beside_it(server: Server, q: httpx2.Client, tmp_path: Path) -> None:
    publish(q, "in the backup")
    assert run("backup", "b.db", "--url", server.url, cwd=tmp_path).returncode == 0
    publish(q, "later")
    server.kill()  # so that the newest is in the log
    result = run("restore", "b.db", "--force", "--data", str(server.data), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert look(server.data / "queuesvc.db.replaced", "SELECT count(*) FROM message") == [(2,)]
    server.start()
    assert q.get("/v1/queues/q").json()["stats"]["ready"] == 1


@needs_strace
@pytest.mark.slow
def test_a_restore_of_which_the_directory_cannot_be_synced_says_so(
    server: Server, q: httpx2.Client, tmp_path: Path
) -> None:
    """It is all there, but a power loss may take its name away again: that is not passed over."""
    publish(q, "x")
    assert run("backup", "b.db", "--url", server.url, cwd=tmp_path).returncode == 0
    (tmp_path / "again").mkdir()
    python = python_that_fails(tmp_path, SYNCS, "EIO", tmp_path / "again")
    command = [str(python), "-m", "queuesvc", "restore", "b.db", "--data", "again"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert "may be gone after a power loss" in result.stderr
    assert "restore again (--force)" in result.stderr
    assert run("restore", "b.db", "--data", "again", "--force", cwd=tmp_path).returncode == 0


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(("calls", "error"), [(WRITES, "EIO"), (WRITES, "ENOSPC"), ("pread64", "EIO")])
def test_a_restore_that_fails_changes_nothing(
    server: Server, q: httpx2.Client, tmp_path: Path, calls: str, error: str
) -> None:
    publish(q, "x")
    assert run("backup", "b.db", "--url", server.url, cwd=tmp_path).returncode == 0
    server.stop()
    before = (server.data / "queuesvc.db").read_bytes()
    python = python_that_fails(tmp_path, calls, error, when="20+")
    command = [str(python), "-m", "queuesvc", "restore", "b.db", "--force", "--data", str(server.data)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert (server.data / "queuesvc.db").read_bytes() == before
    assert not list(server.data.glob("*.tmp"))
