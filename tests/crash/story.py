"""A history told by hand, for tests of what judges histories."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.crash.checker import check
from tests.crash.counters import HERE, LEFT
from tests.crash.history import Delivery, History, How, Op, Outcome, Sent, Settling
from tests.crash.topology import QUEUES

LEASE_SECONDS = 60
OTHER_TOTALS = ("bytes", "published", "moved_in", "delivered", "nacked", "dead_lettered")


@dataclass
class Story:
    """A history told by hand, and the counters that a broker without faults would show at its end."""

    history: History = field(default_factory=History)
    numbers: int = 0
    totals: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in QUEUES})

    def end(self, op: Op, outcome: Outcome = Outcome.DONE) -> Op:
        if outcome is not Outcome.UNKNOWN:
            self.history.end(op, outcome)
        return op

    def publish(
        self, tag: str, *queues: str, outcome: Outcome = Outcome.DONE, stored: bool | None = None, number: int = 0
    ) -> Op:
        """Publish; `stored` says whether it was, where that does not follow."""
        op = self.history.invoke("publish", sent=[Sent(tag, queues)])
        if stored is None:
            stored = outcome is Outcome.DONE
        for queue in queues if stored else ():
            self.totals[queue]["published"] += 1
        op.ids = (id_of(number or self._next()),) if outcome is Outcome.DONE else ()
        return self.end(op, outcome)

    def _next(self) -> int:
        self.numbers += 1
        return self.numbers

    def delivery(self, queue: str, tag: str, number: int, count: int = 1, **more: Any) -> Delivery:
        until = time.time() + more.pop("lease_seconds", LEASE_SECONDS)
        return Delivery(queue, tag, id_of(number), f"{queue}/{number}/{count}", count, until=until, **more)

    def receive(self, queue: str, *deliveries: Delivery, auto_ack: bool = False) -> Op:
        op = self.history.invoke("receive", queue, auto_ack=len(deliveries) if auto_ack else 0)
        op.got = deliveries
        self.totals[queue]["delivered"] += len(deliveries)
        if auto_ack:
            self.totals[queue]["acked"] += len(deliveries)
        return self.end(op)

    def settle(
        self, delivery: Delivery, how: How = How.ACK, code: str = "", outcome: Outcome = Outcome.DONE, happened: int = 1
    ) -> Op:
        op = self.history.invoke(how.value, delivery.queue, settling=[Settling(delivery.receipt, how)])
        if code:
            op.failed[delivery.receipt] = code
        elif happened:
            total = {How.ACK: "acked", How.EXTEND: "extended"}.get(how, "nacked")
            self.totals[delivery.queue][total] += 1
        return self.end(op, outcome)

    def take(self, queue: str, tag: str, number: int, count: int = 1, **more: Any) -> Delivery:
        """Receive one and acknowledge it."""
        delivery = self.delivery(queue, tag, number, count, **more)
        self.receive(queue, delivery)
        self.settle(delivery)
        return delivery

    def stats(self) -> dict[str, dict[str, int]]:
        return {name: {total: self.totals[name][total] for total in (*HERE, *LEFT, *OTHER_TOTALS)} for name in QUEUES}

    def faults(self) -> list[str]:
        return [fault.kind for fault in check(self.history.ops, self.stats()).faults]


def id_of(number: int) -> str:
    return f"01a22ca9-4238-78a5-b3e4-{number:012x}"
