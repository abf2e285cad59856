"""A backup over HTTP: the store's file as the answer's body."""

import asyncio
from typing import BinaryIO, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from queuesvc.domain.tokens import Permission
from queuesvc.http.access import on
from queuesvc.http.endpoint import Answer, Call, Endpoint

MEDIA_TYPE: Final = "application/vnd.sqlite3"
CHUNK_BYTES: Final = 1024 * 1024


async def post_backup(call: Call) -> Response:
    """Copy the store as it is now, and answer with the copy."""
    call.grant.check()
    return Download(await call.edge.broker.backup())


class Download(Response):
    """An open file as an answer; closed, and so gone, when it was sent or its client has left."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
        super().__init__(headers=headers | {"Content-Disposition": 'attachment; filename="queuesvc-backup.db"'})
        # In chunks, the last of which says that all is there. An answer of known length is taken to be in memory
        # as a whole, and is not kept for a client that reads slowly.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, a piece at a time, as fast as the client takes it."""
        with self._file as file:
            gone = asyncio.ensure_future(_left(receive))
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                while not gone.done() and (chunk := await asyncio.to_thread(file.read, CHUNK_BYTES)):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if not gone.done():
                    await send({"type": "http.response.body", "body": b""})
            finally:
                gone.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


BACKUP: Final = (
    Endpoint(
        "POST",
        "/v1/backup",
        "postBackup",
        "Running it",
        "Back the whole store up",
        about="The answer is a file that `queuesvc restore` takes: all that was on the disk at one moment, checked. "
        "It is made first, which takes a second or so for each hundred megabytes, while the broker goes on; there must "
        "be room for it in the broker's directory. One is made at a time.",
        answers={200: Answer("the store", {MEDIA_TYPE: {"type": "string", "format": "binary"}})},
        handler=post_backup,
        need=on(Permission.ADMIN),
        example="curl -X POST {url}/v1/backup -o backup.db",
    ),
)
