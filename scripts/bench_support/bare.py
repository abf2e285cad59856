"""The measure for single publishes: an ASGI app that reads the body and answers what the broker answered once.

It runs under the broker's own server class, so that everything below the app is the same.
Its arguments are the answer's body and the value of its X-Request-Id.
"""

import asyncio
import signal
import sys

import uvloop
from starlette.types import Receive, Scope, Send

from queuesvc.http.server import Server, bind
from queuesvc.settings import Settings


def make_app(body: bytes, request_id: bytes) -> object:
    """The app: 201 with the same bytes, whatever is asked."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def serve(body: bytes, request_id: bytes) -> None:
    """Serve on a free port, which is the first line on stdout, until SIGTERM."""
    settings = Settings()
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = Server(
            make_app(body, request_id),  # type: ignore[arg-type]
            lambda: print(port, flush=True),
            shutdown_seconds=1,
            patience_seconds=settings.slow_client_seconds,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve([listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1].encode(), sys.argv[2].encode()))
