"""The guard at the end of the tests measures what it says, says what is slow, and fails by no timing."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench_support import ratios
from scripts.bench_support.ratios import Ratio, main, measure
from scripts.bench_support.servers import BenchFailed


def test_what_is_below_its_floor_is_said_and_nothing_else() -> None:
    line = Ratio("a publish", "a bare app", 60, 20, 0.3).line()
    assert line == "a publish: 60.0 µs of processor time, 0.33 of the speed of a bare app (20.0 µs), floor 0.30"
    assert Ratio("a publish", "a bare app", 80, 20, 0.3).line().startswith("slower than the floor: a publish: 80.0 µs")
    assert "not compared" in Ratio("a publish", "a bare app", 0, 20, 0.3).line()


@pytest.mark.skipif(sys.platform != "linux", reason="another process's clock is read on Linux only")
def test_both_ratios_are_measured_on_a_real_broker(tmp_path: Path) -> None:
    found = list(measure(tmp_path, rounds=1, seconds=0.4))
    assert [ratio.beside for ratio in found] == ["a bare ASGI app", "a raw SQLite loop"]
    for ratio in found:
        assert ratio.ours_us > 0
        assert ratio.beside_us > 0
        assert 0 < ratio.floor < 1
    assert list(tmp_path.iterdir()) == []


def test_being_slow_is_no_failure_but_not_being_measured_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ratios, "measure", lambda directory: iter([Ratio("a publish", "a bare app", 80, 20, 0.3)]))
    main()
    assert "slower than the floor: a publish" in capsys.readouterr().out

    def fail(directory: Path) -> Iterator[Ratio]:
        yield Ratio("a publish", "a bare app", 80, 20, 0.3)
        raise BenchFailed("the bare app did not start")

    monkeypatch.setattr(ratios, "measure", fail)
    with pytest.raises(SystemExit, match="could not be measured: the bare app did not start"):
        main()
