"""Publishing under an idempotency key: the same again is answered as before and stores nothing (§4)."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.http.wire import (
    assert_problem,
    bind,
    connect,
    make_exchange,
    make_queue,
    receive,
    receive_one,
    request_bytes,
    settle,
    skip_answers,
    stats,
)
from tests.support.server import Server
from tests.support.until import wait_until

Name = Callable[..., str]
Json = dict[str, Any]


def publish(
    http: httpx2.Client, target: str, body: bytes, key: str, headers: Mapping[str, str] | None = None, **query: Any
) -> httpx2.Response:
    """Publish to `exchanges/x` or `queues/q` under a key."""
    sent = {"Idempotency-Key": key, **(headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
    return http.post(f"/v1/{target}/messages", content=body, headers=encoded, params=query)


def batch(http: httpx2.Client, target: str, *messages: Mapping[str, object], key: str | None = None) -> httpx2.Response:
    """Publish a batch, perhaps under a key."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return http.post(f"/v1/{target}/messages/batch", json={"messages": messages}, headers=headers)


def assert_duplicate(answer: httpx2.Response, first: httpx2.Response) -> None:
    """It is the first answer again, and says so."""
    assert answer.status_code == 200, answer.text
    assert answer.json() == {**first.json(), "duplicate": True}


# --- one message ------------------------------------------------------------------


def test_the_same_again_is_answered_as_before_and_stores_nothing(
    shared: httpx2.Client, exchange: str, queue: str
) -> None:
    options: Json = {"routing_key": "a.b", "priority": 2, "group": "g", "correlation_id": "c", "ttl_seconds": 60}
    headers = {"Content-Type": "text/plain", "Message-Header-A": "1", "Message-Header-B": "2"}
    first = publish(shared, f"exchanges/{exchange}", b"x", "k", headers, **options)
    assert (first.status_code, first.json()["queues"], "duplicate" in first.json()) == (201, [queue], False)
    for _ in range(3):
        assert_duplicate(publish(shared, f"exchanges/{exchange}", b"x", "k", headers, **options), first)
    # The order of the headers is nothing.
    turned = {"Message-Header-B": "2", "Message-Header-A": "1", "Content-Type": "text/plain"}
    assert_duplicate(publish(shared, f"exchanges/{exchange}", b"x", "k", turned, **options), first)
    assert [message["id"] for message in receive(shared, queue, max_messages=9)] == [first.json()["id"]]
    assert stats(shared, queue)["published"] == 1


@pytest.mark.parametrize(
    ("body", "headers", "query"),
    [
        (b"y", {}, {}),
        (b"x", {"Content-Type": "text/plain"}, {}),
        (b"x", {"Message-Header-A": "1"}, {}),
        (b"x", {}, {"routing_key": "b"}),
        (b"x", {}, {"priority": 1}),
        (b"x", {}, {"group": "g"}),
        (b"x", {}, {"correlation_id": "c"}),
        (b"x", {}, {"reply_to": "r"}),
        (b"x", {}, {"delay_seconds": 0}),
        (b"x", {}, {"ttl_seconds": 60}),
        (b"x", {}, {"mandatory": "true"}),
    ],
)
def test_another_message_under_the_same_key_is_refused(
    shared: httpx2.Client, exchange: str, queue: str, body: bytes, headers: dict[str, str], query: Json
) -> None:
    target = f"exchanges/{exchange}"
    first = publish(shared, target, b"x", "k", routing_key="a")
    assert_problem(
        publish(shared, target, body, "k", headers, **{"routing_key": "a", **query}),
        422,
        "idempotency-key-reused",
        key="k",
    )
    assert_duplicate(publish(shared, target, b"x", "k", routing_key="a"), first)
    assert stats(shared, queue)["published"] == 1


def test_other_keys_and_no_key_are_other_messages(shared: httpx2.Client, queue: str) -> None:
    target = f"queues/{queue}"
    ids = {publish(shared, target, b"x", key).json()["id"] for key in ("k", "K", "k2", "ü")}
    ids |= {shared.post(f"/v1/{target}/messages", content=b"x").json()["id"] for _ in range(2)}
    assert len(ids) == stats(shared, queue)["published"] == 6


def test_a_key_belongs_to_where_it_was_published_to(shared: httpx2.Client, exchange: str, queue: str) -> None:
    other = make_exchange(shared, f"{exchange}-2", "fanout")
    for target in (f"exchanges/{exchange}", f"exchanges/{other}", f"queues/{queue}"):
        assert publish(shared, target, b"x", "k").status_code == 201
        assert publish(shared, target, b"x", "k").status_code == 200


