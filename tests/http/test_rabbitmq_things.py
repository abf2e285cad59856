"""RabbitMQ's arguments of queues and bindings, one by one: what each is here, or that it has no equal."""

from collections.abc import Callable
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import NAME, Limits
from queuesvc.http.control.rabbitmq import Translated, recognise, translate
from tests.http.rabbitmq import bindings_of, merge, unmapped, with_binding, with_queue
from tests.http.wire import Json, make_exchange, put, receive_one, settle
from tests.support.until import wait_until

Name = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ({}, {}),
        ([], {}),
        (None, {}),
        ({"x-message-ttl": 1}, {"message_ttl_seconds": 0.001}),
        ({"x-message-ttl": 86_400_000}, {"message_ttl_seconds": 86_400}),
        ({"x-expires": 1500}, {"expires_seconds": 1.5}),
        ({"x-delivery-limit": 3}, {"delivery_limit": 3}),
        ({"x-delivery-limit": 0}, {"delivery_limit": 1}),
        ({"x-delivery-limit": -1}, {"delivery_limit": None}),
        ({"x-dead-letter-exchange": "dlx"}, {"dead_letter_exchange": "dlx"}),
        (
            {"x-dead-letter-exchange": "d", "x-dead-letter-routing-key": ""},
            {"dead_letter_exchange": "d", "dead_letter_routing_key": ""},
        ),
        ({"x-max-length": 5}, {"max_messages": 5, "overflow": "drop_oldest"}),
        ({"x-max-length-bytes": 5}, {"max_bytes": 5, "overflow": "drop_oldest"}),
        ({"x-overflow": "drop-head", "x-max-length": 5}, {"max_messages": 5, "overflow": "drop_oldest"}),
        ({"x-overflow": "reject-publish", "x-max-length": 5}, {"max_messages": 5}),
        ({"x-max-length": 5, "x-overflow": "reject-publish"}, {"max_messages": 5}),
        ({"x-max-priority": 255}, {"max_priority": 255}),
        ({"x-queue-type": "classic"}, {}),
        ({"x-single-active-consumer": False}, {}),
        ({"x-dead-letter-strategy": "at-least-once"}, {}),
    ],
)
def test_arguments_that_have_an_equal(shared: httpx2.Client, name: Name, arguments: Any, settings: Json) -> None:
    queue = name()
    answer = merge(shared, with_queue(queue, arguments))
    assert (answer["queues"], answer["unmapped"]) == (1, [])
    # It is as if it had been declared so here.
    assert shared.put(f"/v1/queues/{queue}", json=settings).status_code == 200


@pytest.mark.parametrize(
    ("argument", "value", "settings"),
    [
        ("x-message-ttl", 0, {}),
        ("x-message-ttl", "60000", {}),
        ("x-message-ttl", 1.5, {}),
        ("x-message-ttl", True, {}),
        ("x-message-ttl", 10**18, {}),
        ("x-expires", 0, {}),
        ("x-delivery-limit", 2**60, {}),
        ("x-max-length", 0, {}),
        ("x-max-length", -1, {}),
        ("x-max-length-bytes", None, {}),
        ("x-max-priority", 256, {}),
        ("x-overflow", "reject-publish-dlx", {}),
        ("x-overflow", "explode", {}),
        ("x-overflow", 1, {}),
        ("x-dead-letter-routing-key", "x" * 256, {}),
        ("x-dead-letter-routing-key", 7, {}),
        ("x-dead-letter-exchange", "", {"dead_letter_exchange": "amq.default"}),
        ("x-dead-letter-exchange", "dead letters", {"dead_letter_exchange": "rabbitmq:unnamed"}),
        ("x-dead-letter-exchange", 5, {"dead_letter_exchange": "rabbitmq:unnamed"}),
        ("x-dead-letter-strategy", "sometimes", {}),
        ("x-single-active-consumer", True, {}),
        ("x-queue-type", "quorum", {}),
        ("x-queue-type", "x-other", {}),
        ("x-queue-mode", "lazy", {}),
        ("x-queue-master-locator", "min-masters", {}),
        ("x-something", {"a": []}, {}),
    ],
)
def test_arguments_that_have_none(shared: httpx2.Client, name: Name, argument: str, value: Any, settings: Json) -> None:
    queue = name()
    answer = merge(shared, with_queue(queue, {argument: value}))
    assert answer["queues"] == 1
    assert unmapped(answer) == [("queue", queue, argument)]
    assert shared.put(f"/v1/queues/{queue}", json=settings).status_code == 200


