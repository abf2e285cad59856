"""The curves of the bench are measured on a real broker, at every place and line, and leave nothing behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scripts.bench_support.curves.__main__ import CURVES
from scripts.bench_support.curves.model import FULL, SMOKE, Lines, Point
from scripts.bench_support.servers import BenchFailed, call, declare_many, generate
from scripts.bench_support.spec import BODY_BYTES, Consume, Cycle, Publish, Spec
from tests.support.server import Server

PLACES = {
    "connections": SMOKE.connections,
    "size": SMOKE.sizes,
    "depth": SMOKE.depths,
    "queues": SMOKE.queues,
    "fanout": SMOKE.targets,
    "waiters": SMOKE.waiters,
    "consumers": SMOKE.consumers,
}
COUNTS = ("published", "acked", "ready", "leased")


def counts(http: httpx2.Client, queue: str) -> tuple[int, ...]:
    stats = http.get(f"/v1/queues/{queue}").json()["stats"]
    return tuple(stats[name] for name in COUNTS)


def run_curves(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.bench_support.curves", *args, "--output", str(folder / "out")]
    (folder / "data").mkdir()
    command += ["--directory", str(folder / "data")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def check_points(name: str, document: dict[str, Any]) -> None:
    """Each panel of a curve has a line through every place (memory only where it can be told)."""
    places = set(PLACES[name])
    for panel in CURVES[name].panels:
        for measure in panel.measures:
            found = {point["x"] for points in document["lines"].values() for point in points if measure in point}
            assert found == (places - {1} if measure.endswith("_kib") else places), (name, measure)
    for points in document["lines"].values():
        for point in points:
            assert all(value >= 0 for name, value in point.items() if name != "rounds"), point
            assert all(len(rounds) == SMOKE.rounds for rounds in point["rounds"].values()), point
            if "p50_ms" in point:
                assert 0 < point["p50_ms"] <= point["p99_ms"]


def test_some_curves_in_small_are_written_whole_and_nothing_is_left_behind(tmp_path: Path) -> None:
    names = ("waiters", "depth")
    done = run_curves(tmp_path, ",".join(names), "--smoke", "--no-plots")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"{name}.json" for name in names)
    for name in names:
        document = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert document["size"] == "smoke"
        assert document["machine"]["cores"] >= 1
        check_points(name, document)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.slow
def test_every_curve_in_small_is_measured(tmp_path: Path) -> None:
    done = run_curves(tmp_path, "--smoke", "--no-plots")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in CURVES:
        check_points(name, json.loads((tmp_path / "out" / f"{name}.json").read_text()))


def test_a_try_in_small_leaves_the_figures_in_docs_alone(tmp_path: Path) -> None:
    measured = Path("docs/curves/connections.json")
    before = measured.read_bytes()
    command = [sys.executable, "-m", "scripts.bench_support.curves", "connections", "--smoke", "--no-plots"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.glob("curves-smoke-*/*")] == ["connections.json"]
    assert measured.read_bytes() == before


def test_a_curve_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = run_curves(tmp_path, "depth,weight", "--smoke")
    assert done.returncode == 2
    assert "there are connections, size, depth" in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(CURVES))
def test_a_curve_is_drawn_from_its_points(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="curves are drawn where the extra `bench` is installed")
    from scripts.bench_support.curves.draw import draw

    curve, lines = CURVES[name], Lines()
    for line in ("one", "another"):
        for at, x in enumerate(PLACES[name]):
            measures = [measure for panel in curve.panels for measure in panel.measures]
            lines.point(line, x).add(**dict.fromkeys(measures, 1.5 + at))
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        draw(curve, {"lines": lines.document()}, file)
    assert files[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_point_tells_the_median_and_its_rounds() -> None:
    point = Point(7)
    for rate in (3.0, 1.0, 2.0):
        point.add(rate=rate)
    assert point.document() == {"x": 7, "rate": 2.0, "rounds": {"rate": [3.0, 1.0, 2.0]}}


def test_the_full_curves_reach_what_is_claimed() -> None:
    ends = {
        "connections": (1, 1000),
        "sizes": (100, 1024 * 1024),
        "depths": (0, 10_000_000),
        "queues": (1, 10_000),
        "targets": (1, 1000),
        "waiters": (1, 15_000),
        "consumers": (1, 1000),
    }
    for name, (first, last) in ends.items():
        places = getattr(FULL, name)
        assert (places[0], places[-1]) == (first, last), name
        assert list(places) == sorted(places)
    assert 50 in FULL.queues


@pytest.mark.parametrize("batch", [1, 10])
def test_cycles_leave_a_queue_as_deep_as_it_was(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str], batch: int
) -> None:
    queue = name("cycle")
    call(shared_server, "PUT", f"/v1/queues/{queue}-0", {})
    port, pid = shared_server.port, shared_server.pid
    fill = Publish(f"/v1/queues/{queue}-0/messages", 1, 10)
    assert generate(Spec(port, pid, 20, most=30, publish=fill)).messages == 30
    result = generate(Spec(port, pid, 20, most=40, cycle=Cycle(f"{queue}-{{}}", 2, batch)))
    published, acked, ready, leased = counts(shared, f"{queue}-0")
    assert (published - 30, ready, leased) == (acked, 30, 0)
    assert result.messages == acked >= 40
    assert 0 < result.answer.p50_ms < result.delivery.p50_ms


def test_cycles_at_a_rate_over_many_queues_are_all_ended(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str]
) -> None:
    queue = name("cycle")
    declare_many(shared_server, queue, "topic", 5, "area.{}.*")
    load = Cycle(f"{queue}-{{}}", 2, 1, 100, 5)
    result = generate(Spec(shared_server.port, shared_server.pid, 0.25, cycle=load))
    found = [counts(shared, f"{queue}-{at}") for at in range(5)]
    assert 0 < result.messages <= sum(acked for _, acked, _, _ in found) <= 25
    for published, acked, ready, leased in found:
        assert published == acked
        assert (ready, leased) == (0, 0)


def test_cycles_end_the_run_where_messages_do_not_come(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str]
) -> None:
    queue = name("cycle")
    call(shared_server, "PUT", f"/v1/queues/{queue}", {"paused": True})
    with pytest.raises(BenchFailed, match="0 messages came where 1 were published"):
        generate(Spec(shared_server.port, shared_server.pid, 20, most=10, cycle=Cycle(queue, 1)))


def test_publishes_are_spread_and_as_large_as_asked(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str]
) -> None:
    topic = name("spread")
    declare_many(shared_server, topic, "topic", 3, "area.{}.*")
    for batch in (1, 2):
        load = Publish(f"/v1/exchanges/{topic}/messages", 1, batch, 0, "area.{}.made", 3, 700)
        generate(Spec(shared_server.port, shared_server.pid, 20, most=3 * batch, publish=load))
    for at in range(3):
        stats = shared.get(f"/v1/queues/{topic}-{at}").json()["stats"]
        assert (stats["ready"], stats["bytes"]) == (3, 3 * 700)
    assert BODY_BYTES != 700


@pytest.mark.parametrize("spread", [1, 4])
def test_parked_consumers_wait_first_and_are_woken(
    shared_server: Server, shared: httpx2.Client, name: Callable[..., str], spread: int
) -> None:
    queue = name("parked")
    declare_many(shared_server, queue, "direct", spread)
    publish = Publish(f"/v1/queues/{queue}-{{}}/messages", 2, rate=200, spread=spread)
    consume = Consume(f"{queue}-{{}}", 8, 1, 60, spread=spread, parked=True)
    result = generate(Spec(shared_server.port, shared_server.pid, 0.3, publish=publish, consume=consume))
    found = [counts(shared, f"{queue}-{at}") for at in range(spread)]
    assert result.messages == result.delivery.count == sum(published for published, *_ in found) > 0
    assert all((acked, ready, leased) == (published, 0, 0) for published, acked, ready, leased in found)
    assert len(result.memory_mib) == 3
    assert min(result.memory_mib) > 1
