"""From a publisher's JSON to what is stored, and from there to what a consumer is shown, without a server."""

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.ids import Ids
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Content, Envelope
from queuesvc.domain.replies import Delivery, Failure, Received
from queuesvc.http.data import render
from queuesvc.http.data.envelopes import BYTES, FIELDS, JSON, TEXT, Envelopes, query_options

LIMITS = Limits(body_bytes=1000, batch_messages=20, header_count=4, header_bytes=100, delay_seconds=1000)
ENVELOPES = Envelopes(LIMITS)
PUBLISHED_AT = 1_795_525_688_123  # 2026-11-24T13:08:08.123Z
IDS = Ids(77)

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
short_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)
header_values = st.one_of(
    short_text.map(lambda text: text[:5]),
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | unicode_text.map(lambda text: text[:8]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_text, inner, max_size=3),
    max_leaves=8,
)
bodies = st.one_of(
    st.builds(lambda body: {"body": body}, unicode_text.map(lambda text: text[:250])),
    st.builds(lambda body: {"body_base64": base64.b64encode(body).decode()}, st.binary(max_size=1000)),
    st.builds(lambda value: {"json": value}, json_values),
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "routing_key": short_text,
        "priority": st.integers(0, 255),
        "delay_seconds": st.integers(0, 1000) | st.floats(0, 1000),
        "ttl_seconds": st.integers(1, 10**6) | st.floats(0.001, 10**6),
        "group": short_text,
        "correlation_id": short_text,
        "reply_to": short_text,
        "mandatory": st.booleans(),
        "idempotency_key": short_text.filter(bool),
        "content_type": st.sampled_from(["text/csv", 'application/json; x="ü"', "a/b"]),
        "headers": st.dictionaries(st.from_regex(r"\A[a-zA-Z0-9-]{1,6}\Z"), header_values, max_size=3),
    },
)
fields_with_nulls = st.sets(st.sampled_from(sorted(FIELDS - {"body", "body_base64", "json"})))


def fits(item: dict[str, Any]) -> bool:
    texts = [value for name in ("routing_key", "group", "correlation_id", "reply_to") if (value := item.get(name))]
    headers = sum(len(name) + len(str(value).encode()) for name, value in item.get("headers", {}).items())
    return all(len(text.encode()) <= 255 for text in texts) and headers <= 80


envelopes = st.builds(lambda body, others: {**others, **body}, bodies, properties).filter(fits)


def body_of(item: dict[str, Any]) -> bytes:
    if "body" in item:
        return str(item["body"]).encode()
    if "body_base64" in item:
        return base64.b64decode(item["body_base64"])
    return orjson.dumps(item["json"])


def batch(*items: dict[str, Any]) -> bytes:
    return orjson.dumps({"messages": items})


def parse(item: Any, query: bytes = b"", queue: str | None = None) -> Envelope:
    (envelope,) = ENVELOPES.json_batch(batch(item), query_options(query), queue)
    return envelope


