"""JSON bombs (`bombs.py`) at every endpoint that takes JSON: a refusal, a small one, and nothing of it done."""

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel

from queuesvc.domain.limits import Limits
from queuesvc.http.app import ENDPOINTS
from queuesvc.http.control import definition_models
from queuesvc.http.control.models import BindingDeclaration
from queuesvc.http.data import documents
from queuesvc.http.endpoint import JSON, Endpoint
from tests.conftest import TIMEOUT_SECONDS, check_log
from tests.http.bombs import INVALID, MALFORMED, TOO_LARGE, VALUES, WHOLE, in_field, vast
from tests.http.wire import connect, make_exchange, make_queue, put, read_answer, request_bytes
from tests.support.server import Server

Json = dict[str, Any]

TAKE_JSON = [one for one in ENDPOINTS if one.body is not None and JSON in one.body.media]
ANSWER_BYTES = 1000
"""The largest refusal."""

# What must stand beside a field for it to be looked at, and where the document of an item stands.
REQUIRED: dict[str, Json] = {
    "putExchange": {"type": "topic"},
    "postBinding": {"queue": "q"},
    "postToken": {"name": "t", "admin": True},
    "release": {"ids": ["x"]},
    "ack": {"receipts": []},
    "nack": {"receipts": []},
    "extend": {"receipts": [], "lease_seconds": 1},
}
ITEMS: dict[str, list[tuple[str, Json, type[BaseModel]]]] = {
    "putDefinitions": [
        ("exchanges", {"name": "x", "type": "headers"}, definition_models.ExchangeDefinition),
        ("queues", {"name": "new"}, definition_models.QueueDefinition),
        ("bindings", {"source": "x", "queue": "q"}, definition_models.BindingDefinition),
    ],
    "publishBatch": [("messages", {"body": "x"}, documents.Envelope)],
    "publishBatchToQueue": [("messages", {"body": "x"}, documents.Envelope)],
    "transact": [
        ("acks", {"queue": "q", "receipts": []}, documents.TransactionAck),
        ("nacks", {"queue": "q", "receipts": []}, documents.TransactionNack),
        ("publishes", {"queue": "q", "body": "x"}, documents.TransactionPublish),
    ],
}
# These may hold any value, or any text: what is said here of others does not hold of them.
FREE = {"json", "body"}
FINE = {("reason", "NUL")}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("bombs") / "data")
    try:
        with httpx2.Client(base_url=server.start().url) as http:
            make_exchange(http, "x", "headers")
            put(http, make_queue(http, "q"), "one", "two")
        yield server
        check_log(server)
    finally:
        server.close()


def picture(server: Server) -> list[Json]:
    """All that the broker has: its topology, its tokens, its counts."""
    with httpx2.Client(base_url=server.url, timeout=TIMEOUT_SECONDS) as http:
        found = [http.get(path).json() for path in ("/v1/definitions", "/v1/tokens", "/v1/queues", "/v1/exchanges")]
    for queue in found[2]["queues"]:
        del queue["stats"]["oldest_ready_seconds"]
    return found


def ask(server: Server, endpoint: Endpoint, body: bytes) -> tuple[int, Json]:
    """The refusal of such a request to an endpoint; its status too."""
    path = endpoint.path.replace("{exchange}", "x").replace("{queue}", "q")
    request = request_bytes(path, body).replace(b"POST", endpoint.method.encode(), 1)
    with closing(connect(server.url)) as wire:
        wire.settimeout(TIMEOUT_SECONDS)
        with suppress(OSError):  # where it is refused before all of it has come
            wire.sendall(request)
        answer = read_answer(wire)
    assert answer is not None, body[:100]
    assert len(answer[1]) < ANSWER_BYTES, body[:100]
    return answer[0], json.loads(answer[1])


def fields(endpoint: Endpoint) -> Iterator[tuple[str, str, bytes]]:
    """Each field of an endpoint's documents: its name, and what is written before and behind its value."""
    assert endpoint.body is not None
    model = endpoint.body.media[JSON]
    assert isinstance(model, type)
    if endpoint.name not in ITEMS:
        yield from _fields(model, REQUIRED.get(endpoint.name, {}), b"%b")
    for section, beside, item in ITEMS.get(endpoint.name, ()):
        yield from _fields(item, beside, b'{"%b":[%%b]}' % section.encode())


def _fields(model: type[BaseModel], beside: Json, around: bytes) -> Iterator[tuple[str, str, bytes]]:
    for name, field in model.model_fields.items():
        name = field.alias or name
        rest = {key: value for key, value in beside.items() if key != name}
        if name in ("exchange", "queue") and not issubclass(model, BindingDeclaration):
            rest = {key: value for key, value in rest.items() if key not in ("exchange", "queue")}
        others = json.dumps(rest)[1:-1].encode()
        yield name, model.__name__, around % (b"{" + others + (b"," if others else b"") + b"%b}")


