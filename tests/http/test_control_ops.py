"""Health, readiness, metrics, the OpenAPI document and its page, on the wire."""

import re
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message

from queuesvc.broker.broker import Broker
from queuesvc.http.app import ENDPOINTS, create_app
from queuesvc.store.memory import MemoryStore
from tests.http.wire import (
    Json,
    bind,
    make_exchange,
    make_queue,
    put,
    receive,
    receive_one,
    settle,
    wait_for_waiters,
)
from tests.support.problems import refused
from tests.support.server import Server

Name = Callable[..., str]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(http: httpx2.Client) -> Samples:
    answer = http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_alive_and_ready(shared: httpx2.Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = shared.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        refused(shared.get(f"{path}?verbose=1"), 422, "invalid-request", field="verbose")


def test_ready_means_a_write_to_the_disk(http: httpx2.Client) -> None:
    before = at(scrape(http), "queuesvc_commits_total")
    assert http.get("/readyz").status_code == 200
    assert at(scrape(http), "queuesvc_commits_total") == before + 1


def test_not_ready_where_the_disk_takes_nothing(server: Server) -> None:
    with httpx2.Client(base_url=server.url) as http:
        assert http.get("/readyz").status_code == 200
        server.rest()  # else its upkeep may meet the full disk before the question, and the broker be gone by then
        # No file of the broker's may grow past a page from here on: what a full disk is like.
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        problem = http.get("/readyz")
        refused(problem, 503, "unavailable")
        assert int(problem.headers["retry-after"]) >= 1


async def test_not_ready_while_shutting_down() -> None:
    broker = Broker(MemoryStore())
    await broker.open()
    app = create_app(broker)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        for status in (200, 503):
            sent.clear()
            scope = {"type": "http", "method": "GET", "path": "/readyz", "query_string": b""}
            scope |= {"http_version": "1.1", "headers": [(b"host", b"localhost")]}
            await app(scope, receive, send)
            assert sent[0]["status"] == status
            broker.shut_down()
        assert (b"retry-after", b"1") in sent[0]["headers"]
    finally:
        await broker.close()


def test_metrics_count_what_happens(http: httpx2.Client) -> None:
    for queue in ("a", "b"):
        http.put(f"/v1/queues/{queue}", json={"delay_seconds": 3600 if queue == "b" else 0})
        http.post(f"/v1/queues/{queue}/messages/batch", json={"messages": [{"body": "12345"}] * 4})
    received = http.post("/v1/queues/a/receive?max_messages=3").json()["messages"]
    receipts = [message["receipt"] for message in received]
    http.post("/v1/queues/a/ack", json={"receipts": receipts[:1]})
    http.post("/v1/queues/a/nack", json={"receipts": receipts[1:2], "delay_seconds": 3600})
    samples = scrape(http)
    assert at(samples, "queuesvc_messages_published_total") == 8
    assert at(samples, "queuesvc_messages_delivered_total") == 3
    assert at(samples, "queuesvc_messages_acked_total") == 1
    assert at(samples, "queuesvc_messages_nacked_total") == 1
    depths = {"ready": 1, "leased": 1, "delayed": 1, "dead": 0}
    for state, depth in depths.items():
        assert at(samples, "queuesvc_queue_messages", queue="a", state=state) == depth
        assert at(samples, "queuesvc_queue_messages", queue="b", state=state) == (4 if state == "delayed" else 0)
    assert at(samples, "queuesvc_queue_body_bytes", queue="a") == 15
    assert at(samples, "queuesvc_queue_published_total", queue="a") == 4
    assert at(samples, "queuesvc_queue_acked_total", queue="a") == 1
    assert at(samples, "queuesvc_queue_oldest_ready_seconds", queue="b") == 0
    assert at(samples, "queuesvc_queue_consumers_waiting", queue="a") == 0
    assert at(samples, "queuesvc_receives_waiting") == 0
    commits = at(samples, "queuesvc_commits_total")
    assert commits >= 7
    assert at(samples, "queuesvc_commit_failures_total") == 0
    for histogram in ("queuesvc_commit_batch_commands", "queuesvc_commit_seconds"):
        assert at(samples, f"{histogram}_count") == at(samples, f"{histogram}_bucket", le="+Inf") == commits
        assert at(samples, f"{histogram}_sum") > 0
    buckets = [value for (name, _), value in samples.items() if name == "queuesvc_commit_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert any(name == "queuesvc_build_info" for name, _ in samples)
    assert at(samples, "process_resident_memory_bytes") > 0


def test_metrics_count_each_thing_once_however_it_is_asked_for(http: httpx2.Client) -> None:
    """Copies, retries, transactions, acks inside of receives, auto_ack: the broker's totals are those of its queues."""
    make_exchange(http, "x", "fanout")
    for queue in ("a", "b"):
        make_queue(http, queue)
        bind(http, "x", queue)
    for _ in range(2):
        http.post("/v1/exchanges/x/messages", content=b"1", headers={"Idempotency-Key": "k"})
    batch = {"messages": [{"body": "2", "idempotency_key": "2"}, {"body": "2", "idempotency_key": "2"}]}
    http.post("/v1/exchanges/x/messages/batch", json=batch)
    first, second = receive(http, "a", max_messages=2)
    parts: Json = {"acks": [{"queue": "a", "receipts": [first["receipt"]]}], "publishes": [{"queue": "a", "body": "3"}]}
    for _ in range(2):
        answer = http.post("/v1/transactions", json=parts, headers={"Idempotency-Key": "t"})
        assert (answer.status_code, answer.json()["acked"]) == (200, 1)
    (third,) = receive(http, "a", ack=[second["receipt"], first["receipt"]])
    http.post("/v1/transactions", json={"nacks": [{"queue": "a", "receipts": [third["receipt"]]}]})
    assert len(receive(http, "b", max_messages=9, auto_ack=True)) == 2
    samples = scrape(http)
    expected = {"published": 3, "delivered": 5, "acked": 4, "nacked": 1}
    assert {total: at(samples, f"queuesvc_messages_{total}_total") for total in expected} == expected
    for total in ("delivered", "acked", "nacked"):
        of_queues = [at(samples, f"queuesvc_queue_{total}_total", queue=queue) for queue in ("a", "b")]
        assert sum(of_queues) == expected[total]
    assert at(samples, "queuesvc_queue_published_total", queue="a") == 3


def test_metrics_tell_what_is_dead_and_what_went_on(http: httpx2.Client) -> None:
    make_exchange(http, "dlx", "fanout")
    make_queue(http, "failed")
    bind(http, "dlx", "failed")
    for queue, dead_letter_exchange in (("keeps", None), ("sends", "dlx")):
        make_queue(http, queue, dead_letter_exchange=dead_letter_exchange)
        put(http, queue, "x")
        settle(http, queue, "nack", receive_one(http, queue)["receipt"], requeue=False)
    samples = scrape(http)
    for queue, dead, moved in (("keeps", 1, 0), ("sends", 0, 1)):
        assert at(samples, "queuesvc_queue_messages", queue=queue, state="dead") == dead
        assert at(samples, "queuesvc_queue_dead_lettered_total", queue=queue) == moved
        assert at(samples, "queuesvc_queue_moved_out_total", queue=queue) == moved
        assert at(samples, "queuesvc_queue_nacked_total", queue=queue) == 1
    assert at(samples, "queuesvc_queue_moved_in_total", queue="failed") == 1


def test_metrics_tell_who_waits(http: httpx2.Client) -> None:
    make_queue(http, "a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive, http, "a", wait_seconds=60)
        wait_for_waiters(http, "a", 1)
        samples = scrape(http)
        assert at(samples, "queuesvc_receives_waiting") == 1
        assert at(samples, "queuesvc_queue_consumers_waiting", queue="a") == 1
        put(http, "a", "x")
        assert len(waiting.result(30)) == 1
    assert at(scrape(http), "queuesvc_receives_waiting") == 0


def test_a_deleted_queue_leaves_the_metrics(shared: httpx2.Client, name: Name) -> None:
    queue = name()
    shared.put(f"/v1/queues/{queue}")
    assert f'queue="{queue}"' in shared.get("/metrics").text
    shared.delete(f"/v1/queues/{queue}")
    assert queue not in shared.get("/metrics").text


def test_metrics_of_more_queues_than_a_page(http: httpx2.Client) -> None:
    for number in range(1001):
        http.put(f"/v1/queues/q{number}")
    samples = scrape(http)
    assert len({dict(labels)["queue"] for name, labels in samples if name == "queuesvc_queue_body_bytes"}) == 1001


def test_openmetrics(shared: httpx2.Client) -> None:
    answer = shared.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"queuesvc_messages_published", "queuesvc_commit_seconds"}


def test_the_document_is_complete(shared: httpx2.Client) -> None:
    answer = shared.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": str(shared.base_url).rstrip("/")}]
    operations = {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert set(operations) == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    for operation in operations.values():
        assert operation["summary"]
        assert operation["x-codeSamples"][0]["source"].startswith("curl ")
        assert {"400", "422", "500"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            assert response["description"]
            assert "X-Request-Id" in response["headers"]
            if status >= "400":
                assert "application/problem+json" in response["content"]


class Page(HTMLParser):
    """What a browser would fetch and follow, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        if tag != "meta":
            self.open.append(tag)
        given: dict[str, Any] = dict(attrs)
        if "id" in given:
            assert given["id"] not in self.ids
            self.ids.add(given["id"])
        if tag == "a":
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_in_itself(shared: httpx2.Client) -> None:
    answer = shared.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Page()
    page.feed(answer.text)
    page.close()
    assert page.open == []
    for link in page.links:
        assert link == "openapi.json" or (link[0] == "#" and link[1:] in page.ids), link
    for endpoint in ENDPOINTS:
        assert endpoint.name in page.ids
        assert endpoint.path in page.text
        assert endpoint.example.replace("{url}", str(shared.base_url).rstrip("/")) in page.text
    assert not re.search(r"url\(|@import|https?://(?!127\.0\.0\.1)", answer.text)


@pytest.mark.parametrize("host", ['"><script>', "a b", "evil/x", ""])
def test_no_page_for_an_address_that_is_none(shared: httpx2.Client, host: str) -> None:
    refused(shared.get("/docs", headers={"Host": host}), 400, "malformed-request")
