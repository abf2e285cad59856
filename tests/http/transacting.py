"""What tests of transactions share."""

from typing import Any

import httpx2

from tests.http.wire import put, receive, stats

URL = "/v1/transactions"


def transact(http: httpx2.Client, key: str | None = None, **parts: Any) -> httpx2.Response:
    """A transaction of these parts, perhaps under a key."""
    return http.post(URL, json=parts, headers={} if key is None else {"Idempotency-Key": key})


def lease(http: httpx2.Client, queue: str, *bodies: str, **options: Any) -> list[str]:
    """Publish these and lease them; their receipts."""
    put(http, queue, *bodies)
    messages = receive(http, queue, max_messages=len(bodies), **{"lease_seconds": 600, **options})
    assert [message["body"] for message in messages] == list(bodies)
    return [message["receipt"] for message in messages]


def counts(http: httpx2.Client, *queues: str) -> list[tuple[int, ...]]:
    """What is in queues and has left them."""
    shown = ("ready", "leased", "delayed", "dead", "published", "acked", "nacked")
    return [tuple(stats(http, queue)[count] for count in shown) for queue in queues]
