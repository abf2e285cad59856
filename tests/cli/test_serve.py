"""`queuesvc serve` as whoever runs it sees it: what it says, how it starts and how it ends."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from queuesvc import __version__
from tests.conftest import check_log
from tests.support.server import Server
from tests.support.stores import look
from tests.support.until import wait_until

Answer = httpx2.Response


def run(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A `queuesvc` that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "queuesvc", *args],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"queuesvc {__version__}\n"


@pytest.mark.parametrize("args", [("--help",), ("serve", "--help")])
def test_help_tells_what_there_is(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = run(*args, cwd=tmp_path, env={"COLUMNS": "200"})
    assert result.returncode == 0
    words = ("--host", "--port", "--data", "--config", "QUEUESVC_PORT", "8642") if "serve" in args else ("serve",)
    assert not [word for word in words if word not in result.stdout]


def test_start_up_line_says_where_it_listens_and_stores(tmp_path: Path) -> None:
    server = Server(Path("queuesvc-data"), cwd=tmp_path, log_file=tmp_path / "log")
    try:
        server.start()
        line = f"queuesvc {__version__} listening on http://127.0.0.1:{server.port}, storing in ./queuesvc-data\n"
        assert server.start_line == line
        assert server.port != 0
        assert (tmp_path / "queuesvc-data").is_dir()
    finally:
        server.close()


def test_bad_setting_is_one_line_and_exit_2(tmp_path: Path) -> None:
    result = run("serve", "--port", "http", cwd=tmp_path)
    assert result.returncode == 2
    assert re.fullmatch(r"queuesvc: port: 'http' from --port will not do: .+\n", result.stderr)
    assert result.stdout == ""


def test_unknown_flag_is_exit_2(tmp_path: Path) -> None:
    result = run("serve", "--prot", "1", cwd=tmp_path)
    assert result.returncode == 2
    assert "--prot" in result.stderr


def test_settings_reach_the_broker(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[limits]\nbody_bytes = 10\n")
    server = Server(tmp_path / "data", env={"QUEUESVC_CONFIG": str(tmp_path / "settings.toml")})
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            assert http.put("/v1/queues/q", json={}).status_code == 201
            assert http.post("/v1/queues/q/messages", content=b"x" * 10).status_code == 201
            assert http.post("/v1/queues/q/messages", content=b"x" * 11).status_code == 413
    finally:
        server.close()


def test_relaxed_durability_survives_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", ["--durability", "relaxed"])
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            assert http.put("/v1/queues/q", json={}).status_code == 201
            assert http.post("/v1/queues/q/messages", content=b"x").status_code == 201
            server.kill()
            server.start()
            assert http.get("/v1/queues/q").json()["stats"]["ready"] == 1
        # Numbers are set aside where commits may be lost: so this is what it runs with.
        assert look(server.data / "queuesvc.db", "SELECT next_message > 1000000 FROM meta") == [(1,)]
    finally:
        server.close()


def test_second_broker_on_the_same_data_is_refused(server: Server, http: httpx2.Client, tmp_path: Path) -> None:
    result = run("serve", "--port", "0", "--data", str(server.data), cwd=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"queuesvc: .+\n", result.stderr)
    assert str(server.data) in result.stderr
    assert result.stdout == ""
    assert http.get("/readyz").status_code == 200


def test_port_in_use_is_one_line(server: Server, tmp_path: Path) -> None:
    result = run("serve", "--port", str(server.port), "--data", "other", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == f"queuesvc: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_address_of_another_machine_is_one_line(tmp_path: Path, host: str) -> None:
    result = run("serve", "--host", host, "--port", "0", "--data", "other", cwd=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(rf"queuesvc: cannot listen on {host}:0: .+\n", result.stderr)


def test_data_that_is_no_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else")
    result = run("serve", "--port", "0", "--data", "file", cwd=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"queuesvc: .*file.*\n", result.stderr)
    assert (tmp_path / "file").read_text() == "something else"


def test_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "queuesvc.db").write_bytes(b"not a database " * 1000)
    result = run("serve", "--port", "0", "--data", "data", cwd=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"queuesvc: .+\n", result.stderr)
    assert (data / "queuesvc.db").read_bytes() == b"not a database " * 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_waiting_polls_with_an_empty_answer(
    server: Server, http: httpx2.Client, number: signal.Signals
) -> None:
    http.put("/v1/queues/q", json={})
    with ThreadPoolExecutor(3) as threads:
        polls = [threads.submit(poll, server) for _ in range(3)]
        wait_for_consumers(http, 3)
        os.kill(server.pid, number)
        answers = [poll.result(20) for poll in polls]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"messages": []})] * 3
    assert server.wait() == 0
    assert all(json.loads(line)["logger"] == "queuesvc.audit" for line in server.log.splitlines())


def poll(server: Server) -> Answer:
    """A receive that waits for long."""
    return httpx2.post(f"{server.url}/v1/queues/q/receive", params={"wait_seconds": 60}, timeout=90)


def wait_for_consumers(http: httpx2.Client, count: int) -> None:
    """Ask until so many receives wait."""
    while http.get("/v1/queues/q").json()["stats"]["consumers_waiting"] < count:
        pass


def test_publish_under_way_at_a_signal_is_refused_or_stored(server: Server, http: httpx2.Client) -> None:
    """While clients publish as fast as they can, each is told the truth until the end."""
    http.put("/v1/queues/q", json={})
    with ThreadPoolExecutor(4) as threads:
        counts: list[Future[int]] = [threads.submit(publish_until_refused, server) for _ in range(4)]
        while http.get("/v1/queues/q").json()["stats"]["published"] < 100:
            pass
        assert server.stop() == 0
        stored = sum(count.result(20) for count in counts)
    with httpx2.Client(base_url=server.start().url) as again:
        assert again.get("/v1/queues/q").json()["stats"]["ready"] == stored


def publish_until_refused(server: Server) -> int:
    """How many publishes were answered 201 before the broker took no more."""
    stored = 0
    with httpx2.Client(base_url=server.url, timeout=30) as http:
        while True:
            try:
                answer = http.post("/v1/queues/q/messages", content=b"x")
            except httpx2.TransportError:
                return stored  # an idle connection was closed before anything of the request was read
            if answer.status_code == 503:
                assert answer.json()["type"] == "urn:queuesvc:unavailable"
                assert int(answer.headers["retry-after"]) >= 1
                return stored
            assert answer.status_code == 201
            stored += 1


@pytest.mark.parametrize("path", ["/v1/queues/q/messages", "/v1/queues/q/receive", "/v1/queues/q/redrive"])
def test_request_that_never_comes_does_not_hold_up_the_end(tmp_path: Path, path: str) -> None:
    server = Server(tmp_path / "data", env={"QUEUESVC_SHUTDOWN_SECONDS": "0.2"})
    try:
        with socket.create_connection(("127.0.0.1", server.start().port), timeout=30) as stuck:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: me\r\nContent-Length: 10\r\n\r\n"
            stuck.sendall(head.encode() + b"half")
            with httpx2.Client(base_url=server.url) as http:
                assert http.get("/healthz").status_code == 200
            assert server.stop() == 0
            answer = stuck.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"urn:queuesvc:unavailable" in answer
        assert b"x-request-id: me\r\n" in answer
        assert b"connection: close\r\n" in answer
        check_log(server)
        assert "ASGI" not in server.log
    finally:
        server.close()


def test_answer_that_is_never_read_does_not_hold_up_the_end(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", env={"QUEUESVC_SHUTDOWN_SECONDS": "0.2"})
    try:
        with httpx2.Client(base_url=server.start().url) as http, socket.socket() as stuck:
            http.put("/v1/queues/q", json={})
            for _ in range(12):
                http.post("/v1/queues/q/messages", content=b"x" * 1_000_000)
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", server.port))
            stuck.sendall(b"POST /v1/queues/q/receive?max_messages=12 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while http.get("/v1/queues/q").json()["stats"]["leased"] < 12:
                pass
            assert server.stop() == 0
        check_log(server)
        assert "ASGI" not in server.log
    finally:
        server.close()


def test_second_signal_does_not_wait(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", env={"QUEUESVC_SHUTDOWN_SECONDS": "3600"})
    try:
        with socket.create_connection(("127.0.0.1", server.start().port)) as stuck:
            stuck.sendall(b"POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
            with httpx2.Client(base_url=server.url) as http:
                assert http.get("/healthz").status_code == 200
            os.kill(server.pid, signal.SIGTERM)
            wait_until(lambda: not listens(server), "the first signal")  # two at once would be one
            assert server.stop() == 0
        check_log(server)
        assert "ASGI" not in server.log
    finally:
        server.close()


def listens(server: Server) -> bool:
    """Whether it takes connections."""
    try:
        socket.create_connection((server.host, server.port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_log_is_json_lines_where_nobody_looks_on(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", args=["--log-level", "debug"])
    try:
        server.start()
        assert server.stop() == 0
    finally:
        server.close()
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_broker_whose_disk_fails_at_the_commit_ends_and_goes_on_from_the_disk(
    server: Server, http: httpx2.Client
) -> None:
    """What is in the store is unknown then: the publisher is told so, and the next broker reads it."""
    assert http.put("/v1/queues/q", json={}).status_code == 201
    assert http.post("/v1/queues/q/messages", content=b"before").status_code == 201
    server.rest()  # else its upkeep may be what fails
    sizes = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    answer = http.post("/v1/queues/q/messages", content=b"during")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:queuesvc:unavailable")
    assert server.wait() == 1
    assert "start the broker again" in server.log
    assert sizes == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    server.start()
    http.post("/v1/queues/q/messages", content=b"after")
    bodies = [m["body"] for m in http.post("/v1/queues/q/receive", params={"max_messages": 9}).json()["messages"]]
    assert bodies in (["before", "after"], ["before", "during", "after"])


def test_low_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    """Each long poll holds a connection: a shell's usual limit must not be theirs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = Server(tmp_path / "data")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0] > 256
    finally:
        server.close()
