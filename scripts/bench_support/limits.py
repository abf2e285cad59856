"""The limits beside which the broker is measured: SQLite without a broker, and the disk."""

import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from scripts.bench_support.spec import BODY_BYTES

BATCH = 100
_PROPERTIES = '"content_type":"text/plain; charset=utf-8","headers":{},"priority":0,"group":null'


class Raw(NamedTuple):
    """Messages a second, and processor time a message in µs."""

    rate: float
    cpu_us: float


def raw_sqlite(directory: Path, seconds: float) -> Raw:
    """What one loop inserts, reads and deletes, 100 a transaction, synchronous=FULL."""
    with tempfile.TemporaryDirectory(prefix="raw-", dir=directory) as folder:
        connection = sqlite3.connect(Path(folder) / "raw.db", isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE message (id INTEGER PRIMARY KEY, queue_id INTEGER, properties TEXT, body BLOB)"
            )
            return _cycle(connection, seconds)
        finally:
            connection.close()


def _cycle(connection: sqlite3.Connection, seconds: float) -> Raw:
    body = bytearray(b"x" * BODY_BYTES)
    next_id, began, cpu = 1, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < seconds or next_id == 1:
        ids = [(id_,) for id_ in range(next_id, next_id + BATCH)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, ?)", [(id_, 1, _PROPERTIES, body) for (id_,) in ids]
        )
        connection.execute("COMMIT")
        span = (next_id, next_id + BATCH - 1)
        connection.execute("SELECT id, properties, body FROM message WHERE id BETWEEN ? AND ?", span).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM message WHERE id = ?", ids)
        connection.execute("COMMIT")
        next_id += BATCH
    messages = next_id - 1
    return Raw(messages / passed, (time.process_time() - cpu) / messages * 1e6)


def fsync_rate(directory: Path, seconds: float) -> float:
    """How often a second 4 KiB more of a file can be put on the disk, one after the other."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        count, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds or not count:
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            count += 1
    return count / passed