def test_the_first_answer_stands_whatever_came_since(shared: httpx2.Client, exchange: str, queue: str) -> None:
    first = publish(shared, f"exchanges/{exchange}", b"x", "k")
    bind(shared, exchange, make_queue(shared, f"{queue}-2"))
    settle(shared, queue, "ack", receive_one(shared, queue)["receipt"])
    assert_duplicate(publish(shared, f"exchanges/{exchange}", b"x", "k"), first)
    assert receive(shared, f"{queue}-2") == receive(shared, queue) == []


def test_a_message_that_reached_no_queue_is_remembered_too(shared: httpx2.Client, name: Name) -> None:
    exchange = make_exchange(shared, name("x"))
    first = publish(shared, f"exchanges/{exchange}", b"x", "k")
    bind(shared, exchange, make_queue(shared, name("q")))
    assert first.json()["queues"] == []
    assert_duplicate(publish(shared, f"exchanges/{exchange}", b"x", "k"), first)


@pytest.mark.parametrize("kind", ["exchanges", "queues"])
def test_after_the_window_it_is_a_new_message(shared: httpx2.Client, name: Name, kind: str) -> None:
    made = name("w")
    target = f"{kind}/{made}"
    if kind == "queues":
        make_queue(shared, made, deduplication_window_seconds=0.3)
    else:
        make_exchange(shared, made, deduplication_window_seconds=0.3)
    first = publish(shared, target, b"x", "k")
    assert_duplicate(publish(shared, target, b"x", "k"), first)
    wait_until(lambda: publish(shared, target, b"x", "k").status_code == 201, "the end of the window")
    # The new one begins a window of its own, and within it that answer is given, and for another message none.
    assert_problem(publish(shared, target, b"y", "k"), 422, "idempotency-key-reused")


def test_a_queue_made_anew_knows_no_keys(shared: httpx2.Client, queue: str) -> None:
    publish(shared, f"queues/{queue}", b"x", "k")
    shared.delete(f"/v1/queues/{queue}")
    make_queue(shared, queue)
    assert publish(shared, f"queues/{queue}", b"other", "k").status_code == 201


