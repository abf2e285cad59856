"""Idempotency: what was answered to a publish, kept for a while under the publisher's key.

A record belongs to a scope: the exchange (`x:name`) or queue (`q:id`) that the message was sent to, with
`b:` before it where the key covers a whole batch; the transactions (`t`); or a reply address (`r:address`).
It is written in the publish's own transaction.
"""

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from queuesvc.domain.commands import Publish, Transaction
from queuesvc.domain.effects import Effects, Recorded
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.model import Envelope
from queuesvc.domain.replies import Published, PublishResult, Transacted

TRANSACTIONS = "t"
TRANSACTION_WINDOW_SECONDS = 300


def whole(scope: str) -> str:
    """The scope of keys that cover a whole publish: an envelope's own key is another, even if spelled alike."""
    return f"b:{scope}"


def fingerprint(parts: Iterable[Any]) -> bytes:
    """16 bytes that differ where the parts (JSON values, or bytes) do. The order of an object's members is nothing."""
    digest = blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(raw).to_bytes(8) + raw)
    return digest.digest()


def envelope_parts(envelope: Envelope) -> Iterable[Any]:
    """What makes one publish another than the next: its body and properties, but not its key."""
    rules = [envelope.routing_key, envelope.delay_ms, envelope.ttl_ms, envelope.mandatory]
    return envelope.body, json.loads(f"{{{envelope.properties}}}"), rules


def publish_parts(command: Publish) -> Iterable[Any]:
    """The same of a whole publish, with the keys of its envelopes."""
    yield [command.exchange, command.queue, command.batch]
    for envelope in command.envelopes:
        yield from envelope_parts(envelope)
        yield envelope.idempotency_key


def transaction_parts(command: Transaction) -> Iterable[Any]:
    """The same of a whole transaction."""
    yield [[ack.queue, ack.receipts] for ack in command.acks]
    yield [
        [nack.queue, nack.receipts, nack.requeue, nack.delay_ms, nack.reason, nack.delivery_failed]
        for nack in command.nacks
    ]
    for publish in command.publishes:
        yield from publish_parts(publish)


class Records:
    """All records, by scope and key, in the order in which they were made."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, Recorded]] = {}
        self.due = 0

    def find(self, scope: str, key: str, print_: bytes, now: int) -> Any | None:
        """The answer to the same publish before; None where there was none.

        Raises `idempotency-key-reused` where it was another.
        """
        record = self._scopes.get(scope, {}).get(key)
        if record is None or record.until <= now:
            return None
        if record.fingerprint != print_:
            raise Refused(
                Code.IDEMPOTENCY_KEY_REUSED, f"the idempotency key {key!r} was used for another message", key=key
            )
        return json.loads(record.answer)

    def refuse_if_used(self, scope: str, key: str, now: int) -> None:
        """Raise `idempotency-key-reused` where the key is in use in this scope, whatever for."""
        record = self._scopes.get(scope, {}).get(key)
        if record is not None and record.until > now:
            raise Refused(
                Code.IDEMPOTENCY_KEY_REUSED,
                f"the idempotency key {key!r} was used for {'a batch' if scope.startswith('b:') else 'one message'}",
                key=key,
            )

    def add(self, record: Recorded) -> None:
        """Keep a record (again, from the store, or in place of one that is over)."""
        records = self._scopes.setdefault(record.scope, {})
        records.pop(record.key, None)
        records[record.key] = record

    def drop_scope(self, scope: str, effects: Effects) -> None:
        """The exchange or queue is gone: a later one of its name knows nothing of them."""
        for gone in (scope, whole(scope)):
            if self._scopes.pop(gone, None) is not None:
                effects.scopes_ended.append((gone,))
                effects.records = [record for record in effects.records if record.scope != gone]

    def end(self, now: int, most: int) -> list[tuple[str, str]]:
        """Drop records whose window is over, at most so many; returns their scopes and keys."""
        ended: list[tuple[str, str]] = []
        for scope, records in list(self._scopes.items()):
            for key, record in list(_first(records, most - len(ended))):
                if record.until > now:
                    break
                del records[key]
                ended.append((scope, key))
            if not records:
                del self._scopes[scope]
        return ended

    def next_end(self) -> int:
        """When the first of them is over; 0 where there is none."""
        firsts = [next(iter(records.values())).until for records in self._scopes.values() if records]
        return min(firsts, default=0)


def _first(records: dict[str, Recorded], most: int) -> Iterable[tuple[str, Recorded]]:
    for count, item in enumerate(records.items()):
        if count >= most:
            return
        yield item


# --- answers as they are kept ---------------------------------------------------


def result_answer(published_at: int, result: PublishResult) -> Any:
    """The answer to one envelope."""
    return [result.original_at or published_at, result.first, result.queues]


def read_result(answer: Any) -> PublishResult:
    """That answer, as a duplicate's."""
    at, first, queues = answer
    return PublishResult(first, tuple(queues), at)


def published_answer(published: Published) -> Any:
    """The answer to a whole publish: for each result its own moment, and whether it was a duplicate then."""
    results = [[result.first, result.queues, result.original_at] for result in published.results]
    return [published.published_at, results]


def read_published(answer: Any) -> Published:
    """That answer, as a duplicate's."""
    at, results = answer
    return Published(at, tuple(PublishResult(first, tuple(q), o) for first, q, o in results), duplicate=True)


def transacted_answer(transacted: Transacted) -> Any:
    """The answer to a transaction."""
    return [transacted.acked, transacted.nacked, published_answer(transacted.published)]


def read_transacted(answer: Any) -> Transacted:
    """That answer."""
    acked, nacked, published = answer
    return Transacted(acked, nacked, read_published(published))
