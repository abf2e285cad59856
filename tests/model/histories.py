"""Random steps: what a history may do next, drawn from any source of choices.

The long campaign draws from a seeded generator, hypothesis from its own choices
(and so can shorten what fails). Every choice looks at the model first, so that most
steps mean something: queues that exist, receipts that are young, moments that are due.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from queuesvc.domain import commands as c
from queuesvc.domain.model import Envelope, Exchange, ExchangeType, HeaderValue, QueueSettings, RetryBackoff
from tests.model.lockstep import Lockstep
from tests.model.steps import Ask, Batch, Failing, Leave, Maintain, Pick, Reopen, Step

T = TypeVar("T")

QUEUES = ["a", "b", "c", "d"]
EXCHANGES = ["direct-1", "fanout-1", "fanout-2", "headers-1", "headers-2", "topic-1", "topic-2"]
KEYS = ["", "a", "b", "a.b", "a.a", "a.b.c", "b.a.a.b", ".", "a..b", "ä.b"]
PATTERNS = [*KEYS, "*", "#", "*.*", "a.*", "a.#", "#.b", "#.#", "*.#.b", "#.a.#", "a.*.#", "##", "a*"]
VALUES: list[HeaderValue] = ["1", 1, 1.0, 1.5, True, False, "true", "ä", "", 0, -3]
PROPERTIES = ['"content_type":"text/plain","headers":{},"priority":0', '"group":"ä€😀\\u0000\\""', '"reply_to":null']
SIZES = [0, 0, 0, 1, 100, 1023, 1024, 1025, 5000]
LEASES_MS = [100, 101, 1000, 1001, 5000, 30_000, 43_200_000]
ADVANCES_MS = [0, 0, 0, 0, 1, 50, 100, 1000, 5000, 29_999, 60_000]
TWISTS = ["other", "other", "past", "flip0", "flip9", "flip31", "tail", "head", "junk", "none", "bare", "line"]


class Choices(Protocol):
    """Where the choices come from."""

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        ...

    def number(self, least: int, most: int) -> int:
        """A number from `least` to `most`, both included."""
        ...


class Seeded:
    """Choices of a seeded generator: the same seed, the same history."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random.random() * len(items))]

    def number(self, least: int, most: int) -> int:
        return self._random.randint(least, most)


