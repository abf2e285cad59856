"""Moments of broker time as the contract writes them: RFC 3339, UTC, milliseconds."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def rfc3339(at: int) -> str:
    """`2026-11-24T13:08:00.123Z` for milliseconds since 1970 UTC.

    Cached: messages of one batch share their moments, so most calls are a lookup.
    """
    seconds, milliseconds = divmod(at, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
