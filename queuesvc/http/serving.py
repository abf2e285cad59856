"""Running the ASGI app for one request, and the server's end in the middle of that."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from queuesvc.http.problems import send_problem, shutting_down
from queuesvc.http.request_ids import REQUEST_ID


async def serve(app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app. Where the server's end comes first, the client is told so, if it can still be told anything."""
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise
        if not cycle.response_started and not cycle.flow.write_paused:
            await send_problem(send, shutting_down(), (scope[REQUEST_ID],) if REQUEST_ID in scope else ())
        cycle.disconnected = True
        cycle.transport.close()
