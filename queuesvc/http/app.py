"""The edge as one ASGI app: the data plane's short way, and Starlette's router for everything else.

    request ── path ──┬── publish, receive, settle ──── data plane (bare ASGI)
                      └── everything else ───────────── router ── Resource ── handler

Under our own server most of the first kind never come here: `direct.py` hands them to the same data plane.

What either raises ends here: a `Refused` becomes its problem, anything unforeseen
is logged and becomes a bare `internal-error`.
"""

from collections import defaultdict
from typing import Final

import orjson
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import Limits
from queuesvc.http.access import Access
from queuesvc.http.audit import Entry
from queuesvc.http.control.table import CONTROL
from queuesvc.http.data import asgi
from queuesvc.http.data.plane import DataPlane
from queuesvc.http.data.table import DATA
from queuesvc.http.docs import make_page
from queuesvc.http.endpoint import Edge, Endpoint, Resource
from queuesvc.http.guard import Guard
from queuesvc.http.metrics import Metrics
from queuesvc.http.openapi import make_document
from queuesvc.http.ops import OPS
from queuesvc.http.problems import STATUS, not_found, send_problem, unforeseen
from queuesvc.http.rates import Rates
from queuesvc.http.request import ClientGone, path_of
from queuesvc.http.request_ids import REQUEST_ID, RequestIds

ENDPOINTS: Final[tuple[Endpoint, ...]] = (*DATA, *CONTROL, *OPS)
"""Every endpoint there is, in the order in which a reader wants to meet them."""


def create_app(
    broker: Broker,
    limits: Limits | None = None,
    guard: Guard | None = None,
    rates: Rates | None = None,
    access: Access | None = None,
) -> "App":
    """The edge of a broker that is open. Opening and closing the broker is the caller's.

    Without an `access` those are let in whom the broker's tokens let in.
    """
    return App(broker, limits or Limits(), guard or Guard(), rates, access or Access(broker.tokens))


class App:
    """The ASGI app. One for each broker. Its data plane, request ids and guard serve those who come past it, too."""

    def __init__(self, broker: Broker, limits: Limits, guard: Guard, rates: Rates | None, access: Access) -> None:
        document = make_document(ENDPOINTS, limits)
        openapi, page = orjson.dumps(document).decode(), make_page(document)
        edge = Edge(broker, access, limits, Metrics(broker), openapi, page, rates)
        self.data = DataPlane(broker, limits, access, rates)
        self.request_ids = RequestIds()
        self.guard = guard
        self._router = Router(_routes(edge), redirect_slashes=False, default=_nothing_here)

    def _keep_pages_out(self, scope: Scope) -> None:
        try:
            self.guard.check(scope["method"], scope["http_version"], scope["headers"])
        except Refused as refused:
            if refused.code is Code.FORBIDDEN:
                Entry(f"{scope['method']} by a web page", scope).failed(refused.code, STATUS[refused.code])
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request_id = scope[REQUEST_ID] = self.request_ids.of(scope["headers"])
        try:
            self._keep_pages_out(scope)
            path = path_of(scope)
            call = self.data.find(scope["method"], path)
            if call is not None:
                await asgi.serve(call, scope, receive, send, request_id)
            else:
                scope["path"] = path
                await self._router(scope, receive, _with_header(send, request_id))
        except Refused as refused:
            await send_problem(send, refused, (request_id,))
        except ClientGone:
            return
        except Exception:
            # Where the answer had begun, the server refuses a second one and cuts the connection, as it should.
            await send_problem(send, unforeseen(request_id[1], scope["method"], scope["path"]), (request_id,))


def _routes(edge: Edge) -> list[Route]:
    """A route for each path of the table, with all of its methods."""
    by_path: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in ENDPOINTS:
        by_path[endpoint.path].append(endpoint)
    return [Route(path, Resource(edge, endpoints)) for path, endpoints in by_path.items()]


def _with_header(send: Send, pair: tuple[bytes, bytes]) -> Send:
    async def answer(message: Message) -> None:
        """Pass it on, the header with it."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), pair]
        await send(message)

    return answer


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise not_found()


async def _lifespan(receive: Receive, send: Send) -> None:
    """There is nothing to start or stop here: the broker is opened and closed by who made it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
