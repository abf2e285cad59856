"""The control plane's documents, without a server: they agree with the domain, and take nothing that is not so."""

from dataclasses import fields
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from queuesvc.domain import model as domain
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import Limits
from queuesvc.http import problems, request
from queuesvc.http.control import models, views
from queuesvc.http.times import rfc3339


def names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def test_documents_have_the_domain_s_fields_in_its_order() -> None:
    assert list(models.QueueDeclaration.model_fields) == names(domain.QueueSettings)
    assert list(models.RetryBackoff.model_fields) == names(domain.RetryBackoff)
    assert list(models.Queue.model_fields) == ["name", *names(domain.QueueSettings), "stats"]
    assert list(models.QueueStats.model_fields) == names(domain.QueueStats)
    assert list(models.Exchange.model_fields) == names(domain.Exchange)


def test_an_empty_declaration_means_the_domain_s_defaults() -> None:
    assert models.QueueDeclaration().settings() == domain.QueueSettings()
    backoff = models.QueueDeclaration.model_validate({"retry_backoff": {}})
    assert backoff.settings().retry_backoff == domain.RetryBackoff()
    exchange = models.ExchangeDeclaration.model_validate({"type": "fanout"}).exchange("x")
    assert exchange == domain.Exchange("x", domain.ExchangeType.FANOUT)


def test_null_is_left_out_but_for_settings_that_may_be_null() -> None:
    nulls = dict.fromkeys(models.QueueDeclaration.model_fields)
    settings = models.QueueDeclaration.model_validate(nulls).settings()
    assert settings == domain.QueueSettings(delivery_limit=None)


def test_a_change_holds_only_what_was_given() -> None:
    changes = models.QueueChanges.model_validate(
        {"delivery_limit": None, "retry_backoff": {"multiplier": 3}, "overflow": "drop_oldest"}
    )
    assert changes.changes() == {
        "delivery_limit": None,
        "retry_backoff": domain.RetryBackoff(multiplier=3),
        "overflow": domain.Overflow.DROP_OLDEST,
    }


@pytest.mark.parametrize("name", list(models.QueueChanges.model_fields))
def test_a_change_sets_null_only_where_a_setting_may_be_null(name: str) -> None:
    may = name in {
        "delivery_limit",
        "retry_backoff",
        "dead_letter_exchange",
        "dead_letter_routing_key",
        "message_ttl_seconds",
        "max_messages",
        "max_bytes",
        "expires_seconds",
    }
    if may:
        assert models.QueueChanges.model_validate({name: None}).changes() == {name: None}
    else:
        with pytest.raises(Refused, match="must not be null"):
            models.QueueChanges.model_validate({name: None})


GOOD = [
    {"lease_seconds": 0.1},
    {"lease_seconds": 43_200},
    {"delivery_limit": 1},
    {"retry_backoff": {"initial_seconds": 0, "multiplier": 1, "max_seconds": 0, "jitter": 0}},
    {"retry_backoff": {"initial_seconds": 0.5, "multiplier": 1.5, "max_seconds": 60, "jitter": 1}},
    {"dead_letter_exchange": "a.b_c:d-e", "dead_letter_routing_key": ""},
    {"dead_letter_routing_key": "ü" * 127},
    {"message_ttl_seconds": 0.5},
    {"delay_seconds": 366 * 86_400},
    {"max_messages": 1, "max_bytes": 2**53 - 1},
    {"dead_max_messages": 0},
    {"max_priority": 255},
    {"expires_seconds": 1},
    {"paused": True},
]
BAD = [
    ("lease_seconds", 0.09),
    ("lease_seconds", 43_201),
    ("lease_seconds", "30"),
    ("lease_seconds", True),
    ("lease_seconds", [30]),
    ("delivery_limit", 0),
    ("delivery_limit", 3.0),
    ("delivery_limit", "5"),
    ("delivery_limit", 1e300),
    ("retry_backoff", 5),
    ("retry_backoff", {"jitter": 1.1}),
    ("retry_backoff", {"multiplier": 0.9}),
    ("retry_backoff", {"initial_seconds": -1}),
    ("retry_backoff", {"max_seconds": 1e300}),
    ("retry_backoff", {"maximum_seconds": 1}),
    ("dead_letter_exchange", ""),
    ("dead_letter_exchange", ".x"),
    ("dead_letter_exchange", "a" * 256),
    ("dead_letter_exchange", "a\n"),
    ("dead_letter_routing_key", "ü" * 128),
    ("dead_letter_routing_key", "a\x7f"),
    ("message_ttl_seconds", -0.001),
    ("message_ttl_seconds", 0),
    ("message_ttl_seconds", 1e300),
    ("delay_seconds", 366 * 86_400 + 1),
    ("max_messages", 0),
    ("max_bytes", 2**53),
    ("overflow", "drop"),
    ("overflow", 1),
    ("dead_max_messages", -1),
    ("max_priority", 256),
    ("max_priority", -1),
    ("max_priority", True),
    ("deduplication_window_seconds", -1),
    ("expires_seconds", 0),
    ("paused", 1),
    ("paused", "true"),
    ("lease", 30),
]


