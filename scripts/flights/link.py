"""Talking to a broker that may be killed at any moment."""

import asyncio
import time
from typing import Any

import httpx2


class Broken(Exception):
    """The broker could not be reached, or went away before it answered: what was asked may have happened, or not."""


class NotReached(Broken):
    """The broker could not be reached at all: what was asked has surely not happened."""


class Link:
    """The few calls that the demo makes, over one pool of connections.

    A broker that is away is waited for, for `patience_seconds`.
    """

    def __init__(self, url: str, patience_seconds: float = 60) -> None:
        self._patience_seconds = patience_seconds
        self._http = httpx2.AsyncClient(base_url=url, timeout=30.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, method: str, path: str, json: Any = None) -> Any:
        """The answer's JSON. Raises `Broken` where there is none or a 503, `RuntimeError` for another refusal."""
        answer = await self._request(method, path, json)
        return answer.json() if answer.content else None

    async def _request(self, method: str, path: str, json: Any = None) -> httpx2.Response:
        try:
            answer = await self._http.request(method, path, json=json)
        except httpx2.ConnectError as error:
            raise NotReached(repr(error)) from None
        except httpx2.TransportError as error:
            raise Broken(repr(error)) from None
        if answer.status_code == 503:
            raise Broken(answer.text)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    async def insist(self, method: str, path: str, json: Any = None) -> Any:
        """The same, tried again after each break: only for what may well happen twice."""
        while True:
            try:
                return await self.call(method, path, json)
            except Broken:
                await self.back()

    async def back(self) -> None:
        """Wait until the broker is ready again. Raises `RuntimeError` where it does not come back in time."""
        deadline = time.monotonic() + self._patience_seconds
        while time.monotonic() < deadline:
            try:
                await self._request("GET", "/readyz")
            except Broken:
                await asyncio.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the broker did not come back within {self._patience_seconds:g} seconds")