def test_of_many_at_once_one_is_stored(shared: httpx2.Client, queue: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: publish(shared, f"queues/{queue}", b"x", "k"), range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 39 + [201]
    assert len({answer.json()["id"] for answer in answers}) == stats(shared, queue)["published"] == 1


# --- idempotency × refused publish ------------------------------------------------


def test_idempotency_x_full_queue_a_refused_publish_leaves_no_record(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=1)
    target = f"queues/{queue}"
    assert publish(shared, target, b"first", "k1").status_code == 201
    assert_problem(publish(shared, target, b"x", "k2"), 429, "queue-full")
    # A duplicate needs no room, so it is answered all the same.
    assert publish(shared, target, b"first", "k1").status_code == 200
    settle(shared, queue, "ack", receive_one(shared, queue)["receipt"])
    # The key is free: for the same message, or another one.
    assert publish(shared, target, b"another", "k2").status_code == 201


def test_idempotency_x_unroutable_a_refused_publish_leaves_no_record(
    shared: httpx2.Client, queue: str, name: Name
) -> None:
    exchange = make_exchange(shared, name("x"))
    target = f"exchanges/{exchange}"
    assert_problem(publish(shared, target, b"x", "k", mandatory="true"), 422, "unroutable")
    bind(shared, exchange, queue)
    first = publish(shared, target, b"x", "k", mandatory="true")
    assert (first.status_code, first.json()["queues"]) == (201, [queue])
    shared.delete(f"/v1/queues/{queue}")
    assert_duplicate(publish(shared, target, b"x", "k", mandatory="true"), first)


def test_idempotency_x_refused_batch_no_key_of_it_is_used(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=2)
    messages = [{"body": body, "idempotency_key": body} for body in "abc"]
    assert_problem(batch(shared, f"queues/{queue}", *messages, key="all"), 429, "queue-full", index=2)
    done = batch(shared, f"queues/{queue}", {"body": "other", "idempotency_key": "a"}, key="all")
    assert done.status_code == 201, done.text


def test_idempotency_x_missing_exchange(shared: httpx2.Client, name: Name) -> None:
    exchange = name("x")
    assert_problem(publish(shared, f"exchanges/{exchange}", b"x", "k"), 404, "exchange-not-found")
    make_exchange(shared, exchange)
    assert publish(shared, f"exchanges/{exchange}", b"y", "k").status_code == 201


# --- batches ------------------------------------------------------------------------


def test_a_key_on_a_batch_covers_all_of_it(shared: httpx2.Client, exchange: str, queue: str) -> None:
    messages: list[Json] = [{"body": "a", "routing_key": "r"}, {"json": {"b": 1}, "headers": {"n": 2, "m": True}}]
    target = f"exchanges/{exchange}"
    first = batch(shared, target, *messages, key="k")
    assert first.status_code == 201
    assert_duplicate(batch(shared, target, *messages, key="k"), first)
    assert_problem(batch(shared, target, *messages[:1], key="k"), 422, "idempotency-key-reused", key="k")
    assert_problem(batch(shared, target, *reversed(messages), key="k"), 422, "idempotency-key-reused")
    assert batch(shared, target, *messages, key="k2").status_code == 201
    assert stats(shared, queue)["published"] == 4


def test_a_batch_in_ndjson_is_the_same_batch(shared: httpx2.Client, queue: str) -> None:
    first = batch(shared, f"queues/{queue}", {"body": "a"}, {"body": "b"}, key="k")
    again = shared.post(
        f"/v1/queues/{queue}/messages/batch",
        content=b'{"body":"a"}\n{"body":"b"}\n',
        headers={"Content-Type": "application/x-ndjson", "Idempotency-Key": "k"},
    )
    assert_duplicate(again, first)


def test_each_envelope_may_have_a_key(shared: httpx2.Client, exchange: str, queue: str) -> None:
    target = f"exchanges/{exchange}"
    one, two = ({"body": key, "routing_key": "r", "idempotency_key": key} for key in ("k1", "k2"))
    first = batch(shared, target, one, {"body": "free"})
    assert first.status_code == 201
    mixed = batch(shared, target, two, one)
    # Something was stored, so it is a 201, and each result speaks for itself.
    assert mixed.status_code == 201
    assert mixed.json()["results"][1] == {**first.json()["results"][0], "duplicate": True}
    assert "duplicate" not in mixed.json()["results"][0]
    again = batch(shared, target, two, one)
    assert again.status_code == 200
    assert again.json() == {
        "results": [
            {**mixed.json()["results"][0], "duplicate": True},
            {**first.json()["results"][0], "duplicate": True},
        ]
    }
    assert stats(shared, queue)["published"] == 3


def test_the_same_key_twice_within_one_batch(shared: httpx2.Client, queue: str) -> None:
    envelope = {"body": "x", "idempotency_key": "k"}
    done = batch(shared, f"queues/{queue}", envelope, {"body": "y"}, envelope)
    assert done.status_code == 201
    one, _, three = done.json()["results"]
    assert three == {**one, "duplicate": True}
    assert stats(shared, queue)["published"] == 2


def test_two_messages_under_one_key_within_one_batch_are_refused(shared: httpx2.Client, queue: str) -> None:
    one, two = ({"body": body, "idempotency_key": "k"} for body in "xy")
    assert_problem(batch(shared, f"queues/{queue}", one, two), 422, "idempotency-key-reused", index=1, key="k")
    assert batch(shared, f"queues/{queue}", two).status_code == 201
    assert_problem(batch(shared, f"queues/{queue}", {"body": "z"}, one), 422, "idempotency-key-reused", index=1)
    assert stats(shared, queue)["published"] == 1


def test_a_message_alone_and_one_in_a_batch_share_their_keys(shared: httpx2.Client, queue: str) -> None:
    first = publish(shared, f"queues/{queue}", b"x", "k", {"Content-Type": "text/plain; charset=utf-8"})
    again = batch(shared, f"queues/{queue}", {"body": "x", "idempotency_key": "k"})
    assert again.json() == {"results": [{**first.json(), "duplicate": True}]}


def test_a_batch_under_a_key_keeps_what_its_envelopes_were_answered(shared: httpx2.Client, queue: str) -> None:
    target = f"queues/{queue}"
    early = batch(shared, target, {"body": "x", "idempotency_key": "k"}).json()["results"][0]
    first = batch(shared, target, {"body": "x", "idempotency_key": "k"}, {"body": "y"}, key="all")
    assert first.status_code == 201
    assert first.json()["results"][0] == {**early, "duplicate": True}
    assert_duplicate(batch(shared, target, {"body": "x", "idempotency_key": "k"}, {"body": "y"}, key="all"), first)


@pytest.mark.parametrize("path", ["queues/{queue}/messages", "queues/{queue}/messages/batch", "transactions"])
@pytest.mark.parametrize(
    ("keys", "status", "code", "field"),
    [
        ([b""], 422, "invalid-request", "idempotency_key"),
        ([b"x" * 256], 422, "invalid-request", "idempotency_key"),
        ([b"\xff"], 400, "malformed-request", None),
        ([b"a", b"a"], 422, "invalid-request", "Idempotency-Key"),
    ],
)
def test_a_bad_key_is_refused(
    shared: httpx2.Client, queue: str, path: str, keys: list[bytes], status: int, code: str, field: str | None
) -> None:
    body = b'{"publishes":[{"queue":"%b","body":"x"}]}' % queue.encode() if path == "transactions" else b"{}"
    url = f"/v1/{path.format(queue=queue)}"
    answer = shared.post(url, content=body, headers=[(b"Idempotency-Key", key) for key in keys])
    assert_problem(answer, status, code, field=field)
    assert receive(shared, queue) == []


# --- lost answers and restarts --------------------------------------------------------


def test_a_retry_after_a_lost_answer(shared: httpx2.Client, shared_server: Server, queue: str) -> None:
    """The client leaves as soon as it has sent its request, and tries again."""
    with connect(shared_server.url) as publisher:
        publisher.sendall(request_bytes(f"/v1/queues/{queue}/messages", b"x", {"Idempotency-Key": "k"} | LENGTH_1))
    wait_until(lambda: stats(shared, queue)["published"] == 1)
    again = publish(shared, f"queues/{queue}", b"x", "k")
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert [message["id"] for message in receive(shared, queue, max_messages=9)] == [again.json()["id"]]


LENGTH_1 = {"Content-Length": "1"}


def test_keys_survive_a_crash(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    make_exchange(http, "x", "fanout")
    bind(http, "x", "q")
    transaction = {"publishes": [{"exchange": "x", "body": "t"}, {"queue": "q", "body": "u", "idempotency_key": "tk"}]}

    def everything(client: httpx2.Client) -> list[httpx2.Response]:
        return [
            publish(client, "exchanges/x", b"x", "one", {"Content-Type": "image/png"}, group="g"),
            publish(client, "queues/q", b"x", "one"),
            batch(client, "queues/q", {"body": "y", "idempotency_key": "each"}),
            batch(client, "exchanges/x", {"body": "z"}, {"body": "z"}, key="all"),
            client.post("/v1/transactions", json=transaction, headers={"Idempotency-Key": "t"}),
        ]

    first = everything(http)
    assert [answer.status_code for answer in first] == [201, 201, 201, 201, 200]
    server.kill()
    server.start()
    again = everything(http)
    for before, after in zip(first[:2] + first[3:4], again[:2] + again[3:4], strict=True):
        assert_duplicate(after, before)
    assert again[2].json()["results"] == [{**first[2].json()["results"][0], "duplicate": True}]
    assert again[4].json() == first[4].json()
    assert_problem(publish(http, "queues/q", b"other", "one"), 422, "idempotency-key-reused")
    assert_problem(batch(http, "exchanges/x", {"body": "z"}, key="all"), 422, "idempotency-key-reused")
    assert stats(http, "q")["published"] == 7
    server.restart()
    assert publish(http, "queues/q", b"x", "one").status_code == 200


@pytest.mark.parametrize("turn", range(6))
def test_a_crash_in_the_middle_of_publishing_and_a_retry(server: Server, http: httpx2.Client, turn: int) -> None:
    """Whatever was on the disk when it was killed, each message is there once after everything was tried again."""
    make_queue(http, "q")
    with connect(server.url) as publisher:
        requests = [
            request_bytes("/v1/queues/q/messages", b"x", {"Idempotency-Key": f"k{n}"} | LENGTH_1) for n in range(40)
        ]
        publisher.sendall(b"".join(requests))
        skip_answers(publisher, turn * 8)
        server.kill()
    server.start()
    ids = [publish(http, "queues/q", b"x", f"k{n}").json()["id"] for n in range(40)]
    got = [message["id"] for message in receive(http, "q", max_messages=100)]
    assert sorted(got) == sorted(set(ids))
    assert len(got) == 40
