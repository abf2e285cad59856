"""The deep queues of the bench are in the states they are said to be in, and what is compared is what is said."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from scripts.bench_support.bystander import Bystander
from scripts.bench_support.caller import Caller, batch_of
from scripts.bench_support.depth import STATES, compare
from scripts.bench_support.machine import process_seconds
from scripts.bench_support.plan import SMOKE, Bench
from scripts.bench_support.servers import BenchFailed, call
from scripts.bench_support.states import BLOCKED, DEAD, GROUPED, READY, SETTINGS, Deep
from tests.support.server import Server

MANY = 1200
COUNTS = ("ready", "leased", "delayed", "dead")


def counts(http: httpx2.Client, queue: str) -> tuple[int, ...]:
    found = http.get(f"/v1/queues/{queue}").json()["stats"]
    return tuple(found[state] for state in COUNTS)


@pytest.fixture
def queue(shared_server: Server, name: Callable[..., str]) -> str:
    """A queue with the settings of the bench."""
    made = name("deep")
    call(shared_server, "PUT", f"/v1/queues/{made}", SETTINGS)
    return made


@pytest.mark.parametrize("state", STATES, ids=[state.name for state in STATES])
def test_each_state_comes_about_and_stays_under_receives(
    shared_server: Server, shared: httpx2.Client, queue: str, name: Callable[..., str], state: Deep
) -> None:
    small = name("small")
    call(shared_server, "PUT", f"/v1/queues/{small}", SETTINGS)
    with Caller(shared_server) as ours, Caller(shared_server) as beside:
        state.fill(ours, queue, MANY)
        before = counts(shared, queue)
        assert sum(before) == MANY
        held = 1 if state is BLOCKED else 0
        assert before[COUNTS.index(state.state)] == MANY - held
        assert before[1] == (MANY if state.state == "leased" else held)
        found = compare(ours, queue, beside, small, 10, state.more(MANY))
        assert counts(shared, queue) == before
        assert counts(shared, small) == (0, 0, 0, 0)
    assert [len(times) for times in (*found.ms, *found.cpu_us)] == [10] * 4
    assert min(min(times) for times in found.ms) > 0


def test_groups_are_as_many_as_said_and_one_is_blocked(
    shared_server: Server, shared: httpx2.Client, queue: str
) -> None:
    with Caller(shared_server) as caller:
        GROUPED.fill(caller, queue, MANY)
        answer = shared.post(f"/v1/queues/{queue}/receive", json={"max_messages": 1000}).json()["messages"]
        assert len({message["group"] for message in answer}) == MANY // 10
        shared.delete(f"/v1/queues/{queue}/messages?state=leased")
        shared.delete(f"/v1/queues/{queue}/messages")
        BLOCKED.fill(caller, queue, MANY)
        with pytest.raises(BenchFailed, match="0 messages"):
            caller.receive(queue, 1)


def test_a_refusal_and_a_receipt_that_does_not_settle_are_told(shared_server: Server, queue: str) -> None:
    with Caller(shared_server) as caller:
        with pytest.raises(BenchFailed, match="queue-not-found"):
            caller.publish("none", batch_of(1))
        READY.fill(caller, queue, 2)
        receipts = caller.receive(queue, 1)
        caller.settle(queue, "ack", receipts)
        with pytest.raises(BenchFailed, match="1 receipts"):
            caller.settle(queue, "ack", receipts)
        with pytest.raises(BenchFailed, match="1 receipts"):
            caller.receive(queue, 1, receipts)


def test_properties_are_taken_in_turn_across_batches(shared_server: Server, shared: httpx2.Client, queue: str) -> None:
    with Caller(shared_server) as caller:
        caller.fill(queue, 1003, priority=[0, 0, 0], group=[f"g{at}" for at in range(1002)])
    groups: list[str] = []
    while messages := shared.post(f"/v1/queues/{queue}/receive", json={"max_messages": 1000}).json()["messages"]:
        groups += [message["group"] for message in messages]
    # The last is of the first group, whose head is leased.
    assert groups == [f"g{at}" for at in range(1002)]
    assert counts(shared, queue)[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="another process's clock is read on Linux only")
def test_the_processor_time_of_another_process() -> None:
    work = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.2 <= process_seconds(process.pid) < 2
        process.communicate(b"\n")
    assert process_seconds(process.pid) == 0


def test_a_bystander_is_watched_while_a_queue_is_purged(server: Server, http: httpx2.Client, tmp_path: Path) -> None:
    call(server, "PUT", f"/v1/queues/{DEAD.name}", SETTINGS)
    bench = Bench(replace(SMOKE, watch_seconds=0.3), tmp_path, lambda text: None)
    with Caller(server) as caller:
        DEAD.fill(caller, DEAD.name, 50)
        Bystander(bench, server).purge(caller, DEAD, 50)
    assert counts(http, DEAD.name) == (0, 0, 0, 0)
    found = {name: figure.value for name, figure in bench.figures.items()}
    assert found["purge_dead"] > 0
    watched = [found[f"bystander_{which}_purge_dead"] for which in ("p50", "p99", "longest")]
    assert 0 < watched[0] <= watched[1] <= watched[2]


@pytest.mark.slow
def test_the_deep_bench_in_small_tells_of_each_state(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    command = [sys.executable, "-m", "scripts.bench_support", "--smoke", "--deep", "--json", str(file)]
    done = subprocess.run([*command, "--directory", str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())["figures"]
    assert {"depth_fill", "depth_delayed_slowest", "idle_all", "start_all", "delete_delayed"} <= figures.keys()
    for state in ("ready", "leased", "dead", "groups", "blocked", "delayed"):
        assert figures[f"depth_{state}_memory"]["rounds"]
        for of in ("1", "100", "1_cpu", "100_cpu"):
            assert figures[f"depth_{state}_{of}"]["aim"]["of"] == "ratio"
    for state in ("ready", "delayed", "leased", "dead", "blocked"):
        for of in ("large_{}_slowest", "large_{}_memory", "idle_{}", "start_{}", "purge_{}", "bystander_p99_purge_{}"):
            assert figures[of.format(state)]["rounds"], of
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
