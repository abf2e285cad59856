"""Looking at messages on the wire: browse with filters and pages, get one."""

import base64
from typing import Any

import httpx2
import pytest

from tests.http.repairing import Name, bodies, browse, get, in_every_state
from tests.http.wire import (
    Json,
    assert_problem,
    bind,
    make_exchange,
    make_queue,
    put,
    receive,
    receive_one,
    settle,
    stats,
)
from tests.support.server import Server


def test_a_message_is_shown_as_it_would_be_received(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name("x")), make_queue(shared, name("q"), max_priority=9)
    bind(shared, exchange, queue)
    envelope = {
        "routing_key": "order.created",
        "body": "naïve",
        "headers": {"a": 1, "b": True, "c": "x"},
        "priority": 3,
        "group": "g",
        "correlation_id": "c-1",
        "reply_to": "somewhere",
        "ttl_seconds": 600,
    }
    shared.post(f"/v1/exchanges/{exchange}/messages/batch", json={"messages": [envelope]})
    (looked_at,) = browse(shared, queue)
    received = receive_one(shared, queue)
    assert looked_at.pop("state") == "ready"
    assert looked_at.pop("delivery_count") == received.pop("delivery_count") - 1
    for member in ("receipt", "lease_expires_at"):
        assert member not in looked_at
        del received[member]
    assert looked_at == received


