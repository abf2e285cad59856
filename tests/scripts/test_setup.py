"""`scripts/_setup`: an environment is made anew where it must be, and only there."""

import shutil
import subprocess
from pathlib import Path

import pytest

LARGE = 4 * 1024 * 1024
"""More than a pipe holds: who writes it into one that nobody reads any more fails."""


@pytest.mark.parametrize(
    ("stamps", "moved"), [((), False), (("here", "here"), False), (("elsewhere", "elsewhere"), True)]
)
def test_an_environment_that_was_not_moved_is_kept(tmp_path: Path, stamps: tuple[str, ...], moved: bool) -> None:
    """(One with two stamps was now and then made anew, under those who ran in it: a pipe was closed too soon.)"""
    checkout = tmp_path / "here"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / ".venv").mkdir()
    shutil.copy("scripts/_setup", checkout / "scripts")
    for number, place in enumerate(stamps):
        (checkout / f".venv/.installed-{number}").write_text(f"{tmp_path / place} 1\n" + "x" * LARGE)
    line = "set -euo pipefail; source scripts/_setup; if moved; then echo moved; else echo kept; fi"
    done = subprocess.run(["bash", "-c", line], cwd=checkout, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("moved\n" if moved else "kept\n", "")