@pytest.mark.parametrize("endpoint", TAKE_JSON, ids=lambda endpoint: endpoint.name)
def test_bombs_are_refused_and_leave_nothing(broker: Server, endpoint: Endpoint) -> None:
    before = picture(broker)
    for kind, (body, statuses) in WHOLE.items():
        status, problem = ask(broker, endpoint, body)
        assert status in statuses, (kind, problem)
    asked = 0
    for name, model, around in fields(endpoint):
        for kind, value in VALUES.items():
            if name in FREE or (name, kind) in FINE:
                continue
            status, problem = ask(broker, endpoint, around % in_field(name, value))
            asked += 1
            assert status in (MALFORMED, INVALID), (kind, model, name, problem)
            if status == INVALID:
                assert problem["type"] == "urn:queuesvc:invalid-request", (kind, model, name, problem)
                assert name in problem["field"] or problem["field"] in around.decode(), (kind, model, name, problem)
    assert asked
    assert picture(broker) == before


LARGE = ("putDefinitions", "publishBatch", "transact")


def test_documents_that_hold_neither_messages_nor_definitions_are_small(broker: Server) -> None:
    """A settlement of 1,000 receipts is a tenth of that."""
    most = Limits().document_bytes
    for endpoint in TAKE_JSON:
        fits, does_not = (b" " * (size - 8) + b'{"zz":1}' for size in (most, most + 1))
        assert ask(broker, endpoint, fits)[0] == INVALID, endpoint.name
        status, problem = ask(broker, endpoint, does_not)
        if endpoint.name in (*LARGE, "publishBatchToQueue"):
            assert status == INVALID, endpoint.name
        else:
            assert (status, problem["limit_bytes"]) == (TOO_LARGE, most), endpoint.name


def test_names_of_fields_are_said_back_in_part(broker: Server) -> None:
    for endpoint in TAKE_JSON:
        _, problem = ask(broker, endpoint, b"{" + in_field("z" * 5000, b"1") + b"}")
        assert problem["field"] == "z" * 77 + "..."
        assert problem["detail"] == f"{problem['field']}: unknown field"


def test_of_two_members_alike_the_last_one_holds(broker: Server) -> None:
    """Contract §2; also where the first would be refused."""
    with httpx2.Client(base_url=broker.url) as http:
        body = b'{"lease_seconds": "x", "lease_seconds": 7}'
        assert http.put("/v1/queues/twice", content=body).json()["lease_seconds"] == 7
        assert http.delete("/v1/queues/twice").status_code == 204


@pytest.mark.parametrize("place", ["/v1/queues/q/messages/", "/v1/queues/", "/v1/exchanges/", "/v1/tokens/"])
def test_long_names_in_paths_are_said_back_in_part(broker: Server, place: str) -> None:
    with httpx2.Client(base_url=broker.url) as http:
        for method in ("GET", "DELETE"):
            answer = http.request(method, place + "n" * 50_000)
            assert answer.status_code in (404, 422)
            assert len(answer.content) < ANSWER_BYTES


def test_ids_are_short(broker: Server) -> None:
    """So that an answer that lists those which failed is no larger than ids are."""
    with httpx2.Client(base_url=broker.url) as http:
        answer = http.post("/v1/queues/q/redrive", json={"ids": ["x" * 65]})
        assert answer.json()["detail"] == "ids.0: must be at most 64 characters"
        assert http.post("/v1/queues/q/release", json={"ids": ["x" * 64]}).status_code == 200


def rabbit(**sections: Any) -> bytes:
    return json.dumps({"rabbit_version": "4.1.0", **sections}).encode()


def test_notes_of_what_rabbitmq_has_more_are_bounded(broker: Server) -> None:
    """A long name used to stand in the note of each of its thousand unknown arguments."""
    queue = {"name": "new", "vhost": "/", "durable": True, "arguments": {f"x-{n}": 0 for n in range(900)}}
    binding = {**queue, "source": "x", "destination": "q", "routing_key": "k" * 200_000}
    pattern = {"name": "p" * 200_000, "vhost": "/", "pattern": ["x"] * 1000, "definition": {"d" * 200_000: 0}}
    document = rabbit(bindings=[binding, {**binding, "destination": "y" * 300_000}], policies=[pattern])
    with httpx2.Client(base_url=broker.url) as http:
        answer = http.put("/v1/definitions", content=document)
        assert answer.status_code in (200, INVALID)
        assert len(answer.content) < 20_000
        many = [{"name": f"n{q}", "vhost": "/", **{f"m{n}": 0 for n in range(300)}} for q in range(5)]
        answer = http.put("/v1/definitions", content=rabbit(users=[{"name": "u"}] * 100_001, queues=many))
        assert answer.status_code == INVALID
        assert answer.json()["detail"].startswith("unmapped: more than 100000 parts of the document")


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", [one for one in TAKE_JSON if one.name in LARGE], ids=lambda one: one.name)
def test_vast_bombs(broker: Server, endpoint: Endpoint) -> None:
    """Sixteen MiB of each kind, where so much may come."""
    before = picture(broker)
    for kind, body in vast().items():
        status, problem = ask(broker, endpoint, body)
        assert status in (MALFORMED, INVALID), (kind, problem)
    assert picture(broker) == before
