"""Repairing queues on the wire: remove, purge, redrive, release; with dry runs, refusals and restarts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.http.repairing import (
    UNKNOWN,
    Name,
    bodies,
    browse,
    counts,
    get,
    in_every_state,
    kill_messages,
    purge,
    redrive,
    release,
)
from tests.http.wire import (
    assert_problem,
    bind,
    make_exchange,
    make_queue,
    put,
    receive,
    receive_one,
    settle,
    stats,
    wait_for_waiters,
)
from tests.support.server import Server
from tests.support.until import wait_until

# --- remove one -----------------------------------------------------------------


def test_remove_a_message_in_each_state(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    ids = in_every_state(shared, queue)
    for purged, id_ in enumerate(ids.values(), 1):
        answer = shared.delete(f"/v1/queues/{queue}/messages/{id_}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert stats(shared, queue)["purged"] == purged
        assert_problem(shared.delete(f"/v1/queues/{queue}/messages/{id_}"), 404, "message-not-found", id=id_)
    assert counts(shared, queue) == (0, 0, 0, 0)
    assert stats(shared, queue)["bytes"] == 0


def test_the_receipt_of_a_removed_message_is_gone(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "a")
    message = receive_one(shared, queue)
    assert shared.delete(f"/v1/queues/{queue}/messages/{message['id']}").is_success
    for verb, others in (("ack", {}), ("nack", {}), ("extend", {"lease_seconds": 5})):
        (failure,) = settle(shared, queue, verb, message["receipt"], **others)["failed"]
        assert failure["code"] == "gone"


def test_removing_the_head_of_a_group_lets_the_next_go(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "first", "second", group="g")
    head = receive_one(shared, queue)
    assert receive(shared, queue) == []
    assert shared.delete(f"/v1/queues/{queue}/messages/{head['id']}").is_success
    assert receive_one(shared, queue)["body"] == "second"


def test_remove_refusals(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    (id_,) = put(shared, queue, "a")
    assert_problem(shared.delete(f"/v1/queues/{name()}/messages/{id_}"), 404, "queue-not-found")
    assert_problem(shared.delete(f"/v1/queues/{queue}/messages/{id_}?dry_run=true"), 422, "invalid-request")
    assert_problem(shared.delete(f"/v1/queues/{queue}/messages/{id_}x"), 404, "message-not-found")
    assert counts(shared, queue) == (1, 0, 0, 0)


# --- purge ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "purged", "left"),
    [
        ("", 2, (0, 1, 0, 1)),
        ("state=ready", 1, (0, 1, 1, 1)),
        ("state=delayed", 1, (1, 1, 0, 1)),
        ("state=leased", 1, (1, 0, 1, 1)),
        ("state=dead", 1, (1, 1, 1, 0)),
    ],
)
def test_purge_by_state(shared: httpx2.Client, name: Name, query: str, purged: int, left: tuple[int, ...]) -> None:
    queue = name()
    in_every_state(shared, queue)
    assert purge(shared, queue, f"{query}&dry_run=true") == purged
    assert (counts(shared, queue), stats(shared, queue)["purged"]) == ((1, 1, 1, 1), 0)
    assert purge(shared, queue, query) == purged
    assert (counts(shared, queue), stats(shared, queue)["purged"]) == (left, purged)
    assert purge(shared, queue, f"{query}&dry_run=false") == 0
    assert stats(shared, queue)["purged"] == purged
    assert len(browse(shared, queue)) == 4 - purged


def test_purging_leased_ones_ends_their_leases(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "a", "b")
    messages = receive(shared, queue, max_messages=2)
    assert purge(shared, queue, "state=leased") == 2
    settled = settle(shared, queue, "ack", *(message["receipt"] for message in messages))
    assert (settled["acked"], [one["code"] for one in settled["failed"]]) == (0, ["gone", "gone"])
    put(shared, queue, "c")
    assert receive_one(shared, queue)["body"] == "c"


def test_purging_dead_ones_lets_publishes_in_again(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name(), dead_max_messages=0)
    put(shared, queue, "a")
    kill_messages(shared, queue, 1)
    assert_problem(shared.post(f"/v1/queues/{queue}/messages", content=b"x"), 429, "queue-full")
    assert purge(shared, queue, "state=dead") == 1
    put(shared, queue, "b")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=gone", "state"),
        ("state=all", "state"),
        ("state=", "state"),
        ("dry_run=1", "dry_run"),
        ("dry_run=", "dry_run"),
        ("dryrun=true", "dryrun"),
        ("limit=5", "limit"),
        ("ids=x", "ids"),
    ],
)
def test_purge_refusals(shared: httpx2.Client, name: Name, query: str, field: str) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "a")
    assert_problem(shared.delete(f"/v1/queues/{queue}/messages?{query}"), 422, "invalid-request", field=field)
    assert counts(shared, queue) == (1, 0, 0, 0)


def test_a_purge_with_a_body_is_refused(shared: httpx2.Client, name: Name) -> None:
    """`{"state": "dead"}` in a body must not purge the ready ones."""
    queue = make_queue(shared, name())
    put(shared, queue, "a")
    path = f"/v1/queues/{queue}/messages"
    assert_problem(shared.request("DELETE", path, json={"state": "dead"}), 422, "invalid-request")
    chunks = iter([b"{}"])
    assert_problem(shared.request("DELETE", path, content=chunks), 422, "invalid-request")
    assert counts(shared, queue) == (1, 0, 0, 0)
    assert shared.request("DELETE", path, content=b"").json() == {"purged": 1}
    assert_problem(shared.delete(f"/v1/queues/{name()}/messages"), 404, "queue-not-found")


def test_purge_of_100_000_messages_at_once(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "big")
    batch = {"messages": [{"body": "x" * 100}] * 1000}
    for _ in range(100):
        assert http.post("/v1/queues/big/messages/batch", json=batch).is_success
    kept = receive(http, "big", max_messages=10)
    assert purge(http, "big", "dry_run=true") == 99_990
    assert purge(http, "big") == 99_990
    # For everyone, at once: nothing of it is to be seen, and what comes is all there is.
    assert counts(http, "big") == (0, 10, 0, 0)
    assert receive(http, "big") == []
    put(http, "big", "new")
    assert receive_one(http, "big")["body"] == "new"
    # In the middle of the clearing up: killed, and nothing of it comes back.
    server.kill()
    server.start()
    assert counts(http, "big") == (0, 11, 0, 0)
    assert len(browse(http, "big")) == 11
    assert settle(http, "big", "ack", *(message["receipt"] for message in kept))["acked"] == 10
    wait_until(lambda: server.data.joinpath("queuesvc.db").stat().st_size < 1_000_000, "the space given back", 60)


# --- release --------------------------------------------------------------------


def test_stuck_leases_end_uncounted(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name(), delivery_limit=1)
    ids = put(shared, queue, "a", "b", "c", "d")
    first, second = receive(shared, queue, max_messages=2, lease_seconds=40_000, consumer="stuck")
    wanted = [ids[1], ids[0], ids[0], ids[2], UNKNOWN, "x"]
    expected = {
        "released": 2,
        "failed": [
            {"id": ids[2], "code": "lease-lost"},
            {"id": UNKNOWN, "code": "gone"},
            {"id": "x", "code": "gone"},
        ],
    }
    assert release(shared, queue, *wanted, dry_run=True) == expected
    assert release(shared, queue, *wanted, query="dry_run=true") == expected
    assert counts(shared, queue) == (2, 2, 0, 0)
    assert release(shared, queue, *wanted) == expected
    assert counts(shared, queue) == (4, 0, 0, 0)
    failed = settle(shared, queue, "ack", first["receipt"], second["receipt"])["failed"]
    assert [one["code"] for one in failed] == ["lease-lost", "lease-lost"]
    # In their old places, and no failure is counted, though one would have been their death.
    again = receive(shared, queue, max_messages=4)
    assert bodies(again) == ["a", "b", "c", "d"]
    assert [(one["delivery_count"], one["failed_count"]) for one in again] == [(2, 0), (2, 0), (1, 0), (1, 0)]


def test_who_waits_gets_what_is_released(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    (id_,) = put(shared, queue, "a")
    receive_one(shared, queue)
    with httpx2.Client(base_url=shared.base_url, timeout=60) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive, other, queue, wait_seconds=30)
        wait_for_waiters(shared, queue, 1)
        release(shared, queue, id_)
        assert [message["id"] for message in waiting.result()] == [id_]


def test_the_later_ones_of_a_group_go_back_along(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    ids = put(shared, queue, "a", "b", "c", group="g")
    receive(shared, queue, max_messages=3)
    assert release(shared, queue, ids[1]) == {"released": 1, "failed": []}
    assert [message["state"] for message in browse(shared, queue)] == ["leased", "ready", "ready"]
    assert receive(shared, queue) == []
    assert release(shared, queue, ids[0])["released"] == 1
    again = receive(shared, queue, max_messages=3)
    assert bodies(again) == ["a", "b", "c"]
    assert [message["failed_count"] for message in again] == [0, 0, 0]


def test_a_lease_that_ran_out_is_no_lease(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name(), lease_seconds=0.1)
    (id_,) = put(shared, queue, "a")
    receive_one(shared, queue)
    wait_until(lambda: counts(shared, queue) == (1, 0, 0, 0), "the end of the lease")
    assert release(shared, queue, id_) == {"released": 0, "failed": [{"id": id_, "code": "lease-lost"}]}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "ids"),
        ({"ids": None}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"] * 1001}, "ids"),
        ({"ids": [None]}, "ids.0"),
        ({"receipts": ["x"], "ids": ["x"]}, "receipts"),
        ({"ids": ["x"], "dry_run": "no"}, "dry_run"),
    ],
)
def test_release_refusals(shared: httpx2.Client, name: Name, document: Any, field: str) -> None:
    queue = make_queue(shared, name())
    assert_problem(shared.post(f"/v1/queues/{queue}/release", json=document), 422, "invalid-request", field=field)


@pytest.mark.parametrize("call", ["redrive", "release"])
def test_what_both_refuse(shared: httpx2.Client, name: Name, call: str) -> None:
    queue = make_queue(shared, name())
    path = f"/v1/queues/{queue}/{call}"
    document = {"ids": [UNKNOWN]}
    assert_problem(shared.post(f"/v1/queues/{name()}/{call}", json=document), 404, "queue-not-found")
    assert_problem(shared.post(f"/v1/queues/a%20b/{call}", json=document), 422, "invalid-request", field="queue")
    assert_problem(shared.post(path, content=b"{"), 400, "malformed-request")
    assert_problem(shared.post(path, content=b"[]"), 422, "invalid-request")
    assert_problem(
        shared.post(path, json=document, headers={"Content-Encoding": "gzip"}), 415, "unsupported-media-type"
    )
    assert_problem(shared.post(path, json=document, headers={"Accept": "text/plain"}), 406, "not-acceptable")
    assert_problem(shared.post(f"{path}?ids=x", json=document), 422, "invalid-request", field="ids")
    assert_problem(shared.post(f"{path}?dry_run=yes", json=document), 422, "invalid-request", field="dry_run")
    for query, body in (("true", False), ("false", True)):
        answer = shared.post(f"{path}?dry_run={query}", json={**document, "dry_run": body})
        assert_problem(answer, 422, "invalid-request", field="dry_run")
    for query, given in (("true", True), ("false", False), ("true", None)):
        assert shared.post(f"{path}?dry_run={query}", json={**document, "dry_run": given}).status_code == 200


# --- over a restart -------------------------------------------------------------


def test_all_of_it_is_on_the_disk(server: Server, http: httpx2.Client) -> None:
    def again(step: Callable[[], object]) -> None:
        """Do it, die, come back: everything stands as it did."""
        step()
        queues = ("work", "dead")
        before = [(counts(http, queue), browse(http, queue)) for queue in queues]
        server.kill()
        server.start()
        assert [(counts(http, queue), browse(http, queue)) for queue in queues] == before

    make_exchange(http, "dlx", "fanout")
    make_queue(http, "dead")
    bind(http, "dlx", "dead", "")
    make_queue(http, "work", dead_letter_exchange="dlx")
    ids = put(http, "work", *"abcdef")
    again(lambda: kill_messages(http, "work", 3))
    again(lambda: redrive(http, "dead", max_messages=2))
    assert bodies(browse(http, "work")) == ["d", "e", "f", "a", "b"]
    leased = receive(http, "work", max_messages=3, consumer="c", lease_seconds=600)
    again(lambda: release(http, "work", ids[4]))
    again(lambda: http.delete(f"/v1/queues/work/messages/{ids[3]}"))
    again(lambda: purge(http, "work"))
    assert bodies(browse(http, "work")) == ["f"]
    assert get(http, "work", ids[5])["consumer"] == "c"
    failed = settle(http, "work", "ack", *(message["receipt"] for message in leased))["failed"]
    assert [one["code"] for one in failed] == ["gone", "gone"]
    # From dead to dead: the rest of them, killed again here.
    kill_messages(http, "dead", 1)
    assert counts(http, "dead") == (0, 0, 0, 1)
    again(lambda: redrive(http, "dead"))
    again(lambda: redrive(http, "dead", **{"from": "arrived"}))
    assert counts(http, "dead") == (1, 0, 0, 0)
    assert counts(http, "work") == (0, 0, 0, 0)
