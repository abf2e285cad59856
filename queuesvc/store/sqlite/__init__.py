"""The SQLite store: the machine with a database under it. One process, one writer, one file."""

from queuesvc.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
