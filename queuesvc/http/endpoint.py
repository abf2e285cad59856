"""What an endpoint is: one row of the tables from which both the routes and the OpenAPI document are made.

An endpoint without a handler belongs to the data plane, which dispatches for
itself ahead of the routes; its row describes it and completes `Allow`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.broker.tokens import EVERYTHING, Grant
from queuesvc.domain.commands import Command
from queuesvc.domain.errors import Code, Refused, invalid
from queuesvc.domain.limits import LIST_ITEMS, LIST_ITEMS_DEFAULT, Limits, check_name
from queuesvc.domain.needs import needs
from queuesvc.domain.replies import Reply
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import Access, Need
from queuesvc.http.audit import Entry
from queuesvc.http.metrics import Metrics
from queuesvc.http.problems import STATUS, method_not_allowed
from queuesvc.http.rates import Rates
from queuesvc.http.request import (
    ClientGone,
    Kind,
    header,
    integer,
    negotiate,
    parse_query,
    read_body,
    transport_of,
)
from queuesvc.http.shape import parse_document

JSON: Final = "application/json"

Document = TypeVar("Document", bound=BaseModel)
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edge:
    """What handlers work with: the broker, who may use it, limits, and what the edge made of itself at the start."""

    broker: Broker
    access: Access
    limits: Limits
    metrics: Metrics
    openapi: str
    docs: str
    rates: Rates | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a handler: `query` has been read as the endpoint's row says, and what that needs is granted."""

    edge: Edge
    scope: Scope
    receive: Receive
    query: Mapping[str, Any]
    grant: Grant
    entry: Entry

    @property
    def visible(self) -> tuple[str, ...] | None:
        """Globs of the names that the caller may see; None for all."""
        return self.grant.globs(Permission.SEE)

    async def submit(self, command: Command) -> Reply:
        """Have the broker do it, if the caller may. Raises as `require`, and what the broker refuses."""
        self.require(command)
        return await self.edge.broker.submit(command)

    def require(self, command: Command) -> None:
        """Raise `forbidden` unless the caller may do this, `unauthenticated` if that is no longer so."""
        self.grant.check()
        for permission, name in needs(command):
            self.grant.require(permission, name)

    def segment(self, field: str) -> str:
        """A variable segment of the path as it stands."""
        value: str = self.scope["path_params"][field]
        return value

    def name(self, field: str) -> str:
        """A segment of the path that is the name of an exchange or a queue. Raises `invalid-request`."""
        return check_name(self.segment(field), field)

    async def document(self, model: type[Document]) -> Document:
        """The JSON body as this model has it. Raises `malformed-request`, `invalid-request` or `body-too-large`."""
        limits = self.edge.limits
        return read_as(model, await self.object(min(limits.document_bytes, limits.request_bytes)), limits)

    async def object(self, most_bytes: int) -> dict[str, Any]:
        """The JSON object that the body is, `{}` for none. Raises as `document`."""
        encoding = header(self.scope["headers"], b"content-encoding")
        if encoding is not None and encoding.strip().lower() != b"identity":
            raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, "a JSON body must come without a Content-Encoding")
        found = parse_document(await read_body(self.scope, self.receive, most_bytes))
        self.entry.read(found)
        return found


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a request header: what it means, and the least and the most it may be.

    Named `x.*`, it is all the query parameters whose names begin with `x.`.
    """

    name: str
    kind: Kind
    about: str
    least: float | None = None
    most: float | None = None
    default: Any = None
    schema: Schema = field(default_factory=dict)
    """more than its kind says of what it may be"""

    def read(self, value: str, field: str) -> Any:
        """Its value from the query's text. Raises `invalid-request`."""
        found = self.kind(value, field)
        if self.least is not None and found < self.least:
            raise invalid(field, f"must be at least {self.least:g}")
        if self.most is not None and found > self.most:
            raise invalid(field, f"must be at most {self.most:g}")
        return found


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: by media type, a model of its JSON, or a schema of what is no JSON."""

    about: str
    media: Mapping[str, type[BaseModel] | Schema]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a successful answer carries: by media type, a model or a schema; nothing for an empty one."""

    about: str
    media: Mapping[str, type[BaseModel] | Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method of a path. `problems` are its own refusals beside those that any request may meet."""

    method: str
    path: str
    name: str
    group: str
    summary: str
    answers: Mapping[int, Answer]
    example: str
    need: Need
    about: str = ""
    query: Sequence[Parameter] = ()
    headers: Sequence[Parameter] = ()
    body: Body | None = None
    problems: Sequence[Code] = ()
    asks_broker: bool = True
    handler: Handler | None = None
    segments: Mapping[str, tuple[str, Schema]] = field(default_factory=dict)
    """what segments of the path are that are something else here than elsewhere, and their schemas"""

    @property
    def manages(self) -> bool:
        """Whether it changes something of the broker itself: then the audit log tells of each call."""
        return self.handler is not None and self.method != "GET"

    @property
    def answers_json(self) -> bool:
        """Whether JSON is what it answers, so that a client that takes none is told so (406)."""
        return any(JSON in answer.media for answer in self.answers.values())


def read_as(model: type[Document], value: dict[str, Any], limits: Limits) -> Document:
    """A JSON object as this model has it. Raises `invalid-request`."""
    try:
        return model.model_validate(value, context=limits)
    except ValidationError as error:
        raise _refusal(error) from None


class Resource:
    """One path as an ASGI app: the handlers of its methods, HEAD where there is GET, 405 for all others."""

    def __init__(self, edge: Edge, endpoints: Iterable[Endpoint]) -> None:
        self._edge = edge
        self._endpoints = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._endpoints:
            self._endpoints["HEAD"] = self._endpoints["GET"]
        self._kinds = {
            method: {parameter.name: parameter.read for parameter in endpoint.query}
            for method, endpoint in self._endpoints.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises `Refused`."""
        method = scope["method"]
        endpoint = self._endpoints.get(method)
        if endpoint is None or endpoint.handler is None:
            raise method_not_allowed(self._endpoints)
        entry = Entry(endpoint.name, scope)
        try:
            response = await self._answer(endpoint, endpoint.handler, scope, receive, entry)
        except ClientGone:
            raise  # before it had asked for anything
        except (Exception, asyncio.CancelledError) as error:
            if endpoint.manages:
                code = _code(error)
                entry.failed(code, STATUS[code])
            raise
        if endpoint.manages:
            entry.done(response.status_code)
        await response(scope, receive, send)

    async def _answer(
        self, endpoint: Endpoint, handler: Handler, scope: Scope, receive: Receive, entry: Entry
    ) -> Response:
        grant = self._grant(endpoint.need, scope, entry)
        if self._edge.rates is not None and endpoint.need.token:
            self._edge.rates.request(grant, transport_of(receive))
        if endpoint.answers_json and scope["method"] != "HEAD":
            negotiate(header(scope["headers"], b"accept"), (JSON,))
        query = parse_query(scope["query_string"], self._kinds[scope["method"]])
        entry.add(query)
        return await handler(Call(self._edge, scope, receive, query, grant, entry))

    def _grant(self, need: Need, scope: Scope, entry: Entry) -> Grant:
        if not need.token:
            return EVERYTHING
        grant = self._edge.access.grant(scope["headers"])
        entry.who = grant.name or "-"
        if need.permission is not None:
            grant.require(need.permission, scope["path_params"][need.segment] if need.segment else "")
        return grant


def _code(error: BaseException) -> Code:
    if isinstance(error, Refused):
        return error.code
    return Code.UNAVAILABLE if isinstance(error, asyncio.CancelledError) else Code.INTERNAL_ERROR


def paging(after: Kind, what: str, schema: Schema) -> tuple[Parameter, Parameter]:
    """The two parameters of a list."""
    return (
        Parameter("limit", integer, "how many items to answer with", 1, LIST_ITEMS, LIST_ITEMS_DEFAULT),
        Parameter("after", after, f"begin after this {what}: the `next` of the page before", schema=schema),
    )


def _refusal(error: ValidationError) -> Refused:
    """One thing that is wrong with a document, in our words: a name that is not known first, it may be a slip."""
    errors = error.errors(include_url=False, include_input=False)
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    place = ".".join(str(step) for step in first["loc"])
    why = _FAULTS.get(first["type"])
    if why is None:
        # One that we did not think of: in the library's words, which is better than none.
        return invalid(place, first["msg"])
    return invalid(place, why.format_map({name: _shown(value) for name, value in first.get("ctx", {}).items()}))


_FAULTS: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown field",
    "missing": "is required",
    "model_type": "must be a JSON object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must be at most {max_length} characters",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
}
"""What is wrong with a field, by pydantic's names of faults and of what it compared with."""


def _shown(value: object) -> str:
    """A bound as a person writes it, or the values that there are: from `'a', 'b' or 'c'` to `a, b or c`."""
    return f"{value:.15g}" if type(value) is float else str(value).replace("'", "")
