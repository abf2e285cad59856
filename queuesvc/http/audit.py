"""Who did what to the broker itself: one line in the log `queuesvc.audit` for each management action.

Whatever changes something in the control plane is one, done or refused; `Resource` decides that by the endpoint's row.
So is what a web page of others tried. The names of things are told, never what messages hold, nor a token.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Scope

from queuesvc.domain.errors import Code
from queuesvc.domain.ids import is_id
from queuesvc.http.problems import hide_secrets
from queuesvc.http.rates import Bucket
from queuesvc.http.request_ids import REQUEST_ID

NAMED: Final = ("name", "queue", "exchange", "routing_key", "from", "to_queue", "dry_run")
"""What is told of a request's body."""

STRANGERS_PER_SECOND: Final = 10
"""So many lines at most tell of those who showed no token: they must not fill the disk."""

SHOWN_CHARACTERS: Final = 255

log = logging.getLogger("queuesvc.audit")


class Entry:
    """One action: what is known of it when it begins, then who does it and to what, then how it went."""

    __slots__ = ("_action", "_client", "_request_id", "about", "who")

    def __init__(self, action: str, scope: Scope) -> None:
        self._action = action
        client = scope.get("client")
        self._client = client[0] if client else "-"
        self._request_id = scope[REQUEST_ID][1].decode() if REQUEST_ID in scope else "-"
        self.who = "-"
        self.about: dict[str, Any] = {}
        self.add(scope.get("path_params", {}))

    def add(self, more: Mapping[str, Any]) -> None:
        """More of what it is done to, and how. What is neither text nor number is none of that."""
        for name, value in more.items():
            if type(value) in (bool, int):
                self.about[name] = value
            elif isinstance(value, str):
                # A receipt may stand where a message's id should.
                known = name != "message" or is_id(value)
                self.about[name] = hide_secrets(value[:SHOWN_CHARACTERS]) if known else "..."

    def read(self, document: Mapping[str, Any]) -> None:
        """What the request's body says of that."""
        self.add({name: document[name] for name in NAMED if name in document})

    def done(self, status: int) -> None:
        """It is done."""
        self._write(logging.INFO, "done", status)

    def failed(self, code: Code, status: int) -> None:
        """It was refused, or came to nothing."""
        if code in (Code.UNAUTHENTICATED, Code.FORBIDDEN):
            if self.who == "-" and _strangers.take(1, time.monotonic()):
                return
            self._write(logging.WARNING, code.value, status)
        else:
            self._write(logging.INFO, code.value, status)

    def _write(self, level: int, outcome: str, status: int) -> None:
        on = " ".join(f"{name}={_said(value)}" for name, value in self.about.items())
        fields = {
            "action": self._action,
            "on": self.about,
            "outcome": outcome,
            "status": status,
            "who": self.who,
            "client": self._client,
            "request_id": self._request_id,
        }
        text = f"{self._action} {on}".rstrip()
        log.log(level, "%s: %s, by %s from %s", text, outcome, self.who, self._client, extra={"fields": fields})


def _said(value: object) -> str:
    """A value in the line's text. In quotes where it could pass for more of the line than it is."""
    return repr(value) if isinstance(value, str) and " " in value else str(value)


_strangers = Bucket(STRANGERS_PER_SECOND, time.monotonic())
