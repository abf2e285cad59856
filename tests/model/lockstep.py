"""Several stores and the reference model, taken through one history step by step."""

from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Binding, QueueStats, State
from queuesvc.domain.replies import Declared, Page, Received
from queuesvc.store.interface import StoreUnavailable
from tests.model.reference import Model
from tests.model.side import Difference, Line, Open, Side, difference, plain
from tests.model.steps import Ask, Batch, Failing, Leave, Receipt, Reopen, Settling, Step

START = 1_764_000_000_000
LIMITS = Limits(receive_bytes=6000)  # so that histories meet it
T = TypeVar("T")


class Lockstep:
    """The model and the stores; `take` does one step with all of them and raises `Difference`."""

    def __init__(self, openers: dict[str, Open], home: Path) -> None:
        self.model = Model(LIMITS.receive_bytes)
        self.line = Line()
        self.sides = [Side(name, opener, home) for name, opener in openers.items()]
        self.now = START
        self.commands = 0
        self.handed: list[tuple[str, int, int]] = []  # queue, lease, number
        self.bound: list[int] = []

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
            await self._ask(step.query)
        elif isinstance(step, Leave):
            waiting = self.line.all()
            if waiting:
                self._leave(waiting[step.place % len(waiting)])
        elif isinstance(step, Reopen):
            for receive in self.line.all():
                self._leave(receive)
            for side in self.sides:
                if side.durable:
                    await side.reopen(step.kill)
                    await side.store.apply([], self.now, side.line)  # a broker does at once what fell due
        elif isinstance(step, Failing):
            await self._fail(step.batch)
        else:
            for side in self.sides:
                await side.store.maintain()
        await self.check()

    async def drain(self) -> None:
        """Let everything become ready and receive it all, so that every message left is compared with its body."""
        for receive in self.line.all():
            self._leave(receive)
        names = sorted(self.model.queues)
        open_: dict[str, Any] = {"paused": False, "delivery_limit": None, "retry_backoff": None}
        running: list[Any] = [c.PatchQueue(name, open_) for name in names]
        await self.take(Batch(tuple(running)))
        await self.take(Batch(advance=10**9))
        while left := [name for name in names if self.model.queues[name].in_state(State.READY)]:
            everything = tuple(c.Receive(name, 1000, auto_ack=True) for name in left)
            await self.take(Batch((), everything, (False,) * len(left), advance=10**9))
        for name in names:
            stats = self.model.queues[name].view(self.now, 0).stats
            if stats.leased or stats.delayed:
                raise Difference(f"the drain left {stats} in {name}")
        for name in names:
            if not self.model.queues[name].messages:  # else it holds dead ones, and is deleted with them
                continue
            await self.take(Batch((c.DeleteQueue(name),)))
        for side in self.sides:
            await side.nothing_left()

    def _leave(self, receive: c.Receive) -> None:
        for line in [self.line, *(side.line for side in self.sides)]:
            line.leave(receive)

    # --- from how a step names things to the model's own names ---

    def _resolve(self, command: Any) -> Any:
        if isinstance(command, Settling):
            picked = [self._receipt(pick) for pick in command.receipts if self.handed]
            queue = command.queue
            if queue == "@":
                queue = picked[0][0] if picked else "nowhere"
            return replace(command, queue=queue, receipts=tuple(receipt for _, receipt in picked))  # type: ignore[misc]
        if isinstance(command, c.Undeliver):
            if not self.handed:
                return c.Tick()
            queue, lease, _ = self.handed[-1 - command.lease % len(self.handed)]
            return c.Undeliver(queue, lease)
        if isinstance(command, c.Unbind):
            return c.Unbind(self.bound[-1 - command.id % len(self.bound)] if self.bound else 0)
        return command

    def _receipt(self, pick: Any) -> tuple[str, Receipt]:
        queue, lease, number = self.handed[-1 - pick.back % len(self.handed)]
        if pick.twist == "other":
            return queue, Receipt(lease, self.handed[-1 - pick.back * 7 % len(self.handed)][2])
        if pick.twist == "past":
            return queue, Receipt(lease, 2**30 + pick.back)
        return queue, Receipt(lease, number, pick.twist)

    # --- steps ---

    async def _batch(self, step: Batch) -> None:
        due = self.model.next_due()
        self.now = max(self.now, self.now + step.advance if not step.to_due else (due or self.now) + step.advance)
        resolved = [self._resolve(command) for command in step.commands]
        self.commands += len(resolved) + len(step.receives)
        receives = [replace(receive) for receive in step.receives]  # new ones: they are keys
        for line in [self.line, *(side.line for side in self.sides)]:
            for receive in receives:
                line.join(receive)
        wanted = self.model.apply([for_model(command) for command in resolved], self.now, self.line)
        for side in self.sides:
            commands = [side.command(command) for command in resolved]
            got = await side.store.apply(commands, self.now, side.line)
            replies = [side.reply(*each) for each in zip(resolved, got.replies, wanted.replies, strict=True)]
            self.same(side, "replies", resolved, replies, wanted.replies)
            self._served(side, got.served, wanted.served)
        self._remember(wanted.replies, wanted.served)
        for receive, waits in zip(receives, step.waits, strict=True):
            if not waits:
                self._leave(receive)

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
            await side.store.apply([], self.now, side.line)  # what fell due and was not written falls due again

    def _served(self, side: Side, got: list[Any], wanted: list[Any]) -> None:
        mine = {id(receive): answer for receive, answer in wanted}
        for name in {receive.queue for receive, _ in [*got, *wanted]}:
            theirs = [(r, side.received(a, mine.get(id(r), Received()))) for r, a in got if r.queue == name]
            ours = [pair for pair in wanted if pair[0].queue == name]
            self.same(side, "served", name, [(id(r), a) for r, a in theirs], [(id(r), a) for r, a in ours])

    def _remember(self, replies: list[Any], served: list[Any]) -> None:
        for reply in replies:
            if isinstance(reply, Declared) and isinstance(reply.value, Binding) and reply.created:
                self.bound.append(reply.value.id)
        for receive, answer in served:
            if isinstance(answer, Received) and answer.token:
                self.handed += [(receive.queue, answer.lease, d.number) for d in answer.deliveries]

    async def _ask(self, query: Any) -> None:
        wanted = await answered(self._model_ask(query))
        for side in self.sides:
            got = await answered(side.store.ask(side.command(query), self.now, side.line))
            self.same(side, "answer", query, side.reply(query, got, wanted), wanted)

    async def _model_ask(self, query: Any) -> Any:
        return self.model.ask(query, self.now, self.line)

    # --- what must hold after every step ---

    async def check(self) -> None:
        """Everything that can be seen is equal, the conservation law holds, no due moment is missed."""
        await self._ask(c.ListQueues(limit=1000))
        await self._ask(c.ListExchanges(limit=1000))
        for name in self.model.exchanges:
            await self._ask(c.ListBindings(exchange=name, limit=1000))
        for name in self.model.queues:
            await self._contents(name)
        due = self.model.next_due()
        for side in self.sides:
            page = await side.store.ask(c.ListQueues(limit=1000), self.now, side.line)
            assert isinstance(page, Page)
            for view in page.items:
                conserved(view.stats)
            if [len(line) for line in side.line.waiting.values()] != [len(w) for w in self.line.waiting.values()]:
                raise Difference(f"{side.name}: {side.line.waiting} wait, not {self.line.waiting}")
            theirs = side.store.next_due()
            if due is not None and (theirs is None or theirs > due):
                raise Difference(f"{side.name}: next due at {theirs}, not {due}")

    async def _contents(self, name: str) -> None:
        """Every message of a queue, in order, with its state, its counts and its body; page by page."""
        query = c.BrowseMessages(name, limit=1000)
        wanted = self.model.ask(query, self.now, self.line)
        for side in self.sides:
            items: list[Any] = []
            after: str | None = ""
            while after is not None:
                page = await side.store.ask(replace(query, after=after), self.now, side.line)
                assert isinstance(page, Page)
                items += page.items
                after = page.next
            self.same(side, "contents", name, side.reply(query, Page(tuple(items), None), wanted), wanted)

    def same(self, side: Side, what: str, of: Any, got: Any, wanted: Any) -> None:
        differs = difference(plain(wanted), plain(got))
        if differs:
            raise Difference(f"{side.name}: {what} of {of!r} at {self.now}: {differs}")


def for_model(command: Any) -> Any:
    if isinstance(command, Settling):
        return replace(command, receipts=tuple(receipt.model_text() for receipt in command.receipts))  # type: ignore[attr-defined]
    return command


async def answered(asking: Awaitable[T]) -> T | Refused:
    """The answer, or the refusal as a value."""
    try:
        return await asking
    except Refused as refused:
        return refused


def conserved(stats: QueueStats) -> None:
    """The contract's §10.5."""
    came = stats.published + stats.moved_in
    here = stats.ready + stats.leased + stats.delayed + stats.dead
    left = stats.acked + stats.expired + stats.dropped + stats.purged + stats.moved_out
    if came != here + left:
        raise Difference(f"conservation: {came} came, {here} are here, {left} left: {stats}")
