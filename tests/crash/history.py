"""What the clients asked and what they were told: one `Op` for each call, written down as it happens.

Moments are numbers of events: `invoked` was noted before the call was sent, `done` after its answer was read. So one
call was over before another began where `a.done < b.invoked`, and else nothing is known of their order.
Seconds since 1970 stand beside them for leases, which run by the clock.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO

import orjson


class Outcome(Enum):
    """What is known of a call."""

    UNKNOWN = "unknown"
    """not answered, or with a 5xx: it was done or it was not"""
    DONE = "done"
    """answered 2xx"""
    REFUSED = "refused"
    """answered 4xx: nothing of it was done"""


class How(Enum):
    """What became of a delivery by settling it."""

    ACK = "ack"
    BACK = "back"
    """nack with requeue"""
    REJECT = "reject"
    """nack without"""
    EXTEND = "extend"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of a publish: its body begins with its tag, which no other has. Each of `queues` gets a copy."""

    tag: str
    queues: tuple[str, ...]
    size: int = 0
    priority: int = 0
    group: str | None = None
    delayed: bool = False


@dataclass(frozen=True, slots=True)
class Settling:
    """A receipt that was shown, and for what."""

    receipt: str
    how: How


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a receive's answer. `until` is the end of its lease in seconds since 1970."""

    queue: str
    tag: str
    id: str
    receipt: str
    count: int = 1
    size: int = 0
    priority: int = 0
    group: str | None = None
    died: tuple[tuple[str, str], ...] = ()
    """queue and id of each death before"""
    until: float = 0

    @property
    def age(self) -> tuple[int, int]:
        """Grows with each delivery of one message, also when it moves: ids end in a number that ascends."""
        return int(self.id[-12:], 16), self.count


@dataclass(slots=True)
class Op:
    """One call. What was asked stands above `outcome`, what was told from there on."""

    invoked: int
    verb: str
    queue: str = ""
    sent: tuple[Sent, ...] = ()
    settling: tuple[Settling, ...] = ()
    removing: tuple[str, ...] = ()
    """ids of messages to be deleted one by one"""
    auto_ack: int = 0
    """how many a receive with `auto_ack` may take"""
    outcome: Outcome = Outcome.UNKNOWN
    done: int = 0
    done_at: float = 0
    ids: tuple[str, ...] = ()
    """those of `sent`"""
    duplicate: bool = False
    got: tuple[Delivery, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    """receipt → code"""
    until: float = 0
    """the end of extended leases"""
    count: int = 0
    """how many were purged or moved"""


class History:
    """All calls, in the order in which they were invoked; also written to a file, a line for each event."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self.ops: list[Op] = []
        self._file = file
        self._events = 0

    def invoke(
        self,
        verb: str,
        queue: str = "",
        *,
        sent: Iterable[Sent] = (),
        settling: Iterable[Settling] = (),
        removing: Iterable[str] = (),
        auto_ack: int = 0,
    ) -> Op:
        """Before a call is sent."""
        op = Op(self._next(), verb, queue, tuple(sent), tuple(settling), tuple(removing), auto_ack)
        self.ops.append(op)
        self._write(op)
        return op

    def end(self, op: Op, outcome: Outcome) -> None:
        """When it is known how a call ended, and what was told is filled in."""
        op.outcome, op.done, op.done_at = outcome, self._next(), time.time()
        self._write(op)

    def _next(self) -> int:
        self._events += 1
        return self._events

    def _write(self, op: Op) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps(op) + b"\n")
