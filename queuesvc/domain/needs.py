"""What a command needs of the token under which it is given: permissions, on names. All the rules stand here.

They are looked at before it is known whether any of the names is there.
"""

from collections.abc import Iterator

from queuesvc.domain import commands as c
from queuesvc.domain.limits import REPLY_PREFIX
from queuesvc.domain.tokens import Permission

Need = tuple[Permission, str]


def needs(command: c.Command) -> Iterator[Need]:
    """Every permission that this command needs, each on the name that goes with it (`""` for those without).

    An `Unbind` names nothing: who submits it looks up the binding, and needs what a `Bind` would. A `PatchQueue` of the
    dead letters' key does not name their exchange: it needs what one that names it would. What the broker does for
    itself needs nothing.
    """
    match command:
        case c.PutExchange(exchange):
            yield Permission.MANAGE, exchange.name
            yield from _publish(exchange.alternate_exchange)
        case c.PutQueue(name, settings):
            yield Permission.MANAGE, name
            yield from _publish(settings.dead_letter_exchange)
        case c.PatchQueue(name, changes):
            yield Permission.MANAGE, name
            yield from _publish(changes.get("dead_letter_exchange"))
        case c.DeleteExchange(name) | c.DeleteQueue(name):
            yield Permission.MANAGE, name
        case c.Bind(source, queue, exchange):
            yield from bound(source, queue or exchange or "")
        case c.PutDefinitions(exchanges, queues, bindings):
            parts: list[c.Command] = [
                *map(c.PutExchange, exchanges),
                *(c.PutQueue(*queue) for queue in queues),
                *bindings,
            ]
            for part in parts:
                yield from needs(part)
        case c.Publish(exchange=exchange, queue=queue):
            yield from _publish(exchange or queue)
        case c.Receive(queue) | c.Ack(queue) | c.Nack(queue) | c.Extend(queue):
            yield Permission.CONSUME, queue
        case c.Transaction(acks, nacks, publishes):
            steps: tuple[c.Command, ...] = (*acks, *nacks, *publishes)
            for step in steps:
                yield from needs(step)
        case c.PurgeQueue(queue) | c.RemoveMessage(queue) | c.Release(queue):
            yield Permission.MANAGE, queue
        case c.Redrive(queue, to_queue=to_queue):
            # Where each goes that died elsewhere is told by its message: `targets` is for those.
            yield Permission.MANAGE, queue
            if to_queue != queue:
                yield from _publish(to_queue)
        case c.CreateToken() | c.RevokeToken():
            yield Permission.ADMIN, ""
        case c.Unbind() | c.Undeliver() | c.NoteTokenUse() | c.Tick():
            return


def bound(source: str, target: str) -> Iterator[Need]:
    """What it needs to make or remove a binding between the two."""
    yield Permission.MANAGE, source
    yield Permission.MANAGE, target


def _publish(name: str | None) -> Iterator[Need]:
    """A reply address is a permission by itself: nobody knows it who was not told it."""
    if name is not None and not name.startswith(REPLY_PREFIX):
        yield Permission.PUBLISH, name