def refusal(item: Any, query: bytes = b"", queue: str | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        parse(item, query, queue)
    return caught.value


def received(*contents: Content, token: str = "T" * 32) -> Received:
    deliveries = tuple(Delivery(0x100 + index, 2, 1, content) for index, content in enumerate(contents))
    return Received(9, token, PUBLISHED_AT + 30_000, deliveries)


@given(envelopes, fields_with_nulls)
def test_an_envelope_keeps_everything(item: dict[str, Any], nulls: set[str]) -> None:
    given_item = {**dict.fromkeys(nulls), **item}
    envelope = parse(given_item)
    default_type = TEXT if "body" in item else BYTES if "body_base64" in item else JSON
    headers = {name.lower(): value for name, value in item.get("headers", {}).items()}
    assert envelope.body == body_of(item)
    assert json.loads(f"{{{envelope.properties}}}") == {
        "content_type": item.get("content_type", default_type),
        "headers": headers,
        "priority": item.get("priority", 0),
        "group": item.get("group") or None,
        "correlation_id": item.get("correlation_id") or None,
        "reply_to": item.get("reply_to") or None,
    }
    assert envelope.headers == headers
    assert envelope.routing_key == item.get("routing_key", "")
    assert envelope.priority == item.get("priority", 0)
    assert envelope.group == item.get("group", "")
    assert envelope.mandatory is item.get("mandatory", False)
    assert envelope.idempotency_key == item.get("idempotency_key", "")
    delay, ttl = item.get("delay_seconds"), item.get("ttl_seconds")
    assert envelope.delay_ms == (None if delay is None else pytest.approx(delay * 1000, abs=0.51))
    assert envelope.ttl_ms == (None if ttl is None else pytest.approx(ttl * 1000, abs=0.51))


@given(st.lists(envelopes, min_size=1, max_size=20))
def test_ndjson_and_json_say_the_same(items: list[dict[str, Any]]) -> None:
    lines = b"\r\n\n".join(orjson.dumps(item) for item in items) + b"\n"
    assert ENVELOPES.ndjson_batch(lines, {}, None) == ENVELOPES.json_batch(batch(*items), {}, None)


@given(envelopes)
def test_a_consumer_is_shown_what_was_published(item: dict[str, Any]) -> None:
    envelope = parse(item)
    content = Content(
        5, PUBLISHED_AT, PUBLISHED_AT + 1, "orders", envelope.routing_key, envelope.properties, "", envelope.body
    )
    (shown,) = json.loads(render.messages(received(content), IDS))
    body = shown.pop("body").encode() if "body" in shown else base64.b64decode(shown.pop("body_base64"))
    assert body == envelope.body
    assert shown == {
        "id": IDS.make(PUBLISHED_AT, 5),
        "receipt": "T" * 32 + ".100",
        "lease_expires_at": "2026-11-24T13:08:38.123Z",
        "delivery_count": 2,
        "failed_count": 1,
        "exchange": "orders",
        "routing_key": envelope.routing_key,
        **json.loads(f"{{{envelope.properties}}}"),
        "published_at": "2026-11-24T13:08:08.123Z",
        "expires_at": "2026-11-24T13:08:08.124Z",
        "deaths": [],
    }


def test_the_members_of_a_message_stand_in_the_contract_s_order() -> None:
    content = Content(5, PUBLISHED_AT, 0, "", "q", parse({"body": "x"}).properties, '{"queue":"q"},{"queue":"p"}', b"x")
    text = render.messages(received(content, content), IDS)
    first, second = json.loads(text)
    assert list(first) == [
        *("id", "receipt", "lease_expires_at", "delivery_count", "failed_count", "exchange", "routing_key"),
        *("content_type", "headers", "priority", "group", "correlation_id", "reply_to"),
        *("published_at", "expires_at", "deaths", "body"),
    ]
    assert first["expires_at"] is None
    assert first["deaths"] == [{"queue": "q"}, {"queue": "p"}]
    assert second["receipt"].endswith(".101")


def test_a_body_that_is_not_utf8_is_shown_in_base64() -> None:
    contents = [Content(5, PUBLISHED_AT, 0, "x", "", "", "", body) for body in (b"\xff\x00", b"\xed\xa0\x80", b"")]
    # Without properties there is an empty member between the commas: take it out to read the rest.
    first, second, third = json.loads(render.messages(received(*contents), IDS).replace(b",,", b","))
    assert (first["body_base64"], "body" in first) == ("/wA=", False)
    assert (second["body_base64"], "body" in second) == ("7aCA", False)
    assert third["body"] == ""


def test_without_a_lease_there_is_no_receipt() -> None:
    content = Content(5, PUBLISHED_AT, 0, "", "q", parse({"body": "x"}).properties, "", b"x")
    (shown,) = json.loads(render.messages(received(content, token=""), IDS))
    assert shown["receipt"] is None
    assert shown["lease_expires_at"] is None


def test_failures_are_shown_with_their_codes() -> None:
    assert render.failures(()) == b"[]"
    shown = json.loads(render.failures((Failure('a"b', Code.GONE), Failure("c", Code.LEASE_LOST))))
    assert shown == [{"receipt": 'a"b', "code": "gone"}, {"receipt": "c", "code": "lease-lost"}]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"body": "x", "colour": 1}, "colour"),
        ({"body": "x", "colour": None}, "colour"),
        ({"body": "x", "routing_key": 5}, "routing_key"),
        ({"body": "x", "routing_key": "a\n"}, "routing_key"),
        ({"body": "x", "routing_key": "é" * 128}, "routing_key"),
        ({"body": "x", "group": "\x7f"}, "group"),
        ({"body": "x", "correlation_id": "x" * 256}, "correlation_id"),
        ({"body": "x", "reply_to": {}}, "reply_to"),
        ({"body": "x", "priority": -1}, "priority"),
        ({"body": "x", "priority": 256}, "priority"),
        ({"body": "x", "priority": True}, "priority"),
        ({"body": "x", "priority": 1.0}, "priority"),
        ({"body": "x", "priority": "1"}, "priority"),
        ({"body": "x", "delay_seconds": -0.001}, "delay_seconds"),
        ({"body": "x", "delay_seconds": 1000.5}, "delay_seconds"),
        ({"body": "x", "delay_seconds": False}, "delay_seconds"),
        ({"body": "x", "ttl_seconds": 0}, "ttl_seconds"),
        ({"body": "x", "ttl_seconds": 0.0}, "ttl_seconds"),
        ({"body": "x", "ttl_seconds": -1}, "ttl_seconds"),
        ({"body": "x", "ttl_seconds": 1e300}, "ttl_seconds"),
        ({"body": "x", "ttl_seconds": "60"}, "ttl_seconds"),
        ({"body": "x", "mandatory": 1}, "mandatory"),
        ({"body": "x", "mandatory": "true"}, "mandatory"),
        ({"body": "x", "idempotency_key": ""}, "idempotency_key"),
        ({"body": "x", "idempotency_key": "\x00"}, "idempotency_key"),
        ({"body": "x", "content_type": ""}, "content_type"),
        ({"body": "x", "content_type": " a/b"}, "content_type"),
        ({"body": "x", "content_type": "a/b\r\nX: y"}, "content_type"),
        ({"body": "x", "headers": []}, "headers"),
        ({"body": "x", "headers": {"a": None}}, "headers.a"),
        ({"body": "x", "headers": {"a": [1]}}, "headers.a"),
        ({"body": "x", "headers": {"a_b": 1}}, "headers"),
        ({"body": "x", "headers": {"": 1}}, "headers"),
        ({"body": "x", "headers": {str(number): 1 for number in range(5)}}, "headers"),
        ({"body": "x", "headers": {"a": "é" * 50}}, "headers"),
        ({"body": 1}, "body"),
        ({"body": ["x"]}, "body"),
        ({"body_base64": 1}, "body_base64"),
        ({"body_base64": "YQ"}, "body_base64"),
        ({"body_base64": "YQ==\n"}, "body_base64"),
        ({"body_base64": "Y-_="}, "body_base64"),
        ({"body_base64": "YQ==YQ=="}, "body_base64"),
        ({"body_base64": "é"}, "body_base64"),
        ({"body": "x", "json": 0}, "body"),
        ({"body": "x", "body_base64": ""}, "body"),
        ({"body_base64": "", "json": False}, "body"),
        ({}, "body"),
        ({"body": None}, "body"),
        ({"routing_key": "a"}, "body"),
        ("text", "messages"),
        ([], "messages"),
        (None, "messages"),
    ],
)
def test_a_bad_envelope_is_refused_by_field_and_index(item: Any, field: str) -> None:
    with pytest.raises(Refused) as caught:
        ENVELOPES.json_batch(orjson.dumps({"messages": [{"body": "good"}, item]}), {}, None)
    assert caught.value.code is Code.INVALID_REQUEST
    assert caught.value.extra == {"field": field, "index": 1}


