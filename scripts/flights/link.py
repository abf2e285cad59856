"""Talking to a broker that may be killed at any moment."""

import asyncio
import time
from typing import Any

import httpx2

BACK_SECONDS = 60.0


class Broken(Exception):
    """The broker could not be reached, or went away before it answered: what was asked may have happened, or not."""


class Link:
    """The few calls that the demo makes, over one pool of connections."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=url, timeout=30.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, method: str, path: str, json: Any = None) -> Any:
        """The answer's JSON. Raises `Broken` where there is none or a 503, `RuntimeError` for another refusal."""
        try:
            answer = await self._http.request(method, path, json=json)
        except httpx2.TransportError as error:
            raise Broken(repr(error)) from None
        if answer.status_code == 503:
            raise Broken(answer.text)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    async def insist(self, method: str, path: str, json: Any = None) -> Any:
        """The same, tried again after each break: only for what may well happen twice."""
        while True:
            try:
                return await self.call(method, path, json)
            except Broken:
                await self.back()

    async def back(self) -> None:
        """Wait until the broker is ready again, for a minute at most."""
        deadline = time.monotonic() + BACK_SECONDS
        while time.monotonic() < deadline:
            try:
                await self.call("GET", "/readyz")
            except Broken:
                await asyncio.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the broker did not come back within {BACK_SECONDS:.0f} seconds")
