"""Which of a request's paths belongs to the data plane, and the handler that serves it."""

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from queuesvc.broker.broker import Broker
from queuesvc.domain.limits import NAME, Limits, check_name
from queuesvc.http.data.ask import Asking
from queuesvc.http.data.envelopes import Envelopes
from queuesvc.http.data.publish import Publishing
from queuesvc.http.data.receive import Receiving
from queuesvc.http.data.settle import Settling
from queuesvc.http.data.single import Single
from queuesvc.http.data.transact import Transacting
from queuesvc.http.data.values import is_reply_address
from queuesvc.http.data.wire import Handler

KEPT_PATHS: Final = 4096


class DataPlane:
    """Publish, receive, settle, transact and ask.

    Handlers raise what they refuse, and `ClientGone` where nobody is left to answer.
    """

    def __init__(self, broker: Broker, limits: Limits) -> None:
        envelopes = Envelopes(limits)
        single = Single(limits, envelopes)
        publishing = Publishing(broker, limits, envelopes, single)
        asking = Asking(broker, limits, single)
        receiving = Receiving(broker, limits)
        settling = Settling(broker, limits)
        self._transact: Handler = Transacting(broker, limits, envelopes).transact
        self._reply = publishing.reply
        self._kept: dict[str, Handler] = {}
        # By the kind of thing and what follows its name in the path.
        self._calls: dict[tuple[str, str], Callable[[str], Handler]] = {
            ("exchanges", "messages"): lambda name: partial(publishing.raw, name, None),
            ("exchanges", "messages/batch"): lambda name: partial(publishing.batch, name, None),
            ("exchanges", "request"): lambda name: partial(asking.ask, name),
            ("queues", "messages"): lambda name: partial(publishing.raw, None, name),
            ("queues", "messages/batch"): lambda name: partial(publishing.batch, None, name),
            ("queues", "receive"): lambda name: partial(receiving.receive, name),
            ("queues", "ack"): lambda name: partial(settling.ack, name),
            ("queues", "nack"): lambda name: partial(settling.nack, name),
            ("queues", "extend"): lambda name: partial(settling.extend, name),
        }

    def find(self, method: str, path: str) -> Handler | None:
        """The handler for a request to this path (as `request.path_of` gives it), or None if it is not ours."""
        if method != "POST":
            return None
        return self._kept.get(path) or self._make(path)

    def _make(self, path: str) -> Handler | None:
        if path == "/v1/transactions":
            return self._transact
        parts = path.split("/", 4)
        if len(parts) != 5 or parts[0] or parts[1] != "v1":
            return None
        _, _, kind, name, call = parts
        make = self._calls.get((kind, call))
        if make is None:
            return None
        if NAME.fullmatch(name) is None:
            if (kind, call) == ("queues", "messages") and is_reply_address(name):
                return partial(self._reply, name)
            return partial(_refuse_name, name, kind.removesuffix("s"))
        # Only what has a name that can be is kept, so that what is kept is bounded in length too.
        if len(self._kept) >= KEPT_PATHS:
            self._kept.clear()
        handler = self._kept[path] = make(name)
        return handler


async def _refuse_name(name: str, field: str, scope: Scope, receive: Receive, send: Send) -> None:
    check_name(name, field)
