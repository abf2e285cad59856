"""Numbered migrations: plain SQL, forward only, checksummed, one transaction each.

They stand in the project's `migrations/sqlite/` and go into the wheel as `queuesvc/migrations/sqlite/`.
"""

import re
import sqlite3
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from queuesvc.store.interface import StoreRefused

_FILE = re.compile(r"(\d{4})_\w+\.sql")
# "qsvc": set in the file's header, so that another program's database is not taken for ours.
APPLICATION_ID = 0x71737663


class Migration(NamedTuple):
    """One step: its number, name, SQL, and the checksum of that."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL."""
        return sha256(self.sql.encode()).hexdigest()


def _folder() -> Traversable:
    installed = files("queuesvc") / "migrations" / "sqlite"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "migrations" / "sqlite"


def known() -> list[Migration]:
    """All migrations that this program brings, in order."""
    found = [
        Migration(int(match[1]), entry.name, entry.read_text("utf-8"))
        for entry in _folder().iterdir()
        if (match := _FILE.fullmatch(entry.name))
    ]
    return sorted(found)


def check(connection: sqlite3.Connection) -> int:
    """The version of the store, from 0 for an empty file. Raises `StoreRefused` for what is not ours to open.

    Changes nothing, so that another program's database stays as it is.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreRefused("the file is a database of another program, not a queuesvc store")
    migrations = known()
    if version > len(migrations):
        raise StoreRefused(
            f"the store is of version {version}, newer than this program's {len(migrations)}: use a newer queuesvc"
        )
    _check_applied(connection, migrations[:version])
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store that was checked to the newest version."""
    for migration in known()[check(connection) :]:
        _apply(connection, migration)


def schema(connection: sqlite3.Connection) -> dict[str, str]:
    """What a database consists of: the SQL of each table, index and trigger, by name."""
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return dict(found)


def expected_schema(version: int) -> Mapping[str, str]:
    """The same of a store that was brought to a version by the migrations of this program."""
    return _schema_of(tuple(known()[:version]))


@cache
def _schema_of(migrations: tuple[Migration, ...]) -> Mapping[str, str]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for migration in migrations:
            _apply(connection, migration)
        return MappingProxyType(schema(connection))
    finally:
        connection.close()


def _check_applied(connection: sqlite3.Connection, migrations: list[Migration]) -> None:
    if not migrations:
        return
    applied = dict(connection.execute("SELECT number, checksum FROM migration").fetchall())
    for migration in migrations:
        if applied.get(migration.number) != migration.checksum:
            raise StoreRefused(
                f"the store was made by another {migration.name} than this program brings: "
                "open it with the version of queuesvc that made it"
            )


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    # executescript would commit first, so the script brings its own transaction.
    record = (
        "CREATE TABLE IF NOT EXISTS migration "
        "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT;"
        f"INSERT INTO migration VALUES ({migration.number}, '{migration.name}', '{migration.checksum}');"
        f"PRAGMA user_version = {migration.number}; PRAGMA application_id = {APPLICATION_ID};"
    )
    try:
        connection.executescript(f"BEGIN IMMEDIATE;{migration.sql}\n;{record}COMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
