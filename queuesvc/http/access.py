"""Who calls, and may they: from the `Authorization` header to a grant, and what an endpoint needs of that.

The one place where both planes, and both ways to the data plane, ask. What more a command needs, of the names that
stand in a request's body, is told by `domain.needs`.
"""

from typing import Final, NamedTuple

from queuesvc.broker.tokens import EVERYTHING, Grant, Tokens
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.tokens import Permission, no_longer_valid
from queuesvc.http.request import Pairs

AUTHORIZATION: Final = b"authorization"
SCHEME: Final = b"bearer"


class Need(NamedTuple):
    """What an endpoint needs: a valid `token`, and of that a permission, on the name in a `segment` of the path."""

    permission: Permission | None = None
    segment: str = ""
    token: bool = True

    def about(self) -> str:
        """The same in words, for the description of the endpoint."""
        if not self.token:
            return "Needs no token."
        if self.permission is None:
            return "Needs a valid token."
        where = f" on `{{{self.segment}}}`" if self.segment else ""
        return f"Needs `{self.permission.value}`{where}."


NOTHING: Final = Need(token=False)
ANY_TOKEN: Final = Need()
"""Any that is valid: what it may do, or is shown, is told by what the call names."""


def on(permission: Permission, segment: str = "") -> Need:
    """A permission, on the name in this segment of the path."""
    return Need(permission, segment)


class Access:
    """Lets in whoever comes while no token is needed, and then those who hold one. Without `tokens`: whoever comes."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    def grant(self, headers: Pairs, permission: Permission | None = None, name: str = "") -> Grant:
        """What the caller may do, this permission among it. Raises `unauthenticated` or `forbidden`."""
        if self._tokens is None or not self._tokens.needed:
            return EVERYTHING
        grant = self._tokens.grant_of(_bearer(headers))
        if permission is not None:
            grant.require(permission, name)
        return grant


def _bearer(headers: Pairs) -> str:
    """The token in a request's headers. Raises `unauthenticated`."""
    found = [value for name, value in headers if name == AUTHORIZATION]
    if not found:
        raise Refused(Code.UNAUTHENTICATED, "a token is needed here: send it as Authorization: Bearer ...")
    scheme, _, token = found[0].partition(b" ")
    if len(found) > 1 or scheme.lower() != SCHEME:
        raise no_longer_valid()
    return token.strip(b" ").decode("latin-1")
