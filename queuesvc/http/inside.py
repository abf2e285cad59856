"""Ask the app from inside its own process: a request without a socket, for who has the store in hand."""

import json
from typing import Any

from starlette.types import ASGIApp, Message


async def ask(app: ASGIApp, method: str, target: str, document: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """The status and the body that the app answers with to such a request."""
    path, _, query = target.partition("?")
    body = b"" if document is None else json.dumps(document).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-length", b"%d" % len(body))],
        "client": None,
        "server": None,
    }
    answer: list[Message] = []

    async def receive() -> Message:
        """The whole request."""
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        """Keep a part of the answer."""
        answer.append(message)

    await app(scope, receive, send)
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer)
