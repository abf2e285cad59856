"""A million messages in a queue: what they cost in memory, and what they cost a receive."""

import statistics
import time
from pathlib import Path

import httpx2
import pytest

from tests.support.server import Server

MESSAGES = 1_000_000
BODY_BYTES = 256
BATCH = 1000
RESIDENT_MIB = 300
RECEIVES = 300


def resident_mib(server: Server, field: str = "VmRSS") -> float:
    """What the broker's process has in memory now, or (`VmHWM`) had at most."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024


def fill(http: httpx2.Client, queue: str, messages: int) -> float:
    """Publish so many; returns the seconds it took."""
    batch = b"\n".join([b'{"body":"%s"}' % (b"x" * BODY_BYTES)] * BATCH)
    began = time.perf_counter()
    for _ in range(messages // BATCH):
        answer = http.post(
            f"/v1/queues/{queue}/messages/batch", content=batch, headers={"Content-Type": "application/x-ndjson"}
        )
        assert answer.status_code == 201, answer.text
    return time.perf_counter() - began


def receive(http: httpx2.Client, queue: str, most: int) -> float:
    """Receive so many; returns the milliseconds it took."""
    began = time.perf_counter()
    answer = http.post(f"/v1/queues/{queue}/receive?max_messages={most}")
    took = time.perf_counter() - began
    assert len(answer.json()["messages"]) == most
    return took * 1000


def compare(http: httpx2.Client, most: int) -> tuple[float, float]:
    """Median milliseconds of a receive on the queue that is nearly empty and on the full one, taken in turns."""
    took: dict[str, list[float]] = {"small": [], "million": []}
    for _ in range(RECEIVES):
        for queue, times in took.items():
            times.append(receive(http, queue, most))
    return statistics.median(took["small"]), statistics.median(took["million"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_ready_messages_cost_little_memory_and_no_time(server: Server, http: httpx2.Client) -> None:
    for queue in ("small", "million"):
        assert http.put(f"/v1/queues/{queue}", json={"lease_seconds": 3600}).status_code == 201
    empty_mib = resident_mib(server)
    seconds = fill(http, "million", MESSAGES)
    full_mib, peak_mib = resident_mib(server), resident_mib(server, "VmHWM")
    print(
        f"\n{MESSAGES:,} messages of {BODY_BYTES} bytes published in {seconds:.1f} s ({MESSAGES / seconds:,.0f}/s); "
        f"resident: {empty_mib:.0f} MiB before, {full_mib:.0f} MiB after, {peak_mib:.0f} MiB at most"
    )
    assert full_mib < RESIDENT_MIB
    assert peak_mib < RESIDENT_MIB
    for most in (1, 100):
        fill(http, "small", RECEIVES * most + BATCH)
        small_ms, million_ms = compare(http, most)
        print(f"receive of {most}: {small_ms:.2f} ms on a small queue, {million_ms:.2f} ms on the million")
        assert million_ms < 1.5 * small_ms + 0.5
    before = http.get("/v1/queues/million").json()["stats"]
    server.kill()
    began = time.perf_counter()
    server.start()
    started_mib, peak_mib = resident_mib(server), resident_mib(server, "VmHWM")
    print(
        f"killed and started again in {time.perf_counter() - began:.1f} s; "
        f"resident: {started_mib:.0f} MiB, {peak_mib:.0f} MiB at most; {before['leased']:,} of them leased"
    )
    assert peak_mib < RESIDENT_MIB
    after = http.get("/v1/queues/million").json()["stats"]
    assert {**after, "oldest_ready_seconds": 0} == {**before, "oldest_ready_seconds": 0}
    assert after["ready"] + after["leased"] == MESSAGES
