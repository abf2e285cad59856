"""Files that are damaged, cut off or not the right ones: refused with what to do, and left as they are to the byte."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from queuesvc.store.interface import StoreRefused
from queuesvc.store.sqlite import wal
from queuesvc.store.sqlite.check.checker import check_store
from queuesvc.store.sqlite.migrations import known
from queuesvc.store.sqlite.restoring import restore
from queuesvc.store.sqlite.store import SqliteStore
from queuesvc.store.sqlite.sums import matrix_of, own_sums, sums_of
from tests.support.brokers import to_queue
from tests.support.stores import Hand

FRAME = 24 + 4096


async def killed(folder: Path, *, batches: int = 20, checkpoint: bool = False) -> Path:
    """A store as a killed broker leaves it: some messages in the file, those of the batches in the log."""
    hand = Hand(folder.with_name(f"{folder.name}-living"))
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", *[b"in the file " * 100] * 20))
    await hand.maintain()
    for number in range(batches):
        await hand.do(to_queue("q", f"{number}"))
        if checkpoint and number == batches - 1:
            await hand.store._on_writer(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
    shutil.copytree(hand.folder, folder)
    await hand.close()
    shutil.rmtree(hand.folder)
    return folder / "queuesvc.db"


def contents(folder: Path) -> dict[str, bytes]:
    """What was answered is in these two."""
    return {path.name: path.read_bytes() for path in folder.glob("queuesvc.db*") if not path.name.endswith("-shm")}


async def refusal(file: Path) -> str:
    """What the store says when it refuses; everything is as it was, byte for byte."""
    before = contents(file.parent)
    with pytest.raises(StoreRefused) as refused:
        await SqliteStore(file.parent).open()
    assert contents(file.parent) == before
    text = str(refused.value)
    assert "\n" not in text
    return text


def log_of(file: Path) -> Path:
    return wal.log_of(file)


def flip(file: Path, at: int, bit: int = 0) -> None:
    """Flip one bit."""
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 1 << bit]))


def forget_index(file: Path) -> None:
    """As after a power loss: the index does not tell how far the log reached."""
    wal.index_of(file).unlink()


# --- the log: damaged ----------------------------------------------------------


async def test_a_killed_store_as_it_is_opens(tmp_path: Path) -> None:
    file = await killed(tmp_path / "data")
    assert wal.find_broken(file) is None
    assert check_store(file).findings == []
    assert len(await stored(file)) == 40


async def stored(file: Path) -> list[bytes]:
    """What a store hands out, by opening it."""
    hand = Hand(file.parent)
    await hand.open()
    received = await hand.receive("q", 1000)
    await hand.close()
    return [delivery.content.body for delivery in received.deliveries]


PLACES = {"page": 0, "commit": 4, "salt": 8, "sum": 16, "content": 24 + 100}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("index", ["with the index", "without it"])
async def test_a_bit_that_flipped_in_the_middle_of_the_log(tmp_path: Path, place: str, index: str) -> None:
    """SQLite takes it for the end, and everything committed after it would be gone without a word."""
    file = await killed(tmp_path / "data")
    if index == "without it":
        forget_index(file)
    frames = (log_of(file).stat().st_size - 32) // FRAME
    flip(log_of(file), 32 + (frames // 2) * FRAME + PLACES[place], 3)
    said = await refusal(file)
    assert "queuesvc.db-wal is damaged" in said
    assert "queuesvc restore" in said
    (finding,) = check_store(file).findings
    assert finding.startswith("log: queuesvc.db-wal is damaged")


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_sums_of_many_frames_at_once_are_those_of_one_after_another(order: str) -> None:
    frames = [os.urandom(24 + 1024) for _ in range(7)] + [b"\xff" * (24 + 1024)]
    matrix = matrix_of((8 + 1024) // 8)
    slow = quick = (0xFFFFFFFF, 0x80000001)
    for frame, own in zip(frames, own_sums(b"".join(frames), len(frames), order), strict=True):
        slow = sums_of(frame[24:], sums_of(frame[:8], slow, order), order)
        quick = matrix.apply(quick, own)
        assert quick == slow


async def test_a_long_log_is_read_to_its_end(tmp_path: Path) -> None:
    """Frames are read many at a time."""
    file = await killed(tmp_path / "data", batches=200)
    frames = (log_of(file).stat().st_size - 32) // FRAME
    assert wal.FRAMES_AT_ONCE + 10 < frames < 1000  # where SQLite begins it anew
    assert wal.find_broken(file) is None
    for number in (0, wal.FRAMES_AT_ONCE - 1, wal.FRAMES_AT_ONCE, wal.FRAMES_AT_ONCE + 1, frames - 1):
        flip(log_of(file), 32 + number * FRAME + 500)
        broken = wal.find_broken(file)
        assert broken is not None
        assert f"frame {number + 1}," in broken.what or "committed frames only" in broken.what
        flip(log_of(file), 32 + number * FRAME + 500)
    assert wal.find_broken(file) is None


@pytest.mark.parametrize("bit", range(8))
async def test_a_bit_that_flipped_anywhere_in_the_last_commit(tmp_path: Path, bit: int) -> None:
    """The index that a killed broker leaves tells that there was one more."""
    file = await killed(tmp_path / "data")
    size = log_of(file).stat().st_size
    flip(log_of(file), size - FRAME + (bit * 517) % FRAME, bit)
    assert "committed frames only" in await refusal(file)


async def test_a_bit_that_flipped_in_the_beginning_of_the_log(tmp_path: Path) -> None:
    file = await killed(tmp_path / "data")
    for at in (0, 5, 9, 14, 17, 22, 27, 31):
        flip(log_of(file), at)
        assert "damaged at its beginning" in await refusal(file)
        flip(log_of(file), at)
    assert len(await stored(file)) == 40


@pytest.mark.parametrize("left", ["half of it", "all but a frame", "no file"])
async def test_a_log_that_was_cut_off(tmp_path: Path, left: str) -> None:
    file = await killed(tmp_path / "data")
    size = log_of(file).stat().st_size
    lengths = {"half of it": size // 2, "all but a frame": size - FRAME}
    if left == "no file":
        log_of(file).unlink()
    else:
        os.truncate(log_of(file), lengths[left])
    said = await refusal(file)
    assert "cut off" in said or "is missing: put it back" in said
    assert "queuesvc restore" in said


async def test_a_log_that_lost_its_file(tmp_path: Path) -> None:
    """SQLite would remove the log."""
    file = await killed(tmp_path / "data")
    whole = file.read_bytes()
    file.unlink()
    assert "without the file that it belongs to" in await refusal(file)
    file.touch()
    assert "without the file that it belongs to" in await refusal(file)
    file.write_bytes(whole)
    assert len(await stored(file)) == 40


async def test_a_log_of_another_store(tmp_path: Path) -> None:
    """SQLite would write the other's pages into the file."""
    file, other = await killed(tmp_path / "data"), await killed(tmp_path / "other", batches=5)
    shutil.copy(log_of(other), log_of(file))
    forget_index(file)
    assert "belongs to another database" in await refusal(file)


