"""The properties that a message carries unread: the inside of a JSON object, as a consumer is shown them (§5).

Its members are `content_type`, `headers`, `priority`, `group`, `correlation_id` and
`reply_to`, in this order. Publishers repeat themselves, so what has neither headers nor
addresses is rendered once and kept.
"""

from functools import lru_cache
from typing import Any, Final

import orjson

from queuesvc.domain.model import Headers

KEPT: Final = 1024


def render(
    content_type: str,
    headers: Headers,
    priority: int,
    group: str | None,
    correlation_id: str | None,
    reply_to: str | None,
) -> str:
    """The properties' JSON without its braces."""
    if headers or correlation_id is not None or reply_to is not None:
        return _dump(content_type, headers, priority, group, correlation_id, reply_to)
    return _plain(content_type, priority, group)


def parse(properties: str) -> dict[str, Any]:
    """The members again, by name."""
    members: dict[str, Any] = orjson.loads(f"{{{properties}}}")
    return members


@lru_cache(maxsize=KEPT)
def _plain(content_type: str, priority: int, group: str | None) -> str:
    return _dump(content_type, {}, priority, group, None, None)


def _dump(
    content_type: str,
    headers: Headers,
    priority: int,
    group: str | None,
    correlation_id: str | None,
    reply_to: str | None,
) -> str:
    whole = {
        "content_type": content_type,
        "headers": headers,
        "priority": priority,
        "group": group,
        "correlation_id": correlation_id,
        "reply_to": reply_to,
    }
    return orjson.dumps(whole)[1:-1].decode()
