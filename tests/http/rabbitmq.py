"""What the tests of RabbitMQ's definitions share: documents, and what became of them."""

from typing import Any

import httpx2

from tests.http.wire import Json


def merge(http: httpx2.Client, document: Json, query: str = "") -> Json:
    answer = http.put(f"/v1/definitions?{query}", json=document)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found.keys() == {"exchanges", "queues", "bindings", "unmapped"}
    for one in found["unmapped"]:
        assert one.keys() == {"what", "name", "field", "why"}
        assert one["why"]
    return found


def unmapped(answer: Json) -> list[tuple[str, str, str | None]]:
    return [(one["what"], one["name"], one["field"]) for one in answer["unmapped"]]


def with_queue(name: str, arguments: Any, **others: Any) -> Json:
    """A document of one queue."""
    queue = {"name": name, "vhost": "/", "durable": True, "auto_delete": False, "arguments": arguments, **others}
    return {"rabbit_version": "4.1.0", "queues": [queue], "exchanges": [], "bindings": []}


def with_binding(exchange: str, queue: str, arguments: Json, kind: str = "headers", **others: Any) -> Json:
    """A document of an exchange bound to a queue."""
    ends = {"source": exchange, "destination": queue, "destination_type": "queue", "routing_key": ""}
    return {
        "rabbit_version": "4.1.0",
        "exchanges": [{"name": exchange, "vhost": "/", "type": kind, "durable": True, "arguments": {}}],
        "queues": [{"name": queue, "vhost": "/", "durable": True, "arguments": {}}],
        "bindings": [{"vhost": "/", **ends, "arguments": arguments, **others}],
    }


def settings_of(http: httpx2.Client, name: str) -> Json:
    found: Json = http.get(f"/v1/queues/{name}").json()
    del found["stats"], found["name"]
    return {setting: value for setting, value in found.items() if value is not None}


def bindings_of(http: httpx2.Client, exchange: str) -> list[Json]:
    found: list[Json] = http.get(f"/v1/exchanges/{exchange}/bindings").json()["bindings"]
    return [{member: value for member, value in one.items() if member not in ("id", "source")} for one in found]
