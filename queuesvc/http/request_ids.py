"""`X-Request-Id`: the client's own, or a fresh one."""

import itertools
import secrets
from typing import Final

from queuesvc.http.request import Pairs, header

NAME: Final = b"x-request-id"
CHARACTERS: Final = 128
REQUEST_ID: Final = "queuesvc.request_id"
"""Where an ASGI scope has the header of the answer to come."""


class RequestIds:
    """Fresh ids are random for this run, then counted, which costs less than a random one each."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(8).encode()
        self._count = itertools.count(1)

    def of(self, headers: Pairs) -> tuple[bytes, bytes]:
        """The header that the answer to a request with these headers bears."""
        given = header(headers, NAME)
        if given and _fits(given):
            return NAME, given
        return NAME, b"%b-%x" % (self._run, next(self._count))


def _fits(given: bytes) -> bool:
    """Whether it may be used: up to 128 printable characters."""
    if len(given) > 4 * CHARACTERS:
        return False
    try:
        text = given.decode()
    except UnicodeDecodeError:
        return False
    return len(text) <= CHARACTERS and text.isprintable()
