"""`POST /v1/exchanges/{x}/request`: publish, and wait for the reply (§7)."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from queuesvc.broker.broker import Broker
from queuesvc.domain.commands import Publish
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Content, Envelope
from queuesvc.domain.replies import Published
from queuesvc.http import request
from queuesvc.http.data import envelopes, render
from queuesvc.http.data.interruption import Interruption
from queuesvc.http.data.single import Single
from queuesvc.http.data.values import milliseconds
from queuesvc.http.data.wire import Answer, Begun, Request
from queuesvc.http.rates import Rates, until

WAIT_SECONDS: Final = 30
"""How long a request waits that does not say, or as long as any wait may be, if that is less."""

QUERY: Final[Mapping[str, request.Kind]] = {
    **{name: kind for name, kind in envelopes.QUERY.items() if name != "reply_to"},
    "wait_seconds": request.number,
}
"""The options of a publish, whose `reply_to` is ours here, and how long to wait."""


class Asking:
    """Publishes messages that ask for a reply, and waits for it."""

    def __init__(self, broker: Broker, limits: Limits, single: Single, rates: Rates | None) -> None:
        self._broker = broker
        self._rates = rates
        self._limits = limits
        self._single = single

    def ask(self, exchange: str, asked: Request) -> Begun:
        """200 with the reply's body and its properties as headers. Raises `no-reply` and what refuses a publish.

        One that reaches no queue is not waited for, since nobody can reply to it.
        """
        options = request.parse_query(asked.query, QUERY)
        wait_seconds = options.pop("wait_seconds", min(WAIT_SECONDS, self._limits.wait_seconds))
        wait_ms = milliseconds(wait_seconds, "wait_seconds", 0, self._limits.wait_seconds)
        address = self._broker.reply_address()
        envelope = self._single.read(asked, None, {**options, "reply_to": address})
        if envelope.idempotency_key:
            raise invalid("Idempotency-Key", "each request has a reply address of its own, so none is the same again")
        end = None
        if self._rates is not None:
            self._rates.publish(asked.grant, 1)
            end = self._rates.wait(asked.grant) if wait_ms else None
        work = self._ask(exchange, envelope, address, wait_ms, asked)
        return work if end is None else until(end, work), partial(self._replied, wait_seconds)

    def _replied(self, wait_seconds: float, found: tuple[Published, Content | None]) -> Answer:
        published, reply = found
        ids = self._broker.ids
        if reply is None:
            ((first, queues, _),) = published.results
            published_id = ids.make(published.published_at, first)
            raise Refused(
                Code.NO_REPLY, f"no reply came within {wait_seconds:g} seconds", id=published_id, queues=queues
            )
        return Answer(200, render.content_head(reply, ids), reply.body)

    async def _ask(
        self, exchange: str, envelope: Envelope, address: str, wait_ms: int, asked: Request
    ) -> tuple[Published, Content | None]:
        """What the broker says of it. Raises `ClientGone` where the client left."""
        command = Publish((envelope._replace(mandatory=True),), exchange)
        interruption = Interruption(asked)
        try:
            return await self._broker.request(command, address, wait_ms)
        except asyncio.CancelledError:
            if interruption.forgive():
                raise interruption.reason() from None
            raise
        except Refused as refused:
            if refused.code is Code.UNROUTABLE and not envelope.mandatory:
                raise Refused(Code.NO_REPLY, "the request reached no queue: nobody can reply", queues=[]) from None
            raise
        finally:
            interruption.stop()
