"""What is shipped works where nothing of this checkout is: the wheel, in an empty environment."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import httpx2
import pytest

from tests.support.server import Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment into which the wheel was installed, as a user would."""
    place = tmp_path_factory.mktemp("env")
    target = place / "bin" / "python"
    venv.create(place, with_pip=False)
    if shutil.which("uv"):
        command = ["uv", "pip", "install", "--python", str(target), str(wheel)]
    else:
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(target),
            "install",
            "--quiet",
            "--no-compile",
            str(wheel),
        ]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_wheel_ships_all_package_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "queuesvc").rglob("*") if path.is_file()}
    migrations = {f"queuesvc/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.sql")}
    assert migrations
    assert {name for name in package | migrations if "__pycache__" not in name} <= shipped
    assert not [name for name in shipped if name.startswith(("tests", "scripts"))]


def test_installed_broker_works(python: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPYCACHEPREFIX"] = ""  # what it compiles is not kept where ours is
    version = subprocess.run(
        [python.with_name("queuesvc"), "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert re.fullmatch(r"queuesvc \d+\.\d+\.\d+\n", version.stdout)

    server = Server(tmp_path / "data", env={"PYTHONPYCACHEPREFIX": ""}, python=python, cwd=tmp_path)
    try:
        server.start()
        with httpx2.Client(base_url=server.url) as http:
            assert http.get("/healthz").status_code == 200
            assert http.get("/readyz").status_code == 200
            assert http.put("/v1/queues/q", json={}).status_code == 201
            assert http.post("/v1/queues/q/messages", content=b"hello").status_code == 201
            assert http.get("/openapi.json").status_code == 200
        assert server.stop() == 0
        with httpx2.Client(base_url=server.start().url) as http:
            assert http.post("/v1/queues/q/receive").json()["messages"][0]["body"] == "hello"
    finally:
        server.close()
