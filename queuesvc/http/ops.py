"""What keeps the broker running well: is it alive, is it ready, how is it doing, how is it spoken to."""

import re
from typing import Final

from starlette.responses import Response

from queuesvc.domain.commands import Tick
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import NOTHING, on
from queuesvc.http.docs import STYLE_HASH
from queuesvc.http.endpoint import JSON, Answer, Call, Endpoint
from queuesvc.http.openapi import DEFAULT_URL
from queuesvc.http.request import header

_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_TEXT: Final = {"type": "string"}
_HTML: Final = "text/html; charset=utf-8"
# The page has no script, nothing from elsewhere and one known style; the browser may hold it to that.
_ONLY_ITSELF: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src '{STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


async def healthz(call: Call) -> Response:
    """The process answers."""
    return Response("ok\n", media_type="text/plain")


async def readyz(call: Call) -> Response:
    """The store takes a write, all the way to the disk. Raises `unavailable`."""
    if not call.edge.broker.accepting:
        raise Refused(Code.UNAVAILABLE, "the broker is shutting down", retry_after_seconds=1)
    await call.edge.broker.submit(Tick())
    return Response("ready\n", media_type="text/plain")


async def metrics(call: Call) -> Response:
    """The metrics, in the text format that the scraper prefers."""
    accept = header(call.scope["headers"], b"accept") or b""
    body, media_type = await call.edge.metrics.render(accept.decode("latin-1"))
    return Response(body, headers={"Content-Type": media_type})


async def openapi(call: Call) -> Response:
    """This API as an OpenAPI document."""
    return Response(_here(call, call.edge.openapi), media_type=JSON)


async def docs(call: Call) -> Response:
    """This API as a page."""
    return Response(_here(call, call.edge.docs), headers={"Content-Type": _HTML, **_ONLY_ITSELF})


def _here(call: Call, text: str) -> str:
    """The text with the address under which this client reached us in place of the default one."""
    host = (header(call.scope["headers"], b"host") or b"").decode("latin-1")
    return text.replace(DEFAULT_URL, f"{call.scope['scheme']}://{host}") if _HOST.fullmatch(host) else text


OPS: Final = (
    Endpoint(
        "GET",
        "/healthz",
        "healthz",
        "Running it",
        "Is it alive?",
        answers={200: Answer("alive", {"text/plain": _TEXT})},
        asks_broker=False,
        handler=healthz,
        need=NOTHING,
        example="curl {url}/healthz",
    ),
    Endpoint(
        "GET",
        "/readyz",
        "readyz",
        "Running it",
        "Is the store writable?",
        about="Writes to the store and waits until that has reached the disk.",
        answers={200: Answer("ready", {"text/plain": _TEXT})},
        handler=readyz,
        need=NOTHING,
        example="curl {url}/readyz",
    ),
    Endpoint(
        "GET",
        "/metrics",
        "metrics",
        "Running it",
        "Metrics for Prometheus",
        about="Totals since the start, depth of each queue by state, sizes and times of commits, receives waiting. "
        "`Accept: application/openmetrics-text` brings OpenMetrics.",
        answers={200: Answer("the metrics", {"text/plain": _TEXT, "application/openmetrics-text": _TEXT})},
        handler=metrics,
        need=on(Permission.METRICS),
        example="curl {url}/metrics",
    ),
    Endpoint(
        "GET",
        "/openapi.json",
        "openapi",
        "Running it",
        "This API as an OpenAPI 3.1 document",
        answers={200: Answer("the document", {JSON: {"type": "object"}})},
        asks_broker=False,
        handler=openapi,
        need=NOTHING,
        example="curl {url}/openapi.json",
    ),
    Endpoint(
        "GET",
        "/docs",
        "docs",
        "Running it",
        "This API as a page",
        answers={200: Answer("the page", {"text/html": _TEXT})},
        asks_broker=False,
        handler=docs,
        need=NOTHING,
        example="curl {url}/docs",
    ),
)
