"""Group commit: what waits in the line becomes one batch, one transaction, one fsync.

There is no timer in it: the next batch is what came in during the last commit.
Receives are not in the line: they wait in theirs (`waiters`), and each batch
serves those it can.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from queuesvc.broker.line import Answer, Item, Line, Question, unavailable
from queuesvc.broker.meter import Meter
from queuesvc.broker.waiters import Waiter, Waiters
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Refused
from queuesvc.domain.replies import Received
from queuesvc.store.interface import Applied, Store, StoreBroken, StoreUnavailable

log = logging.getLogger(__name__)

# Upkeep: how long nothing must have been written to call it idle, the pause between
# two steps of it, and how often to look for it while there is no idleness.
IDLE_SECONDS = 0.25
STEP_SECONDS = 0.02
LOOK_SECONDS = 1.0
# How long questions are answered before the others have their turn: about as long as a page of a MiB takes.
ASKED_SECONDS = 0.002
# After a batch that could not be stored, how long what time does waits for the next.
RETRY_SECONDS = 1.0

NOTHING = Received()
BROKEN = "the store is broken: the broker must be started again"


class Committer:
    """The line, and the task that works it off. `now` is broker time."""

    def __init__(self, store: Store, waiters: Waiters, meter: Meter, now: Callable[[], int]) -> None:
        self._store = store
        self._waiters = waiters
        self._meter = meter
        self._now = now
        self._line = Line()
        self._under_way: list[Item] = []
        self._unserved: Collection[str] = ()
        self._impatient: list[Waiter] = []
        self._awake = False
        self._sleeper: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0
        self._retry_at = 0.0
        self._wrote_at = time.monotonic()
        self._upkeep_at = self._wrote_at
        self._upkeep_left = True
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.broken = asyncio.Event()

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Work off what is in the line, and end."""
        self._closing = True
        self.wake()
        if self._task is not None:
            await self._task
        if self._timer is not None:
            self._timer.cancel()

    # --- the line -----------------------------------------------------------------

    def put(self, command: c.Command | c.Query) -> Answer:
        """To the end of the line. Raises `unavailable` where it is too long or the store broke."""
        if self._retry_at and isinstance(command, c.GROWING) and time.monotonic() < self._retry_at:
            # Each try on a full disk costs a rebuild from the file: one a second is enough.
            raise unavailable("the store could not be written to a moment ago")
        self._check_open()
        answer = self._line.put(command)
        self.wake()
        return answer

    def undeliver(self, queue: str, lease: int) -> Answer:
        """Take back a lease that reached nobody. No line is too long for it: there are no more of them than leases."""
        self._check_open()
        answer = self._line.append(c.Undeliver(queue, lease))
        self.wake()
        # Often nobody awaits it, and then a failure is nothing new: the lease runs out in its time.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    def join(self, waiter: Waiter, patient: bool) -> None:
        """Have a receive served as messages come; an impatient one only by the next batch."""
        self._check_open()
        self._waiters.join(waiter)
        if not patient:
            self._impatient.append(waiter)
        self.wake()

    def _check_open(self) -> None:
        if self.broken.is_set():
            raise unavailable(BROKEN)

    # --- the work -------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self.broken.is_set() and not (self._closing and not self._line):
                await self._sleep()
                # One turn of the loop: who was answered by the last batch gets its next command into this one.
                await asyncio.sleep(0)
                await self._turn()
                await self._upkeep()
                self._set_timer()
        except Exception:
            # A broker that commits nothing must not live on.
            log.critical("the committer failed unexpectedly", exc_info=True)
            self._break(self._under_way)

    async def _sleep(self) -> None:
        """Until there is something to do. (An event with a timeout costs several objects a batch.)"""
        if not self._awake and not self._closing:
            loop = asyncio.get_running_loop()
            self._sleeper = loop.create_future()
            pause = max(0.0, self._upkeep_at - time.monotonic()) if self._upkeep_left else None
            timer = None if pause is None else loop.call_later(pause, self.wake)
            await self._sleeper
            if timer is not None:
                timer.cancel()
        self._awake = False

    async def _turn(self) -> None:
        commands, questions = self._line.take()
        self._under_way = commands
        impatient, self._impatient = self._impatient, []
        self._unserved = ()
        try:
            await self._commit(commands)
        except StoreUnavailable as error:
            await self._commit_without_publishes(commands, error)
        for waiter in impatient:
            if waiter.receive.queue in self._unserved:
                self._impatient.append(waiter)  # its turn comes with the next batch
            elif self._waiters.leave(waiter) and not waiter.answer.done():
                waiter.answer.set_result(NOTHING)
        await self._answer_some(questions)
        if self._line:
            self.wake()

    async def _commit(self, commands: list[Item]) -> None:
        """One batch. Raises `StoreUnavailable`; what else goes wrong is answered here."""
        began = time.perf_counter()
        try:
            applied = await self._store.apply([command for command, _ in commands], self._now(), self._waiters)
        except StoreUnavailable:
            self._meter.commit_failures += 1
            self._retry_at = time.monotonic() + RETRY_SECONDS
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.wake)
            raise
        except StoreBroken as error:
            self._meter.commit_failures += 1
            self._break(commands, error)
        except Exception as error:
            log.exception("a batch failed unexpectedly")
            self._meter.commit_failures += 1
            self._refuse(commands, error)
        else:
            self._resolve(commands, applied)
            if applied.wrote:
                self._count(len(commands) + len(applied.served), time.perf_counter() - began)

    async def _commit_without_publishes(self, commands: list[Item], error: StoreUnavailable) -> None:
        """A full disk must not keep anybody from emptying it: what takes no room is tried once more by itself."""
        log.error("the store can't be written to: %s", error)
        refusal = unavailable(f"the store can't be written to: {error}")
        others: list[Item] = [(command, answer) for command, answer in commands if not isinstance(command, c.GROWING)]
        if len(others) == len(commands):
            self._refuse(commands, refusal)
            return
        for command, answer in commands:
            if isinstance(command, c.GROWING) and not answer.done():
                answer.set_exception(refusal)
        self._waiters.put_back()
        self._waiters.renew()
        try:
            await self._commit(others)
        except StoreUnavailable:
            self._refuse(others, refusal)

    def _refuse(self, commands: list[Item], refusal: Exception) -> None:
        """Nothing of this batch happened: say so to all who are in it. Who only waits is tried again."""
        self._waiters.renew()
        answers = [answer for _, answer in commands] + [waiter.answer for waiter in self._waiters.take_taken()]
        for answer in answers:
            if not answer.done():
                answer.set_exception(refusal)

    def _break(self, commands: list[Item], error: StoreBroken | None = None) -> None:
        """Nothing can be relied on any more: say so to everyone."""
        if error is not None:
            log.critical("the store broke: %s", error)
        self.broken.set()
        refusal = unavailable(BROKEN)
        self._refuse(commands, refusal)
        answers = self._line.clear() + [waiter.answer for waiter in self._waiters.everyone()]
        for answer in answers:
            if not answer.done():
                answer.set_exception(refusal)

    def _resolve(self, commands: list[Item], applied: Applied) -> None:
        for (command, answer), reply in zip(commands, applied.replies, strict=True):
            self._meter.count_reply(command, reply)
            if answer.done():
                continue
            if isinstance(reply, Refused):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)
        for receive, received in applied.served:
            self._hand_over(receive, received)
        self._unserved = applied.unserved
        if applied.unserved:
            self.wake()
        for address, content in applied.answers:
            self._waiters.hand_reply(address, content)

    def _hand_over(self, receive: c.Receive, received: Received | Refused) -> None:
        answer = self._waiters.served(receive).answer
        if isinstance(received, Refused):
            if not answer.done():
                answer.set_exception(received)
            return
        self._meter.count_received(receive, received)
        if not answer.done():
            answer.set_result(received)
        elif received.lease:
            # Whoever asked went away during the commit.
            self.undeliver(receive.queue, received.lease)

    def _count(self, commands: int, seconds: float) -> None:
        self._meter.commits += 1
        self._meter.batch_commands.observe(commands)
        self._meter.commit_seconds.observe(seconds)
        self._wrote_at = time.monotonic()
        if not self._upkeep_left:
            self._upkeep_left = True
            self._upkeep_at = self._wrote_at + IDLE_SECONDS

    async def _answer_some(self, questions: list[Question]) -> None:
        """Pages are large: the next is read when these are written, and behind whatever else has come by then."""
        began = time.perf_counter()
        for answered, question in enumerate(questions, 1):
            await self._answer(*question)
            if time.perf_counter() - began > ASKED_SECONDS:
                self._line.put_back(questions[answered:])
                return

    async def _answer(self, query: c.Query, answer: Answer) -> None:
        if answer.done():
            return
        try:
            answer.set_result(await self._store.ask(query, self._now(), self._waiters))
        except StoreUnavailable as error:
            log.error("the store can't be read: %s", error)
            answer.set_exception(unavailable(f"the store can't be read: {error}"))
        except StoreBroken as error:
            answer.set_exception(unavailable(BROKEN))
            self._break([], error)
        except Refused as refusal:
            # Without the way it came, which knows the answer, which knows it: neither would ever be freed.
            answer.set_exception(refusal.with_traceback(None))
        except Exception as error:
            answer.set_exception(error)

    def send_away(self, waiter: Waiter) -> None:
        """Whoever still waits gets the empty answer."""
        if self._waiters.leave(waiter):
            self.wake()
            if not waiter.answer.done():
                waiter.answer.set_result(NOTHING)

    def wake(self) -> None:
        """Make a batch soon, even of no commands: somebody left a line, and an unused queue may expire by that."""
        self._awake = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    # --- what time does --------------------------------------------------------------

    def _set_timer(self) -> None:
        due = self._store.next_due()
        if due is None:
            return
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        # What is due cannot be done while the store can't be written to: not before it is time to try again.
        delay = max(0.0, (due - self._now()) / 1000, self._retry_at - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        self.wake()

    async def _upkeep(self) -> None:
        now = time.monotonic()
        if now < self._upkeep_at or self.broken.is_set():
            return
        idle = not self._line and now - self._wrote_at >= IDLE_SECONDS
        try:
            self._upkeep_left = await self._store.maintain(idle)
        except StoreBroken as error:
            self._break([], error)
            return
        except StoreUnavailable as error:
            log.error("upkeep of the store failed, and is tried again: %s", error)
            self._upkeep_at = now + LOOK_SECONDS
            return
        except Exception:
            log.exception("upkeep of the store failed unexpectedly; it is tried again")
            self._upkeep_at = now + LOOK_SECONDS
            return
        if not idle and not self._upkeep_left:
            self._upkeep_left = True  # space may be given back once it is idle
            self._upkeep_at = now + LOOK_SECONDS
        else:
            self._upkeep_at = now + STEP_SECONDS
