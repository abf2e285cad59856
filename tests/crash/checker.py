"""What was promised (contract §10), held against a history: a pure function, in the manner of Jepsen's queue checkers.

A *copy* is what one publish stored in one queue. It keeps its tag wherever it moves (dead-lettered, redriven), so
all that happened to it can be put together: when it was published, each delivery, what became of each. At the end, when
everything was taken out, each copy that was answered for must have ended: acknowledged, deleted, or removed by
something that was set (a purge, a time to live) and counted. What a cut-off call did is not known; it may explain
that a copy is gone, but never that one is there that should not be.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.crash.book import Book, Copy, Fault, Seen
from tests.crash.counters import Stats, check_counters, leaked
from tests.crash.history import How, Op, Outcome
from tests.crash.topology import QUEUES, circle

CLOCK_SECONDS = 0.25
"""How far broker time, which leans towards the wall clock, may be from it."""
LONGEST_LEASE_SECONDS = 10
"""No client asks for a longer one."""
KINDS = (
    "lost",
    "unexpected",
    "seen again",
    "doubled",
    "unmarked",
    "two leases",
    "stale receipt",
    "lease lost",
    "order",
    "torn",
    "counters",
)


@dataclass(slots=True)
class Verdict:
    """Figures, in copies where nothing else is said, and what is wrong."""

    figures: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)


def check(ops: Sequence[Op], stats: Stats) -> Verdict:
    """Check a history at whose end all queues were emptied, with the queues' statistics after that."""
    book = Book(ops)
    faults = [*book.faults]
    for copy in book.copies.values():
        faults += _check_sightings(copy)
        faults += _check_ends(copy)
        faults += _check_leases(copy)
        faults += _check_settling(copy, book)
    faults += _check_order(book)
    faults += _check_groups(book)
    faults += _check_torn(book)
    lost = list(_lost(book, stats))
    faults += [Fault("lost", f"gone, and nothing ended it: {copy}") for copy in lost]
    faults += check_counters(book, stats)
    return Verdict(_figures(book, faults), faults)


# --- one copy ---------------------------------------------------------------------


def _check_sightings(copy: Copy) -> Iterator[Fault]:
    """Was it published, once, and is each delivery marked as what it is?"""
    first_ids = {seen.delivery.id for seen in copy.seen if not seen.delivery.died}
    answers = [(op.ids[op.sent.index(copy.sent)], op.duplicate) for op in copy.ops if op.outcome is Outcome.DONE]
    if copy.refused and copy.seen:
        yield Fault("unexpected", f"it was refused: {copy}")
    if any(seen.delivery.size != copy.sent.size for seen in copy.seen):
        yield Fault("unexpected", f"another body: {copy}")
    if len(first_ids) > 1 or len({id_ for id_, _ in answers}) > 1 or sum(not again for _, again in answers) > 1:
        yield Fault("doubled", f"{answers} and came as {first_ids}: {copy}")
    elif answers and not _same_message(first_ids, answers[0][0]):
        yield Fault("unexpected", f"answered as {answers}, came as {first_ids}: {copy}")
    ages = Counter(seen.delivery.age for seen in copy.seen)
    if any(times > 1 for times in ages.values()):
        yield Fault("unmarked", f"delivered twice with one delivery_count: {copy}")


def _same_message(came: set[str], answered: str) -> bool:
    """All copies of one publish bear one id; a copy that moved has a new one and is not asked for here."""
    return came <= {answered}


def _check_ends(copy: Copy) -> Iterator[Fault]:
    """What ended never comes again, and ends once."""
    ends = copy.ends()
    if len(ends) > 1:
        yield Fault("stale receipt", f"ended {len(ends)} times: {copy}")
    for end in ends:
        if any(seen.op.invoked > end.done for seen in copy.seen):
            yield Fault("seen again", f"delivered after its end @{end.done}: {copy}")
    for seen in copy.seen:
        acked = any(settled.done and settled.how is How.ACK for settled in seen.settled)
        if (acked or seen.op.auto_ack) and any(other.delivery.age > seen.delivery.age for other in copy.seen):
            yield Fault("seen again", f"delivered again after an ack: {copy}")


def _check_leases(copy: Copy) -> Iterator[Fault]:
    """A lease is exclusive: nobody else gets the message before its time, unless it was settled."""
    ordered = sorted(copy.seen, key=lambda seen: seen.delivery.age)
    for seen, later in pairwise(ordered):
        if seen.given_up_before(later.op.done) or seen.delivery.group is not None or seen.op.auto_ack:
            continue
        if later.op.done_at < seen.until - CLOCK_SECONDS:
            yield Fault("two leases", f"delivered {seen.until - later.op.done_at:.3f} s before a lease's end: {copy}")


def _check_settling(copy: Copy, book: Book) -> Iterator[Fault]:
    """Only the newest receipt settles, once; and it does settle while its lease lives."""
    for seen in copy.seen:
        newer = [other for other in copy.seen if other.delivery.age > seen.delivery.age]
        done = [settled for settled in seen.settled if settled.done]
        if any(other.op.done < settled.op.invoked for settled in done for other in newer):
            yield Fault("stale receipt", f"settled, though it was leased again: {copy}")
        finals = [settled for settled in done if settled.gives_up]
        if len(finals) > 1 or any(f.op.done < s.op.invoked for f in finals for s in done if s is not f):
            yield Fault("stale receipt", f"settled again after its end: {copy}")
        if copy.removals or QUEUES[seen.delivery.queue].leaky or any(True for _ in book.siblings(seen)):
            continue
        for settled in seen.settled:
            early = settled.op.done_at < seen.until - CLOCK_SECONDS
            if settled.code and early and not seen.given_up_before(settled.op.done):
                yield Fault("lease lost", f"before its time: {copy}")