@pytest.mark.parametrize(
    ("others", "field"), [({"durable": False}, "durable"), ({"exclusive": True}, "exclusive"), ({"node": "n"}, "node")]
)
def test_members_that_have_none(shared: httpx2.Client, name: Name, others: Json, field: str) -> None:
    queue = name()
    assert unmapped(merge(shared, with_queue(queue, {}, **others))) == [("queue", queue, field)]


def test_dead_letters_for_the_default_exchange_are_not_lost(http: httpx2.Client) -> None:
    """A queue to retry later, the usual way in RabbitMQ: what expires waits until there is somewhere to go."""
    arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"}
    merge(http, with_queue("q", arguments))
    http.put("/v1/queues/work")
    put(http, "q", "again")
    wait_until(lambda: http.get("/v1/queues/q").json()["stats"]["dead"] == 1, "the death")
    make_exchange(http, "amq.default", "direct")
    http.post("/v1/exchanges/amq.default/bindings", json={"queue": "work", "routing_key": "work"})
    assert http.post("/v1/queues/q/redrive").json()["moved"] == 1
    message = receive_one(http, "work")
    assert (message["body"], message["deaths"][0]["reason"]) == ("again", "expired")
    assert settle(http, "work", "ack", message["receipt"])["acked"] == 1


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, {"match": "all", "headers": {}}),
        ({"a": "1"}, {"match": "all", "headers": {"a": "1"}}),
        ({"x-match": "all", "A-b": 1}, {"match": "all", "headers": {"a-b": 1}}),
        ({"x-match": "any", "a": False}, {"match": "any", "headers": {"a": False}}),
        ({"x-match": "all", "x-a": 1, "a": 1.5}, {"match": "all", "headers": {"a": 1.5}}),
        ({"x-match": "any", "x-a": 1, "b": 1}, {"match": "any", "headers": {"b": 1}}),
        ({"x-match": "all-with-x", "x-a": 1, "a": 1}, {"match": "all", "headers": {"a": 1, "x-a": 1}}),
        ({"x-match": "any-with-x", "x-a": 1}, {"match": "any", "headers": {"x-a": 1}}),
    ],
)
def test_header_bindings(shared: httpx2.Client, name: Name, arguments: Json, shown: Json) -> None:
    exchange, queue = name("x"), name("q")
    # A routing key means nothing to a headers exchange, there or here.
    assert merge(shared, with_binding(exchange, queue, arguments, routing_key="k"))["unmapped"] == []
    assert bindings_of(shared, exchange) == [{"queue": queue, **shown}]


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-match": "none", "a": 1},
        {"x-match": None},
        {"a": None},
        {"a": ["list"]},
        {"a": {"table": 1}},
        {"under_score": 1},
        {"": 1},
        {"a": 1, "A": 2},
        {f"h{number}": 1 for number in range(65)},
    ],
)
def test_header_bindings_that_have_no_equal(shared: httpx2.Client, name: Name, arguments: Json) -> None:
    exchange, queue = name("x"), name("q")
    answer = merge(shared, with_binding(exchange, queue, arguments))
    assert (answer["bindings"], unmapped(answer)) == (0, [("binding", f"{exchange} -> {queue}", None)])


@pytest.mark.parametrize(("kind", "key"), [("topic", "a.*.#"), ("direct", "k"), ("fanout", "what ever")])
def test_other_bindings(shared: httpx2.Client, name: Name, kind: str, key: str) -> None:
    exchange, queue = name("x"), name("q")
    assert merge(shared, with_binding(exchange, queue, {}, kind, routing_key=key))["unmapped"] == []
    assert bindings_of(shared, exchange) == [{"queue": queue, "routing_key": key}]


@pytest.mark.parametrize("key", ["x" * 256, "a\x01b"])
def test_routing_keys_that_have_no_equal(shared: httpx2.Client, name: Name, key: str) -> None:
    exchange, queue = name("x"), name("q")
    answer = merge(shared, with_binding(exchange, queue, {}, "topic", routing_key=key))
    assert unmapped(answer) == [("binding", f"{exchange} -> {queue} [{key}]", None)]


