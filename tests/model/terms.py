"""What was learnt of how a store numbers things, and the way between its terms and the model's.

Numbers, leases and binding ids of a store need not equal the model's: they are learnt where
they are first seen, and must keep to the promised order and uniqueness from then on.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.model import Binding, Content
from queuesvc.domain.replies import (
    Declared,
    Definitions,
    Delivery,
    Page,
    Published,
    PublishResult,
    Received,
    Redriven,
    Released,
    Routed,
    Settled,
    Shown,
    Transacted,
)
from tests.model.compare import Difference
from tests.model.reference.contents import IDS, WHY
from tests.model.steps import Naming, Receipt, Settling

UNKNOWN = 2**40  # and above: numbers that were never handed out


class Terms:
    """One store's terms: `theirs` by the model's, `ours` by the store's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ids = Ids(0)
        self.theirs: dict[tuple[str, int], Any] = {}
        self.ours: dict[tuple[str, Any], int] = {}
        self._floor = {"number": 0, "binding": 0}  # what is new in a step is above all that was before
        self._latest = dict(self._floor)
        self._befores: dict[int, int] = {}  # where redrives end, which is above all that there was then

    def step_done(self) -> None:
        self._floor = dict(self._latest)

    # --- into the store's terms ---

    def receipt(self, receipt: Receipt) -> str:
        token = self.theirs["token", receipt.lease]
        return receipt.text(token, self.their("number", receipt.number))

    def their(self, kind: str, ours: int) -> int:
        number: int = self.theirs.get((kind, ours), UNKNOWN + ours)
        return number

    def id(self, text: str) -> str:
        read = IDS.parse(text)
        return text if read is None else self.ids.make(read[0], self.their("number", read[1]))

    def command(self, command: Any) -> Any:
        if isinstance(command, Settling):
            return replace(command, receipts=tuple(self.receipt(receipt) for receipt in command.receipts))  # type: ignore[arg-type]
        if isinstance(command, c.Transaction):
            acks, nacks = (tuple(map(self.command, each)) for each in (command.acks, command.nacks))
            return replace(command, acks=acks, nacks=nacks)
        if isinstance(command, c.Undeliver):
            return replace(command, lease=self.their("lease", command.lease))
        if isinstance(command, c.Unbind | c.GetBinding):
            return replace(command, id=self.their("binding", command.id))
        if isinstance(command, c.ListBindings):
            return replace(command, after=self.theirs.get(("binding", command.after), 0))
        if isinstance(command, c.RemoveMessage | c.GetMessage):
            return replace(command, id=self.id(command.id))
        if isinstance(command, c.Redrive | c.Release) and command.ids is not None:
            command = replace(command, ids=tuple(map(self.id, command.ids)))
        if isinstance(command, c.Redrive):
            after, before = self.theirs.get(("number", command.after), 0), self._befores.get(command.before, 0)
            command = replace(command, after=after, before=before)
        return command

    # --- learning ---

    def learn(self, kind: str, ours: int, theirs: Any) -> None:
        """`theirs` was handed out now for the first time."""
        if (kind, theirs) in self.ours:
            raise Difference(f"{self.name}: {kind} {theirs} was used before")
        if kind in self._floor:
            if theirs <= self._floor[kind]:
                raise Difference(f"{self.name}: {kind} {theirs} is not above {self._floor[kind]}")
            self._latest[kind] = max(theirs, self._latest[kind])
        self.ours[kind, theirs] = ours
        self.theirs[kind, ours] = theirs

    def known(self, kind: str, theirs: Any, wanted: int | None = None) -> int:
        """`theirs` as the model has it; where the model expects something new, it is learnt."""
        if (kind, theirs) not in self.ours:
            if wanted is None or (kind, wanted) in self.theirs:
                raise Difference(f"{self.name}: {kind} {theirs} was never handed out; expected {wanted}")
            self.learn(kind, wanted, theirs)
        return self.ours[kind, theirs]

    # --- out of the store's terms ---

    def reply(self, command: Any, got: Any, wanted: Any) -> Any:
        """The store's reply in the model's terms."""
        if type(got) is not type(wanted):
            return got
        if isinstance(got, Published):
            return self.published(got, wanted)
        if isinstance(got, Transacted):
            return replace(got, published=self.published(got.published, wanted.published))
        if isinstance(got, Declared) and isinstance(got.value, Binding):
            return replace(got, value=self.binding(got.value, wanted.value))
        if isinstance(got, Settled):
            names = self.names(command)
            return replace(got, failed=tuple(f._replace(receipt=names.get(f.receipt, f.receipt)) for f in got.failed))
        if isinstance(got, Refused) and isinstance(command, c.Transaction) and "receipt" in got.extra:
            if "field" in got.extra:  # of receipts that stand in two parts any is named
                return Refused(got.code, got.detail, **{**got.extra, "receipt": wanted.extra.get("receipt")})
            names = {text: name for each in (*command.acks, *command.nacks) for text, name in self.names(each).items()}
            receipt = names.get(got.extra["receipt"], got.extra["receipt"])
            return Refused(got.code, got.detail, **{**got.extra, "receipt": receipt})
        if isinstance(got, Binding):
            return self.binding(got, wanted)
        if isinstance(got, Routed):
            return replace(got, bindings=self.bindings(got.bindings, wanted.bindings))
        if isinstance(got, Definitions):
            return replace(got, bindings=self.bindings(got.bindings, wanted.bindings))
        if isinstance(got, Page) and isinstance(command, c.ListBindings):
            after = None if got.next is None else str(self.known("binding", int(got.next)))
            return Page(self.bindings(got.items, wanted.items), after)
        if isinstance(got, Page) and isinstance(command, c.BrowseMessages):
            return Page(tuple(self.shown(*each) for each in paired(got.items, wanted.items)), got.next)
        if isinstance(got, Shown):
            return self.shown(got, wanted)
        if isinstance(got, Redriven | Released) and isinstance(command, Naming):
            return self.named(command, got, wanted)
        return got

    def names(self, command: Any) -> dict[str, str]:
        """The receipts of a command: the store's spelling, and the model's."""
        return {self.receipt(receipt): receipt.model_text() for receipt in command.receipts}

    def named(self, command: Any, got: Any, wanted: Any) -> Any:
        if isinstance(got, Redriven):
            after = got.after
            if wanted.after is None and got.moved == command.max_messages:
                after = None  # what is left may not fit: then the next step finds that out
            if after is not None:
                after = self.known("number", after, wanted.after)
            got = replace(got, after=after, before=self.before(got.before, wanted.before))
        # What came into the queue in this very batch may be named here before it was ever seen.
        theirs = [read[1] for id_, _ in got.failed if (read := self.ids.parse(id_)) and read[1] < UNKNOWN]
        ours = [read[1] for id_, _ in wanted.failed if (read := IDS.parse(id_)) is not None]
        new = sorted(number for number in theirs if ("number", number) not in self.ours)
        expected = sorted(number for number in ours if ("number", number) not in self.theirs)
        for number, its in paired(new, expected):
            self.known("number", number, its)
        return replace(got, failed=tuple(sorted((self.our_id(id_), code) for id_, code in got.failed)))

    def before(self, got: int, wanted: int) -> int:
        if wanted not in self._befores and got > self._floor["number"]:
            self._befores[wanted] = got
        return wanted if self._befores.get(wanted) == got else -got

    def our_id(self, text: str, wanted: int | None = None) -> str:
        read = self.ids.parse(text)
        if read is None or read[1] >= UNKNOWN:
            return text if read is None else IDS.make(read[0], read[1] - UNKNOWN)
        return IDS.make(read[0], self.known("number", read[1], wanted))

    def published(self, got: Published, wanted: Published) -> Published:
        return got._replace(results=tuple(self.result(*each) for each in paired(got.results, wanted.results)))

    def result(self, got: PublishResult, wanted: PublishResult | None) -> PublishResult:
        """Copies are numbered in a row, in the order of the queues' names."""
        if wanted is not None:
            for copy in range(max(1, len(wanted.queues))):
                self.known("number", got.first + copy, wanted.first + copy)
        return got._replace(first=self.known("number", got.first))

    def bindings(self, got: Sequence[Binding], wanted: Sequence[Binding]) -> tuple[Binding, ...]:
        return tuple(self.binding(*each) for each in paired(got, wanted))

    def binding(self, got: Binding, wanted: Binding | None) -> Binding:
        return replace(got, id=self.known("binding", got.id, None if wanted is None else wanted.id))

    def received(self, got: Received | Refused, wanted: Received | Refused) -> Received | Refused:
        if isinstance(got, Refused) or isinstance(wanted, Refused):
            return got
        if got.token and wanted.token:
            self.learn("lease", wanted.lease, got.lease)
            self.learn("token", wanted.lease, got.token)
            got = got._replace(lease=wanted.lease, token=wanted.token)
        deliveries = tuple(self.delivery(*each) for each in paired(got.deliveries, wanted.deliveries))
        return got._replace(deliveries=deliveries)

    def delivery(self, got: Delivery, wanted: Delivery | None) -> Delivery:
        number = self.known("number", got.number, None if wanted is None else wanted.number)
        return got._replace(number=number, content=self.content(got.content, wanted.content if wanted else None))

    def shown(self, got: Shown, wanted: Shown | None) -> Shown:
        number = self.known("number", got.number, None if wanted is None else wanted.number)
        return replace(got, number=number, content=self.content(got.content, wanted.content if wanted else None))

    def content(self, got: Content, wanted: Content | None) -> Content:
        """With the model's numbers, also in the ids of its deaths."""
        deaths = json.loads(f"[{got.deaths}]")
        expected = json.loads(f"[{wanted.deaths}]") if wanted else []
        for death, its in paired(deaths, expected):
            read = IDS.parse(its["id"]) if its else None
            death["id"] = self.our_id(death["id"], read[1] if read else None)
            if its and its["detail"] == WHY and death["detail"]:
                death["detail"] = WHY
        text = json.dumps(deaths, sort_keys=True)[1:-1]
        first = self.known("number", got.first, wanted.first if wanted else None)
        return got._replace(first=first, body=bytes(got.body), deaths=text)


def paired(got: Sequence[Any], wanted: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each with what it should be, if they are equally many."""
    return list(zip(got, wanted if len(got) == len(wanted) else [None] * len(got), strict=True))
