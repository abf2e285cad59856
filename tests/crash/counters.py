"""The queues' statistics, once all is taken out, against what the clients counted: exact, but for what was cut off."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from tests.crash.book import Book, Fault
from tests.crash.history import How, Outcome
from tests.crash.topology import QUEUES

Stats = Mapping[str, Mapping[str, int]]
HERE = ("ready", "leased", "delayed", "dead")
LEFT = ("acked", "expired", "dropped", "purged", "moved_out")


def check_conservation(stats: Stats) -> Iterator[Fault]:
    """What came is here or has left (§10.5), and what moves out of one queue moves into another."""
    for name, queue in stats.items():
        came = queue["published"] + queue["moved_in"]
        kept, left = sum(queue[state] for state in HERE), sum(queue[way] for way in LEFT)
        if came != kept + left:
            yield Fault("counters", f"{name}: {came} came, {kept} are here and {left} left: {dict(queue)}")
    moved_in, moved_out = (sum(queue[way] for queue in stats.values()) for way in ("moved_in", "moved_out"))
    if moved_in != moved_out:
        yield Fault("counters", f"{moved_out} moved out, {moved_in} moved in")


def check_counters(book: Book, stats: Stats) -> Iterator[Fault]:
    """Everything that the clients can count too."""
    yield from check_conservation(stats)
    bounds = _bounds(book)
    for name in QUEUES:
        if name not in stats:
            yield Fault("counters", f"{name} is gone, with all its counters")
            continue
        queue = stats[name]
        if any(queue[state] for state in HERE) or queue["bytes"]:
            yield Fault("counters", f"{name} is not empty: {dict(queue)}")
        for total, (low, high) in bounds(name).items():
            if queue[total] < low or (high is not None and queue[total] > high):
                yield Fault("counters", f"{name}: {total} is {queue[total]}, the clients count {low} to {high}")


Bounds = dict[str, tuple[int, int | None]]


def _bounds(book: Book) -> Callable[[str], Bounds]:
    """For each queue the least and the most that its totals may be; None: there is no telling."""
    published, maybe_published = _published(book)
    settled, maybe_settled = _settled(book)
    delivered = Counter(seen.delivery.queue for copy in book.copies.values() for seen in copy.seen)
    deaths = {death for copy in book.copies.values() for seen in copy.seen for death in seen.delivery.died}
    died = Counter(queue for queue, _ in deaths)
    purged, purges_unknown = _purged(book)

    def of(queue: str) -> Bounds:
        acks = settled[queue, How.ACK]
        nacks = settled[queue, How.BACK] + settled[queue, How.REJECT]
        maybe_nacks = maybe_settled[queue, How.BACK] + maybe_settled[queue, How.REJECT]
        deletes = settled[queue, None]
        most_purged = purged[queue] + deletes + maybe_settled[queue, None]
        return {
            "published": (published[queue], published[queue] + maybe_published[queue]),
            "acked": (acks, acks + maybe_settled[queue, How.ACK]),
            "nacked": (nacks, nacks + maybe_nacks),
            "purged": (purged[queue] + deletes, None if queue in purges_unknown else most_purged),
            "delivered": (delivered[queue], None),
            "dead_lettered": (died[queue] if "dead_letter_exchange" in QUEUES[queue].settings else 0, None),
            "expired": (0, None if QUEUES[queue].expires else 0),
            "dropped": (0, 0),
        }

    return of


def _published(book: Book) -> tuple[Counter[str], Counter[str]]:
    """By queue: copies that were stored, and those of which it is not known and that something may have removed."""
    there: Counter[str] = Counter()
    maybe: Counter[str] = Counter()
    for copy in book.copies.values():
        if book.is_there(copy):
            there[copy.origin] += 1
        elif QUEUES[copy.origin].leaky and not copy.refused:
            maybe[copy.origin] += 1
    return there, maybe


Way = tuple[str, How | None]


def _settled(book: Book) -> tuple[Counter[Way], Counter[Way]]:
    """By queue and how (None: deleted): what was settled, and what a cut-off call may have settled."""
    done: Counter[Way] = Counter()
    maybe: Counter[Way] = Counter()
    for copy in book.copies.values():
        for seen in copy.seen:
            queue = seen.delivery.queue
            done.update((queue, settled.how) for settled in seen.settled if settled.done)
            maybe.update((queue, s.how) for s in seen.settled if s.maybe and s.how is not How.ACK)
            if seen.op.auto_ack:
                done[queue, How.ACK] += 1
        for op in copy.removals:
            (done if op.outcome is Outcome.DONE else maybe)[op.queue, None] += 1
        if not copy.ends() and copy.newest is not None and book.maybe_acks(copy):
            # It is gone, so it was acknowledged, where nothing else may have removed it.
            other = copy.removals or QUEUES[copy.origin].leaky
            (maybe if other else done)[copy.newest.delivery.queue, How.ACK] += 1
    for op in book.ops:
        if op.auto_ack and op.outcome is Outcome.UNKNOWN:
            maybe[op.queue, How.ACK] += op.auto_ack
    return done, maybe


def _purged(book: Book) -> tuple[Counter[str], set[str]]:
    """How many purges were answered to have removed, by queue, and queues of which one was cut off."""
    purges = [op for op in book.ops if op.verb == "purge"]
    purged: Counter[str] = Counter()
    for op in purges:
        purged[op.queue] += op.count
    return purged, {op.queue for op in purges if op.outcome is Outcome.UNKNOWN}


def leaked(book: Book, queue: str, stats: Mapping[str, int]) -> int:
    """How many copies a queue removed without saying which."""
    if not QUEUES[queue].leaky:
        return 0
    deleted = sum(op.outcome is Outcome.DONE for op in book.ops if op.removing and op.queue == queue)
    cut_off = sum(op.auto_ack for op in book.ops if op.queue == queue and op.outcome is Outcome.UNKNOWN)
    return stats["purged"] - deleted + stats["expired"] + stats["dropped"] + cut_off
