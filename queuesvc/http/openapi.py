"""The API as an OpenAPI 3.1 document, made from the tables of endpoints and the models of their documents."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from queuesvc import __version__
from queuesvc.domain.errors import Code
from queuesvc.domain.limits import Limits
from queuesvc.http import problems
from queuesvc.http.endpoint import Body, Endpoint, Parameter, Schema
from queuesvc.http.request import Kind, boolean, integer, number
from queuesvc.http.schema import BINDING_ID_SCHEMA, NAME_SCHEMA, with_limits

DEFAULT_URL: Final = "http://127.0.0.1:8642"
"""Where the examples find the broker, unless the document is served from elsewhere."""

SCHEME: Final = "token"

EXAMPLE: Final = "x-codeSamples"

_REF: Final = "#/components/schemas/{model}"
_REQUEST_ID: Final = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
_SEGMENTS: Final = {
    "exchange": ("the exchange's name", NAME_SCHEMA),
    "queue": ("the queue's name", NAME_SCHEMA),
    "id": ("the binding's id", BINDING_ID_SCHEMA),
    "message": ("the message's id", {"type": "string", "format": "uuid"}),
    "token": ("the token's name", NAME_SCHEMA),
}
_ABOUT: Final = """\
A message broker over HTTP and JSON: exchanges route messages to queues, queues keep them
until they are acknowledged.

- Durations are numbers of seconds, and their names end in `_seconds`. Times are RFC 3339, UTC, with milliseconds.
- Errors are `application/problem+json` (RFC 9457); the last part of `type` is the code. Unknown JSON fields and
  unknown query parameters are errors. Bad syntax is a 400, bad meaning a 422 with the `field`.
- JSON is read whatever the `Content-Type`; `null` for an optional field is the same as leaving it out.
- Lists are sorted and paged: pass the answer's `next` as `after` for more.
- While no token is stored, whoever reaches the broker may do everything. As soon as there is one, every call
  needs `Authorization: Bearer qsv_...`, but for those that say otherwise: without a valid one it is a 401, where the
  token does not allow it a 403, whether or not there is anything of that name.
- HEAD is answered where GET is. Another method than those of a path is a 405 with `Allow`, another path a 404.
- Every answer bears `X-Request-Id`: the client's own if it sent one of at most 128 printable characters.
"""
_LIMITS_HERE: Final = """\
- The limits of this broker: a message's body {body_bytes:,} bytes, a request {request_bytes:,} bytes,
  a publish {batch_messages:,} messages, a receive {receive_messages:,} messages and {receive_bytes:,} bytes of bodies,
  {header_count:,} headers a message and {header_bytes:,} bytes of them, a wait {wait_seconds:,.15g} seconds,
  a delay {delay_seconds:,.15g} seconds.
"""


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str
    title: str
    status: int
    detail: str


def make_document(endpoints: Sequence[Endpoint], limits: Limits) -> dict[str, Any]:
    """The whole document, ready for JSON, of a broker with these limits."""
    references, schemas = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for endpoint in endpoints:
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint, references)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "queuesvc",
            "version": __version__,
            "summary": "A message broker in one process and one file",
            "description": _ABOUT + _LIMITS_HERE.format_map(asdict(limits)),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": DEFAULT_URL}],
        "tags": [{"name": group} for group in dict.fromkeys(endpoint.group for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                SCHEME: {"type": "http", "scheme": "bearer", "description": "a token, as soon as there is one"}
            },
            "headers": {
                "X-Request-Id": {
                    "description": "names this request, in the answer and in the log",
                    "schema": {"type": "string", "maxLength": 128},
                },
                "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}},
            },
        },
    }
    whole: dict[str, Any] = with_limits(document, limits)
    return whole


def codes(endpoint: Endpoint) -> tuple[Code, ...]:
    """Every refusal that this endpoint may answer with, its own first."""
    common = [Code.MALFORMED_REQUEST, Code.FORBIDDEN, Code.INVALID_REQUEST, Code.INTERNAL_ERROR]
    if endpoint.body is not None:
        # Whatever is carried must come as it is, not compressed.
        common += [Code.BODY_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE]
    # What `Resource` looks at; the data plane names its own.
    if endpoint.handler is not None and endpoint.answers_json:
        common.append(Code.NOT_ACCEPTABLE)
    if endpoint.asks_broker:
        common.append(Code.UNAVAILABLE)
    if endpoint.need.token:
        common += [Code.UNAUTHENTICATED, Code.TOO_MANY_REQUESTS]
    return tuple(dict.fromkeys([*endpoint.problems, *common]))


Reference = Mapping[tuple[type[BaseModel], str], Mapping[str, Any]]


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[Reference, dict[str, Any]]:
    """Where each model's schema stands, and all the schemas by their names."""
    wanted: dict[tuple[type[BaseModel], Any], None] = {(Problem, "serialization"): None}
    for endpoint in endpoints:
        media = [(endpoint.body.media, "validation")] if endpoint.body is not None else []
        media += [(answer.media, "serialization") for answer in endpoint.answers.values()]
        for models, mode in media:
            wanted.update({(model, mode): None for model in models.values() if isinstance(model, type)})
    references, definitions = models_json_schema(list(wanted), ref_template=_REF)
    schemas: dict[str, Any] = definitions["$defs"]
    for schema in schemas.values():
        _drop_titles(schema)
    return references, dict(sorted(schemas.items()))  # type: ignore[return-value]


