"""The model as a store is asked: commands in, replies out."""

from collections.abc import Callable, Sequence
from typing import Any

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.model import Binding, Exchange
from queuesvc.domain.replies import Done, Reply
from queuesvc.store.interface import Applied, Waiting
from tests.model.reference import delivery, looking, publishing, repairing, settling, tokens, topology
from tests.model.reference.contents import Queue
from tests.model.reference.world import World


class Model:
    """The whole broker. `now` comes in and never steps back."""

    def __init__(self, receive_bytes: int, number_of: Callable[[int], int]) -> None:
        self.world = World(receive_bytes, number_of)

    @property
    def queues(self) -> dict[str, Queue]:
        return self.world.kept.queues

    @property
    def exchanges(self) -> dict[str, Exchange]:
        return self.world.kept.exchanges

    @property
    def bindings(self) -> list[Binding]:
        return self.world.kept.bindings

    def apply(self, commands: Sequence[c.Command], now: int, waiting: Waiting) -> Applied:
        """What is due, the commands one by one, then the waiting receives."""
        self.world.now, self.world.waiting = now, waiting
        self.world.kept.answers = []
        applied = Applied([], [], True)
        came_to = delivery.note_receives(self.world)
        delivery.do_due(self.world)
        for command in commands:
            try:
                reply: Reply | Refused = self._do(command, applied)
            except Refused as refused:
                reply = refused
            applied.replies.append(reply)
        delivery.serve(self.world, came_to, applied)
        applied.answers = self.world.kept.answers
        return applied

    def ask(self, query: c.Query, now: int, waiting: Waiting) -> Reply:
        """Answer a question. Raises `Refused`."""
        self.world.now, self.world.waiting = now, waiting
        return looking.ask(self.world, query)

    def next_due(self, waiting: Waiting) -> int | None:
        """The earliest moment at which something happens by itself."""
        self.world.waiting = waiting
        due = delivery.next_due(self.world)
        return None if due is None else due.at

    def restarted(self, now: int) -> None:
        """A queue's time of being unused begins anew."""
        for queue in self.queues.values():
            queue.used_at = now

    def _do(self, command: Any, applied: Applied) -> Reply:
        world = self.world
        doing: dict[type, Callable[[], Reply]] = {
            c.PutExchange: lambda: topology.put_exchange(world, command.exchange),
            c.DeleteExchange: lambda: topology.delete_exchange(world, command.name),
            c.PutQueue: lambda: topology.put_queue(world, command),
            c.PatchQueue: lambda: topology.patch_queue(world, command),
            c.DeleteQueue: lambda: topology.delete_queue(world, command, applied),
            c.Bind: lambda: topology.bind(world, command),
            c.Unbind: lambda: topology.unbind(world, command.id),
            c.PutDefinitions: lambda: world.all_or_nothing(lambda: topology.put_definitions(world, command)),
            c.Publish: lambda: world.all_or_nothing(lambda: publishing.publish(world, command)),
            c.Transaction: lambda: world.all_or_nothing(lambda: publishing.transact(world, command)),
            c.Ack: lambda: settling.settle(world, command),
            c.Nack: lambda: settling.settle(world, command),
            c.Extend: lambda: settling.settle(world, command),
            c.Undeliver: lambda: settling.undeliver(world, command),
            c.Release: lambda: settling.release(world, command),
            c.PurgeQueue: lambda: repairing.purge(world, command),
            c.RemoveMessage: lambda: repairing.remove(world, command),
            c.Redrive: lambda: repairing.redrive(world, command),
            c.CreateToken: lambda: tokens.create(world, command),
            c.RevokeToken: lambda: tokens.revoke(world, command),
            c.NoteTokenUse: lambda: tokens.note_use(world, command),
            c.Tick: Done,
        }
        return doing[type(command)]()
