"""RabbitMQ's own definitions, merged in on the wire: what has an equal here, and the list of what has none."""

import copy
import json
from pathlib import Path

import httpx2
import pytest

from tests.http.rabbitmq import bindings_of, merge, settings_of, unmapped, with_binding, with_queue
from tests.http.wire import Json, assert_problem, make_exchange

DOCUMENT: Json = json.loads(Path(__file__).with_name("documents").joinpath("rabbitmq-4.1.json").read_text())
DEFAULTS = {"delivery_limit": 20, "overflow": "reject_publish", "max_priority": 0, "lease_seconds": 30}


def test_a_whole_export(http: httpx2.Client) -> None:
    answer = merge(http, DOCUMENT)
    assert {name: answer[name] for name in ("exchanges", "queues", "bindings")} == {
        "exchanges": 6,
        "queues": 6,
        "bindings": 8,
    }
    found = http.get("/v1/definitions").json()
    assert {exchange["name"]: exchange["type"] for exchange in found["exchanges"]} == {
        "amq.topic": "topic",
        "by-header": "headers",
        "dlx": "direct",
        "events": "topic",
        "temporary": "fanout",
        "unrouted": "fanout",
    }
    assert http.get("/v1/exchanges/events").json()["alternate_exchange"] == "unrouted"
    assert found["bindings"] == [
        {"source": "amq.topic", "queue": "recent", "routing_key": "mqtt.#"},
        {"source": "by-header", "queue": "recent", "match": "any", "headers": {"amount": 3, "country": "de"}},
        {"source": "by-header", "queue": "replicated", "match": "all", "headers": {"express": True, "x-trace": "on"}},
        {"source": "dlx", "queue": "orders.dead", "routing_key": "orders.dead"},
        {"source": "events", "exchange": "by-header", "routing_key": "#"},
        {"source": "events", "queue": "orders", "routing_key": "shop.order.#"},
        {"source": "temporary", "queue": "recent", "routing_key": ""},
        {"source": "unrouted", "queue": "recent", "routing_key": ""},
    ]
    assert [queue["name"] for queue in found["queues"]] == [
        "orders",
        "orders.dead",
        "recent",
        "replicated",
        "retry",
        "single",
    ]
    orders = settings_of(http, "orders")
    assert {setting: orders[setting] for setting in orders if orders[setting] != DEFAULTS.get(setting)} == {
        "dead_letter_exchange": "dlx",
        "dead_letter_routing_key": "orders.dead",
        "dead_max_messages": 100_000,
        "deduplication_window_seconds": 300,
        "delay_seconds": 0,
        "delivery_limit": 5,
        "expires_seconds": 1800,
        "max_bytes": 104_857_600,
        "max_messages": 10_000,
        "max_priority": 10,
        "message_ttl_seconds": 60.5,
        "paused": False,
    }
    # Again is the same again, and so is what comes out of it.
    assert merge(http, DOCUMENT) == answer
    assert http.get("/v1/definitions").json() == found
    assert http.put("/v1/definitions", json=found).json()["unmapped"] == []


def test_all_that_has_no_equal_is_listed(http: httpx2.Client) -> None:
    answer = merge(http, DOCUMENT)
    assert unmapped(answer) == [
        ("exchange", "unrouted", "internal"),
        ("exchange", "later", None),
        ("exchange", "spread", None),
        ("exchange", "chat room", None),
        ("exchange", "temporary", "durable"),
        ("exchange", "temporary", "auto_delete"),
        ("exchange", "temporary", "x-odd"),
        ("queue", "orders.dead", "x-queue-mode"),
        ("queue", "replicated", "x-queue-type"),
        ("queue", "replicated", "x-overflow"),
        ("queue", "retry", "x-dead-letter-exchange"),
        ("queue", "log", None),
        ("queue", "aus/eingang", None),
        ("queue", "single", "auto_delete"),
        ("queue", "single", "x-single-active-consumer"),
        ("queue", "single", "x-message-ttl"),
        ("queue", "single", "x-max-length"),
        ("queue", "single", "x-whatever"),
        ("binding", "by-header -> single", None),
        ("binding", "amq.rabbitmq.event -> recent [#]", None),
        ("binding", "later -> orders [orders]", None),
        ("binding", "events -> log [#]", None),
        ("binding", "events -> chat room [chat]", None),
        ("binding", "temporary -> recent", "odd"),
        ("user", "shop", None),
        ("permission", "shop", None),
        ("topic_permission", "shop at events", None),
        ("parameter", "federation-upstream/elsewhere", None),
        ("operator_policy", "ceiling", None),
        ("global_parameter", "cluster_name", None),
        ("global_parameter", "internal_cluster_id", None),
        ("policy", "orders-ttl", None),
        ("vhost", "empty", None),
        ("vhost", "staging", None),
    ]
    assert "password" not in json.dumps(answer)
    assert "bm90IGEg" not in json.dumps(answer)
    policy = next(one for one in answer["unmapped"] if one["what"] == "policy")
    assert "message-ttl, dead-letter-exchange" in policy["why"]
    assert "'^orders'" in policy["why"]


