"""Connections by which nothing is written."""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

BUSY_SECONDS: Final = 5.0
"""How long to wait for who has the file locked."""


def with_log(path: Path) -> sqlite3.Connection:
    """To a database as it is now, its log included."""
    return _connect(path, "mode=ro")


def alone(path: Path) -> sqlite3.Connection:
    """To the file by itself, as if it had no log. Nothing is made beside it, and nobody may write to it meanwhile."""
    return _connect(path, "mode=ro&immutable=1")


def _connect(path: Path, how: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?{how}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
