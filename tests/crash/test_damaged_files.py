"""`queuesvc serve` on files that are damaged, locked or not to be written to, and damage that shows while it runs.

What the store refuses in detail is in `tests/store/sqlite/test_damaged.py` and `test_opening.py`; here it is what the
operator sees: one line that says what to do, an exit code, and files as they were.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.crash.test_full_disk import may_mount
from tests.support.problems import refused
from tests.support.server import Server
from tests.support.stores import look

PAGE = 4096
BODY = "x" * 300_000
SERVE = ["-m", "queuesvc", "serve", "--port", "0", "--data"]


def contents(folder: Path) -> dict[str, bytes]:
    """The file and its log, if there is something in it."""
    files = {path.name: path.read_bytes() for path in folder.glob("queuesvc.db*") if path.is_file()}
    return {name: content for name, content in files.items() if content and not name.endswith("-shm")}


def said(folder: Path, *before: str) -> str:
    """What it says when it refuses to start there: a line. All is as it was, byte for byte."""
    files = contents(folder)
    command = [*before, sys.executable, *SERVE, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    assert re.fullmatch(r"queuesvc: [^\n]+\n", result.stderr), result.stderr
    assert contents(folder) == files
    return result.stderr


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a broker that was killed: most in the file, the newest in the log."""
    server = Server(tmp_path_factory.mktemp("killed") / "data")
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            http.put("/v1/queues/q", json={})
            for _ in range(20):
                assert http.post("/v1/queues/q/messages", content=BODY).status_code == 201
            server.rest()
            for _ in range(10):
                assert http.post("/v1/queues/q/messages", content="in the log").status_code == 201
            server.kill()
    finally:
        server.close()
    assert (server.data / "queuesvc.db-wal").stat().st_size
    return server.data


@pytest.fixture
def data(killed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(killed, tmp_path / "data")
    return tmp_path / "data"


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 4]))


def without_log(data: Path) -> None:
    """As a broker that ended well leaves it."""
    with closing(sqlite3.connect(data / "queuesvc.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def flip_in_the_header(data: Path) -> None:
    without_log(data)
    flip(data / "queuesvc.db", 3)


def flip_in_the_root_of_the_messages(data: Path) -> None:
    without_log(data)
    ((page,),) = look(data / "queuesvc.db", "SELECT rootpage FROM sqlite_schema WHERE name = 'message'")
    flip(data / "queuesvc.db", (page - 1) * PAGE)


def flip_in_the_log(data: Path) -> None:
    flip(data / "queuesvc.db-wal", 32 + 24 + PAGE + 1000)


def cut_the_file(data: Path) -> None:
    os.truncate(data / "queuesvc.db", 100 * PAGE)


def cut_the_file_without_log(data: Path) -> None:
    without_log(data)
    os.truncate(data / "queuesvc.db", 100 * PAGE)


def cut_the_log(data: Path) -> None:
    os.truncate(data / "queuesvc.db-wal", (data / "queuesvc.db-wal").stat().st_size // 2)


def lose_the_log(data: Path) -> None:
    (data / "queuesvc.db-wal").unlink()


def another_log(data: Path) -> None:
    with closing(sqlite3.connect(data / "other.db")) as db:
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        shutil.copy(data / "other.db-wal", data / "queuesvc.db-wal")
    (data / "queuesvc.db-shm").unlink()


def a_text(data: Path) -> None:
    without_log(data)
    (data / "queuesvc.db").write_text("not a database\n" * 1000)


def a_directory(data: Path) -> None:
    for file in data.glob("queuesvc.db*"):
        file.unlink()
    (data / "queuesvc.db").mkdir()


def newer(data: Path) -> None:
    with closing(sqlite3.connect(data / "queuesvc.db")) as db:
        db.execute("PRAGMA user_version = 99")


def slow(damage: Callable[[Path], None], words: str) -> object:
    return pytest.param(damage, words, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_in_the_log, "queuesvc.db-wal is damaged"),
        (flip_in_the_root_of_the_messages, "(SQLITE_CORRUPT): the file is damaged"),
        slow(flip_in_the_header, "(SQLITE_NOTADB): this is no database, or its beginning is damaged"),
        slow(cut_the_file, "pages are missing"),
        slow(cut_the_file_without_log, "(SQLITE_CORRUPT): the file is damaged"),
        slow(cut_the_log, "committed frames only"),
        slow(lose_the_log, "is missing: put it back"),
        slow(another_log, "belongs to another database"),
        slow(a_text, "(SQLITE_NOTADB): this is no database"),
        slow(a_directory, "is not a file: move it away"),
        slow(newer, "use a newer queuesvc"),
    ],
)
def test_a_damaged_store_is_a_line_and_stays_as_it_is(data: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(data)
    assert words in said(data)


# --- not ours to write to ---------------------------------------------------------------


READ_ONLY = 'mount --bind "{0}" "{0}" && mount -o remount,ro,bind "{0}" && exec "$@"'


@pytest.mark.slow
@pytest.mark.parametrize("what", ["", "queuesvc.db", "queuesvc.db-wal"])
def test_a_file_or_directory_that_is_read_only(data: Path, what: str) -> None:
    if not may_mount():
        pytest.skip("a read-only mount takes the right to mount")
    line = said(data, "unshare", "--mount", "sh", "-c", READ_ONLY.format(data / what), "sh")
    assert "writable for the broker's user" in line
    assert what in line


WITHOUT_ROOTS_RIGHTS = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="another user's file takes root to make, and setpriv not to be it",
)
@pytest.mark.parametrize("what", ["", "queuesvc.db", "queuesvc.lock", "no file yet"])
def test_files_of_another_user(data: Path, what: str) -> None:
    if what == "no file yet":
        for file in data.glob("queuesvc.db*"):
            file.unlink()
    theirs = data / what if (data / what).exists() else data
    theirs.chmod(0o600 if theirs.is_file() else 0o755 if what else 0o700)
    os.chown(theirs, 12345, 12345)
    assert "for the broker's user" in said(data, *WITHOUT_ROOTS_RIGHTS)


LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = " + sys.argv[2]).fetchall()
db.execute("BEGIN " + sys.argv[3])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "begin"), [("EXCLUSIVE", "EXCLUSIVE"), ("NORMAL", "IMMEDIATE")])
def test_a_file_that_another_program_has_locked(data: Path, mode: str, begin: str) -> None:
    command = [sys.executable, "-c", LOCK, str(data / "queuesvc.db"), mode, begin]
    # (Not by this process: it would lose its lock by looking at the file.)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        assert "another program has the file locked: end it" in said(data)
        other.communicate()


