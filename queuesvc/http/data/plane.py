"""Which of a request's paths belongs to the data plane, and the call that serves it."""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from queuesvc.broker.broker import Broker
from queuesvc.domain.errors import Refused
from queuesvc.domain.limits import NAME, Limits, check_name
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import Access
from queuesvc.http.data.ask import Asking
from queuesvc.http.data.envelopes import Envelopes
from queuesvc.http.data.publish import Publishing, is_batch
from queuesvc.http.data.receive import Receiving
from queuesvc.http.data.settle import Settling
from queuesvc.http.data.single import Single
from queuesvc.http.data.table import DATA
from queuesvc.http.data.transact import Transacting
from queuesvc.http.data.values import is_reply_address
from queuesvc.http.data.wire import Begun, Request
from queuesvc.http.rates import Rates
from queuesvc.http.request import Pairs

KEPT_PATHS: Final = 4096


Begin = Callable[[Request], Begun]

# What the rows of the table need, by the kind of thing and what follows its name in the path.
PERMISSIONS: Final = {
    (kind, verb): endpoint.need.permission
    for endpoint in DATA
    if len(parts := endpoint.path.split("/", 4)) == 5
    for _, _, kind, _, verb in [parts]
}


class Call(NamedTuple):
    """What serves the requests to one path. `begin` raises what it refuses.

    `check` refuses by the headers alone those who may not call it, before their body is read.
    """

    begin: Begin
    check: Callable[[Pairs], object]
    body_bytes: int
    batch_bytes: int

    def allowed(self, headers: Pairs) -> bool:
        """Whether those with these headers may call it."""
        try:
            self.check(headers)
        except Refused:
            return False
        return True

    def most_bytes(self, headers: Pairs) -> int:
        """The largest body that such a request may have."""
        return self.batch_bytes if is_batch(headers) else self.body_bytes


class DataPlane:
    """Publish, receive, settle, transact and ask.

    A body of `always_bytes` is allowed in every call.
    """

    def __init__(self, broker: Broker, limits: Limits, access: Access, rates: Rates | None = None) -> None:
        self._limits = limits
        self._rates = rates
        self._access = access
        self.always_bytes = min(limits.body_bytes, limits.request_bytes, limits.document_bytes)
        envelopes = Envelopes(limits)
        single = Single(limits, envelopes)
        publishing = Publishing(broker, limits, envelopes, single, rates)
        asking = Asking(broker, limits, single, rates)
        receiving = Receiving(broker, limits, rates)
        settling = Settling(broker, limits)
        self._transact = self._call(Transacting(broker, limits, envelopes, rates).transact, None, "transactions")
        self._reply = publishing.reply
        self._kept: dict[str, Call] = {}
        # By the kind of thing and what follows its name in the path.
        self._calls: dict[tuple[str, str], Callable[[str], Begin]] = {
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

    def find(self, method: str, path: str) -> Call | None:
        """The call for a request to this path (as `request.path_of` gives it), or None if it is not ours."""
        if method != "POST":
            return None
        return self._kept.get(path) or self._make(path)

    def _make(self, path: str) -> Call | None:
        if path == "/v1/transactions":
            return self._transact
        parts = path.split("/", 4)
        if len(parts) != 5 or parts[0] or parts[1] != "v1":
            return None
        _, _, kind, name, verb = parts
        make = self._calls.get((kind, verb))
        if make is None:
            return None
        if NAME.fullmatch(name) is None:
            if (kind, verb) == ("queues", "messages") and is_reply_address(name):
                return self._call(partial(self._reply, name), None, verb)
            return self._call(partial(_refuse_name, name, kind.removesuffix("s")), None, verb)
        # Only what has a name that can be is kept, so that what is kept is bounded in length too.
        if len(self._kept) >= KEPT_PATHS:
            self._kept.clear()
        call = self._kept[path] = self._call(make(name), PERMISSIONS[kind, verb], verb, name)
        return call

    def _call(self, begin: Begin, permission: Permission | None, verb: str, name: str = "") -> Call:
        """A call that needs this permission on this name; None: any valid token will do."""
        grant, rates = self._access.grant, self._rates

        def admit(asked: Request) -> Begun:
            """Begin, if the caller may."""
            asked.grant = grant(asked.headers, permission, name)
            if rates is not None:
                rates.request(asked.grant, asked.transport)
            return begin(asked)

        def check(headers: Pairs) -> object:
            """The same without beginning."""
            return grant(headers, permission, name)

        return Call(admit, check, *self._most_bytes(verb))

    def _most_bytes(self, verb: str) -> tuple[int, int]:
        """How large a body of such a call may be, and how large if it is a batch of events."""
        limits = self._limits
        match verb:
            case "messages" | "request":
                return limits.body_bytes, limits.request_bytes
            case "messages/batch" | "transactions":
                return limits.request_bytes, limits.request_bytes
            case _:
                most_bytes = min(limits.document_bytes, limits.request_bytes)
                return most_bytes, most_bytes


def _refuse_name(name: str, field: str, asked: Request) -> Begun:
    check_name(name, field)
    raise AssertionError(name)
