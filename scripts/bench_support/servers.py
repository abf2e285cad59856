"""The processes of a bench: brokers on empty folders, the bare app, and the generator. Each ends what it began."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from scripts.bench_support.spec import Result, Spec
from scripts.bench_support.tokens import authorization, environment, forget, make_token
from tests.support.server import Server

GENERATOR_SECONDS = 150.0
STOP_SECONDS = 10.0


class BenchFailed(Exception):
    """The bench could not be carried out; the text says why."""


@contextlib.contextmanager
def broker(directory: Path, tokens: bool = False) -> Iterator[Server]:
    """A broker on a folder of its own below `directory`, both gone afterwards.

    With `tokens` it needs one, and all calls to it show it.
    """
    with tempfile.TemporaryDirectory(prefix="broker-", dir=directory) as folder:
        server = Server(Path(folder) / "data")
        try:
            server.start()
            if tokens:
                make_token(server.port)
            yield server
            server.stop()
        finally:
            forget(server.port)
            server.close()


@contextlib.contextmanager
def bare_app(answer: str, request_id: str) -> Iterator[tuple[int, int]]:
    """The bare app giving this answer: its port and process id."""
    command = [sys.executable, "-m", "scripts.bench_support.bare", answer, request_id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise BenchFailed("the bare app did not start")
        yield int(line), process.pid
        process.terminate()
        process.wait(STOP_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def generate(spec: Spec) -> Result:
    """Run the generator in a process of its own. Raises `BenchFailed`."""
    command = [sys.executable, "-m", "scripts.bench_support.generator"]
    try:
        done = subprocess.run(
            command,
            input=spec.dumps(),
            capture_output=True,
            text=True,
            timeout=GENERATOR_SECONDS,
            env=environment(spec.port),
        )
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"the generator did not end within {GENERATOR_SECONDS:.0f} seconds") from None
    if done.returncode:
        raise BenchFailed(f"the generator failed: {done.stderr.strip()[-500:]}")
    return Result.loads(done.stdout)


def call(server: Server, method: str, path: str, document: Any = None) -> httpx2.Response:
    """One call of the API. Raises `BenchFailed` for a refusal."""
    content = None if document is None else json.dumps(document).encode()
    answer = httpx2.request(method, f"{server.url}{path}", content=content, headers=authorization(server.port))
    if answer.is_error:
        raise BenchFailed(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer


KEY = "key"


def declare(server: Server, name: str, settings: Any = None) -> None:
    """A queue (with settings) and a direct exchange of the same name that reaches it with the routing key `key`."""
    call(server, "PUT", f"/v1/queues/{name}", settings or {})
    call(server, "PUT", f"/v1/exchanges/{name}", {"type": "direct"})
    call(server, "POST", f"/v1/exchanges/{name}/bindings", {"queue": name, "routing_key": KEY})


def declare_many(server: Server, exchange: str, kind: str, queues: int, key: str = KEY) -> None:
    """Queues of the exchange's name with a number, all bound to it, in one commit. `{}` in the key is the number."""
    names = [f"{exchange}-{at}" for at in range(queues)]
    bindings = [
        {"source": exchange, "queue": name, "routing_key": key.replace("{}", str(at))} for at, name in enumerate(names)
    ]
    exchanges = [{"name": exchange, "type": kind}]
    document = {"exchanges": exchanges, "queues": [{"name": name} for name in names], "bindings": bindings}
    call(server, "PUT", "/v1/definitions", document)