# --- all together -----------------------------------------------------------------


def _check_order(book: Book) -> Iterator[Fault]:
    """Without redelivery, in the order of publishes that were answered, within one priority (and one group)."""
    lines: dict[tuple[str, int, str | None], list[tuple[Seen, Copy]]] = defaultdict(list)
    for copy in book.copies.values():
        if copy.stored and not copy.sent.delayed:
            for seen in copy.seen:
                d = seen.delivery
                if d.count == 1 and not d.died:
                    rank = min(d.priority, QUEUES[d.queue].settings.get("max_priority", 0))
                    lines[d.queue, rank, d.group].append((seen, copy))
    for line in lines.values():
        yield from _check_answers(line)
        yield from _check_line(line)


def _check_answers(line: list[tuple[Seen, Copy]]) -> Iterator[Fault]:
    """Within one answer."""
    place = {seen.delivery.receipt: copy for seen, copy in line}
    for op in {id(seen.op): seen.op for seen, _ in line}.values():
        copies = [place[delivery.receipt] for delivery in op.got if delivery.receipt in place]
        for before, after in pairwise(copies):
            if _comes_before(after, before):
                yield Fault("order", f"in one answer: {before} came before {after}")


def _comes_before(one: Copy, other: Copy) -> bool:
    """Whether one was published before the other, for certain."""
    if one.ops[0] is other.ops[0]:
        return one.ops[0].sent.index(one.sent) < one.ops[0].sent.index(other.sent)
    return one.published[1] < other.published[0]


def _check_line(line: list[tuple[Seen, Copy]]) -> Iterator[Fault]:
    """Across answers: nothing may come when something that was published after it had come before."""
    over = iter(sorted(line, key=lambda pair: pair[0].op.done))
    newest: Copy | None = None
    following = next(over, None)
    for seen, copy in sorted(line, key=lambda pair: pair[0].op.invoked):
        while following is not None and following[0].op.done < seen.op.invoked:
            if newest is None or following[1].published[0] > newest.published[0]:
                newest = following[1]
            following = next(over, None)
        if newest is not None and _comes_before(copy, newest):
            yield Fault("order", f"{newest} came before {copy}")


def _check_groups(book: Book) -> Iterator[Fault]:
    """While one of a group is leased, no other receive gets any of it."""
    groups: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for seen in sorted(book.by_receipt.values(), key=lambda seen: seen.op.done):
        if seen.delivery.group is not None:
            groups[seen.delivery.queue, seen.delivery.group].append(seen)
    for members in groups.values():
        for place, later in enumerate(members):
            for seen in reversed(members[:place]):
                if seen.op.done_at < later.op.done_at - LONGEST_LEASE_SECONDS:
                    break
                if seen.op.done < later.op.invoked and _holds(book, seen, later):
                    yield Fault("two leases", f"of one group: {seen} and {later}")


def _holds(book: Book, seen: Seen, later: Seen) -> bool:
    """Whether a grouped delivery was still leased, for certain, when a later one was handed out."""
    together = [seen, *book.siblings(seen)]
    removed = any(op.invoked < later.op.done for op in book.owner[seen.delivery.receipt].removals)
    if removed or any(one.given_up_before(later.op.done) for one in together):
        return False
    return later.op.done_at < min(one.delivery.until for one in together) - CLOCK_SECONDS


def _check_torn(book: Book) -> Iterator[Fault]:
    """A call that was cut off was done wholly or not at all."""
    for op in book.ops:
        if op.outcome is not Outcome.UNKNOWN or not book.happened(op):
            continue
        copies = [book.copies[sent.tag, queue] for sent in op.sent for queue in sent.queues]
        missing = [copy for copy in copies if not copy.seen and not copy.stored and not QUEUES[copy.origin].leaky]
        if missing:
            yield Fault("torn", f"{len(missing)} of {len(copies)} copies are not there, first {missing[0]}")
        for settling in op.settling:
            seen, copy = book.by_receipt[settling.receipt], book.owner[settling.receipt]
            if settling.how is How.ACK and any(other.delivery.age > seen.delivery.age for other in copy.seen):
                yield Fault("torn", f"what it published is there, but it did not ack {copy}")


def _lost(book: Book, stats: Stats) -> Iterator[Copy]:
    """Copies that are gone without an end: more of them than what leaks is counted to have taken."""
    gone: dict[str, list[Copy]] = defaultdict(list)
    for copy in book.copies.values():
        if book.is_there(copy) and not copy.ends() and not book.may_have_ended(copy):
            gone[circle(copy.origin)].append(copy)
    for name, copies in gone.items():
        leaks = sum(leaked(book, queue, stats[queue]) for queue in stats if queue in QUEUES and circle(queue) == name)
        yield from copies[leaks:]


def _figures(book: Book, faults: list[Fault]) -> Counter[str]:
    """How much was tried, and what became of it."""
    copies = list(book.copies.values())
    figures = Counter(
        calls=len(book.ops),
        unknown=sum(op.outcome is Outcome.UNKNOWN for op in book.ops),
        attempted=len(copies),
        acknowledged=sum(copy.stored for copy in copies),
        delivered=sum(bool(copy.seen) for copy in copies),
        deliveries=sum(len(copy.seen) for copy in copies),
        duplicated=sum(len(copy.seen) - 1 for copy in copies if copy.seen),
        recovered=sum(not copy.stored and bool(copy.seen) for copy in copies),
        retried=sum(op.duplicate for op in book.ops),
    )
    figures.update(dict.fromkeys(KINDS, 0))
    figures.update(fault.kind for fault in faults)
    return figures