# --- damage that shows while it runs --------------------------------------------------------


@pytest.mark.parametrize("where", ["a receive", pytest.param("a look", marks=pytest.mark.slow)])
def test_damage_that_shows_in_the_middle_ends_the_broker_and_nothing_is_made_up(
    server: Server, http: httpx2.Client, where: str
) -> None:
    """The chain of pages of a large body is broken: the start did not read it."""
    http.put("/v1/queues/q", json={})
    ids = [http.post("/v1/queues/q/messages", content=BODY).json()["id"] for _ in range(3)]
    assert server.stop() == 0
    break_bodies(server.data / "queuesvc.db")
    server.start()
    assert http.get("/v1/queues/q").json()["stats"]["ready"] == 3
    path = f"/v1/queues/q/messages/{ids[0]}"
    refused(http.get(path) if where == "a look" else http.post("/v1/queues/q/receive"), 503, "unavailable")
    assert server.wait() == 1
    assert "the file is damaged" in server.log
    assert "ask queuesvc check what is wrong" in server.log


def break_bodies(file: Path) -> None:
    """End each chain of overflow pages in its middle: the pages whose pointer leads to the next one."""
    content = bytearray(file.read_bytes())
    for page in range(20, len(content) // PAGE, 10):
        at = page * PAGE
        if int.from_bytes(content[at : at + 4], "big") == page + 2:
            content[at : at + 4] = bytes(4)
    file.write_bytes(content)


@pytest.mark.slow
def test_a_message_that_vanished_from_the_file_is_not_answered_as_something_else(
    server: Server, http: httpx2.Client
) -> None:
    http.put("/v1/queues/q", json={})
    for body in "ab":
        http.post("/v1/queues/q/messages", content=body)
    with closing(sqlite3.connect(server.data / "queuesvc.db")) as other, other:
        other.execute("DELETE FROM message WHERE body = x'61'")
    refused(http.post("/v1/queues/q/receive"), 503, "unavailable")
    assert server.wait() == 1
    assert "is not in the file" in server.log
