"""What a history is made of: steps that name receipts and bindings by how long ago they were handed out.

So a history can be replayed, and shortened, against any store.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from queuesvc.domain import commands as c


class Pick(NamedTuple):
    """A receipt by how many were handed out since; `twist` says how it was tampered with."""

    back: int
    twist: str = ""


class Id(NamedTuple):
    """A message's id by its place in the queue.

    `twist`: by its place among those that are `leased`, are `dead`, or `arrived` with deaths; among all of all
    queues (`past`); or no id at all (`junk`).
    """

    place: int
    twist: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """One `apply`: its commands, the receives that come with it, and the time that passed before.

    `advance` is milliseconds, or the offset from the next due moment where `to_due` is set.
    `waits` says of each receive whether it stays in line when it is not served.
    """

    commands: tuple[Any, ...] = ()
    receives: tuple[c.Receive, ...] = ()
    waits: tuple[bool, ...] = ()
    advance: int = 0
    to_due: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A question put to all of them. Of pages all are asked for."""

    query: Any


@dataclass(frozen=True, slots=True)
class Reopen:
    """The stores that have files are closed and opened again, or (`kill`) their files taken as they are."""

    kill: bool = False


@dataclass(frozen=True, slots=True)
class Failing:
    """A batch that the stores with files cannot write: nothing of it happens, and time stands still.

    Then all queues are declared again: whether a store forgot how long they were unused is its own business.
    """

    batch: Batch


@dataclass(frozen=True, slots=True)
class Maintain:
    """One step of housekeeping."""


@dataclass(frozen=True, slots=True)
class Leave:
    """A waiting receive goes away, by its place among all that wait."""

    place: int


Settling = c.Ack | c.Nack | c.Extend
Naming = c.RemoveMessage | c.GetMessage | c.Redrive | c.Release
GO_ON = -1  # the `after` of a redrive that goes on where the last one ended
Step = Batch | Ask | Reopen | Failing | Maintain | Leave


class Receipt(NamedTuple):
    """A receipt in the model's terms: lease, number, and how it was tampered with."""

    lease: int
    number: int
    twist: str = ""

    def text(self, token: str, number: int) -> str:
        """As a store would spell it."""
        whole = f"{token}.{number:x}"
        if self.twist.startswith("flip"):
            at = int(self.twist[4:]) % len(token)
            return whole[:at] + ("A" if whole[at] != "A" else "B") + whole[at + 1 :]
        garbled = {
            "tail": whole + "x",
            "head": whole[1:],
            "junk": "junk",
            "none": "",
            "bare": token,
            "line": whole + "\n",
        }
        return garbled.get(self.twist, whole)

    def model_text(self) -> str:
        """As the model spells it."""
        return f"garbled by {self.twist}" if self.twist else f"lease{self.lease}.{self.number:x}"
