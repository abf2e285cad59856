"""The store's SQL by name, from `statements.sql`."""

import re
from importlib.resources import files
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(text: str) -> dict[str, str]:
    """The statements of a text in which each begins with a line `-- name: <name>`."""
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def repeated(insert: str, times: int) -> str:
    """The same INSERT with so many rows instead of one: a step of SQLite's for all of them, not for each."""
    head, row = insert.removesuffix(";").rsplit("VALUES ", 1)
    return f"{head}VALUES {', '.join([row] * times)};"


def read(package: str, name: str) -> dict[str, str]:
    """The statements of a `.sql` file in a package of ours."""
    return load((files(package) / name).read_text("utf-8"))


SQL: Final = read("queuesvc.store.sqlite", "statements.sql")
