"""Numbers in JSON come out as they went in, or are refused; on the wire, and without a server."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import Limits
from queuesvc.http.data.envelopes import Envelopes
from queuesvc.http.request import may_be_beyond, parse_exactly
from tests.http.wire import assert_problem, make_exchange, make_queue, receive, stats

Name = Callable[..., str]

ENVELOPES = Envelopes(Limits())
NDJSON = "application/x-ndjson"
GREAT = 123456789012345678901234


def document(value: str) -> bytes:
    return b'{"json":%b,"priority":1}' % value.encode()


@pytest.mark.parametrize(
    "value",
    [
        "18446744073709551615",
        "-9223372036854775808",
        '{"id":9999999999999999999,"at":[1700000000000000000,-1]}',
        '["123456789012345678901234",{"-12345678901234567890":0}]',
        "0.1234567890123456",
        "1e+300",
    ],
)
def test_json_is_stored_as_it_came(value: str) -> None:
    text = document(value)
    assert ENVELOPES.ndjson_batch(text, {}, None)[0].body == value.encode()
    assert ENVELOPES.json_batch(b'{"messages":[%b]}' % text, {}, None)[0].body == value.encode()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("18446744073709551616", "json"),
        ("-9223372036854775809", "json"),
        ('{"a":1,"id":123456789012345678901234}', "json.id"),
        ('{"a":[{"b":2},[0,-12345678901234567890]],"z":1e30}', "json.a.1.1"),
        (f"[{'9' * 300}]", "json.0"),
        (f"[{'[' * 300}{']' * 300},{'9' * 50}]", "json.1"),
    ],
)
def test_an_integer_that_would_change_is_refused(value: str, place: str) -> None:
    """Rounded, it would be another one: an amount, an id."""
    text = document(value)
    for read, whole in (
        (ENVELOPES.ndjson_batch, b'{"body":"x"}\n' + text),
        (ENVELOPES.json_batch, b'{"messages":[{"body":"x"},%b]}' % text),
    ):
        with pytest.raises(Refused, match=r"64 bits: send .* application/json") as caught:
            read(whole, {}, None)
        assert caught.value.code is Code.INVALID_REQUEST
        assert caught.value.extra == {"field": place, "index": 1}


@given(st.recursive(st.integers() | st.integers(-(2**70), 2**70) | st.text(st.sampled_from("0123456789-")), st.lists))
def test_json_keeps_every_integer_or_is_refused(value: Any) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    try:
        (envelope,) = ENVELOPES.json_batch(b'{"messages":[{"json":%b}]}' % text, {}, None)
    except Refused:
        return
    assert json.loads(envelope.body) == value


def test_long_numbers_elsewhere_are_no_matter() -> None:
    text = b'{"body":"%b","headers":{"n":"%b"}}' % (b"9" * 30, b"9" * 30)
    (envelope,) = ENVELOPES.ndjson_batch(text, {}, None)
    assert (envelope.body, envelope.headers) == (b"9" * 30, {"n": "9" * 30})


@pytest.mark.parametrize("value", ["18446744073709551616", "-9223372036854775809", "9" * 300])
def test_a_header_that_would_change_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="64 bits") as caught:
        ENVELOPES.ndjson_batch(b'{"body":"x","headers":{"a":1,"n":%b}}' % value.encode(), {}, None)
    assert caught.value.extra == {"field": "headers.n", "index": 0}


@given(st.text(st.sampled_from("x-1")), st.integers(-(2**99), 2**99), st.text(st.sampled_from("x-1"), max_size=12))
def test_no_great_integer_is_overlooked(before: str, value: int, after: str) -> None:
    for great in (value + 2**64, value - 2**63 - 1) if abs(value) < 2**60 else (value,):
        text = json.dumps([before, great, after]).encode()
        assert may_be_beyond(text) or -(2**63) <= great < 2**64
        assert parse_exactly(text) == [before, great, after]


def test_a_text_that_begins_with_many_digits_is_not_looked_at_twice() -> None:
    digits = b"9" * 30
    assert not may_be_beyond(b'{"messages":[{"body":"%b and more"},{"body":"%b"}]}' % (digits, digits))
    assert may_be_beyond(b'{"messages":[{"body":"%b and more"},{"json":%b}]}' % (digits, digits))


def test_an_escaped_name_is_the_same_name() -> None:
    for item in (b'{"\\u006ason":%d}', b'{"body":"","h\\u0065aders":{"n":%d}}'):
        with pytest.raises(Refused, match="64 bits"):
            ENVELOPES.ndjson_batch(item % GREAT, {}, None)


def test_a_great_option_is_out_of_its_range() -> None:
    for name in ("priority", "delay_seconds", "ttl_seconds"):
        with pytest.raises(Refused, match=f"{name}: must be 0 to") as caught:
            ENVELOPES.ndjson_batch(b'{"body":"x","%b":123456789012345678901234}' % name.encode(), {}, None)
        assert caught.value.extra == {"field": name, "index": 0}


def test_on_the_wire_nothing_is_stored_of_it(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    batch = f"/v1/queues/{queue}/messages/batch"
    bad = {"json": {"account": GREAT}}
    answers = [
        shared.post(batch, json={"messages": [{"json": 1}, bad]}),
        shared.post(batch, content=b'{"json":1}\n' + json.dumps(bad).encode(), headers={"Content-Type": NDJSON}),
        shared.post("/v1/transactions", json={"publishes": [{"queue": queue, **m} for m in ({"json": 1}, bad)]}),
    ]
    for answer in answers:
        assert_problem(answer, 422, "invalid-request", field="json.account", index=1)
    assert_problem(
        shared.post(batch, json={"messages": [{"body": "", "headers": {"n": GREAT}}]}),
        422,
        "invalid-request",
        field="headers.n",
        index=0,
    )
    assert stats(shared, queue)["published"] == 0
    whole = json.dumps(bad["json"])
    shared.post(batch, json={"messages": [{"body": whole, "content_type": "application/json"}, {"json": 2**64 - 1}]})
    assert [message["body"] for message in receive(shared, queue, max_messages=9)] == [whole, str(2**64 - 1)]


def test_settings_and_bindings_take_no_other_number_than_was_sent(shared: httpx2.Client, name: Name) -> None:
    queue, exchange = name("q"), make_exchange(shared, name("x"), "headers")
    for setting in ("max_messages", "lease_seconds", "max_priority", "message_ttl_seconds"):
        answer = shared.put(f"/v1/queues/{queue}", json={setting: GREAT})
        assert_problem(answer, 422, "invalid-request", field=setting)
        assert "must be at most" in answer.json()["detail"]
    make_queue(shared, queue)
    binding = {"queue": queue, "match": "all", "headers": {"n": GREAT}}
    answer = shared.post(f"/v1/exchanges/{exchange}/bindings", json=binding)
    assert_problem(answer, 422, "invalid-request", field="headers.n")
    whole = {"bindings": [{"source": exchange, **binding}]}
    answer = shared.put("/v1/definitions", json=whole)
    assert_problem(answer, 422, "invalid-request", field="bindings.0.headers.n")
    rabbit = {"rabbit_version": "4.1.0", "queues": [{"name": queue, "arguments": {"x-max-length": GREAT}}]}
    answer = shared.put("/v1/definitions", json=rabbit)
    assert answer.status_code == 200
    assert [one["field"] for one in answer.json()["unmapped"]] == ["x-max-length"]
