"""`queuesvc check`: a store that was lived in is whole, and each thing that can break is named."""

import asyncio
import os
import shutil
import sqlite3
from array import array
from pathlib import Path

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.model import Exchange, ExchangeType
from queuesvc.store.keeping import CannotKeep, Counts
from queuesvc.store.sqlite.check.checker import RULES, SAID_MOST, check_store
from tests.support.lived_in import live, make
from tests.support.stores import Hand


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store that was lived in, closed."""
    hand, _ = asyncio.run(make(tmp_path_factory.mktemp("lived") / "data"))
    return hand.file


@pytest.fixture
def file(lived_in: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(lived_in, tmp_path / "copy.db"))


def change(file: Path, sql: str) -> None:
    with sqlite3.connect(file) as db:
        # What a constraint of the schema forbids, a fault may do all the same.
        db.execute("PRAGMA ignore_check_constraints = ON")
        changed = [db.execute(statement).rowcount for statement in sql.split(";")]
        assert max(changed) > 0, "nothing was changed"
    db.close()


def test_a_store_that_was_lived_in_is_whole(lived_in: Path) -> None:
    checked = check_store(lived_in)
    assert checked.findings == []
    assert checked.counts == Counts(5, 7, 7, 65, 3, 5, 21)


def test_it_leaves_no_trace(file: Path) -> None:
    before = file.read_bytes()
    check_store(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


async def test_a_store_of_exchanges_alone_is_whole(tmp_path: Path) -> None:
    """Its bindings name no queue, and there is none: nothing was taken to be missing (found by a random history)."""
    hand = Hand(tmp_path / "data")
    await hand.open()
    try:
        await hand.do(*[c.PutExchange(Exchange(name, ExchangeType.FANOUT)) for name in "ab"], c.Bind("a", exchange="b"))
    finally:
        await hand.close()
    assert check_store(hand.file).findings == []


SHARED = "(SELECT min(id) FROM body)"
PLAIN = "queue_id = (SELECT id FROM queue WHERE name = 'plain')"
INLINE = f"id = (SELECT max(id) FROM message WHERE body_id = 0 AND {PLAIN})"
NOTHING = '{"publish": [], "consume": [], "manage": []}'
NUMBERS = array("q", [7, 3]).tobytes().hex()

BREAKS = {
    # rule: what is done, and words of what is found
    "meta": [
        ("UPDATE meta SET secret = x'00'", "the secret is of 1 bytes"),
        ("UPDATE meta SET epoch = 0", "no epoch 0"),
        ("UPDATE meta SET tag = 67108864", "no tag 67108864"),
        ("UPDATE meta SET next_binding = 0", "a next number is below 1"),
        ("UPDATE meta SET latest_at = -1", "broker time is below 0"),
        ("DELETE FROM meta", "no row of meta"),
    ],
    "numbers": [
        ("UPDATE meta SET next_message = 50", "is not below the next number, 50"),
        ("UPDATE meta SET next_lease = 4", "lease 4 is not below the next number, 4"),
        ("UPDATE meta SET next_lease = 2", "had lease"),
        ("UPDATE meta SET next_queue = 8", "queue 8 is not below"),
        ("UPDATE meta SET next_binding = 7", "binding 7 is not below"),
        ("UPDATE meta SET latest_at = 1", "published later than the latest moment"),
    ],
    "queues": [
        ("UPDATE queue SET delivered = -1 WHERE name = 'late'", "queue late (3): a counter is below 0"),
        ("UPDATE queue SET dead_lettered = 3 WHERE name = 'failing'", "3 dead-lettered, but only 2 moved out"),
        ("UPDATE queue SET settings = '{' WHERE name = 'late'", "3 can't be read"),
        ("UPDATE queue SET delivered = 2 WHERE name = 'plain'", "2 acked and 1 nacked, but only 2 delivered"),
    ],
    "conservation": [
        ("UPDATE queue SET published = published + 1 WHERE name = 'plain'", "queue plain (1): 39 came"),
        (f"DELETE FROM message WHERE {INLINE}", "but 34 are here"),
        ("UPDATE reclaim SET next_id = 1000 WHERE queue_id = 6", "queue purged (6): 12 came"),
        ("UPDATE queue SET moved_in = 1 WHERE name = 'graves'", "moved in 1"),
    ],
    "bindings": [
        ("UPDATE binding SET source = 'nowhere' WHERE id = 1", "binding 1: there is no exchange nowhere"),
        ("UPDATE binding SET queue = 'nowhere' WHERE id = 1", "binding 1: there is no queue nowhere"),
        ("UPDATE binding SET exchange = 'nowhere' WHERE id = 3", "binding 3: there is no exchange nowhere"),
        ("UPDATE binding SET headers = '{' WHERE match IS NOT NULL", "can't be read"),
    ],
    "exchanges": [
        ("UPDATE exchange SET settings = '{\"type\": \"round\"}' WHERE name = 'topic'", "'topic' can't be read"),
        ("UPDATE exchange SET name = '-' WHERE name = 'headers'", "must be 1 to 255 characters"),
    ],
    "messages": [
        (f"UPDATE message SET first = id + 1 WHERE {INLINE}", "is a copy of"),
        (f"UPDATE message SET standing = 3 WHERE {INLINE}", "stands as 3"),
        (f"UPDATE message SET priority = 256 WHERE {INLINE}", "has priority 256"),
        (f"UPDATE message SET failures = -1 WHERE {INLINE}", "below 0"),
        (f"UPDATE message SET body_id = {SHARED} WHERE {INLINE}", "but is a copy of"),
        ("UPDATE message SET body = x'00' WHERE body_id <> 0", "a body of its own"),
        (f"UPDATE message SET body = x'0000' WHERE {INLINE}", "has 2 bytes, not"),
        ("UPDATE message SET deaths = '' WHERE standing = 2", "nothing says of what"),
        (f"UPDATE message SET properties = '\"a\":' WHERE {INLINE}", "properties that are no JSON"),
        ("UPDATE message SET deaths = '{' WHERE standing = 2", "deaths that are no JSON"),
    ],
    "tokens": [
        (f"INSERT INTO token VALUES ('a', 'b', x'00', '{NOTHING}', 1, 0, 0)", "'a' can't be read: its digest"),
        (f"INSERT INTO token VALUES ('a', 'b', x'{'00' * 32}', '[', 1, 0, 0)", "'a' can't be read"),
    ],
    "homes": [(f"UPDATE message SET queue_id = 1000 WHERE {INLINE}", "is in queue 1000, which is not there")],
    "bodies": [
        (f"UPDATE body SET refs = refs + 1 WHERE id = {SHARED}", "references, but"),
        ("INSERT INTO body VALUES (1000, 1, x'00')", "body 1000 has 1 references, but 0 messages"),
        (f"DELETE FROM body WHERE id = {SHARED}", "which is not there"),
        (f"UPDATE body SET body = x'00' WHERE id = {SHARED}", "has 1"),
    ],
    "leases": [
        ("UPDATE lease SET queue_id = 1000 WHERE id = 1", "lease 1 is of queue 1000, which is not there"),
        ("UPDATE lease SET queue_id = 3 WHERE id = 1", "lease 1 is of queue 3, but message"),
        ("UPDATE lease SET members = CAST(members || members AS BLOB) WHERE id = 1", "twice"),
        ("UPDATE lease SET members = x'00' WHERE id = 1", "can't be read"),
        ("UPDATE lease SET untils = x'00' WHERE id = 1", "can't be read"),
        ("UPDATE lease SET until = 0 WHERE id = 1", "can't be read"),
        ("INSERT INTO lease VALUES (3, 1, '', 1, x'e703000000000000', x'')", "lease 3 holds nothing"),
        ("INSERT INTO lease SELECT 5, queue_id, consumer, until, members, untils FROM lease WHERE id = 1", "1 holds"),
        ("DELETE FROM lease WHERE id = 4", "lease 4 ran out and should settle it still"),
    ],
    "idempotency": [
        ("UPDATE idempotency SET fingerprint = x'00'", "a fingerprint of 1 bytes"),
        ("UPDATE idempotency SET answer = '['", "an answer that is no JSON"),
        ("UPDATE idempotency SET scope = 'x:nowhere' WHERE scope = 't'", "is of x:nowhere, which is not there"),
        ("UPDATE idempotency SET scope = 'b:q:7' WHERE scope = 't'", "is of b:q:7, which is not there"),
        ("UPDATE idempotency SET scope = 'z' WHERE scope = 't'", "is of z"),
    ],
    "reclaim": [
        ("UPDATE reclaim SET queue_id = 1000 WHERE id = 1", "of queue 1000, a number not yet given"),
        ("UPDATE reclaim SET runs = x'0100000000000000e703000000000000' WHERE id = 1", "up to 999"),
        ("UPDATE reclaim SET runs = x'00' WHERE id = 1", "can't be read"),
        (f"UPDATE reclaim SET runs = x'{NUMBERS}' WHERE id = 1", "can't be read"),
    ],
    "schema": [
        ("CREATE INDEX more ON message (queue_id); UPDATE meta SET epoch = 1", "more is not as this program's"),
        ("ALTER TABLE body ADD COLUMN more TEXT; UPDATE meta SET epoch = 1", "body is not as this"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("rule", "sql", "words"), [(rule, *case) for rule, cases in BREAKS.items() for case in cases])
def test_what_is_broken_is_named(file: Path, rule: str, sql: str, words: str) -> None:
    change(file, sql)
    findings = check_store(file).findings
    assert [finding for finding in findings if finding.startswith(f"{rule}: ") and words in finding], findings


def test_each_rule_can_fail() -> None:
    assert RULES.keys() <= BREAKS.keys()


def test_many_findings_of_a_kind_are_counted(file: Path) -> None:
    change(file, "UPDATE message SET standing = 7")
    findings = [finding for finding in check_store(file).findings if finding.startswith("messages")]
    assert len(findings) == SAID_MOST + 1
    assert findings[-1] == f"messages: and {86 - SAID_MOST} more"


@pytest.mark.parametrize("table", ["message", "queue", "meta"])
def test_a_damaged_page(file: Path, table: str) -> None:
    with sqlite3.connect(file) as db:
        ((page,),) = db.execute(f"SELECT rootpage FROM sqlite_schema WHERE name = '{table}'").fetchall()
    db.close()
    with file.open("r+b") as raw:
        raw.seek((page - 1) * 4096)
        raw.write(b"\xff" * 4096)
    findings = check_store(file).findings
    assert findings
    assert all(finding.startswith("file: ") for finding in findings)


@pytest.mark.parametrize("rest", [0, 100, 4096, 9000])
def test_a_truncated_file(file: Path, rest: int) -> None:
    os.truncate(file, rest)
    assert check_store(file).findings


def test_what_is_not_ours_to_judge(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotKeep, match="no file"):
        check_store(tmp_path / "none.db")
    with pytest.raises(CannotKeep, match="no file"):
        check_store(tmp_path)
    change(file, "UPDATE migration SET checksum = 'other'")
    with pytest.raises(CannotKeep, match="made by another 0001"):
        check_store(file)
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(CannotKeep, match="newer"):
        check_store(file)


async def test_a_store_that_a_broker_runs_on_is_left_alone(tmp_path: Path) -> None:
    hand = Hand(tmp_path / "data")
    await hand.open()
    try:
        with pytest.raises(CannotKeep, match=r"process \d+.*backup"):
            check_store(hand.file)
    finally:
        await hand.close()
    assert check_store(hand.file).findings == []


async def test_what_a_crash_leaves_is_checked_with_its_log(tmp_path: Path) -> None:
    hand = Hand(tmp_path / "data")
    await hand.open()
    try:
        await live(hand)
        crashed = shutil.copytree(hand.folder, tmp_path / "crashed")
    finally:
        await hand.close()
    assert (crashed / "queuesvc.db-wal").stat().st_size > 0
    checked = check_store(crashed / "queuesvc.db")
    assert checked.findings == []
    assert checked.counts is not None
    assert checked.counts.messages == 65