# --- anything at all --------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "amq.topic", "amq.match", "amq.rabbitmq.log", "", "not a name", "x" * 256, "é"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=3) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(
        [
            "x-message-ttl",
            "x-expires",
            "x-delivery-limit",
            "x-dead-letter-exchange",
            "x-dead-letter-routing-key",
            "x-max-length",
            "x-match",
            "x-max-length-bytes",
            "x-overflow",
            "x-max-priority",
            "x-queue-type",
            "x-single-active-consumer",
            "x-dead-letter-strategy",
            "alternate-exchange",
            "x-queue-mode",
            "header",
            "Header",
            "head_er",
        ]
    ),
    ANYTHING | st.integers(0, 300) | st.sampled_from(["quorum", "stream", "drop-head", "any", "all-with-x"]),
    max_size=4,
)
MEMBERS = {
    "name": NAMES,
    "vhost": st.sampled_from(["/", "other"]),
    "type": st.sampled_from(["topic", "direct", "headers", "x-delayed-message", "quorum"]),
    "durable": st.booleans(),
    "arguments": ARGUMENTS,
    "source": NAMES,
    "destination": NAMES,
    "destination_type": st.sampled_from(["queue", "exchange"]),
    "routing_key": NAMES,
    "component": st.sampled_from(["policy", "shovel"]),
    "value": ANYTHING,
    "pattern": ANYTHING,
    "definition": ANYTHING,
}


def things(*required: str) -> st.SearchStrategy[Any]:
    """Lists of things that mostly look like what they are meant to be."""
    others = {name: value for name, value in MEMBERS.items() if name not in required}
    good = st.fixed_dictionaries({name: MEMBERS[name] for name in required}, optional=others)
    return st.lists(good, max_size=4) | st.lists(
        good | st.dictionaries(st.sampled_from([*MEMBERS]), ANYTHING), max_size=2
    )


DOCUMENTS = st.fixed_dictionaries(
    {"rabbit_version": st.just("4.1.0")},
    optional={
        "exchanges": things("name", "type"),
        "queues": things("name"),
        "bindings": things("source", "destination"),
        "policies": things("name"),
        "parameters": things("name", "component"),
        "vhosts": things("name"),
        "users": things("name") | ANYTHING,
        "limits": ANYTHING,
    },
)


def read(document: Json, vhost: str | None) -> tuple[Translated | None, Refused | None]:
    try:
        return translate(document, vhost, Limits()), None
    except Refused as refused:
        return None, refused


VHOSTS = st.sampled_from([None, "/", "other", "none"])


@given(DOCUMENTS, VHOSTS)
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_or_refused(document: Json, vhost: str | None) -> None:
    check_read_or_refused(document, vhost)


@pytest.mark.slow
@given(DOCUMENTS, VHOSTS)
@settings(max_examples=10_000, deadline=None)
def test_any_of_very_many_documents_is_read_or_refused(document: Json, vhost: str | None) -> None:
    check_read_or_refused(document, vhost)


def check_read_or_refused(document: Json, vhost: str | None) -> None:
    document = orjson.loads(orjson.dumps(document))
    assert recognise(document)
    translated, refused = read(document, vhost)
    if translated is None:
        assert refused is not None
        assert refused.code is Code.INVALID_REQUEST
        assert refused.extra["field"]
        return
    command = translated.command
    names = [exchange.name for exchange in command.exchanges] + [name for name, _ in command.queues]
    assert all(NAME.fullmatch(name) for name in names)
    assert len({exchange.name for exchange in command.exchanges}) == len(command.exchanges)
    assert len(dict(command.queues)) == len(command.queues)
    for _, queue in command.queues:
        assert queue.message_ttl_seconds is None or queue.message_ttl_seconds > 0
    for binding in command.bindings:
        assert NAME.fullmatch(binding.source)
        assert NAME.fullmatch(binding.queue or binding.exchange or "")
    # Whatever it was, it can be told.
    orjson.dumps([(one.what, one.name, one.field, one.why) for one in translated.unmapped])
