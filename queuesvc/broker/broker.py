"""The running broker: its verbs over one store."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from queuesvc.broker.clock import Clock
from queuesvc.broker.committer import Committer
from queuesvc.broker.line import Answer, unavailable
from queuesvc.broker.meter import Meter
from queuesvc.broker.tokens import Tokens, new_token
from queuesvc.broker.waiters import Waiter, Waiters
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.limits import LIST_ITEMS, REPLY_PREFIX
from queuesvc.domain.model import Content
from queuesvc.domain.replies import Page, Published, Received, Redriven
from queuesvc.domain.tokens import Permissions, Token, digest_of
from queuesvc.store.interface import Store, StoreUnavailable

log = logging.getLogger(__name__)


class Broker:
    """One store, run. All methods belong to one event loop.

    `accepting` is False before `open` and from `shut_down` on; `broken` is set when the store
    failed in a way that only a new start can mend.
    """

    def __init__(self, store: Store, clock: Callable[[int], Clock] = Clock) -> None:
        self._store = store
        self._make_clock = clock
        self._waiters = Waiters()
        self._clock: Clock
        self.ids: Ids
        self.meter = Meter()
        self.accepting = False
        self._committer = Committer(store, self._waiters, self.meter, lambda: self._clock.now())
        self.broken = self._committer.broken
        self.tokens = Tokens(lambda: self._clock.now(), self._note_token_uses)

    async def open(self) -> None:
        """Open the store, do what fell due meanwhile, and begin. Raises `StoreRefused`."""
        opened = await self._store.open()
        self._clock = self._make_clock(opened.latest_at)
        self.ids = Ids(opened.tag)
        self._committer.start()
        await self._load_tokens()
        self.accepting = True
        try:
            await self.submit(c.Tick())
        except Refused as refusal:
            # Reads and acks may work all the same, and `/readyz` tells.
            log.error("the store can be read but not written to: %s", refusal.detail)

    def now(self) -> int:
        """Broker time, in milliseconds since 1970 UTC."""
        return self._clock.now()

    @property
    def waiting(self) -> int:
        """How many receives wait."""
        return len(self._waiters)

    def submit(self, command: c.Command) -> Answer:
        """Have a command applied. The future is resolved once it is on the disk, or raises `Refused`.

        Commands are applied in the order of their submits, whoever awaits them. Raises
        `unavailable` at once for a publish while shutting down, or while too much waits.
        """
        publishes = isinstance(command, c.Publish) or (isinstance(command, c.Transaction) and command.publishes)
        if publishes and not self.accepting:
            raise unavailable("the broker is shutting down")
        return self._committer.put(command)

    def ask(self, query: c.Query) -> Answer:
        """Have a question answered from what is on the disk. The future may raise `Refused`."""
        return self._committer.put(query)

    def wait(self, receive: c.Receive, wait_ms: int) -> asyncio.Future[Received]:
        """Stand in line, and be leased messages within so long. The future may raise `Refused`.

        Cancelled or otherwise completed from outside, it leaves the line, and what is leased for it meanwhile is
        ready again. What it got is for its holder to use, or to `undeliver`.
        """
        loop = asyncio.get_running_loop()
        waiter = Waiter(receive, loop.create_future())
        patient = wait_ms > 0 and self.accepting
        self._committer.join(waiter, patient)
        timeout = loop.call_later(wait_ms / 1000, self._committer.send_away, waiter) if patient else None
        waiter.answer.add_done_callback(partial(self._answered, waiter, timeout))
        return waiter.answer

    def _answered(self, waiter: Waiter, timeout: asyncio.TimerHandle | None, _: asyncio.Future[Received]) -> None:
        if timeout is not None:
            timeout.cancel()
        if self._waiters.leave(waiter):
            self._committer.wake()

    async def receive(self, receive: c.Receive, wait_ms: int) -> Received:
        """Lease messages, waiting up to so long for the first. Raises `Refused`.

        Cancelled at any moment, it leaves no message leased.
        """
        answer = self.wait(receive, wait_ms)
        try:
            return await answer
        except asyncio.CancelledError:
            # It may have come while we were being cancelled.
            if not answer.cancelled() and answer.exception() is None and answer.result().lease:
                self._committer.undeliver(receive.queue, answer.result().lease)
            raise

    def reply_address(self) -> str:
        """A new address for a reply, which nobody can guess."""
        return REPLY_PREFIX + secrets.token_urlsafe(24)

    async def request(self, publish: c.Publish, address: str, wait_ms: int) -> tuple[Published, Content | None]:
        """Publish, and wait so long for a reply to this address (of `reply_address`, and in the envelope).

        Returns the publish's answer and the reply's content, None where none came. Raises `Refused`.
        """
        reply: asyncio.Future[Content | None] = asyncio.get_running_loop().create_future()
        self._waiters.expect(address, reply)
        try:
            published = await self.submit(publish)
            assert isinstance(published, Published)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000 if self.accepting else 0):
                    return published, await reply
            return published, None
        finally:
            self._waiters.give_up(address)

    async def redrive(self, command: c.Redrive) -> Redriven:
        """All of a redrive, in bounded steps, each of them durable. Raises `Refused`."""
        moved = 0
        failed: tuple[tuple[str, Code], ...] = ()
        while True:
            step = await self.submit(replace(command, max_messages=command.max_messages - moved))
            assert isinstance(step, Redriven)
            moved += step.moved
            failed += step.failed
            if step.after is None or moved >= command.max_messages:
                return Redriven(moved, failed, step.source)
            command = replace(command, source=step.source, after=step.after, before=step.before)

    # --- tokens -----------------------------------------------------------------------

    async def create_token(self, name: str, permissions: Permissions, expires_ms: int | None) -> tuple[Token, str]:
        """Make a token; returns it and, for this one time, what its holder writes. Raises `conflict`."""
        id_, text = new_token()
        made = self._committer.put(c.CreateToken(name, id_, digest_of(text), permissions, expires_ms))
        made.add_done_callback(self._token_made)
        # Whoever asks may leave meanwhile: what is on the disk must be known here all the same.
        token = await asyncio.shield(made)
        assert isinstance(token, Token)
        return token, text

    async def revoke_token(self, name: str) -> None:
        """Remove a token: its holder may do nothing from now on, and what waits under it ends. Raises `not-found`."""
        revoked = self._committer.put(c.RevokeToken(name))
        revoked.add_done_callback(lambda done: self.tokens.revoked(name) if _went_well(done) else None)
        await asyncio.shield(revoked)

    def _token_made(self, done: Answer) -> None:
        if _went_well(done):
            token = done.result()
            assert isinstance(token, Token)
            self.tokens.made(token)

    async def _load_tokens(self) -> None:
        after: str | None = ""
        while after is not None:
            page = await self.ask(c.ListTokens(after, LIST_ITEMS))
            assert isinstance(page, Page)
            self.tokens.load(page.items)
            after = page.next

    def _note_token_uses(self) -> None:
        uses = self.tokens.take_uses()
        if uses:
            with contextlib.suppress(Refused):
                # Nobody awaits it, and a use that could not be kept is told by the next.
                self._committer.put(c.NoteTokenUse(uses)).add_done_callback(_went_well)

    def undeliver(self, queue: str, lease: int) -> Answer:
        """The answer with this lease could not be written: its messages are ready again, uncounted.

        The future need not be awaited. Raises `unavailable` where the store is broken.
        """
        return self._committer.undeliver(queue, lease)

    async def backup(self) -> BinaryIO:
        """A copy of all that is on the disk now, as a file that is gone when it is closed. Raises `Refused`."""
        if not self.accepting:
            raise unavailable("the broker is shutting down")
        try:
            return await self._store.backup()
        except StoreUnavailable as error:
            raise unavailable(str(error)) from error

    def shut_down(self) -> None:
        """Begin to end: no publishes any more, and every waiting receive ends empty."""
        self.accepting = False
        for waiter in self._waiters.everyone():
            self._committer.send_away(waiter)
        self._waiters.end_requests()

    async def close(self) -> None:
        """Finish what was submitted, and close the store."""
        self.shut_down()
        self._note_token_uses()
        await self._committer.stop()
        await self._store.close()


def _went_well(done: Answer) -> bool:
    return not done.cancelled() and done.exception() is None