def test_bytes_that_are_no_text(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    shared.post(f"/v1/queues/{queue}/messages", content=b"\xff\x00")
    (message,) = browse(shared, queue)
    assert base64.b64decode(message["body_base64"]) == b"\xff\x00"
    assert "body" not in message
    assert get(shared, queue, message["id"]) == message


def test_a_message_in_each_state(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    ids = in_every_state(shared, queue)
    before = stats(shared, queue)
    for state, id_ in ids.items():
        (message,) = browse(shared, queue, f"state={state}")
        assert (message["id"], message["state"], message["body"]) == (id_, state, state)
        assert get(shared, queue, id_) == message
        assert ("consumer" in message) == ("lease_expires_at" in message) == (state == "leased")
        assert "receipt" not in message
    assert [message["state"] for message in browse(shared, queue)] == ["dead", "leased", "ready", "delayed"]
    # Looking has touched nothing.
    after = stats(shared, queue)
    assert before | {"oldest_ready_seconds": None} == after | {"oldest_ready_seconds": None}
    assert receive_one(shared, queue)["delivery_count"] == 1


def test_while_leased_it_tells_who_has_it_until_when(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "a", "b")
    with_label, without = (
        receive_one(shared, queue, consumer='täg "1"', lease_seconds=60),
        receive_one(shared, queue, lease_seconds=120),
    )
    first, second = browse(shared, queue, "state=leased")
    assert (first["consumer"], first["lease_expires_at"]) == ('täg "1"', with_label["lease_expires_at"])
    assert (second["consumer"], second["lease_expires_at"]) == (None, without["lease_expires_at"])
    assert (first["delivery_count"], first["failed_count"]) == (1, 0)
    extended = settle(shared, queue, "extend", with_label["receipt"], lease_seconds=600)
    assert get(shared, queue, with_label["id"])["lease_expires_at"] == extended["lease_expires_at"]
    settle(shared, queue, "nack", with_label["receipt"])
    given_back = get(shared, queue, with_label["id"])
    assert (given_back["state"], given_back["failed_count"]) == ("ready", 1)
    assert "consumer" not in given_back


def test_a_dead_message_says_how_it_died(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    ids = in_every_state(shared, queue)
    (death,) = get(shared, queue, ids["dead"])["deaths"]
    assert {**death, "at": None} == {
        "queue": queue,
        "id": ids["dead"],
        "reason": "rejected",
        "detail": "no good",
        "count": 1,
        "at": None,
        "exchange": "",
        "routing_key": queue,
    }


def test_the_order_is_that_of_delivery(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name(), max_priority=9)
    for body, priority in (("a", 0), ("b", 5), ("c", 9), ("d", 5), ("e", 0), ("f", 200)):
        put(shared, queue, body, priority=priority)
    assert bodies(browse(shared, queue)) == ["c", "f", "b", "d", "a", "e"]
    # One that was given back takes its old place.
    settle(shared, queue, "nack", receive_one(shared, queue)["receipt"])
    assert bodies(browse(shared, queue, "limit=1")) == ["c", "f", "b", "d", "a", "e"]
    assert bodies(receive(shared, queue, max_messages=10)) == ["c", "f", "b", "d", "a", "e"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_of_any_size_hold_all_of_it(shared: httpx2.Client, name: Name, limit: int) -> None:
    queue = make_queue(shared, name(), max_priority=2)
    for priority in (1, 0, 2):
        put(shared, queue, *(f"{priority}.{i}" for i in range(3)), priority=priority)
    assert bodies(browse(shared, queue, f"limit={limit}")) == [f"{p}.{i}" for p in (2, 1, 0) for i in range(3)]


def test_a_page_holds_100_unless_told(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, *map(str, range(101)))
    page = shared.get(f"/v1/queues/{queue}/messages").json()
    assert bodies(page["messages"]) == [str(i) for i in range(100)]
    rest = shared.get(f"/v1/queues/{queue}/messages", params={"after": page["next"]}).json()
    assert (bodies(rest["messages"]), rest["next"]) == (["100"], None)


def test_pages_stay_steady_while_messages_come_and_go(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    stay = put(shared, queue, *(f"stays {i}" for i in range(60)))
    seen: list[str] = []
    after = ""
    for turn in range(1000):
        page = shared.get(f"/v1/queues/{queue}/messages?limit=4&after={after}").json()
        seen += [message["id"] for message in page["messages"]]
        after = page["next"]
        if after is None:
            break
        if turn < 10:
            # One comes at the end; one seen is taken away; one not yet seen is leased and given back.
            put(shared, queue, f"comes {turn}")
            gone = seen[turn]
            assert shared.delete(f"/v1/queues/{queue}/messages/{gone}").status_code == 204
            settle(shared, queue, "nack", receive_one(shared, queue)["receipt"], delivery_failed=False)
    assert len(seen) == len(set(seen)) == 70
    assert seen[:60] == stay


def test_the_place_where_a_page_ended_may_be_gone(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    ids = put(shared, queue, "a", "b", "c")
    page = shared.get(f"/v1/queues/{queue}/messages?limit=2").json()
    shared.delete(f"/v1/queues/{queue}/messages/{ids[1]}")
    rest = shared.get(f"/v1/queues/{queue}/messages?limit=2&after={page['next']}").json()
    assert (bodies(rest["messages"]), rest["next"]) == (["c"], None)


def test_filters(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name("x")), make_queue(shared, name("q"))
    bind(shared, exchange, queue)
    envelopes: list[Json] = [
        {"body": "1", "routing_key": "a.b", "group": "g", "headers": {"tenant": "t1", "n": 3}},
        {"body": "2", "routing_key": "a.b", "headers": {"tenant": "t1", "flag": True}},
        {"body": "3", "routing_key": "a.c", "group": "h", "headers": {"tenant": "t2", "n": "3"}},
        {"body": "4", "routing_key": "", "headers": {"tenant": "ü & =", "n": 3.5}},
        {"body": "5", "routing_key": "a b", "group": "g"},
    ]
    shared.post(f"/v1/exchanges/{exchange}/messages/batch", json={"messages": envelopes})
    for query, expected in (
        ("", "12345"),
        ("routing_key=a.b", "12"),
        ("routing_key=a.*", ""),  # a key, no pattern
        ("routing_key=", "4"),
        ("routing_key=a+b", "5"),
        ("routing_key=a%20b", "5"),
        ("group=g", "15"),
        ("group=", "24"),
        ("group=none", ""),
        ("header.tenant=t1", "12"),
        ("header.Tenant=t1", "12"),
        ("header.tenant=%C3%BC+%26+%3D", "4"),
        ("header.tenant=", ""),
        ("header.n=3", "13"),  # as a binding compares: by JSON text
        ("header.n=3.5", "4"),
        ("header.flag=true", "2"),
        ("header.flag=True", ""),
        ("header.tenant=t1&header.n=3", "1"),
        ("header.tenant=t1&group=g&routing_key=a.b&state=ready", "1"),
        ("header.tenant=t1&state=dead", ""),
        ("header.body=1", ""),
    ):
        assert "".join(bodies(browse(shared, queue, query))) == expected, query
        assert "".join(bodies(browse(shared, queue, f"{query}&limit=1"))) == expected, query


def test_a_rare_message_among_many(shared: httpx2.Client, name: Name) -> None:
    """A call looks at 10,000 at most, so that pages may be empty; together they hold what there is."""
    queue = make_queue(shared, name())
    batch = [{"body": "x"}] * 1000
    for turn in range(24):
        rare = [{"body": "rare", "headers": {"rare": 1}}] if turn in (0, 23) else []
        assert shared.post(
            f"/v1/queues/{queue}/messages/batch", json={"messages": batch[len(rare) :] + rare}
        ).is_success
    pages = []
    after = ""
    while after is not None:
        page = shared.get(f"/v1/queues/{queue}/messages?header.rare=1&after={after}").json()
        pages.append(len(page["messages"]))
        after = page["next"]
    assert pages == [1, 0, 1]
    assert len(browse(shared, queue, "header.rare=1&limit=1")) == 2


def test_a_page_is_bounded_in_bytes(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    for _ in range(20):
        assert shared.post(f"/v1/queues/{queue}/messages", content=b"x" * 1024 * 1024).is_success
    page = shared.get(f"/v1/queues/{queue}/messages").json()
    assert 16 <= len(page["messages"]) <= 17
    assert page["next"] is not None
    assert len(browse(shared, queue)) == 20


def test_what_has_expired_is_not_shown(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    (id_,) = put(shared, queue, "short", ttl_seconds=0.001)
    (stays,) = put(shared, queue, "long")
    assert [message["id"] for message in browse(shared, queue)] == [stays]
    assert_problem(shared.get(f"/v1/queues/{queue}/messages/{id_}"), 404, "message-not-found", id=id_)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=gone", "state"),
        ("state=", "state"),
        ("state=READY", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("after=x", "after"),
        ("after=0", "after"),
        ("after=0.1.2", "after"),
        ("after=-1.1", "after"),
        ("after=0.9999999999999999999", "after"),
        ("routing_key=" + "x" * 256, "routing_key"),
        ("routing_key=%01", "routing_key"),
        ("group=" + "x" * 256, "group"),
        ("header=x", "header"),
        ("header.=x", "headers"),
        ("header.a_b=x", "headers"),
        ("header.a.b=x", "headers"),
        ("header.*=x", "headers"),
        ("header.a=1&header.a=2", "header.a"),
        ("header.a=1&header.A=2", "header.A"),
        ("headers.a=1", "headers.a"),
        ("state=ready&state=dead", "state"),
        ("receipt=1", "receipt"),
    ],
)
def test_bad_filters_are_refused(shared: httpx2.Client, name: Name, query: str, field: str) -> None:
    queue = make_queue(shared, name())
    assert_problem(shared.get(f"/v1/queues/{queue}/messages?{query}"), 422, "invalid-request", field=field)


def test_bad_encoding_is_malformed(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    for query in ("header.a=%ff", "header.%ff=a", "group=%"):
        assert_problem(shared.get(f"/v1/queues/{queue}/messages?{query}"), 400, "malformed-request")


def test_no_such_queue(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    assert_problem(shared.get(f"/v1/queues/{queue}/messages"), 404, "queue-not-found", queue=queue)
    id_ = "01a20e7d-7cee-77de-8de1-000000000001"
    assert_problem(shared.get(f"/v1/queues/{queue}/messages/{id_}"), 404, "queue-not-found", queue=queue)
    assert_problem(shared.get("/v1/queues/a%20b/messages"), 422, "invalid-request", field="queue")
    assert_problem(shared.get(f"/v1/queues/a%20b/messages/{id_}"), 422, "invalid-request", field="queue")


def test_no_such_message(shared: httpx2.Client, name: Name) -> None:
    queue, other = make_queue(shared, name()), make_queue(shared, name())
    (id_,) = put(shared, queue, "a")
    changed = id_[:7] + ("0" if id_[7] != "0" else "1") + id_[8:]
    for unknown in (changed, id_.upper() if id_.upper() != id_ else "A", "x", "1", "%20", id_[:-1] + "f", "batch2"):
        answer = shared.get(f"/v1/queues/{queue}/messages/{unknown}")
        assert_problem(answer, 404, "message-not-found")
    assert_problem(shared.get(f"/v1/queues/{other}/messages/{id_}"), 404, "message-not-found", id=id_)
    assert_problem(shared.get(f"/v1/queues/{queue}/messages/{id_}?x=1"), 422, "invalid-request", field="x")


def test_each_copy_is_found_in_its_own_queue(shared: httpx2.Client, name: Name) -> None:
    exchange = make_exchange(shared, name("x"), "fanout")
    queues = [make_queue(shared, name("q")) for _ in range(3)]
    for queue in queues:
        bind(shared, exchange, queue, "")
    id_ = shared.post(f"/v1/exchanges/{exchange}/messages", content=b"x").json()["id"]
    receive_one(shared, queues[1])
    assert [get(shared, queue, id_)["state"] for queue in queues] == ["ready", "leased", "ready"]


def test_head_and_negotiation(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    (id_,) = put(shared, queue, "a")
    for path in (f"/v1/queues/{queue}/messages", f"/v1/queues/{queue}/messages/{id_}"):
        assert (shared.head(path).status_code, shared.head(path).content) == (200, b"")
        assert_problem(shared.get(path, headers={"Accept": "text/plain"}), 406, "not-acceptable")


def test_the_same_is_seen_after_a_restart(server: Server, http: httpx2.Client) -> None:
    ids = in_every_state(http, "q")
    put(http, "q", "grouped", group="g", headers={"a": "b"})

    def seen() -> list[Any]:
        return [
            browse(http, "q"),
            *(browse(http, "q", f"state={state}") for state in ids),
            browse(http, "q", "group=g"),
        ]

    before = seen()
    place = http.get("/v1/queues/q/messages?limit=2").json()["next"]
    server.kill()
    server.start()
    assert seen() == before
    rest = http.get(f"/v1/queues/q/messages?after={place}").json()["messages"]
    assert rest == before[0][2:]