@pytest.mark.parametrize("page", [4096, 8192])
async def test_a_log_of_another_program(tmp_path: Path, page: int) -> None:
    file = await killed(tmp_path / "data")
    db = sqlite3.connect(tmp_path / "other.db")
    db.executescript(f"PRAGMA page_size = {page}; PRAGMA journal_mode = WAL; CREATE TABLE message (id); ")
    shutil.copy(log_of(tmp_path / "other.db"), log_of(file))
    db.close()
    forget_index(file)
    assert "belongs to another database" in await refusal(file)


async def test_a_log_of_the_same_store_that_is_older_than_the_file(tmp_path: Path) -> None:
    """Two copies, mixed up."""
    hand = Hand(tmp_path / "living")
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", "a"))
    shutil.copytree(hand.folder, tmp_path / "data")
    hand.now += 1000
    await hand.do(to_queue("q", "b"))
    await hand.close()
    file = tmp_path / "data" / "queuesvc.db"
    shutil.copy(hand.file, file)
    forget_index(file)
    assert "older than the file" in await refusal(file)


# --- the log: as a crash leaves it ---------------------------------------------------


@pytest.mark.parametrize("cut", [1, 24, 25, FRAME - 1, FRAME, FRAME + 30])
async def test_a_transaction_that_did_not_get_to_its_end_was_never_answered(tmp_path: Path, cut: int) -> None:
    """Killed in the middle of a write: the index has not been told of it."""
    hand = Hand(tmp_path / "living")
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", "a"))
    await hand.do(to_queue("q", *[b"x" * 3000] * 10))
    shutil.copytree(hand.folder, tmp_path / "before")
    await hand.do(to_queue("q", *[b"y" * 3000] * 10))
    shutil.copytree(hand.folder, tmp_path / "after")
    await hand.close()
    before, after = tmp_path / "before" / "queuesvc.db", tmp_path / "after" / "queuesvc.db"
    shutil.copy(wal.index_of(before), wal.index_of(after))
    os.truncate(log_of(after), log_of(after).stat().st_size - cut)
    assert len(await stored(after)) == 11


