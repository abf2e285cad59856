"""Moments of broker time as the text that people read."""

from datetime import UTC, datetime


def rfc3339(at: int) -> str:
    """RFC 3339 in UTC with milliseconds, of milliseconds since 1970."""
    moment = datetime.fromtimestamp(at // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}Z"
