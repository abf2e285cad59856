"""The bench measures what it says, ends what it starts, and writes what it found. No time is asserted here."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scripts.bench_support.connection import BadAnswer, Connection, request
from scripts.bench_support.places import COLUMNS
from scripts.bench_support.plan import Aim, Figure
from scripts.bench_support.rates import publish_to
from scripts.bench_support.servers import BenchFailed, broker, declare, generate
from scripts.bench_support.spec import Consume, Latency, Publish, Spec
from tests.support.server import Server

FIGURES: dict[str, str | None] = {
    "publish_single": "ratio",
    "publish_single_cpu": None,
    "publish_32": None,
    "bare_asgi": None,
    "single_end_to_end": None,
    "single_end_to_end_ack_in_receive": None,
    "single_latency": None,
    "batch_end_to_end": "value",
    "batch_publish": None,
    "batch_consume": None,
    "raw_sqlite": None,
    "fsync": None,
}
for column in COLUMNS:
    FIGURES[f"topic_{column}"] = None
    if column != "single_latency":  # what comes from a deep queue was published long ago
        FIGURES[f"deep_{column}"] = None


def stats(http: httpx2.Client, queue: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/v1/queues/{queue}").json()["stats"]
    return found


def test_a_bench_under_tokens_shows_them(tmp_path: Path) -> None:
    with broker(tmp_path, tokens=True) as needing, broker(tmp_path) as other:
        for server in (needing, other):
            declare(server, "q")
            publish = publish_to("q", 2)
            assert generate(Spec(server.port, server.pid, 5, 0, 20, publish)).messages == 20
            consume = Consume("q", 2, 10)
            assert generate(Spec(server.port, server.pid, 5, 0, 0, consume=consume)).messages == 20
        codes = [httpx2.get(f"{server.url}/v1/queues").status_code for server in (needing, other)]
    assert codes == [401, 200]


@pytest.mark.slow
def test_the_smallest_bench_writes_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "bench.json"
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "scripts.bench_support",
        "--smoke",
        "--directory",
        str(folder),
        "--json",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert found["size"] == "smoke"
    assert found["machine"]["cores"] >= 1
    assert found["generator_limit"] > 0
    assert {name: figure.get("aim", {}).get("of") for name, figure in found["figures"].items()} == FIGURES
    for name, figure in found["figures"].items():
        # In the wide tables a title may be broken into lines.
        assert all(word in done.stdout for word in f"{figure['title']} {figure['row']}".split()), name
        assert figure["rounds"], name
        assert min(figure["rounds"]) >= 0, name
        assert ("ratio" in figure) == ("beside" in figure), name
    for name in ("publish_single", "single_latency", "batch_consume"):
        latency = found["figures"][name]["answer_ms"]
        assert 0 < latency["p50"] <= latency["p99"], name
    assert found["figures"]["single_latency"]["delivery_ms"]["p50"] > 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("ack", ["next", "call"])
def test_every_message_is_published_received_and_acknowledged_once(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str], batch: int, ack: Any
) -> None:
    queue = name("bench")
    declare(shared_server, queue)
    consume = Consume(queue, 3, batch, 0.2, ack)
    spec = Spec(shared_server.port, shared_server.pid, 20, 0, 3 * batch, publish_to(queue, 2, batch), consume)
    result = generate(spec)
    counts = stats(shared, queue)
    assert counts["published"] >= 3 * batch
    assert result.messages == counts["published"] == counts["acked"]
    assert counts["ready"] == counts["leased"] == 0


def test_publishers_alone_then_consumers_alone(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str]
) -> None:
    queue = name("bench")
    declare(shared_server, queue)
    port, pid = shared_server.port, shared_server.pid
    published = generate(Spec(port, pid, 20, most=600, publish=publish_to(queue, 2, 100)))
    assert published.messages == stats(shared, queue)["ready"] == 600
    consumed = generate(Spec(port, pid, 20, consume=Consume(queue, 2, 100)))
    assert consumed.messages == stats(shared, queue)["acked"] == 600


def test_at_a_rate_each_delivery_is_timed(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str]
) -> None:
    queue = name("bench")
    declare(shared_server, queue)
    publish, consume = publish_to(queue, 4, rate=200), Consume(queue, 2, 1, 0.2, "call")
    result = generate(Spec(shared_server.port, shared_server.pid, 0.25, publish=publish, consume=consume))
    counts = stats(shared, queue)
    assert 0 < result.messages <= 50
    assert result.messages == counts["acked"] == result.delivery.count == result.answer.count
    assert 0 < result.delivery.p50_ms <= result.delivery.p99_ms <= result.delivery.max_ms


def test_a_refusal_ends_the_run_and_is_told(shared_server: Server, name: Callable[..., str]) -> None:
    load = Publish(f"/v1/exchanges/{name('none')}/messages", 2)
    with pytest.raises(BenchFailed, match="exchange-not-found"):
        generate(Spec(shared_server.port, shared_server.pid, 20, most=10, publish=load))


def test_percentiles() -> None:
    latency = Latency.of([million * 1_000_000 for million in range(1, 101)])
    assert (latency.count, latency.p50_ms, latency.p99_ms, latency.max_ms) == (100, 51, 100, 100)
    assert Latency.of([]) == Latency()


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    figure = Figure("a", "messages/s", aim=Aim("ratio", 0.5))
    for value, beside in ((10, 100), (60, 100), (70, 100)):
        figure.add(value, beside)
    assert (figure.value, figure.ratio) == (60, 0.6)
    assert figure.document()["aim"] == {"of": "ratio", "at_least": 0.5, "met": True}
    figure.aim = Aim("value", at_most=50)
    assert figure.document()["aim"]["met"] is False


class Recorder(Connection):
    """Keeps the answers it is given."""

    def __init__(self, failed: asyncio.Future[None]) -> None:
        super().__init__(failed)
        self.answers: list[bytes] = []

    def answered(self, data: bytes) -> None:
        self.answers.append(data)


async def test_an_answer_may_come_in_pieces() -> None:
    failed = asyncio.get_running_loop().create_future()
    connection = Recorder(failed)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world"
    for cut in (len(answer) - 11, len(answer) - 4, len(answer)):
        for piece in (answer[:cut], answer[cut:]):
            if piece:
                connection.data_received(piece)
    assert connection.answers == [answer] * 3
    assert not failed.done()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}and more",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_good_answer_fails_the_run(answer: bytes) -> None:
    failed = asyncio.get_running_loop().create_future()
    connection = Recorder(failed)
    connection.data_received(answer)
    assert connection.answers == []
    with pytest.raises(BadAnswer):
        failed.result()


def test_a_request_is_whole() -> None:
    assert request("/v1/x", b"{}") == (
        b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