@pytest.mark.parametrize("lost", [0, 1, 4])
async def test_a_power_loss_may_keep_any_part_of_the_last_transaction(tmp_path: Path, lost: int) -> None:
    """Also its commit, without what was written before it: it was never answered, so nothing is wrong."""
    file = await killed(tmp_path / "data", batches=5)
    hand = Hand(tmp_path / "more")
    shutil.copytree(file.parent, hand.folder)
    await hand.open()
    await hand.do(to_queue("q", "first"))
    before = log_of(hand.file).stat().st_size
    await hand.do(to_queue("q", *[b"y" * 3000] * 10))
    shutil.copytree(hand.folder, tmp_path / "torn")
    await hand.close()
    torn = tmp_path / "torn" / "queuesvc.db"
    forget_index(torn)
    with log_of(torn).open("r+b") as log:
        log.seek(before + lost * FRAME)
        log.write(bytes(FRAME))
    assert (await stored(torn))[-1] == b"first"


async def test_a_log_that_was_emptied_before_a_power_loss_is_no_damage(tmp_path: Path) -> None:
    """The index on the disk may be older than that: the system writes it when it sees fit."""
    hand = Hand(tmp_path / "living")
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", "a"))
    shutil.copytree(hand.folder, tmp_path / "data")
    await hand.maintain()
    file = tmp_path / "data" / "queuesvc.db"
    for name in ("queuesvc.db", "queuesvc.db-wal"):
        shutil.copy(hand.folder / name, file.with_name(name))
    await hand.close()
    assert log_of(file).stat().st_size == 0
    assert await stored(file) == [b"a"]


