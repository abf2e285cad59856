"""The edge as one ASGI app: the data plane's short way, and Starlette's router for everything else.

    request ── path ──┬── publish, receive, settle ──── data plane (bare ASGI)
                      └── everything else ───────────── router ── Resource ── handler

What either raises ends here: a `Refused` becomes its problem, anything unforeseen
is logged and becomes a bare `internal-error`.
"""

import itertools
import logging
import secrets
from collections import defaultdict
from typing import Final

import orjson
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import Limits
from queuesvc.http.control.table import CONTROL
from queuesvc.http.data.plane import DataPlane
from queuesvc.http.data.table import DATA
from queuesvc.http.data.wire import REQUEST_ID
from queuesvc.http.docs import make_page
from queuesvc.http.endpoint import Edge, Endpoint, Resource
from queuesvc.http.metrics import Metrics
from queuesvc.http.openapi import make_document
from queuesvc.http.ops import OPS
from queuesvc.http.problems import not_found, send_problem
from queuesvc.http.request import ClientGone, header, path_of

ENDPOINTS: Final[tuple[Endpoint, ...]] = (*DATA, *CONTROL, *OPS)
"""Every endpoint there is, in the order in which a reader wants to meet them."""

REQUEST_ID_CHARACTERS: Final = 128

log = logging.getLogger("queuesvc.http")


def create_app(broker: Broker, limits: Limits | None = None) -> "App":
    """The edge of a broker that is open. Opening and closing the broker is the caller's."""
    return App(broker, limits or Limits())


class App:
    """The ASGI app. One for each broker."""

    def __init__(self, broker: Broker, limits: Limits) -> None:
        document = make_document(ENDPOINTS, limits)
        edge = Edge(broker, limits, Metrics(broker), orjson.dumps(document).decode(), make_page(document))
        self._data = DataPlane(broker, limits)
        self._router = Router(_routes(edge), redirect_slashes=False, default=_nothing_here)
        # Fresh request ids: random for this run, then counted, which costs less than a random one each.
        self._run = secrets.token_hex(8).encode()
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request_id = (b"x-request-id", _own_request_id(scope) or b"%s-%x" % (self._run, next(self._count)))
        scope[REQUEST_ID] = request_id
        try:
            path = path_of(scope)
            handler = self._data.find(scope["method"], path)
            if handler is not None:
                await handler(scope, receive, send)
            else:
                scope["path"] = path
                await self._router(scope, receive, _with_header(send, request_id))
        except Refused as refused:
            await send_problem(send, refused, (request_id,))
        except ClientGone:
            return
        except Exception:
            log.exception("request %s failed: %s %s", request_id[1].decode(), scope["method"], scope["path"])
            # Where the answer had begun, the server refuses a second one and cuts the connection, as it should.
            await send_problem(send, Refused(Code.INTERNAL_ERROR, "this is a fault of the broker's"), (request_id,))


def _routes(edge: Edge) -> list[Route]:
    """A route for each path of the table, with all of its methods."""
    by_path: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in ENDPOINTS:
        by_path[endpoint.path].append(endpoint)
    return [Route(path, Resource(edge, endpoints)) for path, endpoints in by_path.items()]


def _own_request_id(scope: Scope) -> bytes | None:
    """The client's own request id, if it may be used: up to 128 printable characters."""
    given = header(scope, b"x-request-id")
    if not given or len(given) > 4 * REQUEST_ID_CHARACTERS:
        return None
    try:
        text = given.decode()
    except UnicodeDecodeError:
        return None
    return given if len(text) <= REQUEST_ID_CHARACTERS and text.isprintable() else None


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
