"""What whoever looks after a store asks of it, beside a running broker or without one: the words for it."""

from pathlib import Path
from typing import NamedTuple


class CannotKeep(Exception):
    """A check, backup or restore could not be done; the text says why and what to do."""


class Counts(NamedTuple):
    """What is in a store. `to_reclaim` are messages that are gone, and whose rows are still to be removed."""

    exchanges: int
    queues: int
    bindings: int
    messages: int
    leases: int
    records: int
    to_reclaim: int


class Checked(NamedTuple):
    """What came of a check: the findings, `rule: what`, none where the store is whole, and what is in it.

    `counts` is None where that could not be told.
    """

    version: int
    findings: list[str]
    counts: Counts | None


class Restored(NamedTuple):
    """What came of a restore: the store's file, and what is in it."""

    file: Path
    messages: int
    leased: int
    tokens: int
