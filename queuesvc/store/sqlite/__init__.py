"""The SQLite store: the machine with a database under it. One process, one writer, one file."""