@pytest.mark.parametrize("document", GOOD)
def test_settings_within_their_ranges(document: dict[str, Any]) -> None:
    settings = models.QueueDeclaration.model_validate(document, context=Limits()).settings()
    assert views.queue(domain.QueueView("q", settings, domain.QueueStats())).items() >= document.items()


@pytest.mark.parametrize(("name", "value"), BAD)
@pytest.mark.parametrize("model", [models.QueueDeclaration, models.QueueChanges])
def test_settings_outside_their_ranges(model: Any, name: str, value: object) -> None:
    with pytest.raises((ValidationError, Refused)):
        model.model_validate({name: value}, context=Limits())


def test_the_longest_delay_is_the_operator_s() -> None:
    models.QueueDeclaration.model_validate({"delay_seconds": 11}, context=Limits())
    with pytest.raises(Refused, match="at most 10"):
        models.QueueDeclaration.model_validate({"delay_seconds": 11}, context=Limits(delay_seconds=10))


def test_every_code_has_a_status() -> None:
    assert set(problems.STATUS) == set(Code)
    for code in Code:
        status, headers, body = problems.render(Refused(code, "why", field="x"))
        assert orjson.loads(body)["status"] == status == problems.STATUS[code]
        assert (b"retry-after" in dict(headers)) == (code in problems.MAY_PASS)


def test_retry_after_is_whole_seconds_rounded_up() -> None:
    refused = Refused(Code.QUEUE_FULL, "full", retry_after_seconds=0.2)
    assert dict(problems.render(refused)[1])[b"retry-after"] == b"1"


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"t=", {"t": ""}),
        (b"t", {"t": ""}),
        (b"t=a+b%2Bc%26%3d", {"t": "a b+c&="}),
        (b"t=%C3%BC&n=1.5&i=-3&b=true", {"t": "ü", "n": 1.5, "i": -3, "b": True}),
        ("t=ü=ü".encode(), {"t": "ü=ü"}),
        (b"n=1e3", {"n": 1000.0}),
        (b"n=7", {"n": 7}),
        (b"%62=false", {"b": False}),
    ],
)
def test_queries(raw: bytes, values: dict[str, Any]) -> None:
    kinds = {"t": request.text, "n": request.number, "i": request.integer, "b": request.boolean}
    read = request.parse_query(raw, kinds)
    assert read == values
    assert [type(value) for value in read.values()] == [type(value) for value in values.values()]


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (b"x=1", "invalid-request", "x"),
        (b"=", "invalid-request", ""),
        (b"t=1&t=1", "invalid-request", "t"),
        (b"n=nan", "invalid-request", "n"),
        (b"n=inf", "invalid-request", "n"),
        (b"n=1e999", "invalid-request", "n"),
        (b"n=1_0", "invalid-request", "n"),
        (b"n=", "invalid-request", "n"),
        (b"n=" + b"9" * 5000, "invalid-request", "n"),
        (b"i=1.0", "invalid-request", "i"),
        ("i=١".encode(), "invalid-request", "i"),
        (b"b=1", "invalid-request", "b"),
        (b"b=True", "invalid-request", "b"),
        (b"t=%ff", "malformed-request", None),
        (b"t=\xff", "malformed-request", None),
        (b"t=%4", "malformed-request", None),
        (b"t=%zz", "malformed-request", None),
        (b"t=%ed%a0%80", "malformed-request", None),
    ],
)
def test_bad_queries(raw: bytes, code: str, field: str | None) -> None:
    kinds = {"t": request.text, "n": request.number, "i": request.integer, "b": request.boolean}
    with pytest.raises(Refused) as caught:
        request.parse_query(raw, kinds)
    assert (caught.value.code, caught.value.extra.get("field")) == (code, field)


