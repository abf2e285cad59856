"""What was promised (§10), held against what the clients were told and what is there in the end."""

from collections import Counter

from tests.crash.clients import QUEUES
from tests.crash.ledger import Delivered, Ledger, Outcome

CLOCK_SECONDS = 0.1
"""How far broker time, which slews, may be from the time on the tests' own clock."""
SETTLED = {"acked", "dead", "back", "extended"}


def judge(ledger: Ledger, stats: dict[str, dict[str, int]]) -> list[str]:
    """Every broken promise, once all queues were emptied. `stats` are the queues' after that."""
    problems = list(ledger.problems)
    present: Counter[str] = Counter()
    for sent in ledger.sent:
        copies = ledger.copies(sent)
        there = [copy for copy in copies if copy in ledger.delivered]
        present.update(queue for queue, _ in there)
        if sent.outcome is Outcome.DONE and len(there) != len(copies):
            problems.append(f"lost, though answered 201: {sorted(set(copies) - set(there))[:5]}")
        for tag, id_ in zip(sent.tags, sent.ids, strict=False):
            others = {d.id for queue in sent.queues for d in ledger.delivered.get((queue, tag), ())} - {id_}
            if others:
                problems.append(f"{tag} was answered as {id_} and came as {others}")
        if sent.outcome is Outcome.UNKNOWN and there and len(there) != len(copies):
            problems.append(f"half stored: {len(there)} of {len(copies)} copies of {sent}")
    for deliveries in ledger.delivered.values():
        problems += _judge_copy(deliveries)
    for queue in QUEUES:
        problems += _judge_counts(ledger, queue, stats[queue], present[queue])
    return problems


def _judge_copy(deliveries: list[Delivered]) -> list[str]:
    """One copy's deliveries: at the end it is acked, or dead; nothing vanished on the way."""
    problems = []
    ordered = sorted(deliveries, key=lambda delivery: delivery.delivery_count)
    ends = [d for d in ordered if d.settled.rstrip("?") in {"acked", "dead"}]
    if not ends:
        problems.append(f"neither acked nor dead in the end: {ordered[-1]}")
    for delivery in ordered:
        others = [other for other in ordered if other is not delivery]
        newer = [other for other in others if other.delivery_count > delivery.delivery_count]
        if delivery.settled == "gone" and not any(other in ends for other in others):
            problems.append(f"gone, though nobody acked it: {delivery}")
        if delivery.settled == "lease-lost" and not newer and delivery.told_at < delivery.until - CLOCK_SECONDS:
            problems.append(f"its lease was lost before its time: {delivery}")
        if delivery.settled in SETTLED and any(other.came_at < delivery.asked_at for other in newer):
            problems.append(f"settled by a stale receipt: {delivery}, newer: {newer}")
        if any(other.failed_count < delivery.failed_count for other in newer):
            problems.append(f"fewer failures than before: {ordered}")
    if sum(d.settled in {"acked", "dead"} for d in ordered) > 1:
        problems.append(f"settled twice: {ordered}")
    return problems


def _judge_counts(ledger: Ledger, queue: str, stats: dict[str, int], present: int) -> list[str]:
    """The queue's own figures: conservation, and the same as the clients counted."""
    problems = []
    here = stats["ready"] + stats["leased"] + stats["delayed"] + stats["dead"]
    left = stats["acked"] + stats["expired"] + stats["dropped"] + stats["purged"] + stats["moved_out"]
    if stats["published"] + stats["moved_in"] != here + left:
        problems.append(f"{queue}: what came is not what is here and what left: {stats}")
    if stats["published"] != present:
        problems.append(f"{queue}: {stats['published']} published, {present} came out")
    acked = sum(d.queue == queue for d in ledger.settled("acked"))
    dead = sum(d.queue == queue for d in ledger.settled("dead"))
    perhaps = {how: sum(d.queue == queue for d in ledger.perhaps(how)) for how in ("acked", "dead")}
    if not acked <= stats["acked"] <= acked + perhaps["acked"]:
        problems.append(f"{queue}: {stats['acked']} acked, the clients count {acked} and perhaps {perhaps['acked']}")
    if not dead <= stats["dead"] <= dead + perhaps["dead"]:
        problems.append(f"{queue}: {stats['dead']} dead, the clients count {dead} and perhaps {perhaps['dead']}")
    seen = sum(len(d) for (at, _), d in ledger.delivered.items() if at == queue)
    if stats["delivered"] < seen:
        problems.append(f"{queue}: {stats['delivered']} delivered, but {seen} came")
    return problems
