"""Where a sample belongs; and that the functions by which that is told are still there."""

from pathlib import Path

import pytest

from scripts.bench_support import stages
from scripts.bench_support.stages import OTHER, STAGES, shares, stage_of

LOOP = "serve (queuesvc/main.py:1);Runner.run (asyncio/runners.py:118)"
WRITER = "Thread.run (threading.py:1);_connection_worker_thread (aiosqlite/core.py:62);write (write.py:1)"


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        (LOOP, "event loop and kernel: wait, read"),
        (f"{LOOP};Connection.data_received (c.py:1);Connection._parse (c.py:2)", "HTTP: heads, bodies, limits"),
        (f"{LOOP};Connection.data_received (c.py:1);Direct._begin (d.py:1);parse (r.py:1)", "the call: what is asked"),
        (f"{LOOP};Direct._answer (d.py:1);Direct._write (d.py:2)", "send"),
        (f"{LOOP};Direct._answer (d.py:1);Direct._write (d.py:2);Edge.head (d.py:3)", "the call: its answer"),
        (f"{LOOP};Committer._run (c.py:1);Machine.apply (m.py:1);publish (p.py:1)", "routing and the machine"),
        (f"{LOOP};Committer._run (c.py:1);SqliteStore._on_writer (s.py:1)", "group commit: to the writer and back"),
        (f"{WRITER};transact (write.py:1)", "COMMIT: SQLite's log and its fsync"),
        (f"{WRITER};transact (write.py:1);_write_all (write.py:2);_insert (write.py:3)", "rows and statements"),
        (f"{LOOP};Something.new (s.py:1)", OTHER),
    ],
)
def test_a_sample_belongs_to_the_innermost_stage(stack: str, stage: str) -> None:
    assert stage_of(stack.split(";")) == stage


def test_each_thread_s_time_is_divided_among_its_own_samples() -> None:
    loop, writer = "thread (7): MainThread", "thread (8): Thread-1"
    lines = [
        f"{writer};Thread.run (threading.py:1);_connection_worker_thread (aiosqlite/core.py:59) 900",  # it waits
        f"{writer};{WRITER};transact (write.py:1) 5",
        f"{loop};{LOOP} 3",
        f"{loop};{LOOP};Direct._answer (d.py:1);Direct._write (d.py:2) 9",
    ]
    found = shares(lines, {7: 8.0, 8: 2.0, 9: 0.5})
    assert found == pytest.approx(
        {"event loop and kernel: wait, read": 0.2, "send": 0.6, "COMMIT: SQLite's log and its fsync": 0.2}
    )


def test_the_functions_that_stages_are_told_by_are_there() -> None:
    source = "\n".join(file.read_text() for file in Path("queuesvc").rglob("*.py"))
    ours = {*STAGES, *stages.ENDS} - {"Runner.run"}
    for name in ours:
        assert f"def {name.rpartition('.')[2]}(" in source, name
        owner = name.rpartition(".")[0]
        assert not owner or f"class {owner}" in source, name
