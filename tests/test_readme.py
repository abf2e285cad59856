"""The README's tour, run command by command against a real broker."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from queuesvc.settings import Settings
from tests.support.console import Known, steps
from tests.support.server import Server

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.skipif(not shutil.which("curl"), reason="the tour is made with curl, which is not installed")
def test_tour(server: Server, tmp_path: Path) -> None:
    known = Known()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where the `queuesvc` that is tested is
    tour = steps(README)
    assert len(tour) > 10
    for step in tour:
        command = known.substitute(step.command).replace("localhost:8642", f"127.0.0.1:{server.port}")
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, f"{step.command}\n{result.stderr}"
        faults = known.differences(step.answer, result.stdout)
        assert not faults, f"{step.command}\n{result.stdout}\n{faults}"


def test_settings_shown_are_the_defaults_and_all_there_are() -> None:
    [shown] = re.findall(r"^```toml\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    settings = tomllib.loads(shown)
    assert settings == Settings().model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ('{"a": 1}', '{"a":1}', True),
        ('{"a": 1}', '{"a":2}', False),
        ('{"a": 1}', '{"a":1,"b":2}', False),
        ('{"a": 1, ...}', '{"a":1,"b":2}', True),
        ('{"a": 1, ...}', '{"b":2}', False),
        ('{..., "a": {"b": 1, ...}}', '{"x":0,"a":{"b":1,"c":2}}', True),
        ('{"a": [1, 2]}', '{"a":[1]}', False),
        ('{"a": true}', '{"a":1}', False),
        ('{"a": "2026-01-01T00:00:00.000Z"}', '{"a":"2030-12-31T23:59:59.999Z"}', True),
        ('{"a": "2026-01-01T00:00:00.000Z"}', '{"a":null}', False),
        ("ok", "ok\n", True),
        ("ok", "no\n", False),
    ],
)
def test_answers_are_compared(shown: str, real: str, same: bool) -> None:
    assert (Known().differences(shown, real) == []) == same


def test_ids_stand_for_the_same_throughout() -> None:
    one, two = (f"0000000{n}-0000-7000-8000-000000000000" for n in (1, 2))
    three, four = (f"0000000{n}-0000-7000-8000-000000000000" for n in (3, 4))
    known = Known()
    assert known.differences(f'["{one}", "{two}"]', f'["{three}", "{four}"]') == []
    assert known.differences(f'["{one}"]', f'["{four}"]') != []
    assert known.substitute(f"curl {two}") == f"curl {four}"