def test_another_virtual_host(http: httpx2.Client) -> None:
    answer = merge(http, DOCUMENT, "vhost=staging")
    assert (answer["exchanges"], answer["queues"], answer["bindings"]) == (1, 1, 1)
    assert http.get("/v1/exchanges/events").json()["type"] == "direct"
    assert settings_of(http, "orders")["max_priority"] == 3
    assert [one for one in unmapped(answer) if one[0] not in ("user", "global_parameter")] == [
        ("permission", "shop", None),
        ("policy", "other", None),
        ("vhost", "/", None),
        ("vhost", "empty", None),
    ]
    assert answer["unmapped"][-2]["why"].endswith("exchanges: 8, queues: 8, bindings: 14")
    assert merge(http, DOCUMENT, "vhost=empty")["queues"] == 0
    # The same exchange is of another type in the other one: all or nothing, told by its place.
    refused = http.put("/v1/definitions?vhost=%2F", json=DOCUMENT)
    assert_problem(refused, 409, "conflict", field="exchanges.0.type")
    assert_problem(http.get("/v1/queues/recent"), 404, "queue-not-found")
    unknown = http.put("/v1/definitions?vhost=none", json=DOCUMENT)
    assert_problem(unknown, 422, "invalid-request", field="vhost")


def test_an_export_of_one_virtual_host(http: httpx2.Client) -> None:
    """Its things name no virtual host: they are those of the one that was exported."""
    document = copy.deepcopy(DOCUMENT)
    for section in ("exchanges", "queues", "bindings", "policies", "parameters"):
        document[section] = [one for one in document[section] if one.pop("vhost") == "/"]
    for section in (
        "users",
        "vhosts",
        "permissions",
        "topic_permissions",
        "global_parameters",
        "original_cluster_name",
    ):
        del document[section]
    document |= {
        "rabbitmq_definition_format": "single_virtual_host",
        "original_vhost_name": "shop",
        "metadata": {"tags": []},
        "description": "",
        "limits": {"max-queues": 5},
        "default_queue_type": "classic",
    }
    answer = merge(http, document)
    assert (answer["exchanges"], answer["queues"], answer["bindings"]) == (6, 6, 8)
    assert unmapped(answer)[-1] == ("section", "limits", None)
    assert ("policy", "orders-ttl", None) in unmapped(answer)


@pytest.mark.parametrize(
    "document",
    [
        {"rabbit_version": "3.6.6"},
        {"rabbitmq_version": "4.0"},
        {"vhosts": []},
        {"queues": [{"name": "known-q", "vhost": "/"}]},
        {"queues": [{"name": "known-q", "durable": True}]},
        {"exchanges": [{"name": "known-x", "type": "topic", "arguments": {}}]},
    ],
)
def test_it_is_known_by_its_shape(shared: httpx2.Client, document: Json) -> None:
    assert shared.put("/v1/definitions?vhost=/", json=document | {"policies": []}).status_code == 200
    ours = {"queues": [{"name": "known-q"}], "policies": []}
    assert_problem(shared.put("/v1/definitions", json=ours), 422, "invalid-request", field="policies")


def test_built_in_exchanges_come_as_they_are_used(http: httpx2.Client) -> None:
    document = with_queue("q", {"x-dead-letter-exchange": "amq.fanout"})
    document["exchanges"] = [
        {"name": "x", "vhost": "/", "type": "topic", "arguments": {"alternate-exchange": "amq.direct"}},
        {"name": "", "vhost": "/", "type": "direct"},
    ]
    ends = {"vhost": "/", "destination": "q", "destination_type": "queue"}
    document["bindings"] = [
        {**ends, "source": "amq.match", "routing_key": "", "arguments": {"x-match": "any", "a": 1}},
        {**ends, "source": "x", "destination": "amq.headers", "destination_type": "exchange", "routing_key": "#"},
        {**ends, "source": "", "routing_key": "q"},
    ]
    answer = merge(http, document)
    assert answer == {"exchanges": 5, "queues": 1, "bindings": 2, "unmapped": []}
    exchanges = http.get("/v1/exchanges").json()["exchanges"]
    assert [(one["name"], one["type"]) for one in exchanges] == [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
        ("x", "topic"),
    ]