class Histories:
    """Makes the next step of a history for the lockstep as it stands."""

    def __init__(self, choices: Choices, lockstep: Lockstep) -> None:
        self.pick, self.number = choices.pick, choices.number
        self.lockstep, self.model = lockstep, lockstep.model
        self.made = 0

    def one_in(self, times: int) -> bool:
        return self.number(1, times) == times

    def step(self) -> Step:
        """Any step, mostly a batch."""
        kind = self.number(1, 100)
        if kind <= 86:
            return self.batch()
        if kind <= 92:
            return Ask(self.query())
        if kind <= 95:
            return Maintain()
        if kind <= 97:
            return Leave(self.number(0, 9))
        return Failing(self.batch()) if self.one_in(3) else Reopen(kill=self.one_in(2))

    def batch(self) -> Batch:
        """Commands, receives and the passing of time, together in one `apply`."""
        commands = tuple(self.command() for _ in range(self.pick([0, 1, 1, 1, 2, 3, 5])))
        receives = tuple(self.receive() for _ in range(self.pick([0, 0, 1, 1, 2])))
        waits = tuple(self.one_in(3) for _ in receives)
        to_due = self.one_in(6)
        return Batch(commands, receives, waits, self.pick([-1, 0, 0, 1]) if to_due else self.pick(ADVANCES_MS), to_due)

    def receive(self) -> c.Receive:
        queue = self.queue()
        held = self.model.queues[queue].messages if queue in self.model.queues else []
        lease_ms = self.pick([None, None, *LEASES_MS])
        if len(held) > 40:  # keep histories about rules, not about size
            return c.Receive(queue, 1000, lease_ms, auto_ack=not self.one_in(4))
        return c.Receive(queue, self.pick([1, 1, 2, 3, 10]), lease_ms, self.pick(["", "me"]), self.one_in(6))

    def command(self) -> Any:
        """Any command but a receive, the busy ones more often."""
        kinds: list[tuple[int, Callable[[], Any]]] = [
            (30, self.publish),
            (13, lambda: c.Ack(self.settled_queue(), self.receipts())),
            (13, self.nack),
            (8, lambda: c.Extend(self.settled_queue(), self.receipts(), self.pick(LEASES_MS))),
            (3, lambda: c.Undeliver("", self.number(0, 4))),
            (7, self.put_queue),
            (5, lambda: c.PatchQueue(self.queue(), self.changes())),
            (1, lambda: c.DeleteQueue(self.queue(), self.one_in(2))),
            (6, self.put_exchange),
            (1, lambda: c.DeleteExchange(self.exchange())),
            (12, self.bind),
            (2, lambda: c.Unbind(self.number(0, 20))),
            (1, c.Tick),
        ]
        at = self.number(1, sum(weight for weight, _ in kinds))
        for weight, make in kinds:
            at -= weight
            if at <= 0:
                return make()
        raise AssertionError("unreachable")

    # --- names ---

    def queue(self) -> str:
        known = list(self.model.queues)
        return self.pick(known if known and not self.one_in(20) else QUEUES)

    def exchange(self) -> str:
        known = list(self.model.exchanges)
        return self.pick(known if known and not self.one_in(20) else EXCHANGES)

    # --- topology ---

    def put_queue(self) -> c.PutQueue:
        missing = [name for name in QUEUES if name not in self.model.queues]
        if missing or self.one_in(2):
            return c.PutQueue(self.pick(missing or QUEUES), self.settings())
        name = self.queue()
        there = self.model.queues.get(name)
        return c.PutQueue(name, there.settings if there else QueueSettings())

    def settings(self) -> QueueSettings:
        if self.one_in(3):
            return QueueSettings()
        return QueueSettings(**self.changes())

    def changes(self) -> dict[str, Any]:
        values: dict[str, list[Any]] = {
            "lease_seconds": [0.1, 1, 5, 30],
            "delivery_limit": [None, 1, 2, 3, 20],
            "retry_backoff": [None, None, RetryBackoff(1, 2, 3, 0), RetryBackoff(0.1, 10, 300, 0)],
            "delay_seconds": [0, 0, 1, 2.5],
            "max_priority": [0, 1, 3, 255],
            "paused": [False, False, False, True],
            "deduplication_window_seconds": [300, 60],
        }
        return {name: self.pick(values[name]) for name in values if self.one_in(3)}

    def put_exchange(self) -> c.PutExchange:
        name = self.pick(EXCHANGES)
        kind = ExchangeType(name.partition("-")[0] if not self.one_in(30) else "fanout")
        alternate = self.pick([None, None, self.pick(EXCHANGES)])
        return c.PutExchange(Exchange(name, kind, alternate, self.pick([300, 300, 300, 60])))

    def bind(self) -> c.Bind:
        source = self.exchange()
        queue, exchange = (None, self.exchange()) if self.one_in(3) else (self.queue(), None)
        if source.startswith("headers") != self.one_in(40):  # seldom what does not fit
            return c.Bind(source, queue, exchange, match=self.pick(["all", "any"]), headers=self.headers())
        return c.Bind(source, queue, exchange, routing_key=self.pick(PATTERNS))

    def headers(self) -> dict[str, HeaderValue]:
        return {name: self.pick(VALUES) for name in ("x", "y", "z") if self.one_in(2)}

    # --- messages ---

    def publish(self) -> c.Publish:
        batch = self.one_in(3)
        envelopes = tuple(self.envelope() for _ in range(self.number(1, 4) if batch else 1))
        if self.one_in(3):
            queue = self.queue()  # whose name is the routing key: the caller sets it
            return c.Publish(tuple(e._replace(routing_key=queue) for e in envelopes), queue=queue, batch=batch)
        return c.Publish(envelopes, exchange=self.exchange(), batch=batch)

    def envelope(self) -> Envelope:
        self.made += 1
        body = f"{self.made}:".encode() + b"\xff" * self.pick(SIZES) if not self.one_in(20) else b""
        return Envelope(
            body,
            self.pick(PROPERTIES),
            self.pick([*KEYS, *(binding.routing_key for binding in self.model.bindings)]),
            self.pick([self.headers(), *(binding.headers for binding in self.model.bindings if binding.headers)]),
            priority=self.pick([0, 0, 0, 1, 2, 3, 255]),
            delay_ms=self.pick([None, None, None, 0, 1, 1000, 3_600_000]),
            mandatory=self.one_in(10),
        )

    def settled_queue(self) -> str:
        return self.queue() if self.one_in(20) else "@"  # "@" is the queue of the first receipt

    def receipts(self) -> tuple[Any, ...]:
        near = self.pick([3, 10, 40])
        twist = self.pick(TWISTS) if self.one_in(12) else ""
        picks = [Pick(self.number(0, near)) for _ in range(self.pick([1, 1, 2, 3, 8]))]
        picks[-1] = picks[-1]._replace(twist=twist)
        return tuple(picks)

    def nack(self) -> c.Nack:
        delay_ms = self.pick([None, None, 0, 1, 1000])
        requeue, failed = not self.one_in(5), not self.one_in(4)
        return c.Nack(self.settled_queue(), self.receipts(), requeue, delay_ms, self.pick([None, "because"]), failed)

    # --- questions ---

    def query(self) -> Any:
        limit = self.pick([1, 2, 100])
        return self.pick(
            [
                c.GetExchange(self.exchange()),
                c.GetQueue(self.queue()),
                c.ListExchanges(self.pick(["", "f", *EXCHANGES]), limit),
                c.ListQueues(self.pick(["", *QUEUES]), limit),
                c.ListBindings(exchange=self.exchange(), after=self.after(), limit=limit),
                c.ListBindings(queue=self.queue(), after=self.after(), limit=limit),
                c.Route(self.exchange(), self.pick(KEYS), self.headers()),
                c.Route(self.exchange(), self.pick(KEYS), self.headers()),
                c.Route(self.exchange(), self.pick(KEYS)),
            ]
        )

    def after(self) -> int:
        return self.pick([0, *self.lockstep.bound])
