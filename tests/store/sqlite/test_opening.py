"""What a store refuses to open: it says why, and leaves the file as it is."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from queuesvc.store.interface import StoreRefused
from queuesvc.store.sqlite import migrations
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import to_queue
from tests.support.stores import START, Hand, Nobody, look

KNOWN = migrations.known()


@pytest.fixture
async def stored(folder: Path) -> Path:
    """The file of a store with 200 messages, closed."""
    hand = Hand(folder)
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", *[b"x" * 2000] * 200))
    await hand.close()
    return hand.file


async def refusal(folder: Path) -> str:
    """What the store says when it refuses; the file is as it was, byte for byte."""
    before = contents(folder)
    with pytest.raises(StoreRefused) as refused:
        await SqliteStore(folder).open()
    assert contents(folder) == before
    return str(refused.value)


def contents(folder: Path) -> dict[str, bytes]:
    """What the database consists of: the file, and a log where there is something in it."""
    files = {
        path.name: path.read_bytes() for path in (folder / "queuesvc.db", folder / "queuesvc.db-wal") if path.exists()
    }
    return {name: content for name, content in files.items() if content}


def change(file: Path, sql: str) -> None:
    db = sqlite3.connect(file)
    with db:
        db.executescript(sql)
    db.close()


# --- refused -------------------------------------------------------------------------


async def test_a_newer_version(stored: Path) -> None:
    change(stored, "PRAGMA user_version = 99")
    assert "of version 99, newer than this program's" in await refusal(stored.parent)


async def test_a_migration_that_was_changed_since(stored: Path) -> None:
    change(stored, "UPDATE migration SET checksum = 'another' WHERE number = 1")
    assert "made by another 0001_store.sql" in await refusal(stored.parent)


async def test_a_migration_that_is_not_in_its_books(stored: Path) -> None:
    change(stored, "DELETE FROM migration")
    assert "made by another 0001_store.sql" in await refusal(stored.parent)


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
async def test_a_database_of_another_program(folder: Path, journal: str) -> None:
    folder.mkdir()
    change(folder / "queuesvc.db", f"PRAGMA journal_mode = {journal}; CREATE TABLE message (id INTEGER PRIMARY KEY)")
    assert "a database of another program" in await refusal(folder)


async def test_a_database_of_another_program_that_has_no_tables_yet(folder: Path) -> None:
    folder.mkdir()
    change(folder / "queuesvc.db", "PRAGMA application_id = 12345")
    assert "a database of another program" in await refusal(folder)


@pytest.mark.parametrize("content", [b"not a database, just a text\n" * 100, b"\0" * 4096, os.urandom(8192)])
async def test_a_file_that_is_no_database(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "queuesvc.db").write_bytes(content)
    assert "queuesvc.db" in await refusal(folder)


@pytest.mark.parametrize("rest", [100, 3000, 4096, 40_000, 4096 * 30])
async def test_a_truncated_file(stored: Path, rest: int) -> None:
    assert stored.stat().st_size > rest
    os.truncate(stored, rest)
    assert "queuesvc.db" in await refusal(stored.parent)


@pytest.mark.parametrize("root", ["message", "queue", "meta", "lease", "migration"])
async def test_a_table_overwritten_with_garbage(stored: Path, root: str) -> None:
    ((page,),) = look(stored, f"SELECT rootpage FROM sqlite_schema WHERE name = '{root}'")
    with stored.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert "queuesvc.db" in await refusal(stored.parent)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE queue SET settings = '{'",
        'UPDATE queue SET settings = \'{"colour": "red"}\'',
        "INSERT INTO exchange (name, settings) VALUES ('x', '{\"type\": \"round\"}')",
        "INSERT INTO binding (id, source, queue, routing_key) VALUES (1, 'nowhere', 'q', '')",
        "INSERT INTO lease (id, queue_id, consumer, until, members, untils) VALUES (1, 1, '', 0, x'010203', x'')",
    ],
)
async def test_rows_that_make_no_sense(stored: Path, sql: str) -> None:
    change(stored, sql)
    assert "queuesvc.db" in await refusal(stored.parent)


async def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("here")
    with pytest.raises(StoreRefused, match="data"):
        await SqliteStore(tmp_path / "data").open()
    assert (tmp_path / "data").read_text() == "here"


async def test_after_a_refusal_the_lock_is_free(stored: Path) -> None:
    whole = stored.read_bytes()
    os.truncate(stored, 3000)
    await refusal(stored.parent)
    stored.write_bytes(whole)
    store = SqliteStore(stored.parent)
    await store.open()
    await store.close()


# --- taken -------------------------------------------------------------------------


async def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    hand = Hand(tmp_path / "deep" / "data")
    await hand.open()
    assert hand.file.exists()
    await hand.close()


async def test_an_empty_file_is_a_new_store(folder: Path) -> None:
    """A broker that was killed right after it made the file starts again."""
    folder.mkdir()
    (folder / "queuesvc.db").touch()
    hand = Hand(folder)
    await hand.open()
    await hand.queue("q")
    await hand.close()
    assert look(hand.file, "PRAGMA auto_vacuum") == [(2,)]


async def test_it_is_set_up_as_it_should_be(hand: Hand) -> None:
    def ask(db: sqlite3.Connection) -> dict[str, int | str]:
        names = ["journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "application_id", "user_version"]
        return {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    assert await hand.store._on_writer(ask) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "auto_vacuum": 2,
        "application_id": migrations.APPLICATION_ID,
        "user_version": len(migrations.known()),
    }


async def test_the_migrations_are_numbered_from_one_and_booked(hand: Hand) -> None:
    known = migrations.known()
    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    assert hand.rows("SELECT number, name, checksum FROM migration ORDER BY number") == [
        (migration.number, migration.name, migration.checksum) for migration in known
    ]


async def test_a_migration_that_fails_leaves_the_store_at_the_version_before(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = migrations.Migration(
        len(KNOWN) + 1, "0009_bad.sql", "CREATE TABLE more (id INTEGER); INSERT INTO nowhere VALUES (1);"
    )
    monkeypatch.setattr(migrations, "known", lambda: [*KNOWN, bad])
    with pytest.raises(StoreRefused, match="nowhere"):
        await SqliteStore(stored.parent).open()
    monkeypatch.undo()
    assert look(stored, "SELECT name FROM sqlite_schema WHERE name = 'more'") == []
    hand = Hand(stored.parent)
    await hand.open()
    assert (await hand.stats("q")).ready == 200
    await hand.close()


async def test_a_next_migration_is_applied_to_what_is_stored(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = len(KNOWN) + 1
    more = migrations.Migration(number, "0009_more.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);")
    monkeypatch.setattr(migrations, "known", lambda: [*KNOWN, more])
    for _ in range(2):
        hand = Hand(stored.parent)
        await hand.open()
        assert (await hand.stats("q")).ready == 200
        await hand.close()
    assert look(stored, "PRAGMA user_version") == [(number,)]
    names = [*((one.number, one.name) for one in KNOWN), (number, "0009_more.sql")]
    assert look(stored, "SELECT number, name FROM migration") == names
    monkeypatch.undo()
    assert "newer" in await refusal(stored.parent)


@pytest.mark.parametrize("moment", ["empty", "made", "migrated"])
async def test_a_broker_killed_while_it_makes_the_file_starts_again(folder: Path, moment: str) -> None:
    folder.mkdir()
    db = sqlite3.connect(folder / "queuesvc.db", isolation_level=None)
    if moment != "empty":
        db.executescript("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;")
    if moment == "migrated":
        migrations.migrate(db)
    shutil.copytree(folder, folder.with_name("killed"))
    db.close()
    hand = Hand(folder.with_name("killed"))
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", "x"))
    assert await hand.consume("q") == 1
    await hand.close()


async def test_two_stores_have_secrets_and_tags_of_their_own(tmp_path: Path) -> None:
    seen = set()
    for name in "ab":
        store = SqliteStore(tmp_path / name)
        opened = await store.open()
        await store.apply((to_queue("nowhere", "x"),), START, Nobody())
        seen.add((opened.tag, store._machine.state.receipts.token(1, 1)))
        await store.close()
    assert len({tag for tag, _ in seen}) == len({token for _, token in seen}) == 2