def test_json_null_is_a_value_but_a_null_body_is_none() -> None:
    assert parse({"json": None}).body == b"null"
    assert parse({"body": "x", "json": None, "body_base64": None}).body == b"x"
    assert parse({"body": None, "json": {"b": [1, 2.5, "é"]}}).body == '{"b":[1,2.5,"é"]}'.encode()


def test_json_nested_too_deeply_is_refused() -> None:
    depth = 300
    text = b'{"messages":[{"json":' + b"[" * depth + b"]" * depth + b"}]}"
    with pytest.raises(Refused) as caught:
        ENVELOPES.json_batch(text, {}, None)
    assert caught.value.extra == {"field": "json", "index": 0}


@pytest.mark.parametrize("item", [{"body": "é" * 501}, {"body_base64": "A" * 1336}, {"json": "x" * 999}])
def test_a_body_above_the_limit_is_refused(item: dict[str, Any]) -> None:
    refused = refusal(item)
    assert refused.code is Code.BODY_TOO_LARGE
    assert refused.extra["index"] == 0


@pytest.mark.parametrize("item", [{"body": "é" * 500}, {"body": "x" * 1000}, {"json": "x" * 998}])
def test_a_body_at_the_limit_is_taken(item: dict[str, Any]) -> None:
    assert len(parse(item).body) == 1000


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        (b"", Code.INVALID_REQUEST, "messages"),
        (b"{}", Code.INVALID_REQUEST, "messages"),
        (b'{"messages":null}', Code.INVALID_REQUEST, "messages"),
        (b'{"messages":{}}', Code.INVALID_REQUEST, "messages"),
        (b'{"messages":[]}', Code.INVALID_REQUEST, "messages"),
        (b'{"messages":[{"body":"x"}],"routing_key":"a"}', Code.INVALID_REQUEST, "routing_key"),
        (b"[]", Code.INVALID_REQUEST, None),
        (b"{", Code.MALFORMED_REQUEST, None),
        (b'{"messages":[{"body":"\xff"}]}', Code.MALFORMED_REQUEST, None),
        (b'{"messages":[{"body":"\\ud800"}]}', Code.MALFORMED_REQUEST, None),
        (b'{"messages":[{"json":1e999}]}', Code.MALFORMED_REQUEST, None),
        (b"\xef\xbb\xbf{}", Code.MALFORMED_REQUEST, None),
    ],
)
def test_a_bad_batch_is_refused(text: bytes, code: Code, field: str | None) -> None:
    with pytest.raises(Refused) as caught:
        ENVELOPES.json_batch(text, {}, None)
    assert caught.value.code is code
    assert caught.value.extra.get("field") == field


