"""What has ended is gone at once. The broker's cycle collector hardly ever runs, so what waits for it stays for good.

(Every connection, every wait that was left, many refusals and every deleted queue used to: 3 to 300 KB each.)
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import uvloop

from queuesvc.broker.broker import Broker
from queuesvc.http.app import create_app
from queuesvc.http.direct import Edge
from queuesvc.http.server import Server, bind
from queuesvc.store.sqlite.store import SqliteStore
from tests.http.wire import connect, read_answer, request_bytes
from tests.support.until import until

TIMES = 5
OURS = ("queuesvc.", "uvicorn.", "_asyncio.")

Scenario = Callable[[str], object]


def sent(url: str, *requests: bytes) -> None:
    """Send these, read an answer to each, and go."""
    with closing(connect(url)) as wire:
        for request in requests:
            wire.sendall(request)
            assert read_answer(wire) is not None


def left(url: str, *pieces: bytes) -> None:
    """Send these, and go."""
    with closing(connect(url)) as wire:
        for piece in pieces:
            wire.sendall(piece)


PUBLISH = request_bytes("/v1/queues/q/messages", b"x" * 1000)
WAIT = request_bytes("/v1/queues/empty/receive?wait_seconds=60")


def made_and_deleted(url: str) -> None:
    """A queue that comes and goes with messages in every state."""
    batch = (
        b'{"messages":[{"body":"1"},{"body":"2","group":"g"},{"body":"3","group":"g"},{"body":"4","delay_seconds":9}]}'
    )
    sent(
        url,
        request_bytes("/v1/queues/gone", b"{}").replace(b"POST", b"PUT", 1),
        request_bytes("/v1/queues/gone/messages/batch", batch),
        request_bytes("/v1/queues/gone/receive?max_messages=2"),
        request_bytes("/v1/queues/gone").replace(b"POST", b"DELETE", 1),
    )


SCENARIOS: dict[str, Scenario] = {
    "said nothing": left,
    "half a head": lambda url: left(url, PUBLISH[:30]),
    "half a body": lambda url: left(url, PUBLISH[:-500]),
    "published": lambda url: sent(url, PUBLISH, PUBLISH),
    "received": lambda url: sent(url, PUBLISH, request_bytes("/v1/queues/q/receive?wait_seconds=9&auto_ack=true")),
    "waited": lambda url: sent(url, request_bytes("/v1/queues/empty/receive?wait_seconds=0.1")),
    "left a wait": lambda url: left(url, WAIT),
    "left a wait and more": lambda url: left(url, WAIT + PUBLISH * 10),
    "left a request": lambda url: left(url, request_bytes("/v1/exchanges/x/request?wait_seconds=60", b"?")),
    "asked": lambda url: sent(url, request_bytes("/v1/exchanges/x/request?wait_seconds=0.1", b"?")),
    "refused by the broker": lambda url: sent(url, request_bytes("/v1/queues/none/messages", b"x")),
    "refused": lambda url: sent(url, request_bytes("/v1/queues/q/ack", b"[")),
    "no HTTP": lambda url: sent(url, b"\0\r\n\r\n"),
    "managed": lambda url: sent(url, b"GET /v1/queues/q HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a queue that comes and goes": made_and_deleted,
    "refused management": lambda url: sent(url, b"GET /v1/queues/none HTTP/1.1\r\nHost: localhost\r\n\r\n"),
}


@pytest.mark.parametrize("short_way", [True, False], ids=["direct", "asgi"])
def test_nothing_is_left_for_the_cycle_collector(tmp_path: Path, short_way: bool) -> None:
    async def serve() -> dict[str, Counter[str]]:
        broker = Broker(SqliteStore(tmp_path))
        await broker.open()
        app = create_app(broker)
        edge = Edge(app.data, app.guard, app.request_ids) if short_way else None
        server = Server(app, lambda: None, shutdown_seconds=1, patience_seconds=30, edge=edge)
        listener = bind("127.0.0.1", 0)
        running = asyncio.create_task(server.serve([listener]))
        try:
            await until(lambda: server.started)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            for path, body in (("queues/q", b"{}"), ("queues/empty", b"{}"), ("exchanges/x", b'{"type":"fanout"}')):
                await asyncio.to_thread(sent, url, request_bytes(f"/v1/{path}", body).replace(b"POST", b"PUT", 1))
            await asyncio.to_thread(sent, url, request_bytes("/v1/exchanges/x/bindings", b'{"queue":"q"}'))
            return {name: await garbage(server, scenario, url) for name, scenario in SCENARIOS.items()}
        finally:
            server.stop()
            await running
            await broker.close()

    async def garbage(server: Server, scenario: Scenario, url: str) -> Counter[str]:
        """What of ours is left for the collector when that was done a few times."""
        gc.collect()
        for _ in range(TIMES):
            await asyncio.to_thread(scenario, url)
        await until(lambda: not server.server_state.connections and not server.server_state.tasks)
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            names = [f"{type(one).__module__}.{type(one).__name__}" for one in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        return Counter(name for name in names if name.startswith(OURS))

    gc.disable()
    gc.freeze()  # what was there before need not be looked at
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(serve())
    finally:
        gc.unfreeze()
        gc.enable()
    assert {name: dict(left) for name, left in found.items() if left} == {}
