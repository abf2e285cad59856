"""Exchanges, bindings and the dry run, on the wire."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.problems import refused
from tests.support.server import Server

Name = Callable[..., str]

DEFAULTS = {"alternate_exchange": None, "deduplication_window_seconds": 300}


def make_exchange(http: httpx2.Client, name: str, kind: str, **settings: Any) -> str:
    assert http.put(f"/v1/exchanges/{name}", json={"type": kind, **settings}).status_code == 201
    return name


def make_queue(http: httpx2.Client, name: str, **settings: Any) -> str:
    assert http.put(f"/v1/queues/{name}", json=settings).status_code == 201
    return name


def bind(http: httpx2.Client, source: str, **binding: Any) -> dict[str, Any]:
    made = http.post(f"/v1/exchanges/{source}/bindings", json=binding)
    assert made.status_code == 201, made.text
    bound: dict[str, Any] = made.json()
    return bound


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_declare_show_and_delete(shared: httpx2.Client, name: Name, kind: str) -> None:
    exchange = name("orders")
    path = f"/v1/exchanges/{exchange}"
    shown = {"name": exchange, "type": kind, **DEFAULTS}
    made = shared.put(path, json={"type": kind})
    assert (made.status_code, made.json()) == (201, shown)
    again = shared.put(path, json={"type": kind, **DEFAULTS})
    assert (again.status_code, again.json()) == (200, shown)
    found = shared.get(path)
    assert (found.status_code, found.json()) == (200, shown)
    gone = shared.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    refused(shared.get(path), 404, "exchange-not-found")
    refused(shared.delete(path), 404, "exchange-not-found")


def test_a_conflict_names_what_differs(shared: httpx2.Client, name: Name) -> None:
    exchange = make_exchange(shared, name(), "topic", alternate_exchange="spare", deduplication_window_seconds=1.5)
    path = f"/v1/exchanges/{exchange}"
    problem = refused(shared.put(path, json={"type": "topic"}), 409, "conflict")
    assert problem["fields"] == ["alternate_exchange", "deduplication_window_seconds"]
    problem = refused(shared.put(path, json={"type": "fanout", "alternate_exchange": "spare"}), 409, "conflict")
    assert problem["fields"] == ["type", "deduplication_window_seconds"]
    assert shared.get(path).json()["deduplication_window_seconds"] == 1.5


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "type"),
        ({"type": None}, "type"),
        ({"type": "x-delayed"}, "type"),
        ({"type": 1}, "type"),
        ({"type": ["topic"]}, "type"),
        ({"typ": "topic"}, "typ"),
        ({"type": "topic", "durable": True}, "durable"),
        ({"type": "topic", "alternate_exchange": "a b"}, "alternate_exchange"),
        ({"type": "topic", "alternate_exchange": 5}, "alternate_exchange"),
        ({"type": "topic", "deduplication_window_seconds": -1}, "deduplication_window_seconds"),
        ({"type": "topic", "deduplication_window_seconds": True}, "deduplication_window_seconds"),
    ],
)
def test_bad_declarations(shared: httpx2.Client, name: Name, document: Any, field: str) -> None:
    path = f"/v1/exchanges/{name()}"
    refused(shared.put(path, json=document), 422, "invalid-request", field=field)
    refused(shared.get(path), 404, "exchange-not-found")


@pytest.mark.parametrize("bad", ["-a", ".a", "a b", "a%2Fb", "%C3%BC", "a" * 256, "a%0A", "a%25"])
def test_bad_names(shared: httpx2.Client, bad: str) -> None:
    url = httpx2.URL(f"{shared.base_url}").copy_with(raw_path=f"/v1/exchanges/{bad}".replace(" ", "%20").encode())
    refused(shared.put(url, json={"type": "topic"}), 422, "invalid-request", field="exchange")
    refused(shared.get(url), 422, "invalid-request", field="exchange")


def test_lists_are_sorted_and_paged(http: httpx2.Client) -> None:
    names = [f"x{number:02d}" for number in range(7)]
    for name in reversed(names):
        make_exchange(http, name, "fanout")
    seen, after, pages = [], "", 0
    while after is not None:
        page = http.get("/v1/exchanges", params={"limit": 3, "after": after}).json()
        assert list(page) == ["exchanges", "next"]
        seen += [one["name"] for one in page["exchanges"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == (names, 3)
    everything = http.get("/v1/exchanges").json()
    assert ([one["name"] for one in everything["exchanges"]], everything["next"]) == (names, None)
    assert http.get("/v1/exchanges", params={"after": "x03-"}).json()["exchanges"][0]["name"] == "x04"
    assert http.get("/v1/exchanges?after=zz").json() == {"exchanges": [], "next": None}


@pytest.mark.parametrize("path", ["/v1/exchanges", "/v1/queues"])
@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"), ("page=2", "page")],
)
def test_bad_paging(shared: httpx2.Client, path: str, query: str, field: str) -> None:
    refused(shared.get(f"{path}?{query}"), 422, "invalid-request", field=field)


def test_bind_to_a_queue(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name(), "topic"), make_queue(shared, name())
    path = f"/v1/exchanges/{exchange}/bindings"
    made = shared.post(path, json={"queue": queue, "routing_key": "order.*"})
    binding = made.json()
    assert made.status_code == 201
    assert isinstance(binding["id"], str)
    assert binding == {"id": binding["id"], "source": exchange, "queue": queue, "routing_key": "order.*"}
    again = shared.post(path, json={"queue": queue, "routing_key": "order.*", "exchange": None, "headers": None})
    assert (again.status_code, again.json()) == (200, binding)
    other = bind(shared, exchange, queue=queue, routing_key="#")
    for listed in (path, f"/v1/queues/{queue}/bindings"):
        assert shared.get(listed).json() == {"bindings": [binding, other], "next": None}
        page = shared.get(listed, params={"limit": 1}).json()
        assert page == {"bindings": [binding], "next": binding["id"]}
        assert shared.get(listed, params={"after": page["next"]}).json() == {"bindings": [other], "next": None}
        refused(shared.get(listed, params={"after": "x"}), 422, "invalid-request", field="after")
    gone = shared.delete(f"/v1/bindings/{binding['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    refused(shared.delete(f"/v1/bindings/{binding['id']}"), 404, "binding-not-found")
    assert shared.get(path).json()["bindings"] == [other]
    # The binding's number is not used again.
    assert bind(shared, exchange, queue=queue, routing_key="order.*")["id"] not in (binding["id"], other["id"])


@pytest.mark.parametrize("id_", ["0", "-1", "x", "1.0", "9" * 18, "9" * 40, "%C3%BC"])
def test_no_such_binding(shared: httpx2.Client, id_: str) -> None:
    refused(shared.delete(f"/v1/bindings/{id_}"), 404, "binding-not-found")


def test_bind_to_an_exchange(shared: httpx2.Client, name: Name) -> None:
    source, target = make_exchange(shared, name(), "fanout"), make_exchange(shared, name(), "topic")
    binding = bind(shared, source, exchange=target)
    assert binding == {"id": binding["id"], "source": source, "exchange": target, "routing_key": ""}
    # Deleting the target takes the binding along.
    assert shared.delete(f"/v1/exchanges/{target}").status_code == 204
    assert shared.get(f"/v1/exchanges/{source}/bindings").json() == {"bindings": [], "next": None}


def test_bind_by_headers(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name(), "headers"), make_queue(shared, name())
    headers = {"Kind": "invoice", "total": 3, "rate": 0.5, "paid": True}
    binding = bind(shared, exchange, queue=queue, match="any", headers=headers)
    lowered = {"kind": "invoice", "total": 3, "rate": 0.5, "paid": True}
    assert binding == {
        "id": binding["id"],
        "source": exchange,
        "queue": queue,
        "match": "any",
        "headers": lowered,
    }
    assert shared.get(f"/v1/exchanges/{exchange}/bindings").json()["bindings"] == [binding]


@pytest.mark.parametrize(
    ("kind", "document", "field"),
    [
        ("topic", {}, "queue"),
        ("topic", {"queue": None}, "queue"),
        ("topic", {"queue": "q", "exchange": "x"}, "queue"),
        ("topic", {"queue": "a b"}, "queue"),
        ("topic", {"queue": 5}, "queue"),
        ("topic", {"exchange": ""}, "exchange"),
        ("topic", {"queue": "{q}", "routing_key": 5}, "routing_key"),
        ("topic", {"queue": "{q}", "routing_key": "a" * 256}, "routing_key"),
        ("topic", {"queue": "{q}", "routing_key": "a\u0000"}, "routing_key"),
        ("topic", {"queue": "{q}", "key": "a"}, "key"),
        ("topic", {"queue": "{q}", "match": "all"}, "match"),
        ("direct", {"queue": "{q}", "headers": {"a": 1}}, "headers"),
        ("headers", {"queue": "{q}", "routing_key": "a", "headers": {"a": 1}}, "routing_key"),
        ("headers", {"queue": "{q}", "match": "some", "headers": {"a": 1}}, "match"),
        ("headers", {"queue": "{q}", "match": "all", "headers": []}, "headers"),
        ("headers", {"queue": "{q}", "match": "all", "headers": {"a": {}}}, "headers.a"),
        ("headers", {"queue": "{q}", "match": "all", "headers": {"a": None}}, "headers.a"),
        ("headers", {"queue": "{q}", "match": "all", "headers": {"a_b": 1}}, "headers"),
        ("headers", {"queue": "{q}", "match": "all", "headers": {f"h{n}": n for n in range(65)}}, "headers"),
        ("headers", {"queue": "{q}", "match": "all", "headers": {"a": "x" * 16_384}}, "headers"),
    ],
)
def test_bad_bindings(shared: httpx2.Client, name: Name, kind: str, document: Any, field: str) -> None:
    exchange, queue = make_exchange(shared, name(), kind), make_queue(shared, name())
    if document.get("queue") == "{q}":
        document = {**document, "queue": queue}
    path = f"/v1/exchanges/{exchange}/bindings"
    refused(shared.post(path, json=document), 422, "invalid-request", field=field)
    assert shared.get(path).json()["bindings"] == []


def test_bindings_need_both_ends(shared: httpx2.Client, name: Name) -> None:
    exchange, queue, nowhere = make_exchange(shared, name(), "topic"), make_queue(shared, name()), name()
    path = f"/v1/exchanges/{exchange}/bindings"
    refused(shared.post(path, json={"queue": nowhere}), 404, "queue-not-found")
    refused(shared.post(path, json={"exchange": nowhere}), 404, "exchange-not-found")
    refused(shared.post(f"/v1/exchanges/{nowhere}/bindings", json={"queue": queue}), 404, "exchange-not-found")
    refused(shared.get(f"/v1/exchanges/{nowhere}/bindings"), 404, "exchange-not-found")
    refused(shared.get(f"/v1/queues/{nowhere}/bindings"), 404, "queue-not-found")


def test_dry_run_by_key(shared: httpx2.Client, name: Name) -> None:
    exchange, first, second = make_exchange(shared, name(), "topic"), name("a"), name("b")
    made = [
        bind(shared, exchange, queue=make_queue(shared, first), routing_key="order.#"),
        bind(shared, exchange, queue=make_queue(shared, second), routing_key="*.created"),
        bind(shared, exchange, queue=first, routing_key="#.created"),
    ]
    path = f"/v1/exchanges/{exchange}/route"
    found = shared.get(path, params={"routing_key": "order.created"}).json()
    assert list(found) == ["queues", "bindings"]
    assert sorted(found["queues"]) == [first, second]
    assert sorted(found["bindings"], key=lambda one: int(one["id"])) == made
    assert shared.get(path, params={"routing_key": "order"}).json() == {"queues": [first], "bindings": made[:1]}
    assert shared.get(path).json() == {"queues": [], "bindings": []}
    assert shared.get(f"/v1/queues/{first}").json()["stats"]["published"] == 0


def test_dry_run_by_headers(shared: httpx2.Client, name: Name) -> None:
    exchange, queue = make_exchange(shared, name(), "headers"), make_queue(shared, name())
    bind(shared, exchange, queue=queue, match="all", headers={"kind": "invoice", "total": 3})
    path = f"/v1/exchanges/{exchange}/route"
    hit = {"Message-Header-Kind": "invoice", "message-header-total": "3"}
    assert shared.get(path, headers=hit).json()["queues"] == [queue]
    assert shared.get(path, headers={"Message-Header-Kind": "invoice"}).json()["queues"] == []
    refused(shared.get(path, headers={"Message-Header-A_b": "1"}), 422, "invalid-request", field="headers")
    refused(shared.get(path, headers={b"Message-Header-A": b"\xff"}), 400, "malformed-request")


def test_bad_dry_runs(shared: httpx2.Client, name: Name) -> None:
    path = f"/v1/exchanges/{make_exchange(shared, name(), 'topic')}/route"
    refused(shared.get(path, params={"key": "a"}), 422, "invalid-request", field="key")
    refused(shared.get(path, params={"routing_key": "a\n"}), 422, "invalid-request", field="routing_key")
    refused(shared.get(path, params={"routing_key": "a" * 256}), 422, "invalid-request", field="routing_key")
    refused(shared.get(f"{path}?routing_key=%ff"), 400, "malformed-request")
    refused(shared.get(f"/v1/exchanges/{name()}/route"), 404, "exchange-not-found")


def test_topology_survives_a_kill(server: Server, http: httpx2.Client) -> None:
    make_exchange(http, "spare", "fanout")
    make_exchange(http, "x", "headers", alternate_exchange="spare", deduplication_window_seconds=0.5)
    make_queue(http, "q")
    bind(http, "x", queue="q", match="all", headers={"a": 1.5, "b": True, "c": "ü"})
    removed = bind(http, "x", exchange="spare", match="any", headers={})
    http.delete(f"/v1/bindings/{removed['id']}")
    paths = ("/v1/exchanges", "/v1/exchanges/x/bindings", "/v1/queues/q/bindings", "/v1/queues/q")
    before = [http.get(path).json() for path in paths]
    server.kill()
    server.start()
    assert [http.get(path).json() for path in paths] == before
    assert int(bind(http, "x", exchange="spare", match="all", headers={})["id"]) > int(removed["id"])