def test_a_batch_has_a_most() -> None:
    assert len(ENVELOPES.json_batch(batch(*[{"body": "x"}] * 20), {}, None)) == 20
    for text in (batch(*[{"body": "x"}] * 21), b'{"messages":[]}'):
        with pytest.raises(Refused) as caught:
            ENVELOPES.json_batch(text, {}, None)
        assert caught.value.extra == {"field": "messages"}
    for lines in (b'{"body":"x"}\n' * 21, b"", b"\n \n"):
        with pytest.raises(Refused) as caught:
            ENVELOPES.ndjson_batch(lines, {}, None)
        assert caught.value.extra == {"field": "messages"}


@pytest.mark.parametrize("line", [b"{", b'{"body":"x"},{"body":"y"}', b'{"json":[1', b"\xff", b'{"body":"\\udfff"}'])
def test_a_line_that_is_not_json_is_malformed(line: bytes) -> None:
    with pytest.raises(Refused) as caught:
        ENVELOPES.ndjson_batch(b'{"body":"a"}\n\n{"body":"b"}\n' + line, {}, None)
    assert caught.value.code is Code.MALFORMED_REQUEST
    assert caught.value.extra == {"index": 2}
    assert caught.value.detail.startswith("line 4, column "), "lines are counted as in an editor, empty ones too"


def test_query_options_hold_for_every_envelope_that_does_not_say_otherwise() -> None:
    query = b"routing_key=a%20b&priority=7&delay_seconds=1.5&ttl_seconds=60&group=g&mandatory=true"
    envelope = parse({"body": "x", "correlation_id": "c"}, query)
    assert envelope[2:] == ("a b", {}, 7, "g", 1500, 60_000, True, "")
    assert parse({"body": "x", "priority": 7, "group": None, "mandatory": True}, query) == parse({"body": "x"}, query)


@pytest.mark.parametrize(
    ("query", "item"),
    [
        (b"routing_key=a", {"routing_key": "b"}),
        (b"priority=1", {"priority": 2}),
        (b"priority=1", {"priority": True}),
        (b"mandatory=true", {"mandatory": False}),
        (b"mandatory=true", {"mandatory": 1}),
        (b"group=", {"group": "g"}),
    ],
)
def test_an_option_given_twice_with_different_values_is_refused(query: bytes, item: dict[str, Any]) -> None:
    refused = refusal({**item, "body": "x"}, query)
    assert refused.code is Code.INVALID_REQUEST
    assert refused.extra == {"field": next(iter(item)), "index": 0}


def test_straight_into_a_queue_the_key_is_its_name() -> None:
    assert parse({"body": "x"}, queue="q").routing_key == "q"
    assert parse({"body": "x", "priority": 1, "routing_key": None}, queue="q").routing_key == "q"
    for item, query in (({"routing_key": "q"}, b""), ({"routing_key": ""}, b""), ({}, b"routing_key=q")):
        refused = refusal({"body": "x", **item}, query, queue="q")
        assert refused.extra == {"field": "routing_key", "index": 0}


def test_the_shortest_ttl_is_a_millisecond() -> None:
    assert parse({"body": "x", "ttl_seconds": 1e-9}).ttl_ms == 1
    assert parse({"body": "x", "ttl_seconds": 0.0015}).ttl_ms == 2


@given(
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)) | st.text(max_size=5),
        json_values | st.floats(-1, 300) | st.sampled_from([0, 1, True, "x", "eA==", {"a": 1}]),
        max_size=5,
    )
)
def test_whatever_comes_it_is_an_envelope_or_refused(item: dict[str, Any]) -> None:
    try:
        text = batch(item)
    except TypeError:  # the strategy's text may hold a lone surrogate, which cannot be sent
        return
    refused: Refused | None = None
    try:
        (envelope,) = ENVELOPES.json_batch(text, {}, None)
    except Refused as refusal:
        refused = refusal
    if refused is None:
        json.loads(f"{{{envelope.properties}}}")
        envelope.routing_key.encode()
    else:
        assert refused.code in (Code.INVALID_REQUEST, Code.BODY_TOO_LARGE)
        assert refused.extra["index"] == 0
