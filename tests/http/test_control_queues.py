"""Queues, on the wire."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.problems import refused
from tests.support.server import Server

Name = Callable[..., str]

DEFAULTS: dict[str, Any] = {
    "lease_seconds": 30,
    "delivery_limit": 20,
    "retry_backoff": None,
    "dead_letter_exchange": None,
    "dead_letter_routing_key": None,
    "message_ttl_seconds": None,
    "delay_seconds": 0,
    "max_messages": None,
    "max_bytes": None,
    "overflow": "reject_publish",
    "dead_max_messages": 100_000,
    "max_priority": 0,
    "deduplication_window_seconds": 300,
    "expires_seconds": None,
    "paused": False,
}
STATS: dict[str, Any] = {
    "ready": 0,
    "leased": 0,
    "delayed": 0,
    "dead": 0,
    "bytes": 0,
    "oldest_ready_seconds": None,
    "consumers_waiting": 0,
    "published": 0,
    "delivered": 0,
    "acked": 0,
    "nacked": 0,
    "expired": 0,
    "dropped": 0,
    "purged": 0,
    "dead_lettered": 0,
    "moved_in": 0,
    "moved_out": 0,
}
EVERYTHING: dict[str, Any] = {
    "lease_seconds": 0.1,
    "delivery_limit": 3,
    "retry_backoff": {"initial_seconds": 0.5, "multiplier": 1.5, "max_seconds": 60, "jitter": 0},
    "dead_letter_exchange": "dead.letters",
    "dead_letter_routing_key": "ü",
    "message_ttl_seconds": 3600,
    "delay_seconds": 0.25,
    "max_messages": 10,
    "max_bytes": 2**40,
    "overflow": "drop_oldest",
    "dead_max_messages": 5,
    "max_priority": 9,
    "deduplication_window_seconds": 0,
    "expires_seconds": 86_400,
    "paused": True,
}


def shown(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, **DEFAULTS, **settings, "stats": STATS}


@pytest.mark.parametrize("body", [b"", b"{}", b' {"lease_seconds": 30, "max_bytes": null, "paused": null}\n'])
def test_a_name_is_enough(shared: httpx2.Client, name: Name, body: bytes) -> None:
    queue = name("jobs")
    path = f"/v1/queues/{queue}"
    made = shared.put(path, content=body)
    assert (made.status_code, made.json()) == (201, shown(queue))
    assert list(made.json()) == ["name", *DEFAULTS, "stats"]
    again = shared.put(path, content=body)
    assert (again.status_code, again.json()) == (200, shown(queue))
    assert shared.get(path).json() == shown(queue)


def test_all_settings(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    path = f"/v1/queues/{queue}"
    made = shared.put(path, json=EVERYTHING)
    assert (made.status_code, made.json()) == (201, shown(queue, **EVERYTHING))
    assert shared.put(path, json=EVERYTHING).status_code == 200
    problem = refused(shared.put(path, json={**EVERYTHING, "paused": False, "max_bytes": 7}), 409, "conflict")
    assert problem["fields"] == ["max_bytes", "paused"]
    problem = refused(shared.put(path, json={}), 409, "conflict")
    assert problem["fields"] == list(EVERYTHING)
    assert shared.get(path).json() == shown(queue, **EVERYTHING)


def test_change_some(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    path = f"/v1/queues/{queue}"
    refused(shared.patch(path, json={}), 404, "queue-not-found")
    shared.put(path)
    assert shared.patch(path).json() == shown(queue)
    changed = shared.patch(path, json=EVERYTHING)
    assert (changed.status_code, changed.json()) == (200, shown(queue, **EVERYTHING))
    some = {"retry_backoff": {"jitter": 1}, "delivery_limit": None, "max_messages": None, "paused": False}
    now = {
        **EVERYTHING,
        **some,
        "retry_backoff": {"initial_seconds": 1, "multiplier": 2, "max_seconds": 300, "jitter": 1},
    }
    assert shared.patch(path, json=some).json() == shown(queue, **now)
    assert shared.get(path).json() == shown(queue, **now)
    refused(shared.patch(path, json={"paused": None}), 422, "invalid-request", field="paused")
    refused(shared.patch(path, json={"name": "other"}), 422, "invalid-request", field="name")
    refused(shared.patch(path, json={"stats": {}}), 422, "invalid-request", field="stats")
    # One bad setting, and none is changed.
    bad = {"lease_seconds": 5, "max_priority": 256}
    refused(shared.patch(path, json=bad), 422, "invalid-request", field="max_priority")
    assert shared.get(path).json() == shown(queue, **now)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"lease_seconds": 0.05}, "lease_seconds"),
        ({"lease_seconds": "30"}, "lease_seconds"),
        ({"delivery_limit": 0}, "delivery_limit"),
        ({"delivery_limit": 3.0}, "delivery_limit"),
        ({"retry_backoff": {"jitter": 2}}, "retry_backoff.jitter"),
        ({"retry_backoff": {"factor": 2}}, "retry_backoff.factor"),
        ({"retry_backoff": 5}, "retry_backoff"),
        ({"dead_letter_exchange": "?"}, "dead_letter_exchange"),
        ({"dead_letter_routing_key": "\u0001"}, "dead_letter_routing_key"),
        ({"delay_seconds": 366 * 86_400 + 1}, "delay_seconds"),
        ({"max_priority": True}, "max_priority"),
        ({"overflow": "drop_newest"}, "overflow"),
        ({"paused": 1}, "paused"),
        ({"lease": 5}, "lease"),
        ({"lease_seconds": 0, "leese_seconds": 5}, "leese_seconds"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_bad_settings(shared: httpx2.Client, name: Name, method: str, document: Any, field: str) -> None:
    path = f"/v1/queues/{name()}"
    if method == "PATCH":
        shared.put(path)
    refused(shared.request(method, path, json=document), 422, "invalid-request", field=field)
    if method == "PUT":
        refused(shared.get(path), 404, "queue-not-found")


def test_the_last_of_duplicate_keys_wins(shared: httpx2.Client, name: Name) -> None:
    made = shared.put(f"/v1/queues/{name()}", content=b'{"lease_seconds": "x", "lease_seconds": 5}')
    assert (made.status_code, made.json()["lease_seconds"]) == (201, 5)


def test_the_content_type_does_not_matter(shared: httpx2.Client, name: Name) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
        made = shared.put(f"/v1/queues/{name()}", content=b'{"paused": true}', headers={"Content-Type": content_type})
        assert (made.status_code, made.json()["paused"]) == (201, True)


def test_lists(http: httpx2.Client) -> None:
    for queue in ("b", "a", "B", "a.1"):
        http.put(f"/v1/queues/{queue}")
    assert http.get("/v1/queues").json() == {"queues": [shown(one) for one in ("B", "a", "a.1", "b")], "next": None}
    page = http.get("/v1/queues?limit=2").json()
    assert page == {"queues": [shown("B"), shown("a")], "next": "a"}
    assert http.get("/v1/queues", params={"after": page["next"], "limit": 2}).json()["next"] is None


def test_a_list_s_default_is_a_hundred(http: httpx2.Client) -> None:
    for number in range(101):
        http.put(f"/v1/queues/q{number:03d}")
    page = http.get("/v1/queues").json()
    assert (len(page["queues"]), page["next"]) == (100, "q099")
    assert [one["name"] for one in http.get("/v1/queues?after=q099").json()["queues"]] == ["q100"]
    assert len(http.get("/v1/queues?limit=1000").json()["queues"]) == 101


def test_statistics_show_on_the_queue_and_in_the_list(http: httpx2.Client) -> None:
    http.put("/v1/queues/q")
    for body in (b"one", b"three"):
        assert http.post("/v1/queues/q/messages", content=body).status_code == 201
    received = http.post("/v1/queues/q/receive").json()["messages"]
    stats = http.get("/v1/queues/q").json()["stats"]
    assert stats["oldest_ready_seconds"] >= 0
    expected = {**STATS, "ready": 1, "leased": 1, "bytes": 8, "published": 2, "delivered": 1}
    assert {**stats, "oldest_ready_seconds": None} == expected
    http.post("/v1/queues/q/ack", json={"receipts": [received[0]["receipt"]]})
    (listed,) = http.get("/v1/queues").json()["queues"]
    assert {**listed["stats"], "oldest_ready_seconds": None} == {
        **expected,
        "leased": 0,
        "bytes": 5,
        "acked": 1,
    }


def test_delete(shared: httpx2.Client, name: Name) -> None:
    path = f"/v1/queues/{name()}"
    refused(shared.delete(path), 404, "queue-not-found")
    shared.put(path)
    shared.post(f"{path}/messages", content=b"x")
    refused(shared.delete(f"{path}?if_empty=true"), 409, "queue-not-empty")
    refused(shared.delete(f"{path}?if_empty=1"), 422, "invalid-request", field="if_empty")
    refused(shared.delete(f"{path}?force=true"), 422, "invalid-request", field="force")
    leased = shared.post(f"{path}/receive").json()["messages"]
    assert len(leased) == 1
    refused(shared.delete(f"{path}?if_empty=true"), 409, "queue-not-empty")
    gone = shared.delete(f"{path}?if_empty=false")
    assert (gone.status_code, gone.content) == (204, b"")
    refused(shared.get(path), 404, "queue-not-found")
    shared.put(path)
    assert shared.get(path).json()["stats"] == STATS
    assert shared.delete(f"{path}?if_empty=true").status_code == 204


def test_settings_survive_a_kill(server: Server, http: httpx2.Client) -> None:
    http.put("/v1/queues/put", json=EVERYTHING)
    http.put("/v1/queues/patched")
    http.patch("/v1/queues/patched", json=EVERYTHING)
    http.put("/v1/queues/deleted")
    http.delete("/v1/queues/deleted")
    server.kill()
    server.start()
    assert http.get("/v1/queues").json() == {
        "queues": [shown("patched", **EVERYTHING), shown("put", **EVERYTHING)],
        "next": None,
    }
