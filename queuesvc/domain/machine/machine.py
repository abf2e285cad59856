"""The interpreter: each command to its rule, a batch at a time."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.effects import Effects, Leased
from queuesvc.domain.errors import Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.limits import Limits
from queuesvc.domain.machine import delivery, publishing, questions, repair, tokens, topology, transaction
from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.machine.state import Contents, State
from queuesvc.domain.receipts import Receipts
from queuesvc.domain.replies import Declared, Done, Reply
from queuesvc.domain.timers import Kind, Timer
from queuesvc.domain.waiting import Waiting

DUE_AT_ONCE = 1000
DUE_BYTES_AT_ONCE = 8 * 1024 * 1024
# Beside what only changes its state: a dead letter is looked up, routed and stored again.
COST_OF_A_MOVE = 5
COST_OF_A_DEAD_TIMER = 0.2
SERVED_BYTES_AT_ONCE = 64 * 1024 * 1024
FREED_AT_ONCE = 5000


def _tick(state: State, command: c.Tick) -> Done:
    state.effects.moment = True
    return Done()


RULES: dict[type, Callable[[State, Any], Reply]] = {
    c.PutExchange: topology.put_exchange,
    c.DeleteExchange: topology.delete_exchange,
    c.PutQueue: topology.put_queue,
    c.PatchQueue: topology.patch_queue,
    c.DeleteQueue: topology.delete_queue,
    c.Bind: topology.bind,
    c.Unbind: topology.unbind,
    c.Publish: publishing.publish,
    c.Receive: delivery.receive,
    c.Ack: delivery.ack,
    c.Nack: delivery.nack,
    c.Extend: delivery.extend,
    c.Undeliver: delivery.undeliver,
    c.Transaction: transaction.transact,
    c.PurgeQueue: repair.purge,
    c.RemoveMessage: repair.remove_message,
    c.Redrive: repair.redrive,
    c.Release: repair.release,
    c.PutDefinitions: topology.put_definitions,
    c.CreateToken: tokens.create,
    c.RevokeToken: tokens.revoke,
    c.NoteTokenUse: tokens.note_use,
    c.Tick: _tick,
}

TIMERS: dict[Kind, Callable[[State, Timer], int]] = {
    Kind.LEASE_ENDS: delivery.lease_ends,
    Kind.DELAY_ENDS: delivery.delay_ends,
    Kind.MESSAGE_EXPIRES: delivery.message_expires,
    Kind.QUEUE_EXPIRES: topology.queue_expires,
    Kind.RECORDS_END: publishing.records_end,
}


Outcome = Reply | Leased | Refused


class Machine:
    """The rules over one store's state.

    `contents` are looked up where a rule needs them, as of the effects collected so far.
    """

    def __init__(self, receipts: Receipts, ids: Ids, contents: Contents, limits: Limits | None = None) -> None:
        self.state = State(receipts, ids, contents, limits or Limits())
        self._started = False
        # Queues at which the last batch handed out all that one batch may: the next goes on.
        self.unserved: dict[str, None] = {}

    @property
    def effects(self) -> Effects:
        """What the batch under way, or the last one, changes."""
        return self.state.effects

    def begin(self, now: int) -> None:
        """Begin a batch at a moment: effects are collected anew."""
        self.state.begin(now)

    def apply(
        self, commands: Sequence[c.Command], waiting: Waiting
    ) -> tuple[list[Outcome], list[tuple[c.Receive, Outcome]]]:
        """Do what is due, then each command, then serve those who wait.

        Each command stands alone: a refused one has left no trace.
        """
        self.state.waiting = waiting
        if not self._started:
            self._start()
        came = waiting.new()
        self._note_use(came)
        self._do_due()
        served: list[tuple[c.Receive, Outcome]] = []
        outcomes: list[Outcome] = []
        for command in commands:
            outcomes.append(self._shown(self._one(command), waiting))
            if self.state.deleted:
                self._send_away(waiting, served)
        self._serve(waiting, came, served)
        return outcomes, served

    def _start(self) -> None:
        """While the broker was down nobody could use a queue: the time after which it expires begins anew."""
        self._started = True
        for queue in self.state.queues.values():
            self.state.used(queue)

    def _note_use(self, names: Collection[str]) -> None:
        """Queues that somebody came to, or left unserved, are in use: before what is due could delete them."""
        for name in names:
            queue = self.state.queues.get(name)
            if queue is not None:
                self.state.used(queue)

    def _one(self, command: c.Command) -> Outcome:
        try:
            return RULES[type(command)](self.state, command)
        except Refused as refusal:
            # Without the frames that it passed: what they hold would stay with it for as long as it does.
            return refusal.with_traceback(None)

    def _shown(self, outcome: Outcome, waiting: Waiting) -> Outcome:
        """A queue is shown by its view, as of right after its command."""
        if isinstance(outcome, Queue):
            return outcome.view(self.state.now, waiting.count(outcome.name))
        if isinstance(outcome, Declared) and isinstance(outcome.value, Queue):
            return Declared(self._shown(outcome.value, waiting), outcome.created)
        return outcome

    def _do_due(self) -> None:
        """What is due, in the order it fell due; bounded, the rest in the next batch."""
        state = self.state
        done: float = 0
        moved = 0
        while done < DUE_AT_ONCE and moved < DUE_BYTES_AT_ONCE:
            timer = state.timers.pop_due(state.now)
            if timer is None:
                return
            if not state.timers.alive(timer):
                done += COST_OF_A_DEAD_TIMER
                continue
            moved_before = len(state.effects.inserts)
            done += TIMERS[timer.kind](state, timer)
            new = state.effects.inserts[moved_before:]
            done += len(new) * COST_OF_A_MOVE
            moved += sum(len(message.content.body) for message in new)

    def _send_away(self, waiting: Waiting, served: list[tuple[c.Receive, Outcome]]) -> None:
        """Who waits at a queue that was deleted is told so, even if another is made under its name."""
        for name in self.state.deleted:
            while (receive := waiting.take(name)) is not None:
                served.append((receive, self._one(receive)))
        self.state.deleted.clear()

    def _serve(self, waiting: Waiting, came: Collection[str], served: list[tuple[c.Receive, Outcome]]) -> None:
        """Hand what is ready to those who wait for it, first come, first served."""
        state = self.state
        names = dict.fromkeys((*self.unserved, *state.gained, *came))
        self.unserved = {}
        room = SERVED_BYTES_AT_ONCE
        for name in names:
            queue = state.queues.get(name)
            while queue is None or delivery.can_receive(queue, state.now):
                if room <= 0:
                    self.unserved[name] = None
                    break
                receive = waiting.take(name)
                if receive is None:
                    break
                before = 0 if queue is None else queue.open_bytes
                served.append((receive, self._one(receive)))
                room -= before - (0 if queue is None else queue.open_bytes)

    def ask(self, query: c.Query, now: int, waiting: Waiting) -> Reply:
        """Answer a question. Raises `Refused`."""
        self.state.waiting = waiting
        return questions.ANSWERS[type(query)](self.state, query, now, waiting.count)

    def next_due(self) -> int | None:
        """The earliest moment at which something is due."""
        if self.unserved:
            return self.state.now
        return self.state.timers.next_due()

    def tidy(self) -> bool:
        """Free some of the memory of deleted queues and of timers that mean nothing; True if more is left."""
        discarded = self.state.discarded
        for _ in range(FREED_AT_ONCE):
            while discarded and not discarded[-1]:
                discarded.pop()
            if not discarded:
                break
            discarded[-1].popitem()
        return self.state.timers.tidy(FREED_AT_ONCE) or bool(discarded)