@given(st.binary(max_size=60))
def test_no_query_trips_the_reader(raw: bytes) -> None:
    kinds = {"t": request.text, "n": request.number, "i": request.integer, "b": request.boolean}
    try:
        request.parse_query(raw, kinds)
    except Refused as refused:
        orjson.loads(problems.render(refused)[2])


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "a/x"),
        (b"", "a/x"),
        (b"*/*", "a/x"),
        (b"a/y", "a/y"),
        (b"a/y;q=0.5, a/*;q=0.6", "a/x"),
        (b"A/Y ; Q=0.9 , */*;q=0.1", "a/y"),
        (b"a/x;q=0, */*", "a/y"),
        (b"text/html, */*;q=0.8", "a/x"),
    ],
)
def test_accept(accept: bytes | None, chosen: str) -> None:
    assert request.negotiate(accept, ("a/x", "a/y")) == chosen


@pytest.mark.parametrize("accept", [b"text/html", b"a/x;q=0,a/y;q=0", b"a/x;q=nan", b"b/*;q=1", b"a/x;q=oops"])
def test_not_acceptable(accept: bytes) -> None:
    with pytest.raises(Refused) as caught:
        request.negotiate(accept, ("a/x", "a/y"))
    assert caught.value.code == Code.NOT_ACCEPTABLE


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/v1/queues/a", "/v1/queues/a"),
        (b"/v1/qu%65ues/a%2Db%2ec", "/v1/queues/a-b.c"),
        (b"/v1/queues/a%2fb", "/v1/queues/a%2Fb"),
        (b"/v1/queues/%25", "/v1/queues/%25"),
        ("/v1/queues/ü".encode(), "/v1/queues/%C3%BC"),
        (b"/v1/queues/%c3%bc", "/v1/queues/%C3%BC"),
        (b"/v1/queues/a%0A", "/v1/queues/a%0A"),
        (b"/v1//queues/", "/v1//queues/"),
    ],
)
def test_a_path_has_one_form(raw: bytes, path: str) -> None:
    assert request.path_of({"raw_path": raw}) == path


@pytest.mark.parametrize("raw", [b"/v1/queues/%ff", b"/%", b"/%g0", b"/\xff"])
def test_malformed_paths(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        request.path_of({"raw_path": raw})
    assert caught.value.code == Code.MALFORMED_REQUEST


def test_application_headers() -> None:
    limits = Limits(header_count=2, header_bytes=20)
    assert request.application_headers({"A": 1, "b-2": "x"}, limits) == {"a": 1, "b-2": "x"}
    bads: list[Any] = [5, None, [], {"a": None}, {"a": []}, {"a_b": 1}, {"": 1}, {"ü": 1}, {"a": 1, "b": 1, "c": 1}]
    for bad in bads:
        with pytest.raises(Refused):
            request.application_headers(bad, limits)
    request.application_headers({"a": "ü" * 9}, limits)
    with pytest.raises(Refused, match="20 bytes"):
        request.application_headers({"a": "ü" * 10}, limits)


def test_message_headers() -> None:
    scope = {
        "headers": [(b"host", b"h"), (b"message-header-a", "ü".encode()), (b"message-header-b", b"1"), (b"x", b"\xff")]
    }
    assert request.message_headers(scope["headers"], Limits()) == {"a": "ü", "b": "1"}
    twice = {"headers": [(b"message-header-a", b"1"), (b"message-header-a", b"2")]}
    assert request.message_headers(twice["headers"], Limits()) == {"a": "1, 2"}
    for name, value in ((b"message-header-", b""), (b"message-header-a_b", b""), (b"message-header-a", b"\xff")):
        with pytest.raises(Refused):
            request.message_headers([(name, value)], Limits())


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_795_525_688_123, "2026-11-24T13:08:08.123Z"),
        (32_503_679_999_999, "2999-12-31T23:59:59.999Z"),
    ],
)
def test_times(at: int, shown: str) -> None:
    assert rfc3339(at) == shown
