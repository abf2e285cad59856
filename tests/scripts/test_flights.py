"""The main job on real input: the flights through a real broker, exact to the last message."""

import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from scripts.flights.events import SLICE, TASKS, Figures, read_flights
from scripts.flights.report import find_faults
from scripts.flights.run import Handled
from tests.support.server import Server

ROOT = Path(__file__).resolve().parents[2]
IN_THE_SLICE = {"jfk": "936", "united": "494", "cancellations": "22", "everything": "2,699"}


def demo(*args: str) -> subprocess.CompletedProcess[str]:
    """The demo on the slice, as `scripts/flights_demo` runs it."""
    command = [sys.executable, "-m", "scripts.flights", "--file", str(SLICE), *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def rows(output: str) -> dict[str, list[str]]:
    """The table's cells, by queue."""
    lines = (line.split() for line in output.splitlines())
    return {cells[0]: cells[1:] for cells in lines if cells and cells[0] in IN_THE_SLICE}


@pytest.mark.parametrize("kills", [0, 4])
def test_demo_is_exact(kills: int) -> None:
    result = demo("--kill", "--kills", str(kills)) if kills else demo()
    assert result.returncode == 0, result.stdout + result.stderr
    table = rows(result.stdout)
    assert set(table) == set(IN_THE_SLICE)
    for queue, (in_file, published, delivered, _again, acked, left, exact) in table.items():
        assert [in_file, published, delivered, acked] == [IN_THE_SLICE[queue]] * 4
        assert (left, exact) == ("0", "yes")
    assert "EWR 17.2, JFK 11.4, LGA 6.7" in result.stdout
    assert "AA 10, EV 7, UA 3, B6 1, MQ 1" in result.stdout
    assert re.search(r"\n2,699 events in, 4,[0-9]{3} deliveries out", result.stdout)
    assert ("broker killed 4 times" in result.stdout) == bool(kills)


def test_demo_on_a_broker_that_runs_leaves_nothing_there(server: Server, http: httpx2.Client) -> None:
    result = demo("--url", server.url)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "exact:" in result.stdout
    assert http.get("/v1/queues").json()["queues"] == []
    assert http.get("/v1/exchanges").json()["exchanges"] == []


def test_demo_that_cannot_reach_a_broker_fails() -> None:
    result = demo("--url", "http://127.0.0.1:1", "--patience-seconds", "0.2")
    assert result.returncode == 1
    assert "FAILED" in result.stdout


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"lost": True}, "1 flights are missing, 0 do not belong here"),
        ({"foreign": True}, "0 flights are missing, 1 do not belong here"),
        ({"published": 23}, "the broker counts 23 published, and not 22"),
        ({"acked": 21}, "the broker counts 21 acked, and not 22"),
        ({"dead": 1}, "1 messages are left"),
        ({"figures": True}, "the consumers' figures are not those of the file"),
    ],
)
def test_whatever_is_not_exact_is_told(change: dict[str, int], fault: str | None) -> None:
    [task] = [task for task in TASKS if task.queue == "cancellations"]
    numbers, figures = task.expected(read_flights(SLICE))
    handled = Handled(ids={number: str(number) for number in numbers}, figures=figures)
    if "lost" in change:
        handled.ids.popitem()
    if "foreign" in change:
        handled.ids[0] = "0"
    if "figures" in change:
        handled.figures = Figures()
    stats = {"ready": 0, "leased": 0, "delayed": 0, "dead": 0, "published": len(numbers), "acked": len(numbers)}
    stats |= {name: value for name, value in change.items() if name in stats}
    assert find_faults(numbers, figures, stats, handled) == ([fault] if fault else [])
