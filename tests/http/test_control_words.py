"""What the control plane says of a field that will not do: in words of the API, never in those of a library."""

import re
from typing import Any

import pytest
from pydantic import BaseModel

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import Limits
from queuesvc.http.control import definition_models, models, repair_models
from queuesvc.http.endpoint import read_as

OURS = re.compile(r"[a-z_.0-9]+: (must (be|hold|have) |is required$|unknown field$|give exactly one of )")
THEIRS = re.compile(r"valid|instance|dictionary|[Ii]nput|[A-Z][a-z]+[A-Z]|after validation|greater|less")
VALUES = ["x", "", 5, 5.0, 5.5, True, [], [1], ["x"], {}, {"x": None}, {"jitter": "x"}, -1, 1e300, 2**70, "x" * 300]
REQUIRED = {"type": "topic", "ids": ["x"], "name": "n", "source": "s"}
DOCUMENTS = (
    models.ExchangeDeclaration,
    models.QueueDeclaration,
    models.QueueChanges,
    models.BindingDeclaration,
    repair_models.RedriveRequest,
    repair_models.ReleaseRequest,
    definition_models.ExchangeDefinition,
    definition_models.QueueDefinition,
    definition_models.BindingDefinition,
)


def refusal(model: type[BaseModel], document: dict[str, Any]) -> Refused | None:
    try:
        read_as(model, document, Limits())
    except Refused as refused:
        return refused
    return None


@pytest.mark.parametrize("model", DOCUMENTS, ids=lambda model: model.__name__)
def test_every_fault_is_told_in_our_words(model: type[BaseModel]) -> None:
    required = {name: value for name, value in REQUIRED.items() if name in model.model_fields}
    refused_fields = set()
    for name, field in model.model_fields.items():
        name = field.alias or name
        for value in VALUES:
            refused = refusal(model, {**required, name: value})
            if refused is not None:
                assert refused.code is Code.INVALID_REQUEST
                assert OURS.match(refused.detail), refused
                assert not THEIRS.search(refused.detail), refused
                refused_fields.add(refused.extra["field"])
    assert refused_fields >= {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("model", "document", "detail"),
    [
        (models.QueueDeclaration, {"retry_backoff": 1}, "retry_backoff: must be a JSON object"),
        (models.QueueDeclaration, {"retry_backoff": {"jitter": 2}}, "retry_backoff.jitter: must be at most 1"),
        (models.QueueDeclaration, {"delivery_limit": 1.5}, "delivery_limit: must be an integer"),
        (models.QueueDeclaration, {"delivery_limit": 0}, "delivery_limit: must be at least 1"),
        (models.QueueDeclaration, {"lease_seconds": "1"}, "lease_seconds: must be a number"),
        (models.QueueDeclaration, {"lease_seconds": 0}, "lease_seconds: must be at least 0.1"),
        (models.QueueDeclaration, {"message_ttl_seconds": 1e99}, "message_ttl_seconds: must be at most 3162240000"),
        (models.QueueDeclaration, {"paused": 1}, "paused: must be true or false"),
        (models.QueueDeclaration, {"overflow": 1}, "overflow: must be one of reject_publish or drop_oldest"),
        (models.QueueDeclaration, {"dead_letter_exchange": 1}, "dead_letter_exchange: must be a string"),
        (models.BindingDeclaration, {"queue": "q", "match": "none"}, "match: must be one of all or any"),
        (models.ExchangeDeclaration, {}, "type: is required"),
        (repair_models.ReleaseRequest, {"ids": []}, "ids: must hold at least 1"),
        (repair_models.ReleaseRequest, {"ids": ["x"] * 1001}, "ids: must hold at most 1000"),
        (repair_models.ReleaseRequest, {"ids": ["x", 1]}, "ids.1: must be a string"),
        (repair_models.ReleaseRequest, {"ids": "x"}, "ids: must be a list"),
    ],
)
def test_words(model: type[BaseModel], document: dict[str, Any], detail: str) -> None:
    refused = refusal(model, document)
    assert refused is not None
    assert refused.detail == detail