def _drop_titles(schema: dict[str, Any]) -> None:
    """Drop the titles that only repeat the names of fields."""
    schema.pop("title", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)


def _operation(endpoint: Endpoint, references: Reference) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": endpoint.name, "tags": [endpoint.group], "summary": endpoint.summary}
    operation["description"] = f"{endpoint.about}\n\n{endpoint.need.about()}".strip()
    operation["security"] = [{SCHEME: []}, {}] if endpoint.need.token else []
    segments = {**_SEGMENTS, **endpoint.segments}
    parameters = [
        {"name": name, "in": "path", "required": True, "description": segments[name][0], "schema": segments[name][1]}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    parameters += [_query_parameter(one) for one in endpoint.query]
    parameters += [
        {"name": one.name, "in": "header", "description": one.about, "schema": _value_schema(one)}
        for one in endpoint.headers
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = _body(endpoint.body, references)
    operation["responses"] = _answers(endpoint, references)
    operation[EXAMPLE] = [{"lang": "Shell", "label": "curl", "source": endpoint.example.replace("{url}", DEFAULT_URL)}]
    return operation


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": parameter.name, "in": "query", "description": parameter.about}
    if not parameter.name.endswith(".*"):
        return shown | {"schema": _value_schema(parameter)}
    # Exploded, each member of an object is a query parameter of its own.
    members = {"type": "object", "patternProperties": parameter.schema, "additionalProperties": False}
    return shown | {"style": "form", "explode": True, "schema": members}


def _value_schema(parameter: Parameter) -> dict[str, Any]:
    types: dict[Kind, str] = {boolean: "boolean", integer: "integer", number: "number"}
    schema: dict[str, Any] = {"type": types.get(parameter.kind, "string"), **parameter.schema}
    for key, value in (
        ("minimum", parameter.least),
        ("maximum", parameter.most),
        ("default", parameter.default),
    ):
        if value is not None:
            schema[key] = value
    return schema


def _body(body: Body, references: Reference) -> dict[str, Any]:
    return {
        "description": body.about,
        "required": body.required,
        "content": _content(body.media, "validation", references),
    }


def _content(media: Mapping[str, type[BaseModel] | Schema], mode: str, references: Reference) -> dict[str, Any]:
    return {
        kind: {"schema": dict(references[what, mode] if isinstance(what, type) else what)}
        for kind, what in media.items()
    }


def _answers(endpoint: Endpoint, references: Reference) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, answer in endpoint.answers.items():
        answers[str(status)] = {"description": answer.about, "headers": _REQUEST_ID}
        if answer.media:
            answers[str(status)]["content"] = _content(answer.media, "serialization", references)
    by_status: dict[int, list[Code]] = defaultdict(list)
    for code in codes(endpoint):
        by_status[problems.STATUS[code]].append(code)
    for status, refusals in sorted(by_status.items()):
        headers: dict[str, Any] = dict(_REQUEST_ID)
        if any(code in problems.MAY_PASS for code in refusals):
            headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
        answers[str(status)] = {
            "description": ", ".join(f"`{code.value}`" for code in refusals),
            "headers": headers,
            "content": {problems.MEDIA_TYPE: {"schema": dict(references[Problem, "serialization"])}},
        }
    return answers
