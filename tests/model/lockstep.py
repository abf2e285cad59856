"""Several stores and the reference model, taken through one history step by step."""

from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Binding
from queuesvc.domain.replies import Declared, Page, Received, Redriven
from queuesvc.store.interface import Applied, StoreUnavailable
from tests.model.compare import Difference, conserved, difference, plain
from tests.model.reference import Model
from tests.model.side import Line, Open, Side
from tests.model.steps import GO_ON, Ask, Batch, Failing, Id, Leave, Naming, Receipt, Reopen, Settling, Step

START = 1_764_000_000_000
LIMITS = Limits(receive_bytes=6000)  # so that histories meet it
EVERYTHING = 1000
T = TypeVar("T")


class Lockstep:
    """The model and the stores; `take` does one step with all of them and raises `Difference`."""

    def __init__(self, openers: dict[str, Open], home: Path) -> None:
        self.model = Model(LIMITS.receive_bytes, self._number_of)
        self.line = Line()
        self.sides = [Side(name, opener, home) for name, opener in openers.items()]
        self.now = START
        self.commands = 0
        self.handed: list[tuple[str, int, int]] = []  # queue, lease, number
        self.bound: list[int] = []
        self.redriven = (0, 0)  # the last message that a redrive came to, and the first that came too late for it

    async def open(self) -> None:
        for side in self.sides:
            await side.open()

    async def close(self) -> None:
        for side in self.sides:
            await side.store.close()

    async def take(self, step: Step) -> None:
        """Do one step everywhere, compare the answers and then everything that can be seen."""
        if isinstance(step, Batch):
            await self._batch(step)
        elif isinstance(step, Ask):
            await self._ask(self._resolve(step.query))
        elif isinstance(step, Leave):
            waiting = self.line.all()
            if waiting:
                await self._left([waiting[step.place % len(waiting)]])
        elif isinstance(step, Reopen):
            await self._reopen(step.kill)
        elif isinstance(step, Failing):
            await self._fail(step.batch)
        else:
            for side in self.sides:
                await side.store.maintain()
        await self.check()
        for side in self.sides:
            side.step_done()

    def _number_of(self, number: int) -> int:
        """What the stores call it. They all have the same machine: were they to differ, so would their jitter."""
        numbers = {side.theirs["number", number] for side in self.sides}
        if len(numbers) != 1:
            raise Difference(f"the stores number message {number} differently: {numbers}")
        return int(numbers.pop())

    def _lines(self) -> list[Line]:
        return [self.line, *(side.line for side in self.sides)]

    def leave(self, receive: c.Receive) -> None:
        for line in self._lines():
            line.leave(receive)

    async def _left(self, receives: list[c.Receive]) -> None:
        """They leave, if they still wait; the moment is noted at once."""
        for receive in receives:
            self.leave(receive)
        self._nothing(self.model.apply([], self.now, self.line))
        for side in self.sides:
            self._nothing(await side.store.apply([], self.now, side.line))

    def _nothing(self, applied: Applied) -> None:
        if applied.served or applied.answers:
            raise Difference(f"something came of nothing: {applied}")

    # --- from how a step names things to the model's own names ---

    def _resolve(self, command: Any) -> Any:
        if isinstance(command, Settling):
            picked = [self._receipt(pick) for pick in command.receipts if self.handed]
            queue = command.queue
            if queue == "@":
                queue = picked[0][0] if picked else "nowhere"
            return replace(command, queue=queue, receipts=tuple(receipt for _, receipt in picked))  # type: ignore[misc]
        if isinstance(command, c.Transaction):
            acks, nacks = (tuple(map(self._resolve, each)) for each in (command.acks, command.nacks))
            return replace(command, acks=acks, nacks=nacks)
        if isinstance(command, c.Undeliver):
            if not self.handed:
                return c.Tick()
            queue, lease, _ = self.handed[-1 - command.lease % len(self.handed)]
            return c.Undeliver(queue, lease)
        if isinstance(command, c.Unbind):
            return c.Unbind(self.bound[-1 - command.id % len(self.bound)] if self.bound else 0)
        if isinstance(command, Naming):
            return self._named(command)
        return command

    def _receipt(self, pick: Any) -> tuple[str, Receipt]:
        queue, lease, number = self.handed[-1 - pick.back % len(self.handed)]
        if pick.twist == "other":
            return queue, Receipt(lease, self.handed[-1 - pick.back * 7 % len(self.handed)][2])
        if pick.twist == "past":
            return queue, Receipt(lease, 2**30 + pick.back)
        return queue, Receipt(lease, number, pick.twist)

    def _named(self, command: Any) -> Any:
        if isinstance(command, c.RemoveMessage | c.GetMessage):
            return replace(command, id=self._id(command.queue, command.id))
        if command.ids is not None:
            command = replace(command, ids=tuple(self._id(command.queue, id_) for id_ in command.ids))
        if isinstance(command, c.Redrive) and command.after == GO_ON:
            command = replace(command, after=self.redriven[0], before=self.redriven[1])
        return command

    def _id(self, queue: str, named: Any) -> str:
        """As the model spells it."""
        assert isinstance(named, Id)
        messages = self.model.queues[queue].messages if queue in self.model.queues else []
        if named.twist == "past":
            messages = [message for each in self.model.queues.values() for message in each.messages]
        if named.twist in ("leased", "dead"):
            messages = [message for message in messages if message.state == named.twist]
        if named.twist == "arrived":
            messages = [message for message in messages if message.deaths]
        if named.twist == "junk" or not messages:
            return "junk"
        return messages[named.place % len(messages)].id

    # --- steps ---

    async def _batch(self, step: Batch) -> None:
        due = self.model.next_due(self.line)
        self.now = max(self.now, self.now + step.advance if not step.to_due else (due or self.now) + step.advance)
        resolved = [self._resolve(command) for command in step.commands]
        self.commands += len(resolved) + len(step.receives)
        receives = [replace(receive) for receive in step.receives]  # new ones: they are keys
        for line in self._lines():
            for receive in receives:
                line.join(receive)
        wanted = self.model.apply([for_model(command) for command in resolved], self.now, self.line)
        for side in self.sides:
            commands = [side.command(command) for command in resolved]
            got = await side.store.apply(commands, self.now, side.line)
            self._applied(side, resolved, got, wanted)
        self._remember(wanted)
        await self._left([receive for receive, waits in zip(receives, step.waits, strict=True) if not waits])

    def _applied(self, side: Side, resolved: list[Any], got: Applied, wanted: Applied) -> None:
        for of, theirs, ours in zip(resolved, got.replies, wanted.replies, strict=True):
            self.same(side, "reply", of, side.reply(of, theirs, ours), ours)
        mine = {id(receive): answer for receive, answer in wanted.served}
        for name in sorted({receive.queue for receive, _ in [*got.served, *wanted.served]}):
            served = [(r, side.received(a, mine.get(id(r), Received()))) for r, a in got.served if r.queue == name]
            expected = [(id(r), a) for r, a in wanted.served if r.queue == name]
            self.same(side, "served", name, [(id(r), a) for r, a in served], expected)
        answers = [address for address, _ in got.answers]
        self.same(side, "answers", "", answers, [address for address, _ in wanted.answers])
        for (address, content), (_, expected_content) in zip(got.answers, wanted.answers, strict=True):
            self.same(side, "answer", address, side.content(content, expected_content), expected_content)

    async def _reopen(self, kill: bool) -> None:
        for receive in self.line.all():
            self.leave(receive)
        for side in self.sides:
            if side.durable:
                await side.reopen(kill)
                await side.store.apply([], self.now, side.line)  # a broker does at once what fell due
        await self._use_queues()

    async def _use_queues(self) -> None:
        """A restart begins a queue's time of being unused anew; where there was none, a redeclaration does."""
        self.model.apply([], self.now, self.line)
        self.model.restarted(self.now)
        declares = [c.PutQueue(name, queue.settings) for name, queue in self.model.queues.items()]
        for side in self.sides:
            await side.store.apply(declares, self.now, side.line)

    async def _fail(self, batch: Batch) -> None:
        resolved = [self._resolve(command) for command in batch.commands]
        for side in self.sides:
            if not side.durable:
                continue
            line = side.line.copy()
            for receive in batch.receives:
                line.join(replace(receive))
            with side.failing():
                try:
                    applied = await side.store.apply([side.command(command) for command in resolved], self.now, line)
                except StoreUnavailable:
                    pass
                else:
                    if applied.wrote:
                        raise Difference(f"{side.name}: wrote what could not be written")
        await self._use_queues()

    def _remember(self, wanted: Applied) -> None:
        for reply in wanted.replies:
            if isinstance(reply, Declared) and isinstance(reply.value, Binding) and reply.created:
                self.bound.append(reply.value.id)
            if isinstance(reply, Redriven):
                self.redriven = (reply.after, reply.before) if reply.after else (0, 0)
        for receive, answer in wanted.served:
            if isinstance(answer, Received) and answer.token:
                self.handed += [(receive.queue, answer.lease, d.number) for d in answer.deliveries]

    async def _ask(self, query: Any) -> None:
        wanted = await answered(self._model_ask(query))
        for side in self.sides:
            got = await answered(self._side_ask(side, query))
            self.same(side, "answer", query, side.reply(query, got, wanted), wanted)

    async def _model_ask(self, query: Any) -> Any:
        return self.model.ask(query, self.now, self.line)

    async def _side_ask(self, side: Side, query: Any) -> Any:
        """Of messages all pages, as one."""
        theirs = side.command(query)
        reply = await side.store.ask(theirs, self.now, side.line)
        if not isinstance(theirs, c.BrowseMessages):
            return reply
        items: tuple[Any, ...] = ()
        for _ in range(EVERYTHING):
            assert isinstance(reply, Page)
            items += reply.items
            if reply.next is None:
                return Page(items, None)
            theirs = replace(theirs, after=reply.next)
            reply = await side.store.ask(theirs, self.now, side.line)
        raise Difference(f"{side.name}: the pages of {query} never end")

    # --- what must hold after every step ---

    async def check(self) -> None:
        """Everything that can be seen is equal, the conservation law holds, no due moment is missed."""
        await self._ask(c.ListQueues(limit=EVERYTHING))
        await self._ask(c.GetDefinitions())
        await self._ask(c.ListTokens(limit=EVERYTHING))
        for name, queue in self.model.queues.items():
            await self._ask(c.BrowseMessages(name, limit=EVERYTHING))
            numbers = [message.number for message in queue.messages]
            for side in self.sides:
                theirs = [side.theirs["number", number] for number in numbers]
                if theirs != sorted(theirs):
                    raise Difference(f"{side.name}: the messages {numbers} of {name} are {theirs}, not in order")
        due = self.model.next_due(self.line)
        for side in self.sides:
            page = await side.store.ask(c.ListQueues(limit=EVERYTHING), self.now, side.line)
            assert isinstance(page, Page)
            for view in page.items:
                conserved(view.stats)
            if [len(line) for line in side.line.waiting.values()] != [len(w) for w in self.line.waiting.values()]:
                raise Difference(f"{side.name}: {side.line.waiting} wait, not {self.line.waiting}")
            next_due = side.store.next_due()
            if due is not None and (next_due is None or next_due > due):
                raise Difference(f"{side.name}: next due at {next_due}, not {due}")

    def same(self, side: Side, what: str, of: Any, got: Any, wanted: Any) -> None:
        differs = difference(plain(wanted), plain(got))
        if differs:
            raise Difference(f"{side.name}: {what} of {of!r} at {self.now}: {differs}")


def for_model(command: Any) -> Any:
    if isinstance(command, Settling):
        return replace(command, receipts=tuple(receipt.model_text() for receipt in command.receipts))  # type: ignore[attr-defined]
    if isinstance(command, c.Transaction):
        acks, nacks = (tuple(map(for_model, each)) for each in (command.acks, command.nacks))
        return replace(command, acks=acks, nacks=nacks)
    return command


async def answered(asking: Awaitable[T]) -> T | Refused:
    """The answer, or the refusal as a value."""
    try:
        return await asking
    except Refused as refused:
        return refused
