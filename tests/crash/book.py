"""A history put together by copies: when each was published, where it was seen, what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.crash.history import Delivery, How, Op, Outcome, Sent
from tests.crash.topology import QUEUES


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken promise."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Settled:
    """One try to settle a delivery: with `code` it failed, `maybe` if nobody knows."""

    op: Op
    how: How
    code: str | None
    maybe: bool

    @property
    def done(self) -> bool:
        """Whether it settled, for certain."""
        return not self.maybe and self.code is None

    @property
    def gives_up(self) -> bool:
        """Whether it ended the lease, or may have."""
        return self.how is not How.EXTEND and self.code is None

    def __str__(self) -> str:
        return f"{self.how.value} {'unknown' if self.maybe else self.code or 'done'} @{self.op.invoked}-{self.op.done}"


@dataclass(slots=True)
class Seen:
    """A delivery, the receive that brought it, what became of it."""

    delivery: Delivery
    op: Op
    settled: list[Settled] = field(default_factory=list)
    until: float = 0
    """the end of its lease, as it was told last"""

    def given_up_before(self, moment: int) -> bool:
        """Whether its lease may have been ended by its holder before then."""
        return any(settled.gives_up and settled.op.invoked < moment for settled in self.settled)

    def __str__(self) -> str:
        d = self.delivery
        said = ", ".join(
            f"{s.how.value} {'unknown' if s.maybe else s.code or 'done'}@{s.op.done}" for s in self.settled
        )
        return f"[{d.tag} in {d.queue}, {d.id[-12:].lstrip('0')}#{d.count} @{self.op.invoked}-{self.op.done}: {said}]"


@dataclass(slots=True)
class Copy:
    """A copy and its life."""

    sent: Sent
    origin: str
    ops: list[Op]
    seen: list[Seen] = field(default_factory=list)
    removals: list[Op] = field(default_factory=list)
    """calls that delete it by its id"""

    @property
    def stored(self) -> bool:
        """Whether its publish was answered."""
        return any(op.outcome is Outcome.DONE for op in self.ops)

    @property
    def refused(self) -> bool:
        """Whether it was refused. (Under the same key that says of the tries before, too, that they did nothing.)"""
        return not self.stored and any(op.outcome is Outcome.REFUSED for op in self.ops)

    @property
    def published(self) -> tuple[int, int]:
        """When its publish began, and when it was answered."""
        return self.ops[0].invoked, min(op.done for op in self.ops if op.outcome is Outcome.DONE)

    @property
    def newest(self) -> Seen | None:
        """Its last delivery: of all receipts only this one's may still settle."""
        return max(self.seen, key=lambda seen: seen.delivery.age, default=None)

    def ends(self) -> list[Op]:
        """The calls that ended it, for certain."""
        acks = [s.op for seen in self.seen for s in seen.settled if s.done and s.how is How.ACK]
        taken = [seen.op for seen in self.seen if seen.op.auto_ack]
        return acks + taken + [op for op in self.removals if op.outcome is Outcome.DONE]

    def __str__(self) -> str:
        told = "/".join(f"{op.outcome.value}@{op.invoked}-{op.done}" for op in self.ops)
        return f"{self.sent.tag} of {self.origin} (published {told}): {' '.join(map(str, self.seen)) or 'never seen'}"


class Book:
    """The history by copies."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = ops
        self.faults: list[Fault] = []
        self.copies: dict[tuple[str, str], Copy] = {}
        self.by_receipt: dict[str, Seen] = {}
        self.owner: dict[str, Copy] = {}
        self._by_id: dict[tuple[str, str], Copy] = {}
        for op in ops:
            for sent in op.sent:
                for queue in sent.queues:
                    self.copies.setdefault((sent.tag, queue), Copy(sent, queue, [])).ops.append(op)
        self._origins = {sent.tag: sent.queues for op in ops for sent in op.sent}
        for op in sorted(ops, key=lambda op: op.done):
            for delivery in op.got:
                self._add(delivery, op)
        for op in ops:
            self._add_settled(op)
            for id_ in op.removing:
                copy = self._by_id.get((op.queue, id_))
                if copy is not None and op.outcome is not Outcome.REFUSED:
                    copy.removals.append(op)

    def _add(self, delivery: Delivery, op: Op) -> None:
        passed = {delivery.queue, *(queue for queue, _ in delivery.died)}
        origins = passed.intersection(self._origins.get(delivery.tag, ()))
        seen = Seen(delivery, op, until=delivery.until)
        if len(origins) != 1:
            self.faults.append(Fault("unexpected", f"never published there: {seen}"))
            return
        if delivery.receipt in self.by_receipt:
            self.faults.append(Fault("two leases", f"one receipt for two: {seen} {self.by_receipt[delivery.receipt]}"))
        copy = self.copies[delivery.tag, origins.pop()]
        copy.seen.append(seen)
        self.by_receipt[delivery.receipt], self.owner[delivery.receipt] = seen, copy
        self._by_id[delivery.queue, delivery.id] = copy

    def _add_settled(self, op: Op) -> None:
        if op.outcome is Outcome.REFUSED:
            return
        for settling in op.settling:
            seen = self.by_receipt.get(settling.receipt)
            if seen is None:
                continue
            code = op.failed.get(settling.receipt)
            settled = Settled(op, settling.how, code, maybe=op.outcome is Outcome.UNKNOWN)
            seen.settled.append(settled)
            if settled.done and settling.how is How.EXTEND:
                seen.until = max(seen.until, op.until)

    def happened(self, op: Op) -> bool | None:
        """Whether a cut-off call was done, by what it published: None where that cannot be told."""
        if op.outcome is not Outcome.UNKNOWN:
            return op.outcome is Outcome.DONE
        copies = [self.copies[sent.tag, queue] for sent in op.sent for queue in sent.queues]
        if any(copy.seen or copy.stored for copy in copies):
            return True
        return False if any(not QUEUES[copy.origin].leaky for copy in copies) else None

    def is_there(self, copy: Copy) -> bool:
        """Whether a copy was stored: it was answered for, it was seen, or something of the same call was."""
        return copy.stored or bool(copy.seen) or any(self.happened(op) for op in copy.ops)

    def maybe_acks(self, copy: Copy) -> list[Op]:
        """Cut-off calls that may have acknowledged it."""
        settled = copy.newest.settled if copy.newest is not None else []
        acks = [s.op for s in settled if s.maybe and s.how is How.ACK]
        return [op for op in acks if self.happened(op) is not False]

    def may_have_ended(self, copy: Copy) -> bool:
        """Whether a cut-off call may have ended it."""
        return bool(self.maybe_acks(copy)) or any(op.outcome is Outcome.UNKNOWN for op in copy.removals)

    def siblings(self, seen: Seen) -> Iterator[Seen]:
        """Those of the same group that came with it: when one of them goes back, so do the later ones."""
        for delivery in seen.op.got:
            if delivery.group is not None and delivery.group == seen.delivery.group and delivery is not seen.delivery:
                yield self.by_receipt[delivery.receipt]