def test_a_built_in_exchange_that_is_another_here(http: httpx2.Client) -> None:
    make_exchange(http, "amq.topic", "direct")
    document = with_binding("x", "q", {}, "topic", source="amq.topic")
    assert_problem(http.put("/v1/definitions", json=document), 409, "conflict", fields=["type"])
    assert_problem(http.get("/v1/queues/q"), 404, "queue-not-found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"queues": {}}, "queues"),
        ({"queues": ["q"]}, "queues.0"),
        ({"queues": [{"vhost": "/"}]}, "queues.0.name"),
        ({"queues": [{"name": 1}]}, "queues.0.name"),
        ({"queues": [{"name": "q", "vhost": 1}]}, "queues.0.vhost"),
        ({"queues": [{"name": "q", "arguments": "x"}]}, "queues.0.arguments"),
        ({"queues": [{"name": "q", "durable": "yes"}]}, "queues.0.durable"),
        ({"queues": [{"name": "q"}, {"name": "q"}]}, "queues.1.name"),
        ({"exchanges": [{"name": "x"}]}, "exchanges.0.type"),
        ({"exchanges": [{"name": "y", "type": "x-a"}, {"name": "y", "type": "topic"}]}, "exchanges.1.name"),
        ({"bindings": [{"source": "refused-x"}]}, "bindings.0.destination"),
        (
            {"bindings": [{"source": "refused-x", "destination": "refused-q", "destination_type": "stream"}]},
            "bindings.0.destination_type",
        ),
        (
            {
                "bindings": [
                    {"source": "", "destination": "refused-q"},
                    {"source": "refused-x", "destination": "refused-gone"},
                ]
            },
            "bindings.1.destination",
        ),
        ({"bindings": [{"source": "refused-gone", "destination": "refused-q"}]}, "bindings.0.source"),
        (
            {"bindings": [{"source": "refused-x", "destination": "refused-gone", "destination_type": "exchange"}]},
            "bindings.0.destination",
        ),
        ({"users": [1]}, "users.0"),
        ({"policies": "none"}, "policies"),
        ({"vhosts": [{}]}, "vhosts.0.name"),
    ],
)
def test_what_is_no_export_is_refused_with_the_place(shared: httpx2.Client, change: Json, field: str) -> None:
    document = with_binding("refused-x", "refused-q", {}, "topic") | {"bindings": []} | change
    answer = shared.put("/v1/definitions", json=document)
    assert_problem(answer, 422, "invalid-request", field=field)
    # All or nothing.
    assert_problem(shared.get("/v1/queues/refused-q"), 404, "queue-not-found")
    assert_problem(shared.get("/v1/exchanges/refused-x"), 404, "exchange-not-found")


def test_bindings_to_what_is_there_already(http: httpx2.Client) -> None:
    merge(http, with_binding("x", "q", {}))
    more = with_binding("x", "q", {}) | {"exchanges": [], "queues": []}
    more["bindings"] = [{**more["bindings"][0], "arguments": {"x-match": "any", "a": 1}}]
    assert merge(http, more)["bindings"] == 1
    assert [one["match"] for one in bindings_of(http, "x")] == ["all", "any"]


def test_old_exports(http: httpx2.Client) -> None:
    """As version 3 wrote them: fewer members, tags as text, no version but one."""
    document = {
        "rabbit_version": "3.0.4",
        "users": [{"name": "guest", "password_hash": "x", "tags": "administrator"}],
        "vhosts": [{"name": "/"}],
        "permissions": [],
        "parameters": [
            {"vhost": "/", "component": "policy", "name": "p", "value": {"pattern": "a", "definition": {"x": 1}}}
        ],
        "queues": [
            {"name": "delay", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {"x-message-ttl": 2000}}
        ],
        "exchanges": [],
        "bindings": [],
    }
    assert unmapped(merge(http, document)) == [("user", "guest", None), ("policy", "p", None)]
    assert settings_of(http, "delay")["message_ttl_seconds"] == 2
