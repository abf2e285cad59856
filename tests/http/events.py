"""What tests of CloudEvents share."""

import json
from typing import Any

import httpx2

Json = dict[str, Any]

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
EVENT: Json = {"specversion": "1.0", "id": "e1", "source": "/orders/7", "type": "order.created"}
BINARY = {f"ce-{name}": value for name, value in EVENT.items()}


def structured(http: httpx2.Client, target: str, event: bytes | Json, **others: Any) -> httpx2.Response:
    """Publish an event, structured, to `exchanges/x` or `queues/q`."""
    content = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {"Content-Type": STRUCTURED, **others.pop("headers", {})}
    return http.post(f"/v1/{target}/messages", content=content, headers=headers, **others)


def batched(
    http: httpx2.Client, target: str, events: bytes | list[Any], path: str = "messages/batch"
) -> httpx2.Response:
    """Publish a batch of events."""
    content = events if isinstance(events, bytes) else json.dumps(events).encode()
    return http.post(f"/v1/{target}/{path}", content=content, headers={"Content-Type": BATCHED})


def binary(http: httpx2.Client, target: str, content: bytes, headers: Any, **query: Any) -> httpx2.Response:
    """Publish an event in binary mode."""
    return http.post(f"/v1/{target}/messages", content=content, headers=headers, params=query)
