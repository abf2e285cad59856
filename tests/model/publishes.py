"""Random publishes, some of them again: with the same idempotency key, as it was or altered."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from queuesvc.domain import commands as c
from queuesvc.domain.model import Envelope
from tests.model.choices import ADDRESSES, DELAYS_MS, GROUPS, KEYS, PRIORITIES, SIZES, TTLS_MS

if TYPE_CHECKING:
    from tests.model.histories import Histories

REMEMBERED = 30


class Publishes:
    """Makes publishes for a history."""

    def __init__(self, histories: "Histories") -> None:
        self.of, self.pick, self.number, self.one_in = histories, histories.pick, histories.number, histories.one_in
        self.made = 0
        self.keyed: list[Any] = []

    def publish(self) -> Any:
        """One envelope, or a batch; sometimes what was published before."""
        batch = self.one_in(3)
        key = self.of.key() if self.one_in(2) else ""
        return self.again(self.target(self.number(1, 4) if batch else 1, batch, key))

    def single(self) -> c.Publish:
        """As it stands in a transaction."""
        return self.target(1, False, "")

    def target(self, count: int, batch: bool, key: str) -> c.Publish:
        envelopes = tuple(self.envelope() for _ in range(count))
        if self.one_in(3):
            name = self.pick(ADDRESSES) if self.one_in(6) else self.of.queue()
            # Whose name is the routing key: the caller sets it.
            envelopes = tuple(envelope._replace(routing_key=name) for envelope in envelopes)
            return c.Publish(envelopes, queue=name, batch=batch, idempotency_key=key)
        return c.Publish(envelopes, exchange=self.of.exchange(), batch=batch, idempotency_key=key)

    def envelope(self) -> Envelope:
        self.made += 1
        body = f"{self.made}:".encode() + b"\xff" * self.pick(SIZES) if not self.one_in(20) else b""
        bindings = self.of.model.bindings
        headers = self.pick([self.of.headers(), *(binding.headers for binding in bindings if binding.headers)])
        priority, group = self.pick(PRIORITIES), self.pick(GROUPS)
        properties = {"content_type": "text/plain", "headers": headers, "priority": priority, "group": group or None}
        properties |= {"correlation_id": None, "reply_to": self.pick([None, *ADDRESSES])}
        return Envelope(
            body,
            json.dumps(properties, ensure_ascii=self.one_in(3), separators=(",", ":"))[1:-1],
            self.pick([*KEYS, *(binding.routing_key for binding in bindings)]),
            headers,
            priority,
            group,
            self.pick(DELAYS_MS),
            self.pick(TTLS_MS),
            self.one_in(10),
            self.of.key(),
        )

    # --- again ---

    def again(self, command: Any) -> Any:
        """The command, or one of those with a key that were there before, perhaps altered."""
        if not has_key(command):
            return command
        if self.keyed and self.one_in(2):
            return self.altered(self.pick(self.keyed))
        self.keyed = [*self.keyed, command][-REMEMBERED:]
        return command

    def altered(self, command: Any) -> Any:
        if isinstance(command, c.Transaction):
            return replace(command, acks=()) if self.one_in(4) else command
        first = command.envelopes[0]
        members = list(json.loads("{" + first.properties + "}").items())
        shuffled = json.dumps(dict(reversed(members)), separators=(",", ":"))[1:-1]
        changed = self.pick(
            [
                first,
                first,
                first._replace(properties=shuffled),
                first._replace(body=first.body + b"!"),
                first._replace(ttl_ms=77),
                first._replace(delay_ms=77),
                first._replace(mandatory=not first.mandatory),
            ]
        )
        return replace(command, envelopes=(changed, *command.envelopes[1:]))


def has_key(command: Any) -> bool:
    """Whether any idempotency key is in it."""
    envelopes = getattr(command, "envelopes", ())
    return bool(command.idempotency_key) or any(envelope.idempotency_key for envelope in envelopes)
