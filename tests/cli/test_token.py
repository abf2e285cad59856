"""`queuesvc token` in processes of its own: at a broker that runs, and in the directory of one that doesn't."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from queuesvc.cli.remote import NoAnswer, download, over_http
from tests.support.server import Server

SECRET = re.compile(r"qsv_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n")


def token(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the verb; words it says wherever it was told to speak to."""
    return subprocess.run(
        [sys.executable, "-m", "queuesvc", "token", *map(str, args)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def made(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    assert SECRET.fullmatch(result.stdout), result.stdout
    assert result.stdout.strip() not in result.stderr
    return result.stdout.strip()


def failed(result: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    assert (result.returncode, result.stdout) == (code, ""), result
    assert [word for word in words if word not in result.stderr] == [], result.stderr
    assert "Traceback" not in result.stderr


def status(url: str, secret: str | None, path: str = "/v1/queues") -> int:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return httpx2.get(url + path, headers=headers).status_code


def test_from_the_first_token_to_the_last(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    root = made(token("create", "root", "--admin", "--manage", "*", "--data", server.data))
    assert server.data.stat().st_mode & 0o077 == 0
    try:
        url = server.start().url
        assert (status(url, None), status(url, root)) == (401, 200)
        shop = made(
            token("create", "shop", "--publish", "orders*", "--publish", "x", "--metrics", "--expires-seconds", "3600",
                  QUEUESVC_URL=url, QUEUESVC_TOKEN=root)
        )  # fmt: skip
        assert (status(url, shop), status(url, shop, "/v1/tokens"), status(url, shop, "/metrics")) == (200, 403, 200)
        listed = token("list", "--url", url, "--token", root)
        lines = listed.stdout.splitlines()
        assert re.fullmatch(rf"root  {root[4:20]}  manage \*, admin; until revoked; used 20\S+Z", lines[0])
        assert re.fullmatch(rf"shop  {shop[4:20]}  publish orders\* x, metrics; until 20\S+Z; used 20\S+Z", lines[1]), (
            lines
        )
        assert len(lines) == 2
        documents = json.loads(token("list", "--json", "--url", url, "--token", root).stdout)["tokens"]
        assert [(one["name"], one["publish"], one["admin"]) for one in documents] == [
            ("root", [], True),
            ("shop", ["orders*", "x"], False),
        ]
        assert "token" not in documents[0]
        assert token("revoke", "shop", "--url", url, "--token", root).returncode == 0
        assert status(url, shop) == 401
        server.stop()
        assert "used 20" in token("list", "--data", server.data).stdout
        assert token("revoke", "root", "--data", server.data).returncode == 0
        assert token("list", "--data", server.data).stdout == ""
        server.start()
        assert status(url, None) == 200
        assert "Traceback" not in server.log
    finally:
        server.close()


def test_what_it_says_where_it_cannot_be_done(server: Server, tmp_path: Path) -> None:
    url = server.url
    failed(token("create", "t", "--admin", "--data", server.data), "another broker", str(server.pid), "--url")
    failed(token("create", "t", "--url", url), "publish", "must allow something")
    failed(token("create", "t", "--publish", "*", "--url", url), "admin", "first token")
    failed(token("create", "t", "--admin", "--publish", "a b", "--url", url), "publish", "characters")
    for seconds, words in (("nan", "finite"), ("1e400", "finite"), ("-1", "at least 0.001")):
        answer = token("create", "t", "--admin", "--expires-seconds", seconds, "--url", url)
        failed(answer, "queuesvc: expires_seconds: must be", words)
    failed(token("create", "no good", "--admin", "--url", url), "name")
    failed(token("revoke", "nobody", "--url", url), "nobody")
    root = made(token("create", "t", "--admin", "--url", url))
    failed(token("create", "t", "--admin", "--url", url, "--token", root), "'t'", "already")
    failed(token("list", "--url", url), "a token is needed", "QUEUESVC_TOKEN")
    failed(token("list", "--url", url, "--token", root[:-1] + "!"), "not valid", "QUEUESVC_TOKEN")
    failed(token("create", "t", "--expires-seconds", "soon", "--url", url), "--expires-seconds", code=2)
    taken = tmp_path / "taken"
    taken.write_text("a file")
    failed(token("list", "--data", taken), str(taken))
    for verb in (["list"], ["revoke", "t"]):
        failed(token(*verb, "--data", tmp_path / "slip"), f"there is no {tmp_path / 'slip'}")
    assert not (tmp_path / "slip").exists(), "nothing is made by looking for a token"
    server.stop()
    failed(token("list", "--url", url), "no broker answers", url, "--data")


@pytest.mark.parametrize("spoilt", ["{}\n", "{}\r", "\ufeff{}"])
def test_a_token_that_cannot_be_sent_is_not_said(spoilt: str) -> None:
    """As it comes out of a file with a line break at its end, or of another system's."""
    secret = "qsv_0123456789abcdef_" + "A" * 43
    for ask in (
        lambda: over_http("http://127.0.0.1:9", spoilt.format(secret))("GET", "/v1/tokens", None),
        lambda: list(download("http://127.0.0.1:9", spoilt.format(secret), "/v1/backup")),
    ):
        with pytest.raises(NoAnswer, match="line break") as told:
            ask()
        assert secret not in str(told.value)


@pytest.mark.parametrize(
    "url", ["ftp://x", "localhost:8642", "http://", "http://x:99999", "http://x:port", "http://[::1"]
)
def test_what_is_no_address_is_told(url: str) -> None:
    """One whose port was too large was a traceback."""
    for ask in (lambda: over_http(url, None), lambda: next(download(url, None, "/v1/backup"))):
        with pytest.raises(NoAnswer, match="is no address of a broker"):
            ask()


def test_a_token_in_the_environment_does_not_keep_a_broker_from_starting(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", env={"QUEUESVC_TOKEN": "qsv_x", "QUEUESVC_URL": "http://127.0.0.1:1"})
    try:
        assert status(server.start().url, None) == 200
    finally:
        server.close()


@pytest.mark.parametrize("verb", ["create", "list", "revoke"])
def test_help(verb: str) -> None:
    result = token(verb, "--help", COLUMNS="200")
    assert result.returncode == 0
    assert {"--url", "--token", "--data"} <= set(re.findall(r"--[a-z-]+", result.stdout))
