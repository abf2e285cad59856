"""The OpenAPI document is true: it is valid, the broker's answers are as it says, and so is what it takes."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.definitions import OPENAPI_31

from queuesvc.domain.limits import Limits
from queuesvc.http.app import ENDPOINTS
from queuesvc.http.data.ask import QUERY as REQUEST_QUERY
from queuesvc.http.data.envelopes import FIELDS
from queuesvc.http.data.envelopes import QUERY as PUBLISH_QUERY
from queuesvc.http.data.receive import QUERY as RECEIVE_QUERY
from queuesvc.http.data.transact import TARGETS
from queuesvc.http.openapi import codes, make_document
from queuesvc.http.problems import STATUS
from tests.support.problems import refused

Name = Callable[..., str]

DOCUMENT: dict[str, Any] = json.loads(json.dumps(make_document(ENDPOINTS, Limits())))
BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def schemas(value: Any) -> list[Any]:
    """Every schema in the document, wherever it stands."""
    found = list(DOCUMENT["components"]["schemas"].values())

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(value[key] for key in value if key == "schema")
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(value)
    return found


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    if isinstance(value, list):
        return set().union(*map(references, value))
    return set()


def check(operation: str, answer: httpx2.Response) -> None:
    """The answer is one of those that the document describes."""
    endpoint = BY_NAME[operation]
    described = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"][str(answer.status_code)]
    if answer.status_code == 204:
        assert "content" not in described
        return
    schema = described["content"][answer.headers["content-type"]]["schema"]
    validator = jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    errors = [str(error) for error in validator.iter_errors(answer.json())]
    assert errors == [], answer.text


def test_it_is_openapi() -> None:
    validator = jsonschema_rs.validator_for(OPENAPI_31)
    assert [str(error) for error in validator.iter_errors(DOCUMENT)] == []
    everything = schemas(DOCUMENT)
    assert len(everything) > 100
    for schema in everything:
        jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    used = references(DOCUMENT)
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    schemes = {scheme for operation in operations for one in operation["security"] for scheme in one}
    used |= {f"#/components/securitySchemes/{scheme}" for scheme in schemes}
    components = {f"#/components/{kind}/{name}" for kind, items in DOCUMENT["components"].items() for name in items}
    assert used == components


def test_what_the_data_plane_reads_is_what_is_described() -> None:
    batch = DOCUMENT["components"]["schemas"]["Envelope"]["properties"]
    assert set(batch) == FIELDS
    assert set(DOCUMENT["components"]["schemas"]["TransactionPublish"]["properties"]) == FIELDS | TARGETS
    assert {one.name: one.kind for one in BY_NAME["publish"].query} == dict(PUBLISH_QUERY)
    assert {one.name: one.kind for one in BY_NAME["request"].query} == dict(REQUEST_QUERY)
    assert {one.name: one.kind for one in BY_NAME["receive"].query} == dict(RECEIVE_QUERY)


def test_its_limits_are_those_in_force() -> None:
    odd = Limits(111, 2222, 33, 44, 5555, 6, 777, 8.5, 99.5)
    document = make_document(ENDPOINTS, odd)
    schemas = document["components"]["schemas"]
    query = {
        (path, one["name"]): one["schema"]
        for path, methods in document["paths"].items()
        for one in methods.get("post", {}).get("parameters", ())
    }
    assert schemas["Batch"]["properties"]["messages"]["maxItems"] == odd.batch_messages
    assert schemas["AckRequest"]["properties"]["receipts"] == {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": odd.receive_messages,
    }
    assert query["/v1/queues/{queue}/receive", "max_messages"]["maximum"] == odd.receive_messages
    assert query["/v1/queues/{queue}/receive", "wait_seconds"]["maximum"] == odd.wait_seconds
    assert query["/v1/exchanges/{exchange}/request", "wait_seconds"] == {
        "type": "number",
        "minimum": 0,
        "maximum": odd.wait_seconds,
        "default": odd.wait_seconds,
    }
    assert query["/v1/queues/{queue}/messages", "delay_seconds"]["maximum"] == odd.delay_seconds
    assert schemas["Envelope"]["properties"]["headers"]["anyOf"][0]["maxProperties"] == odd.header_count
    assert schemas["QueueChanges"]["properties"]["delay_seconds"]["maximum"] == odd.delay_seconds
    assert "x-limited" not in json.dumps(document)
    assert "111 bytes" in document["info"]["description"]


def test_every_code_of_this_part_is_described() -> None:
    described = {code for endpoint in ENDPOINTS for code in codes(endpoint)}
    later = {
        "stream-not-found",
        "method-not-allowed",
    }
    assert {code.value for code in STATUS} - {code.value for code in described} == later


def test_the_control_plane_answers_as_described(shared: httpx2.Client, name: Name) -> None:
    topic, by_headers, queue = name("topic"), name("headers"), name("queue")
    settings = {"retry_backoff": {}, "dead_letter_exchange": topic, "message_ttl_seconds": 1.5}
    binding = {"queue": queue, "match": "all", "headers": {"a": 1, "b": True, "c": "x"}}
    for operation, method, path, document in (
        ("putExchange", "PUT", f"/v1/exchanges/{topic}", {"type": "topic"}),
        ("putExchange", "PUT", f"/v1/exchanges/{topic}", {"type": "topic"}),
        ("putExchange", "PUT", f"/v1/exchanges/{topic}", {"type": "direct"}),
        ("putExchange", "PUT", f"/v1/exchanges/{topic}", {}),
        ("putExchange", "PUT", f"/v1/exchanges/{by_headers}", {"type": "headers", "alternate_exchange": topic}),
        ("getExchange", "GET", f"/v1/exchanges/{by_headers}", None),
        ("getExchange", "GET", f"/v1/exchanges/{queue}", None),
        ("listExchanges", "GET", "/v1/exchanges?limit=1", None),
        ("putQueue", "PUT", f"/v1/queues/{queue}", settings),
        ("putQueue", "PUT", f"/v1/queues/{queue}", settings),
        ("patchQueue", "PATCH", f"/v1/queues/{queue}", {"retry_backoff": None}),
        ("postBinding", "POST", f"/v1/exchanges/{topic}/bindings", {"queue": queue, "routing_key": "#"}),
        ("postBinding", "POST", f"/v1/exchanges/{topic}/bindings", {"exchange": by_headers}),
        ("postBinding", "POST", f"/v1/exchanges/{by_headers}/bindings", binding),
        ("postBinding", "POST", f"/v1/exchanges/{by_headers}/bindings", binding),
        ("publishToQueue", "POST", f"/v1/queues/{queue}/messages", {"any": "thing"}),
        ("getQueue", "GET", f"/v1/queues/{queue}", None),
        ("listQueues", "GET", "/v1/queues", None),
        ("listQueues", "GET", "/v1/queues?limit=1", None),
        ("listQueueBindings", "GET", f"/v1/queues/{queue}/bindings", None),
        ("listExchangeBindings", "GET", f"/v1/exchanges/{topic}/bindings?limit=1", None),
        ("route", "GET", f"/v1/exchanges/{topic}/route?routing_key=a", None),
        ("deleteQueue", "DELETE", f"/v1/queues/{queue}?if_empty=true", None),
        ("deleteQueue", "DELETE", f"/v1/queues/{queue}", None),
        ("deleteExchange", "DELETE", f"/v1/exchanges/{topic}", None),
        ("deleteBinding", "DELETE", "/v1/bindings/999999999", None),
    ):
        check(operation, shared.request(method, path, json=document))


def test_the_data_plane_answers_as_described(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = name("x"), f"/v1/queues/{name('q')}"
    shared.put(f"/v1/exchanges/{exchange}", json={"type": "fanout"})
    shared.put(queue)
    shared.post(f"/v1/exchanges/{exchange}/bindings", json={"queue": queue.rpartition("/")[2]})
    messages = [{"body": "a", "headers": {"n": 1}}, {"body_base64": "/w=="}, {"json": None, "group": "g"}]
    check("publish", shared.post(f"/v1/exchanges/{exchange}/messages", content=b"x"))
    check("publishBatch", shared.post(f"/v1/exchanges/{exchange}/messages/batch", json={"messages": messages}))
    check("publishBatch", shared.post(f"/v1/exchanges/{exchange}/messages/batch", json={"messages": [{}]}))
    check("publish", shared.post(f"/v1/exchanges/{exchange}/messages", headers={"Content-Encoding": "gzip"}))
    check("publishBatchToQueue", shared.post(f"{queue}/messages/batch", json={"messages": messages}))
    received = shared.post(f"{queue}/receive?max_messages=5")
    check("receive", received)
    receipts = [message["receipt"] for message in received.json()["messages"]]
    assert len(receipts) == 5
    check("receive", shared.post(f"{queue}/receive", json={"ack": receipts[:1], "auto_ack": True}))
    check("receive", shared.post(f"{queue}/receive?consumer=%01"))
    check("receive", shared.post(f"{queue}/receive", headers={"Accept": "text/html"}))
    check("ack", shared.post(f"{queue}/ack", content=b"{", headers={"Content-Encoding": "br"}))
    check("ack", shared.post(f"{queue}/ack", json={"receipts": receipts[:2]}))
    check("nack", shared.post(f"{queue}/nack", json={"receipts": receipts[1:3], "requeue": False, "reason": "x"}))
    check("extend", shared.post(f"{queue}/extend", json={"receipts": receipts, "lease_seconds": 60}))
    check("extend", shared.post(f"{queue}/extend", json={"receipts": receipts}))


def test_idempotent_and_common_work_is_answered_as_described(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = name("x"), name("q")
    shared.put(f"/v1/exchanges/{exchange}", json={"type": "fanout"})
    shared.put(f"/v1/queues/{queue}", json={"max_messages": 5})
    into = f"/v1/queues/{queue}/messages"
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    batched = {"Content-Type": "application/cloudevents-batch+json"}
    for content in (b"x", b"x", b"y"):
        check("publishToQueue", shared.post(into, content=content, headers={"Idempotency-Key": "one"}))
    for body in ("x", "x", "y"):
        messages = [{"body": body, "idempotency_key": "each"}, {"body": body, "idempotency_key": "each"}]
        check("publishBatchToQueue", shared.post(f"{into}/batch", json={"messages": messages}))
        key = {"Idempotency-Key": "all"}
        check("publishBatchToQueue", shared.post(f"{into}/batch", json={"messages": [{"body": body}]}, headers=key))
    check("publishToQueue", shared.post(into, json=[event], headers=batched))
    check("publishBatchToQueue", shared.post(f"{into}/batch", json=[event], headers=batched))
    check("publishToQueue", shared.post(into, content=b"one too many"))
    receipts = [one["receipt"] for one in shared.post(f"/v1/queues/{queue}/receive?max_messages=9").json()["messages"]]
    publish = {"queue": queue, "body": "x"}
    for transaction in (
        {"acks": [{"queue": queue, "receipts": receipts[:1]}], "publishes": [publish]},
        {"nacks": [{"queue": queue, "receipts": receipts[:1]}]},
        {"publishes": [{"exchange": exchange, "body": "x", "mandatory": True}]},
        {"publishes": [publish] * 9},
        {"acks": [{"queue": "nobody", "receipts": receipts[:1]}]},
        {},
    ):
        check("transact", shared.post("/v1/transactions", json=transaction))
    check("request", shared.post(f"/v1/exchanges/{exchange}/request?wait_seconds=0"))
    check("request", shared.post(f"/v1/exchanges/{exchange}/request?mandatory=true"))
    check("request", shared.post(f"/v1/exchanges/{exchange}/request?reply_to=x"))
    check("publishToQueue", shared.post("/v1/queues/_reply.nobody/messages"))


def test_repairing_and_definitions_answer_as_described(shared: httpx2.Client, name: Name) -> None:
    exchange, name_of_queue = name("x"), name("q")
    queue = f"/v1/queues/{name_of_queue}"
    queues = [{"name": name_of_queue, "retry_backoff": {}, "dead_letter_routing_key": "k"}]
    bindings = [{"source": exchange, "queue": name_of_queue, "match": "any", "headers": {"a": 1}}]
    document = {"exchanges": [{"name": exchange, "type": "headers"}], "queues": queues, "bindings": bindings}
    other = {"rabbit_version": "4.1.0", "vhosts": [{"name": "/"}], "policies": [{"name": "p", "vhost": "/"}]}
    check("putDefinitions", shared.put("/v1/definitions", json=document))
    check("putDefinitions", shared.put("/v1/definitions", json=other))
    check("putDefinitions", shared.put("/v1/definitions", json={"queues": [{}]}))
    check("putDefinitions", shared.put("/v1/definitions", json={"exchanges": [{"name": exchange, "type": "topic"}]}))
    check("getDefinitions", shared.get("/v1/definitions"))
    messages = [{"body": "a", "headers": {"n": 1}}, {"body_base64": "/w=="}, {"json": None}, {"body": "d"}]
    published = shared.post(f"{queue}/messages/batch", json={"messages": messages}).json()["results"]
    ids = [one["id"] for one in published]
    receipts = [one["receipt"] for one in shared.post(f"{queue}/receive?max_messages=2").json()["messages"]]
    shared.post(f"{queue}/nack", json={"receipts": receipts[:1], "requeue": False, "reason": "bad"})
    check("browseMessages", shared.get(f"{queue}/messages"))
    check("browseMessages", shared.get(f"{queue}/messages?limit=1&header.n=1"))
    check("browseMessages", shared.get(f"{queue}/messages?state=gone"))
    check("getMessage", shared.get(f"{queue}/messages/{ids[1]}"))
    check("getMessage", shared.get(f"{queue}/messages/{name()}"))
    check("redrive", shared.post(f"{queue}/redrive", json={"ids": ids[:2]}))
    check("redrive", shared.post(f"{queue}/redrive", json={"to_queue": name()}))
    check("release", shared.post(f"{queue}/release", json={"ids": ids}))
    check("release", shared.post(f"{queue}/release", json={}))
    check("deleteMessage", shared.delete(f"{queue}/messages/{ids[1]}"))
    check("deleteMessage", shared.delete(f"{queue}/messages/{ids[1]}"))
    check("purgeQueue", shared.delete(f"{queue}/messages?dry_run=true"))
    check("purgeQueue", shared.delete(f"/v1/queues/{name()}/messages"))


# What a generator makes of the document is taken where the document allows it and refused where it does not.
# The last part of a path is often a name that is not there, so a 404 is as good as a success.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.negative_data_rejection,
]


def without_whole_floats(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: without_whole_floats(item) for name, item in value.items()}
    return [without_whole_floats(item) for item in value] if isinstance(value, list) else value


control = schemathesis.openapi.from_dict(DOCUMENT).include(tag=["Exchanges", "Queues", "Bindings", "Repairing"])


@control.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_requests(case: schemathesis.Case[Any], shared: httpx2.Client) -> None:
    # JSON Schema takes 2.0 for an integer, the broker does not.
    body = without_whole_floats(case.body)
    if repr(body) != repr(case.body):
        case.body = body
    # Which of a binding's fields are allowed depends on the exchange; `dry_run` stands in the query or in the body.
    unsaid = ("/bindings", "/redrive", "/release")
    more = [] if case.path.endswith(unsaid) else [schemathesis.checks.positive_data_acceptance]
    case.call_and_validate(base_url=str(shared.base_url).rstrip("/"), checks=CHECKS + more)


@pytest.mark.parametrize("path", ["/v1/queues/a", "/v1/exchanges/a"])
def test_the_document_says_what_a_body_may_not_hold(shared: httpx2.Client, path: str) -> None:
    refused(shared.put(path, json={"unknown": 1}), 422, "invalid-request", field="unknown")
