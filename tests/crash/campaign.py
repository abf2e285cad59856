"""The campaign: rounds of lives, each ended by a kill; after a round all is taken out, and what was told is judged."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx2

from queuesvc.store.interface import Durability
from queuesvc.store.sqlite.check.checker import check_store
from queuesvc.store.sqlite.store import FILE
from queuesvc.store.sqlite.wal import index_of
from tests.crash.checker import check
from tests.crash.client import Client, Unanswered, World
from tests.crash.counters import Stats, check_conservation
from tests.crash.disk import Disk
from tests.crash.history import History, How
from tests.crash.kills import Kill, Kind, armed, draw
from tests.crash.report import Report
from tests.crash.roles import STEPS
from tests.crash.topology import BINDINGS, DEAD_LETTERS, EXCHANGE, QUEUES
from tests.support.calls import Calls
from tests.support.server import Server, ServerFailed

KILLS_A_ROUND = 25
KILLED = -9
REACHED_SECONDS = 2.0
"""How long a system call is waited for; then the kill is one at a moment."""
STOP_SECONDS = 0.2
"""About how long a broker takes to stop."""
DRAIN_SECONDS = 60.0
Say = Callable[[str], None]


async def campaign(
    folder: Path, kills: int, kinds: tuple[Kind, ...], seed: int, say: Say, durability: Durability = "full"
) -> Report:
    """So many kills of these kinds. Stops after the first round that found something; its files stay in the folder."""
    report = Report()
    while report.killed < kills and not report.faults:
        number = report.rounds + 1
        room = folder / f"round-{number}"
        room.mkdir(parents=True)
        chance = random.Random(f"{seed}/{number}")
        left = min(KILLS_A_ROUND, kills - report.killed)
        report.add(await play(room, [draw(chance, kinds) for _ in range(left)], chance, durability))
        say(f"{report.killed} of {kills} kills: {report.short()}")
    return report


async def play(room: Path, kills: list[Kill], chance: random.Random, durability: Durability = "full") -> Report:
    """One round of these kills."""
    power = any(kill.kind is Kind.POWER for kill in kills)
    with _store(room, power) as (data, disk), (room / "history.jsonl").open("wb", buffering=0) as lines:
        return await Round(data, disk, chance, lines, durability).run(kills)


@contextlib.contextmanager
def _store(room: Path, power: bool) -> Iterator[tuple[Path, Disk | None]]:
    """Where the data is; on a disk of its own where that is to be cut off."""
    if not power:
        yield room / "data", None
        return
    with Disk(room) as disk:
        yield disk.place / "data", disk


@dataclass
class Round:
    """One store and its brokers, one after the other."""

    data: Path
    disk: Disk | None
    chance: random.Random
    lines: BinaryIO
    durability: Durability = "full"
    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    at: str = "before the first kill"

    async def run(self, kills: list[Kill]) -> Report:
        """Under load, killed so, then emptied and judged."""
        room = Path(self.lines.name).parent
        self.server = Server(self.data, ["--durability", self.durability], log_file=room / "broker.log")
        self.world = World(0, self.chance, History(self.lines))
        try:
            await asyncio.to_thread(self.server.start)
            self.world.port = self.server.port
            await set_up(self.server)
            async with self._load():
                self.world.up.set()
                for kill in kills:
                    self.at = str(kill)
                    await self._live(kill, room)
                    if self.faults:
                        break
                self.server.python = armed(Kill(Kind.RANDOM), room)
                await self._start()
            return await self._judge()
        finally:
            self.server.close()

    @contextlib.asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        """All clients at work; they end with the broker up."""
        clients = [asyncio.create_task(self.world.live(step)) for step in STEPS]
        try:
            yield
            self.world.over = True
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    # --- one life ------------------------------------------------------------------

    async def _live(self, kill: Kill, room: Path) -> None:
        """Start as the kill says, work, die, look at what is left."""
        if self.server.running and (kill.starting or kill.kind is Kind.SYSCALL):
            # To be started in another way, it ends in an ordinary one.
            await self._die(Kill(Kind.RANDOM))
        if not self.server.running:
            self.server.python = armed(kill, room)
            if kill.starting:
                self.server.begin()
                await passing(kill.seconds)
            elif not await self._start():
                await self._dead(f"{kill.kind.value} ({kill.call}, at the start)")
                return
        if not kill.starting and not await self._worked(kill):
            await self._dead(f"{kill.kind.value} ({kill.call})")
            return
        await self._die(kill)

    async def _start(self) -> bool:
        """Whether it came up; it may be killed on the way at a system call, and by nothing else."""
        if not self.server.running:
            self.server.begin()
            try:
                await asyncio.to_thread(self.server.await_start)
            except ServerFailed as failed:
                if self.server.code != KILLED:
                    self.faults.append(f"start: {failed}, after {self.at}")
                return False
        with contextlib.suppress(Unanswered):
            self.faults += [f"{fault}, after {self.at}" for fault in check_conservation(await self._ask())]
        self.world.up.set()
        return True

    async def _worked(self, kill: Kill) -> bool:
        """The load, and the lull if there is one. Whether it still runs then: it may have come to its system call."""
        await self._running(kill.seconds)
        if kill.lull:
            self.world.up.clear()
            await self._running(kill.lull)
        if kill.kind is Kind.SYSCALL:
            self.world.up.set()
            await self._running(REACHED_SECONDS)
        return self.server.running or kill.kind is not Kind.SYSCALL

    async def _running(self, seconds: float) -> None:
        """Until so much time has passed, or it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.server.running:
                    await passing(0.005)

    async def _die(self, kill: Kill) -> None:
        """At once, or on its way out, or with the power of its disk."""
        self.world.up.clear()
        name = kill.kind.value + (" (at the start)" if kill.starting and kill.kind is Kind.POWER else "")
        match kill.kind:
            case Kind.STOP:
                self.world.stops = True
                self.server.end()
                await passing(self.chance.uniform(0, STOP_SECONDS))
            case Kind.POWER:
                assert self.disk is not None
                self.world.dark = True
                index = index_of(self.data / FILE)
                self.disk.cut(*[index] if index.exists() and self.chance.random() < 0.5 else [])
            case Kind.SYSCALL:
                name = f"{Kind.RANDOM.value} ({kill.call} not reached)"
        self.server.close()
        if kill.kind is Kind.POWER and self.disk is not None:
            await asyncio.to_thread(self.disk.back)
        await self._dead(name)
        self.world.stops = self.world.dark = False

    async def _dead(self, name: str) -> None:
        # It may have come to its end by itself.
        self.world.up.clear()
        self.server.close()
        self.kills[name] += 1
        await self._look()

    async def _look(self) -> None:
        """Is the file whole, as it lies there with its log?"""
        if (self.data / FILE).exists():
            checked = await asyncio.to_thread(check_store, self.data / FILE)
            # That the newest are missing is what a relaxed store may lose with the power.
            said = [finding for finding in checked.findings if self.durability == "full" or finding[:4] != "log:"]
            self.faults += [f"check: {finding}, after {self.at}" for finding in said]

    # --- the end -------------------------------------------------------------------

    async def _judge(self) -> Report:
        """Take everything out, stop, and hold what was told against it."""
        stats = await self._drained()
        if await asyncio.to_thread(self.server.stop) != 0:
            self.faults.append(f"stop: {self.server.log[-2000:]}")
        await self._look()
        verdict = check(self.world.history.ops, stats)
        self.faults += map(str, verdict.faults)
        self.faults += self.world.faults
        if "Traceback" in self.server.log:
            self.faults.append(f"traceback: {self.server.log[-4000:]}")
        return Report(self.kills, verdict.figures, self.faults)

    async def _drained(self) -> Stats:
        """Acknowledge all there is, the dead too; waits for leases and delays. The statistics after that."""
        calls = Calls(self.server.port)
        client = Client(self.world, calls)
        stats: Stats = {}
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while True:
                    stats = await client.stats()
                    filled = {name: stats[name] for name in QUEUES.keys() & stats.keys() if here(stats[name])}
                    if not filled:
                        break
                    for name, kept in filled.items():
                        await self._drain(client, name, kept["dead"])
        except TimeoutError:
            self.faults.append("stuck: messages that nobody gets, long after every lease")
        except Unanswered as error:
            self.faults.append(f"stuck: {error}")
        finally:
            await calls.close()
        return stats

    async def _drain(self, client: Client, queue: str, dead: int) -> None:
        if dead:
            await client.redrive(queue, **{"from": "dead"})
        got = await client.receive(queue, 1000, 0.2)
        await client.settle(How.ACK, got)

    async def _ask(self) -> Stats:
        calls = Calls(self.server.port)
        try:
            return await Client(self.world, calls).stats()
        finally:
            await calls.close()


def here(stats: Mapping[str, int]) -> int:
    """How many messages a queue holds."""
    return stats["ready"] + stats["leased"] + stats["delayed"] + stats["dead"]


async def passing(seconds: float) -> None:
    """The load goes on for so long: the moment of a kill is drawn, not waited for."""
    moment = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, moment.set)
    await moment.wait()


async def set_up(server: Server) -> None:
    """Exchanges, queues, bindings."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        queues = [{"name": name, **kept.settings} for name, kept in QUEUES.items()]
        bindings = [{"source": EXCHANGE, "queue": queue, "routing_key": key} for queue, key in BINDINGS.items()]
        bindings.append({"source": DEAD_LETTERS, "queue": "graves", "routing_key": ""})
        exchanges = [{"name": EXCHANGE, "type": "topic"}, {"name": DEAD_LETTERS, "type": "fanout"}]
        document = {"exchanges": exchanges, "queues": queues, "bindings": bindings}
        answer = await http.put("/v1/definitions", json=document)
        assert answer.status_code in (200, 201), answer.text
