"""A bench under tokens: the brokers need one, and all that call them show it.

The generator, a process of its own, finds the token to show in its environment.
"""

import os

import httpx2

TOKEN = "BENCH_TOKEN"
_BY_PORT: dict[int, str] = {}


def make_token(port: int) -> None:
    """Make the first token of the broker at this port; it may do everything, and is shown there from now on."""
    everything = {"publish": ["*"], "consume": ["*"], "manage": ["*"], "admin": True, "metrics": True}
    answer = httpx2.post(f"http://127.0.0.1:{port}/v1/tokens", json={"name": "bench", **everything})
    _BY_PORT[port] = answer.raise_for_status().json()["token"]


def forget(port: int) -> None:
    """The broker at this port is gone: the next one there may need none."""
    _BY_PORT.pop(port, None)


def environment(port: int) -> dict[str, str]:
    """That of a process that is to call the broker at this port."""
    return {**os.environ, TOKEN: _BY_PORT.get(port, "")}


def authorization(port: int | None = None) -> dict[str, str]:
    """The header that a call to this port bears; without one, to the broker that the environment has a token of."""
    token = os.environ.get(TOKEN) if port is None else _BY_PORT.get(port)
    return {"authorization": f"Bearer {token}"} if token else {}