async def test_frames_of_earlier_times_behind_the_end_are_no_damage(tmp_path: Path) -> None:
    """Once it was brought into the file the log is written from its beginning again."""
    hand = Hand(tmp_path / "living")
    await hand.open()
    await hand.queue("q")
    for number in range(20):
        await hand.do(to_queue("q", f"{number}"))
    await hand.store._on_writer(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
    size = log_of(hand.file).stat().st_size
    await hand.do(to_queue("q", "newest"))
    assert log_of(hand.file).stat().st_size == size
    shutil.copytree(hand.folder, tmp_path / "data")
    await hand.close()
    assert len(await stored(tmp_path / "data" / "queuesvc.db")) == 21


async def test_what_was_undone_behind_the_end_is_no_damage(tmp_path: Path) -> None:
    """A large batch that is rolled back leaves frames with the salts of now."""
    hand = Hand(tmp_path / "living")
    await hand.open()
    await hand.queue("q")

    def undo(db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute("PRAGMA cache_size = 5")
        db.execute("CREATE TABLE more (content)")
        for _ in range(100):
            db.execute("INSERT INTO more VALUES (zeroblob(5000))")
        db.execute("ROLLBACK")

    await hand.store._on_writer(undo)
    await hand.do(to_queue("q", "a"))
    shutil.copytree(hand.folder, tmp_path / "data")
    await hand.close()
    file = tmp_path / "data" / "queuesvc.db"
    assert log_of(file).stat().st_size > 50 * FRAME
    assert await stored(file) == [b"a"]


async def test_a_relaxed_store_lost_its_newest_commits(tmp_path: Path) -> None:
    """A power loss may have torn several: what came before them is there, if it fits together."""
    file = await killed(tmp_path / "data")
    forget_index(file)
    frames = (log_of(file).stat().st_size - 32) // FRAME
    flip(log_of(file), 32 + (frames // 2) * FRAME + 200)
    assert "durability = relaxed" in await refusal(file)
    checked = check_store(file)
    assert len(checked.findings) == 1, "the rest is looked at, too, and it is whole"
    assert checked.counts is not None
    store = SqliteStore(file.parent, durability="relaxed")
    await store.open()
    await store.close()
    assert 20 < len(await stored(file)) < 40


async def test_but_not_where_the_file_has_what_the_log_lacks(tmp_path: Path) -> None:
    """What had been brought into the file was on the disk, so it is no power loss: old and new pages would be mixed."""
    file = await killed(tmp_path / "data", checkpoint=True)
    forget_index(file)
    flip(log_of(file), 32 + 3 * FRAME + 200)
    before = contents(file.parent)
    with pytest.raises(StoreRefused, match=r"damaged|older than the file"):
        await SqliteStore(file.parent, durability="relaxed").open()
    assert contents(file.parent) == before


# --- the file -----------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 7, 15])
async def test_a_bit_that_flipped_in_the_beginning_of_the_file(tmp_path: Path, at: int) -> None:
    file = await closed(tmp_path / "data")
    flip(file, at)
    assert "this is no database" in await refusal(file)


async def closed(folder: Path) -> Path:
    hand = Hand(folder)
    await hand.open()
    await hand.queue("q")
    await hand.do(to_queue("q", *[b"x" * 3000] * 200))
    await hand.close()
    return hand.file


async def test_a_file_that_was_cut_off_beside_its_log(tmp_path: Path) -> None:
    """SQLite goes by the size that the log tells, and reads zeros for what is not there."""
    file = await killed(tmp_path / "data")
    os.truncate(file, file.stat().st_size - 2 * 4096)
    assert "pages are missing" in await refusal(file)


async def test_a_newer_store_that_was_killed_is_left_as_it_is(tmp_path: Path) -> None:
    """Opened to be refused, and closed, it would have its log brought into the file."""
    file = await killed(tmp_path / "data")
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 99")
    shutil.copytree(file.parent, tmp_path / "newer")
    db.close()
    assert f"version 99, newer than this program's {len(known())}" in await refusal(tmp_path / "newer" / "queuesvc.db")


async def test_a_restore_over_a_damaged_store_keeps_that_as_it_was(tmp_path: Path) -> None:
    """Who will look into the damage needs the log as it is, not what SQLite makes of it."""
    file, backup = await killed(tmp_path / "data"), await closed(tmp_path / "other")
    flip(log_of(file), 32 + 5 * FRAME + 500)
    before = contents(file.parent)
    restore(backup, file.parent, force=True)
    kept = {name: (file.parent / name.replace(".db", ".db.replaced")).read_bytes() for name in before}
    assert kept == before
    assert len(await stored(file)) == 200


@pytest.mark.parametrize("name", ["queuesvc.db", "queuesvc.db-wal"])
async def test_a_directory_in_place_of_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(StoreRefused, match=f"{name} is not a file: move it away"):
        await SqliteStore(tmp_path / "data").open()


async def test_a_folder_whose_name_means_something_in_a_uri(tmp_path: Path) -> None:
    folder = tmp_path / "50%25?mode=rw#x"
    file = await killed(folder)
    assert len(await stored(file)) == 40
