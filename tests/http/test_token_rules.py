"""What tokens allow beyond the name in the path, and what their holders are shown. A broker of the tests' own."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.conftest import check_log
from tests.http.wire import make_exchange, make_queue, put, receive, settle, stats
from tests.support.problems import refused
from tests.support.server import Server
from tests.support.tokens import Holders

Name = Callable[..., str]
As = Callable[..., httpx2.Client]


@pytest.fixture(scope="module")
def holders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holders]:
    server = Server(tmp_path_factory.mktemp("rules") / "data")
    try:
        with Holders(server.start()) as holders:
            yield holders
        check_log(server)
    finally:
        server.close()


@pytest.fixture
def root(holders: Holders) -> httpx2.Client:
    """A client that may do everything."""
    return holders.http


@pytest.fixture
def holder(holders: Holders, name: Name) -> Iterator[As]:
    """Makes clients with tokens: `holder(publish=["a*"])`."""
    clients: list[httpx2.Client] = []

    def make(**wanted: Any) -> httpx2.Client:
        headers = holders.holder(name("token"), **wanted)
        clients.append(httpx2.Client(base_url=holders.server.url, headers=headers, timeout=60))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def pages(http: httpx2.Client, path: str, plural: str, limit: int) -> list[list[str]]:
    """All pages of a list, walked by `next`: the names (or ids) of each."""
    found: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = http.get(path, params={"limit": limit, **({"after": after} if after else {})}).json()
        found.append([one.get("name") or one["id"] for one in page[plural]])
        after = page["next"]
    return found


# --- what is shown --------------------------------------------------------------


@pytest.mark.parametrize("plural", ["queues", "exchanges"])
def test_lists_show_what_one_may_see_in_whole_pages(root: httpx2.Client, holder: As, name: Name, plural: str) -> None:
    stem = name("s")
    for number in range(12):
        put_one = make_queue if plural == "queues" else make_exchange
        put_one(root, f"{stem}.{number:02}.{'seen' if number % 3 == 0 else 'hidden'}")
    wanted = [f"{stem}.{number:02}.seen" for number in (0, 3, 6, 9)]
    for may in ("publish", "consume", "manage"):
        http = holder(**{may: [f"{stem}.*.seen"]})
        assert pages(http, f"/v1/{plural}", plural, 100) == [wanted]
        assert pages(http, f"/v1/{plural}", plural, 2) == [wanted[:2], wanted[2:]]
        assert pages(http, f"/v1/{plural}", plural, 3) == [wanted[:3], wanted[3:]]
    assert pages(holder(admin=True), f"/v1/{plural}", plural, 3) == [[]]
    first = holder(consume=[f"{stem}.*.seen"]).get(f"/v1/{plural}", params={"after": wanted[1], "limit": 1}).json()
    assert ([one["name"] for one in first[plural]], first["next"]) == ([wanted[2]], wanted[2])


def test_bindings_are_shown_where_both_ends_may_be_seen(root: httpx2.Client, holder: As, name: Name) -> None:
    exchange = make_exchange(root, name("x"), "topic")
    queues = [make_queue(root, name(stem)) for stem in ("mine", "theirs", "mine")]
    for queue in queues:
        root.post(f"/v1/exchanges/{exchange}/bindings", json={"queue": queue, "routing_key": "#"})
    http = holder(publish=[exchange], consume=["mine-*"])
    shown = http.get(f"/v1/exchanges/{exchange}/bindings").json()["bindings"]
    assert [one["queue"] for one in shown] == [queues[0], queues[2]]
    ids = [one["id"] for one in shown]
    assert pages(http, f"/v1/exchanges/{exchange}/bindings", "bindings", 1) == [[ids[0]], [ids[1]]]
    assert len(http.get(f"/v1/queues/{queues[0]}/bindings").json()["bindings"]) == 1
    refused(http.get(f"/v1/queues/{queues[1]}/bindings"), 403, "forbidden")
    routed = http.get(f"/v1/exchanges/{exchange}/route?routing_key=a").json()
    assert routed["queues"] == sorted([queues[0], queues[2]])
    assert [one["id"] for one in routed["bindings"]] == ids
    only_queue = holder(consume=["mine-*"])
    assert only_queue.get(f"/v1/queues/{queues[0]}/bindings").json() == {"bindings": [], "next": None}


def test_definitions_are_what_one_may_see(root: httpx2.Client, holder: As, name: Name) -> None:
    stem = name("d")
    exchange, queue = make_exchange(root, f"{stem}.x", "topic"), make_queue(root, f"{stem}.q")
    other = make_queue(root, name("hidden"))
    for target in (queue, other):
        root.post(f"/v1/exchanges/{exchange}/bindings", json={"queue": target, "routing_key": target})
    shown = holder(manage=[f"{stem}.*"]).get("/v1/definitions").json()
    assert [one["name"] for one in shown["exchanges"]] == [exchange]
    assert [one["name"] for one in shown["queues"]] == [queue]
    assert [one["queue"] for one in shown["bindings"]] == [queue]
    assert other not in str(shown)


# --- bindings, dead letters, alternates -----------------------------------------


def test_a_binding_needs_manage_on_both_ends(root: httpx2.Client, holder: As, name: Name) -> None:
    stem = name("b")
    exchange, queue = make_exchange(root, f"{stem}.x", "topic"), make_queue(root, f"{stem}.q")
    one_end = [holder(manage=[exchange]), holder(manage=[queue])]
    both = holder(manage=[f"{stem}.*"])
    path, binding = f"/v1/exchanges/{exchange}/bindings", {"queue": queue, "routing_key": "k"}
    for http in one_end:
        refused(http.post(path, json=binding), 403, "forbidden", permission="manage")
        # The other end: there or not, the answer is the same.
    missing = one_end[0].post(path, json={**binding, "queue": f"{stem}.r"})
    there = one_end[0].post(path, json=binding)
    assert missing.text.replace(f"{stem}.r", queue) == there.text
    made = both.post(path, json=binding)
    assert made.status_code == 201
    id_ = made.json()["id"]
    unseen = [http.delete(f"/v1/bindings/{id_}") for http in one_end]
    none = both.delete("/v1/bindings/999999")
    for answer in unseen:
        refused(answer, 404, "binding-not-found")
        assert answer.text.replace(id_, "999999") == none.text
    assert both.delete(f"/v1/bindings/{id_}").status_code == 204


def test_where_dead_letters_and_strays_go_needs_publish_there(root: httpx2.Client, holder: As, name: Name) -> None:
    stem, private = name("l"), make_exchange(root, name("private"), "fanout")
    http = holder(manage=[f"{stem}.*"], publish=[f"{stem}.*"])
    dlx, alternate = {"dead_letter_exchange": private}, {"type": "fanout", "alternate_exchange": private}
    queue, exchange = f"{stem}.q", f"{stem}.x"
    make_queue(http, f"{stem}.there")
    for answer in (
        http.put(f"/v1/queues/{queue}", json=dlx),
        http.patch(f"/v1/queues/{stem}.there", json=dlx),
        http.put(f"/v1/exchanges/{exchange}", json=alternate),
        http.put("/v1/definitions", json={"queues": [{"name": queue, **dlx}]}),
        http.put("/v1/definitions", json={"exchanges": [{"name": exchange, **alternate}]}),
        http.put(
            "/v1/definitions",
            json={
                "rabbit_version": "4.1.0",
                "queues": [
                    {
                        "name": queue,
                        "vhost": "/",
                        "durable": True,
                        "auto_delete": False,
                        "arguments": {"x-dead-letter-exchange": private},
                    }
                ],
            },
        ),
    ):
        refused(answer, 403, "forbidden", permission="publish")
        assert private in answer.json()["detail"]
    assert root.get(f"/v1/queues/{queue}").status_code == 404
    assert root.get(f"/v1/queues/{stem}.there").json()["dead_letter_exchange"] is None
    # Where they go behind an exchange that somebody else named is told by their key.
    assert root.patch(f"/v1/queues/{stem}.there", json=dlx).status_code == 200
    key = {"dead_letter_routing_key": "k"}
    refused(http.patch(f"/v1/queues/{stem}.there", json=key), 403, "forbidden", permission="publish")
    assert http.patch(f"/v1/queues/{stem}.there", json={"lease_seconds": 5}).status_code == 200
    assert http.patch(f"/v1/queues/{stem}.there", json={**key, "dead_letter_exchange": None}).status_code == 200
    assert http.patch(f"/v1/queues/{stem}.there", json=key).status_code == 200
    own = {"dead_letter_exchange": exchange}
    assert http.put(f"/v1/queues/{queue}", json=own).status_code == 201
    assert http.put(f"/v1/exchanges/{exchange}", json={"type": "fanout"}).status_code == 201


def test_definitions_need_what_each_of_their_parts_needs(root: httpx2.Client, holder: As, name: Name) -> None:
    stem, other = name("m"), make_queue(root, name("other"))
    http = holder(manage=[f"{stem}.*"])
    exchanges, queues = [{"name": f"{stem}.x", "type": "topic"}], [{"name": f"{stem}.q"}]
    binding = {"source": f"{stem}.x", "queue": f"{stem}.q", "routing_key": "#"}
    good: dict[str, Any] = {"exchanges": exchanges, "queues": queues, "bindings": [binding]}
    for bad in (
        {**good, "exchanges": [*exchanges, {"name": name("x"), "type": "topic"}]},
        {**good, "queues": [*queues, {"name": other, "paused": True}]},
        {**good, "bindings": [binding, {**binding, "queue": other}]},
    ):
        refused(http.put("/v1/definitions", json=bad), 403, "forbidden", permission="manage")
    assert root.get(f"/v1/queues/{stem}.q").status_code == 404
    assert http.put("/v1/definitions", json=good).status_code == 200


# --- redrive --------------------------------------------------------------------


def die(http: httpx2.Client, queue: str, *bodies: str) -> None:
    """These messages die in the queue."""
    put(http, queue, *bodies)
    receipts = [message["receipt"] for message in receive(http, queue, max_messages=len(bodies))]
    settle(http, queue, "nack", *receipts, requeue=False)


def test_a_redrive_to_another_queue_needs_publish_there(root: httpx2.Client, holder: As, name: Name) -> None:
    stem, other = name("r"), make_queue(root, name("other"))
    queue = make_queue(root, f"{stem}.q")
    die(root, queue, "a", "b")
    http = holder(manage=[queue], publish=[f"{stem}.*"])
    refused(http.post(f"/v1/queues/{queue}/redrive", json={"to_queue": other}), 403, "forbidden", permission="publish")
    there = http.post(f"/v1/queues/{queue}/redrive", json={"to_queue": other})
    missing = http.post(f"/v1/queues/{queue}/redrive", json={"to_queue": other[::-1]})
    assert there.text == missing.text.replace(other[::-1], other)
    assert stats(root, queue)["dead"] == 2
    # Back into the queue itself it needs no more than manage.
    assert holder(manage=[queue]).post(f"/v1/queues/{queue}/redrive", json={"max_messages": 1}).json()["moved"] == 1
    target = make_queue(root, f"{stem}.r")
    assert http.post(f"/v1/queues/{queue}/redrive", json={"to_queue": target}).json()["moved"] == 1


def test_what_arrived_goes_back_only_where_one_may_publish(root: httpx2.Client, holder: As, name: Name) -> None:
    """The others are answered as if their queue were gone: the dead letters tell no names."""
    stem = name("a")
    dlx = make_exchange(root, f"{stem}.dlx", "fanout")
    morgue = make_queue(root, f"{stem}.morgue")
    root.post(f"/v1/exchanges/{dlx}/bindings", json={"queue": morgue})
    mine, theirs, gone = (make_queue(root, name(f"{stem}.{who}"), dead_letter_exchange=dlx) for who in "mtg")
    for queue in (theirs, mine, gone, theirs):
        die(root, queue, queue)
    root.delete(f"/v1/queues/{gone}")
    http = holder(manage=[morgue], publish=[f"{stem}.m-*"])
    answer = http.post(f"/v1/queues/{morgue}/redrive", json={"from": "arrived"}).json()
    assert answer["moved"] == 1
    assert [one["code"] for one in answer["failed"]] == ["queue-not-found"] * 3
    assert theirs not in str(answer)
    assert (stats(root, mine)["ready"], stats(root, theirs)["ready"], stats(root, morgue)["ready"]) == (1, 0, 3)
    assert root.post(f"/v1/queues/{morgue}/redrive", json={"from": "arrived"}).json()["moved"] == 2


# --- transactions, requests and replies -----------------------------------------


def test_a_transaction_needs_what_each_part_needs(root: httpx2.Client, holder: As, name: Name) -> None:
    stem = name("t")
    source, target = make_queue(root, f"{stem}.in"), make_queue(root, f"{stem}.out")
    other = make_queue(root, name("other"))
    put(root, source, "x")
    (message,) = receive(root, source)
    ack = {"queue": source, "receipts": [message["receipt"]]}
    http = holder(consume=[source], publish=[target])
    for parts in (
        {"acks": [ack], "publishes": [{"queue": target, "body": "a"}, {"queue": other, "body": "b"}]},
        {"acks": [ack], "publishes": [{"queue": source, "body": "a"}]},
        {"acks": [ack, {"queue": other, "receipts": []}]},
        {"nacks": [{"queue": target, "receipts": []}], "publishes": [{"queue": target, "body": "a"}]},
        {"publishes": [{"exchange": name("x"), "body": "a"}]},
    ):
        refused(http.post("/v1/transactions", json=parts), 403, "forbidden")
    assert (stats(root, source)["leased"], stats(root, target)["ready"]) == (1, 0)
    parts = {"acks": [ack], "publishes": [{"queue": target, "body": "a"}]}
    assert http.post("/v1/transactions", json=parts).status_code == 200


def test_a_reply_address_is_a_permission_of_its_own(root: httpx2.Client, holder: As, name: Name) -> None:
    exchange, queue = make_exchange(root, name("x"), "fanout"), make_queue(root, name("q"))
    root.post(f"/v1/exchanges/{exchange}/bindings", json={"queue": queue})
    asker, worker = holder(publish=[exchange]), holder(consume=[queue])
    address = "/v1/queues/_reply.nobody-asked/messages"
    assert worker.post(address, content=b"x").json()["queues"] == []
    assert worker.post("/v1/transactions", json={"publishes": [{"queue": "_reply.a", "body": "x"}]}).status_code == 200
    refused(worker.post(address, content=b"x", headers={"Authorization": "none"}), 401, "unauthenticated")
    refused(worker.post(f"/v1/exchanges/{exchange}/request?wait_seconds=0"), 403, "forbidden")
    assert asker.post(f"/v1/exchanges/{exchange}/request?wait_seconds=0").status_code == 504
    (question,) = receive(worker, queue)
    assert worker.post(f"/v1/queues/{question['reply_to']}/messages", content=b"late").json()["queues"] == []


def test_metrics_and_tokens_have_permissions_of_their_own(holder: As) -> None:
    scraper, admin = holder(metrics=True), holder(admin=True)
    assert (scraper.get("/metrics").status_code, scraper.get("/v1/tokens").status_code) == (200, 403)
    assert (admin.get("/metrics").status_code, admin.get("/v1/tokens").status_code) == (403, 200)
    everywhere = holder(publish=["*"], consume=["*"], manage=["*"])
    assert {everywhere.get(path).status_code for path in ("/metrics", "/v1/tokens")} == {403}


def test_an_idempotency_key_of_somebody_elses_opens_nothing(root: httpx2.Client, holder: As, name: Name) -> None:
    """Keys are an exchange's, a queue's or (of transactions) the broker's: they show what a publish there shows."""
    exchange, other = make_exchange(root, name("x")), make_exchange(root, name("x"))
    key = {"Idempotency-Key": name("key")}

    def publish(http: httpx2.Client, target: str, body: str = "one") -> httpx2.Response:
        return http.post(f"/v1/exchanges/{target}/messages", content=body, headers=key)

    def transact(http: httpx2.Client, target: str) -> httpx2.Response:
        document = {"publishes": [{"exchange": target, "body": "one"}]}
        return http.post("/v1/transactions", json=document, headers=key)

    first, also, elsewhere = holder(publish=[exchange]), holder(publish=[exchange]), holder(publish=[other])
    published, transacted = publish(first, exchange), transact(first, exchange)
    assert (published.status_code, transacted.status_code) == (201, 200)
    ids = (published.json()["id"], transacted.json()["results"][0]["id"])
    for refusal in (publish(elsewhere, exchange), transact(elsewhere, exchange)):
        refused(refusal, 403, "forbidden")
    for reused in (publish(also, exchange, "another"), transact(elsewhere, other)):
        refused(reused, 422, "idempotency-key-reused")
        assert not [one for one in ids if one in reused.text]
    assert publish(elsewhere, other).status_code == 201
    again = publish(also, exchange)
    assert (again.status_code, again.json()) == (200, {**published.json(), "duplicate": True})
    assert transact(also, exchange).json()["results"][0]["id"] == ids[1]
