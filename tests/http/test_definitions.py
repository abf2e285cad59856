"""The whole topology as one document, on the wire: exported, merged in, all or nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.http.wire import Json, assert_problem, make_exchange, make_queue, put, receive_one, settle, stats
from tests.support.server import Server

Name = Callable[..., str]

TOPOLOGY: Json = {
    "exchanges": [
        {"name": "b", "type": "direct", "alternate_exchange": "a", "deduplication_window_seconds": 1.5},
        {"name": "a", "type": "topic"},
        {"name": "h", "type": "headers"},
        {"name": "f", "type": "fanout", "alternate_exchange": "not-there"},
    ],
    "queues": [
        {"name": "q2"},
        {
            "name": "q1",
            "lease_seconds": 12.5,
            "delivery_limit": None,
            "retry_backoff": {"initial_seconds": 2},
            "dead_letter_exchange": "f",
            "dead_letter_routing_key": "",
            "message_ttl_seconds": 60,
            "delay_seconds": 1,
            "max_messages": 10,
            "max_bytes": 1000,
            "overflow": "drop_oldest",
            "dead_max_messages": 5,
            "max_priority": 7,
            "deduplication_window_seconds": 10,
            "expires_seconds": 3600,
            "paused": True,
        },
    ],
    "bindings": [
        {"source": "h", "queue": "q2", "match": "any", "headers": {"Z": 1.5, "a": True, "m": "x"}},
        {"source": "a", "queue": "q2", "routing_key": "z.#"},
        {"source": "a", "queue": "q1", "routing_key": ""},
        {"source": "a", "queue": "q2", "routing_key": "a.*"},
        {"source": "a", "exchange": "h", "routing_key": "#"},
        {"source": "h", "exchange": "f"},
        {"source": "f", "queue": "q1"},
    ],
}
EMPTY: Json = {"exchanges": [], "queues": [], "bindings": []}


def export(http: httpx2.Client) -> Json:
    answer = http.get("/v1/definitions")
    assert answer.status_code == 200, answer.text
    document: Json = answer.json()
    return document


def merge(http: httpx2.Client, document: Json) -> Json:
    answer = http.put("/v1/definitions", json=document)
    assert answer.status_code == 200, answer.text
    counts: Json = answer.json()
    return counts


def test_an_empty_broker(http: httpx2.Client) -> None:
    assert export(http) == EMPTY
    assert merge(http, {}) == {"exchanges": 0, "queues": 0, "bindings": 0, "unmapped": []}
    assert merge(http, {"exchanges": None, "queues": None, "bindings": []})["queues"] == 0
    assert http.put("/v1/definitions").json()["queues"] == 0
    assert export(http) == EMPTY


def test_what_is_exported_makes_an_equal_broker(server: Server, http: httpx2.Client, tmp_path: Path) -> None:
    assert merge(http, TOPOLOGY) == {"exchanges": 4, "queues": 2, "bindings": 7, "unmapped": []}
    document = export(http)
    assert [exchange["name"] for exchange in document["exchanges"]] == ["a", "b", "f", "h"]
    assert [queue["name"] for queue in document["queues"]] == ["q1", "q2"]
    assert document["bindings"] == [
        {"source": "a", "exchange": "h", "routing_key": "#"},
        {"source": "a", "queue": "q1", "routing_key": ""},
        {"source": "a", "queue": "q2", "routing_key": "a.*"},
        {"source": "a", "queue": "q2", "routing_key": "z.#"},
        {"source": "f", "queue": "q1", "routing_key": ""},
        {"source": "h", "exchange": "f", "match": "all", "headers": {}},
        {"source": "h", "queue": "q2", "match": "any", "headers": {"a": True, "m": "x", "z": 1.5}},
    ]
    # What a queue is declared with is what is shown of it, and nothing of what happened in it.
    shown = http.get("/v1/queues/q1").json()
    del shown["stats"]
    assert document["queues"][0] == shown
    other = Server(tmp_path / "other")
    try:
        with httpx2.Client(base_url=other.start().url) as there:
            merge(there, document)
            assert http.get("/v1/definitions").content == there.get("/v1/definitions").content
            # Again changes nothing.
            merge(there, document)
            assert export(there) == document
            other.kill()
            other.start()
            assert export(there) == document
            # What is there otherwise stays.
            make_queue(there, "q0")
            make_exchange(there, "e0", "fanout")
            merge(there, document)
            assert {"q0", "q1", "q2"} == {queue["name"] for queue in export(there)["queues"]}
    finally:
        other.close()


def test_an_import_does_what_was_exported(http: httpx2.Client) -> None:
    merge(http, TOPOLOGY)
    routed = http.get("/v1/exchanges/a/route?routing_key=z.y", headers={"Message-Header-M": "x"}).json()
    assert routed["queues"] == ["q1", "q2"]
    assert http.put("/v1/queues/q2", json={}).status_code == 200
    assert http.put("/v1/exchanges/a", json={"type": "topic"}).status_code == 200


def test_settings_that_differ_are_changed(shared: httpx2.Client, name: Name) -> None:
    exchange, queue, other = (
        make_exchange(shared, name("x")),
        make_queue(shared, name("q"), max_messages=5),
        name("new"),
    )
    put(shared, queue, "a", "b")
    leased = receive_one(shared, queue)
    document: Json = {
        "exchanges": [{"name": exchange, "type": "topic", "alternate_exchange": exchange}],
        "queues": [{"name": queue, "lease_seconds": 99, "paused": True}, {"name": other}],
        "bindings": [{"source": exchange, "queue": other, "routing_key": "k"}],
    }
    merge(shared, document)
    shown = shared.get(f"/v1/queues/{queue}").json()
    # Left out means its default, as where a queue is declared.
    assert (shown["lease_seconds"], shown["paused"], shown["max_messages"]) == (99, True, None)
    assert shared.get(f"/v1/exchanges/{exchange}").json()["alternate_exchange"] == exchange
    assert shared.post(f"/v1/exchanges/{exchange}/messages?routing_key=k", content=b"x").json()["queues"] == [other]
    # It is the queue that it was: with its messages, its leases and its totals.
    assert (stats(shared, queue)["ready"], stats(shared, queue)["published"]) == (1, 2)
    assert settle(shared, queue, "ack", leased["receipt"])["acked"] == 1


def test_a_live_queue_goes_by_it_at_once(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name(), paused=True)
    put(shared, queue, "a")
    assert shared.post(f"/v1/queues/{queue}/receive").json() == {"messages": []}
    merge(shared, {"queues": [{"name": queue}]})
    assert receive_one(shared, queue)["body"] == "a"


def test_bindings_may_lead_to_what_is_there_already(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name("x")), make_queue(shared, name("q"))
    bindings = [{"source": exchange, "queue": queue, "routing_key": "k"}] * 2
    assert merge(shared, {"bindings": bindings})["bindings"] == 2
    assert len(shared.get(f"/v1/exchanges/{exchange}/bindings").json()["bindings"]) == 1


GOOD = {"name": "good-queue"}
BAD: list[tuple[Any, str]] = [
    ({"queues": [GOOD, {"name": "q", "lease_seconds": 0}]}, "queues.1.lease_seconds"),
    ({"queues": [GOOD, GOOD, {}]}, "queues.2.name"),
    ({"queues": [GOOD, {"name": "q q"}]}, "queues.1.name"),
    ({"queues": [GOOD, {"name": 1}]}, "queues.1.name"),
    ({"queues": [GOOD, {"name": None}]}, "queues.1.name"),
    ({"queues": [GOOD, {"name": "q", "stats": {}}]}, "queues.1.stats"),
    ({"queues": [GOOD, {"name": "q", "retry_backoff": {"jitter": 2}}]}, "queues.1.retry_backoff.jitter"),
    ({"queues": [GOOD, {"name": "q", "dead_letter_exchange": "a b"}]}, "queues.1.dead_letter_exchange"),
    ({"queues": [GOOD, {"name": "q", "delay_seconds": 1e9}]}, "queues.1.delay_seconds"),
    ({"queues": [GOOD, {"name": "q", "message_ttl_seconds": 0}]}, "queues.1.message_ttl_seconds"),
    ({"queues": [GOOD, "q"]}, "queues.1"),
    ({"queues": [GOOD, None]}, "queues.1"),
    ({"queues": [GOOD, GOOD]}, "queues.1.name"),
    ({"queues": {"q": {}}}, "queues"),
    ({"queues": [GOOD], "exchanges": [{"name": "x"}]}, "exchanges.0.type"),
    ({"queues": [GOOD], "exchanges": [{"name": "x", "type": "stream"}]}, "exchanges.0.type"),
    ({"queues": [GOOD], "exchanges": [{"type": "topic"}]}, "exchanges.0.name"),
    (
        {"queues": [GOOD], "exchanges": [{"name": "x", "type": "topic"}, {"name": "x", "type": "topic"}]},
        "exchanges.1.name",
    ),
    ({"queues": [GOOD], "bindings": [{"queue": "good-queue"}]}, "bindings.0.source"),
    ({"queues": [GOOD], "bindings": [{"source": "x"}]}, "bindings.0.queue"),
    ({"queues": [GOOD], "bindings": [{"source": "x", "queue": "a", "exchange": "b"}]}, "bindings.0.queue"),
    ({"queues": [GOOD], "bindings": [{"source": "not-there", "queue": "good-queue"}]}, "bindings.0.source"),
    ({"queues": [GOOD], "bindings": [{"source": "x", "queue": "q", "id": "1"}]}, "bindings.0.id"),
    ({"queues": [GOOD], "bindings": [{"source": "x", "queue": "q", "headers": {"a_b": 1}}]}, "bindings.0.headers"),
    ({"queues": [GOOD], "bindings": [{"source": "x", "queue": "q", "headers": {"a": []}}]}, "bindings.0.headers.a"),
    ({"queues": [GOOD], "bindings": [{"source": "x", "queue": "q", "match": "some"}]}, "bindings.0.match"),
    ({"queues": [GOOD], "bindings": [{"source": "x", "queue": "q", "routing_key": "\x01"}]}, "bindings.0.routing_key"),
    ({"queues": [GOOD], "streams": []}, "streams"),
    ({"queues": [GOOD], "messages": None}, "messages"),
]


@pytest.mark.parametrize(("document", "field"), BAD)
def test_what_is_wrong_is_named_with_its_place(shared: httpx2.Client, document: Json, field: str) -> None:
    answer = shared.put("/v1/definitions", json=document)
    assert_problem(answer, 422, "invalid-request", field=field)
    assert answer.json()["detail"].startswith(f"{field}: ")
    # All or nothing.
    assert_problem(shared.get("/v1/queues/good-queue"), 404, "queue-not-found")


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        ({"source": "t", "queue": "none"}, "bindings.1.queue"),
        ({"source": "t", "exchange": "none"}, "bindings.1.exchange"),
        ({"source": "none", "queue": "q"}, "bindings.1.source"),
        ({"source": "t", "queue": "q", "match": "all"}, "bindings.1.match"),
        ({"source": "t", "queue": "q", "headers": {}}, "bindings.1.headers"),
        ({"source": "h", "queue": "q", "routing_key": ""}, "bindings.1.routing_key"),
    ],
)
def test_bindings_that_cannot_be(server: Server, http: httpx2.Client, binding: Json, field: str) -> None:
    document = {
        "exchanges": [{"name": "t", "type": "topic"}, {"name": "h", "type": "headers"}],
        "queues": [{"name": "q"}],
        "bindings": [{"source": "t", "queue": "q"}, binding],
    }
    assert_problem(http.put("/v1/definitions", json=document), 422, "invalid-request", field=field)
    assert export(http) == EMPTY


def test_an_exchange_of_another_type_is_a_conflict(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name("x"), "topic"), name("q")
    exchanges = [{"name": name("new"), "type": "topic"}, {"name": exchange, "type": "direct"}]
    answer = shared.put("/v1/definitions", json={"exchanges": exchanges, "queues": [{"name": queue}]})
    assert_problem(answer, 409, "conflict", fields=["type"], field="exchanges.1.type")
    assert_problem(shared.get(f"/v1/queues/{queue}"), 404, "queue-not-found")
    assert_problem(shared.get(f"/v1/exchanges/{exchanges[0]['name']}"), 404, "exchange-not-found")


def test_other_refusals(shared: httpx2.Client, name: Name) -> None:
    document = json.dumps({"queues": [{"name": name()}]})
    path = "/v1/definitions"
    assert_problem(shared.put(path, content=b"{"), 400, "malformed-request")
    assert_problem(shared.put(path, content=b"[]"), 422, "invalid-request")
    assert_problem(
        shared.put(path, content=document, headers={"Content-Encoding": "gzip"}), 415, "unsupported-media-type"
    )
    assert_problem(shared.put(path, content=document, headers={"Accept": "text/plain"}), 406, "not-acceptable")
    assert_problem(shared.put(path, content=b" " * (16 * 1024 * 1024 + 1)), 413, "body-too-large")
    assert_problem(shared.put(f"{path}?vhost=/", content=document), 422, "invalid-request", field="vhost")
    assert_problem(shared.put(f"{path}?dry_run=true", content=document), 422, "invalid-request", field="dry_run")
    assert_problem(shared.get(f"{path}?vhost=/"), 422, "invalid-request", field="vhost")
    assert_problem(shared.post(path, content=document), 405, "method-not-allowed", allow=["GET", "HEAD", "PUT"])


def test_reply_addresses_are_no_part_of_it(http: httpx2.Client) -> None:
    make_exchange(http, "x", "fanout")
    http.post("/v1/exchanges/x/request?wait_seconds=0", content=b"anybody?")
    assert "_reply" not in http.get("/v1/definitions").text
    assert_problem(http.put("/v1/definitions", json={"queues": [{"name": "_reply.x"}]}), 422, "invalid-request")


def test_a_large_topology(http: httpx2.Client) -> None:
    names = [f"q{number:05d}" for number in range(5000)]
    document = {
        "exchanges": [{"name": "x", "type": "direct"}],
        "queues": [{"name": name} for name in names],
        "bindings": [{"source": "x", "queue": name, "routing_key": name} for name in names],
    }
    assert merge(http, document) == {"exchanges": 1, "queues": 5000, "bindings": 5000, "unmapped": []}
    found = export(http)
    assert [queue["name"] for queue in found["queues"]] == names
    assert found["bindings"] == document["bindings"]
