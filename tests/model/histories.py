"""Random steps: what a history may do next, drawn from any source of choices.

The long campaign draws from a seeded generator, hypothesis from its own choices
(and so can shorten what fails). Every choice looks at the model first, so that most
steps mean something: queues that exist, receipts that are young, moments that are due.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from queuesvc.domain import commands as c
from queuesvc.domain.model import Exchange, ExchangeType, HeaderValue, QueueSettings, State
from queuesvc.domain.tokens import Permissions
from tests.model.choices import (
    ADVANCES_MS,
    EXCHANGES,
    GLOBS,
    GROUPS,
    IDEMPOTENCY_KEYS,
    KEYS,
    LEASES_MS,
    PATTERNS,
    QUEUES,
    SETTINGS,
    TOKEN_IDS,
    TOKENS,
    TWISTS,
    VALUES,
    Choices,
)
from tests.model.lockstep import Lockstep
from tests.model.publishes import Publishes
from tests.model.steps import GO_ON, Ask, Batch, Failing, Id, Leave, Maintain, Pick, Reopen, Step

STATES = [None, *State]
SOURCES: list[Literal["dead", "arrived"] | None] = [None, None, "dead", "arrived", "arrived"]


class Histories:
    """Makes the next step of a history for the lockstep as it stands."""

    def __init__(self, choices: Choices, lockstep: Lockstep) -> None:
        self.pick, self.number = choices.pick, choices.number
        self.lockstep, self.model = lockstep, lockstep.model
        self.publishes = Publishes(self)
        self.begun = False

    def one_in(self, times: int) -> bool:
        return self.number(1, times) == times

    def step(self) -> Step:
        """Any step, mostly a batch. The first makes a world in which things can happen."""
        if not self.begun:
            self.begun = True
            if not self.one_in(4):
                return self.beginning()
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

    def beginning(self) -> Batch:
        """Queues with some settings, and exchanges by which messages reach several of them, also as dead letters."""
        names = self.pick([EXCHANGES, ["fanout-1", "topic-1"], ["direct-1", "fanout-2", "headers-1"]])
        kinds = [(name, ExchangeType(name.partition("-")[0])) for name in names]
        made = [c.PutExchange(Exchange(name, kind, self.pick([None, None, *names]))) for name, kind in kinds]
        queues = [c.PutQueue(name, replace(self.settings(), dead_letter_exchange=self.pick(names))) for name in QUEUES]
        binds = []
        for name, kind in kinds:
            queue, key = self.pick(QUEUES), self.pick(["#", "a", "a.*"])
            by_headers = kind is ExchangeType.HEADERS
            binds.append(
                c.Bind(name, queue, match="all", headers={}) if by_headers else c.Bind(name, queue, routing_key=key)
            )
        return Batch((*made, *queues, *binds))

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
        most, consumer, auto_ack = self.pick([1, 1, 2, 3, 10, 10]), self.pick(["", "me"]), self.one_in(6)
        return c.Receive(queue, most, lease_ms, consumer, auto_ack, self.pick(TOKEN_IDS))

    def command(self) -> Any:
        """Any command but a receive, the busy ones more often."""
        kinds: list[tuple[int, Callable[[], Any]]] = [
            (30, self.publishes.publish),
            (13, lambda: c.Ack(self.settled_queue(), self.receipts())),
            (15, self.nack),
            (8, lambda: c.Extend(self.settled_queue(), self.receipts(), self.pick(LEASES_MS))),
            (3, lambda: c.Undeliver("", self.number(0, 4))),
            (6, self.transaction),
            (2, self.purge),
            (2, lambda: c.RemoveMessage(self.queue(), self.id())),
            (5, self.redrive),
            (3, lambda: c.Release(self.queue(), self.ids("leased"), self.one_in(4))),
            (7, self.put_queue),
            (5, lambda: c.PatchQueue(self.queue(), self.changes())),
            (1, lambda: c.DeleteQueue(self.queue(), self.one_in(2))),
            (6, self.put_exchange),
            (1, lambda: c.DeleteExchange(self.exchange())),
            (10, self.bind),
            (2, lambda: c.Unbind(self.number(0, 20))),
            (2, self.definitions),
            (3, self.token),
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

    def id(self, twist: str = "") -> Any:
        return Id(self.number(0, 9), self.pick(["past", "junk", ""]) if self.one_in(8) else twist)

    def ids(self, twist: str) -> tuple[Any, ...]:
        return tuple(self.id(twist) for _ in range(self.pick([1, 1, 2, 3])))

    def troubled(self) -> str:
        """A queue with messages that died."""
        names = [name for name, queue in self.model.queues.items() if any(message.deaths for message in queue.messages)]
        return self.pick(names) if names and not self.one_in(5) else self.queue()

    # --- topology ---

    def put_queue(self) -> c.PutQueue:
        missing = [name for name in QUEUES if name not in self.model.queues]
        if missing or self.one_in(2):
            return c.PutQueue(self.pick(missing or QUEUES), self.settings())
        name = self.queue()
        there = self.model.queues.get(name)
        return c.PutQueue(name, there.settings if there else QueueSettings())

    def settings(self) -> QueueSettings:
        if self.one_in(4):
            return QueueSettings()
        return QueueSettings(**self.changes())

    def changes(self) -> dict[str, Any]:
        changes = {name: self.pick(values) for name, values in SETTINGS.items() if self.one_in(4)}
        if changes.get("dead_letter_exchange") and not self.one_in(4):
            changes["dead_letter_exchange"] = self.exchange()
        return changes

    def put_exchange(self) -> c.PutExchange:
        name = self.pick(EXCHANGES)
        kind = ExchangeType(name.partition("-")[0] if not self.one_in(30) else "fanout")
        alternate = self.pick([None, None, self.pick(EXCHANGES)])
        return c.PutExchange(Exchange(name, kind, alternate, self.pick([300, 300, 300, 60, 1])))

    def bind(self) -> c.Bind:
        source = self.exchange()
        queue, exchange = (None, self.exchange()) if self.one_in(3) else (self.queue(), None)
        if source.startswith("headers") != self.one_in(40):  # seldom what does not fit
            return c.Bind(source, queue, exchange, match=self.pick(["all", "any"]), headers=self.headers())
        return c.Bind(source, queue, exchange, routing_key=self.pick(PATTERNS))

    def headers(self) -> dict[str, HeaderValue]:
        return {name: self.pick(VALUES) for name in ("x", "y", "z") if self.one_in(2)}

    def definitions(self) -> c.PutDefinitions:
        exchanges = tuple(self.put_exchange().exchange for _ in range(self.number(0, 2)))
        names = {self.pick(QUEUES) for _ in range(self.number(0, 2))}
        queues = tuple((name, self.settings()) for name in sorted(names))
        return c.PutDefinitions(exchanges, queues, tuple(self.bind() for _ in range(self.number(0, 2))))

    def token(self) -> Any:
        made = c.CreateToken(
            self.pick(TOKENS), str(self.number(1, 3)), bytes(32), Permissions(), self.pick([None, 1000])
        )
        uses = (str(self.number(0, 3)), self.lockstep.now + self.number(-10, 10))
        return self.pick([made, made, c.RevokeToken(self.pick(TOKENS)), c.NoteTokenUse((uses, uses))])

    # --- settling and repairing ---

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

    def young(self, command: Any) -> Any:
        """A transaction wants receipts that are good, so mostly one that is young."""
        return replace(command, receipts=(Pick(self.pick([0, 0, 1, 2])),)) if not self.one_in(5) else command

    def transaction(self) -> c.Transaction:
        acks = tuple(self.young(c.Ack("@", self.receipts())) for _ in range(self.pick([0, 0, 1, 1, 2])))
        nacks = tuple(self.young(self.nack()) for _ in range(self.pick([0, 0, 0, 1])))
        publishes = tuple(self.publishes.single() for _ in range(self.pick([0, 1, 1, 2])))
        transaction: c.Transaction = self.publishes.again(c.Transaction(acks, nacks, publishes, self.key()))
        return transaction

    def key(self) -> str:
        return self.pick(IDEMPOTENCY_KEYS) if self.one_in(5) else ""

    def purge(self) -> c.PurgeQueue:
        return c.PurgeQueue(self.queue(), self.pick(STATES), self.one_in(4))

    def redrive(self) -> c.Redrive:
        queue, source = self.troubled(), self.pick(SOURCES)
        to_queue = self.queue() if self.one_in(3) else None
        if self.one_in(3):
            ids = self.ids(self.pick(["dead", "arrived"]))
            return c.Redrive(queue, 1000, source, ids, to_queue, dry_run=self.one_in(5))
        after = self.pick([0, 0, GO_ON])
        most, dry_run, targets = self.pick([1, 2, 1000]), self.one_in(5), self.pick(GLOBS)
        return c.Redrive(queue, most, source, None, to_queue, after, dry_run=dry_run, targets=targets)

    # --- questions ---

    def query(self) -> Any:
        limit = self.pick([1, 2, 100])
        return self.pick(
            [
                c.GetExchange(self.exchange()),
                c.GetQueue(self.queue()),
                c.ListExchanges(self.pick(["", "f", *EXCHANGES]), limit, self.pick(GLOBS)),
                c.ListQueues(self.pick(["", *QUEUES]), limit, self.pick(GLOBS)),
                c.ListBindings(exchange=self.exchange(), after=self.after(), limit=limit, visible=self.pick(GLOBS)),
                c.ListBindings(queue=self.queue(), after=self.after(), limit=limit, visible=self.pick(GLOBS)),
                c.Route(self.exchange(), self.pick(KEYS), self.headers()),
                c.Route(self.exchange(), self.pick(KEYS)),
                c.GetBinding(self.number(0, 20)),
                c.GetToken(self.pick(TOKENS)),
                c.ListTokens(self.pick(["", *TOKENS]), limit),
                c.GetMessage(self.queue(), self.id()),
                self.browse(limit),
                self.browse(limit),
            ]
        )

    def browse(self, limit: int) -> c.BrowseMessages:
        key = self.pick(KEYS) if self.one_in(4) else None
        group = self.pick(GROUPS) if self.one_in(4) else None
        headers = {"x": self.pick(["1", "1.0", "true", "ä"])} if self.one_in(4) else None
        return c.BrowseMessages(self.queue(), self.pick(STATES), limit, "", key, group, headers)

    def after(self) -> int:
        return self.pick([0, *self.lockstep.bound])
