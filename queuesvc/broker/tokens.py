"""The tokens of a running broker as its edges ask for them: who is this, and may they?

It is filled from the store when the broker opens, and follows each commit that makes or revokes a token.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Final

from queuesvc.domain.globs import Globs
from queuesvc.domain.model import Binding
from queuesvc.domain.tokens import (
    NAMED,
    Permission,
    Permissions,
    Token,
    digest_of,
    forbidden,
    id_of,
    no_longer_valid,
    same,
    secret_text,
)

NOTED_SECONDS: Final = 60.0
"""How long the use of a token may be known in memory only."""

_LONGEST_TIMER_SECONDS: Final = 3600.0
_NO_DIGEST: Final = bytes(32)


class Grant:
    """What the holder of one token may do. `ended` is set once it was revoked or its time was over.

    Who waits under it is told by `watch`. It lives as long as its token, so limits may be kept by it.
    """

    __slots__ = ("_globs", "_now", "_timer", "_waits", "admin", "ended", "id", "metrics", "name", "token", "used_at")

    def __init__(self, token: Token, now: Callable[[], int]) -> None:
        self.token = token
        self.id = token.id
        self.name = token.name
        self.admin = token.permissions.admin
        self.metrics = token.permissions.metrics
        self.used_at = token.last_used_at
        self.ended = False
        self._now = now
        granted: dict[Permission, tuple[str, ...]] = {
            permission: getattr(token.permissions, permission.value) for permission in NAMED
        }
        granted[Permission.SEE] = tuple(dict.fromkeys(glob for globs in granted.values() for glob in globs))
        self._globs = {permission: (globs, Globs(globs)) for permission, globs in granted.items()}
        self._waits: dict[Callable[[], None], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, permission: Permission, name: str = "") -> bool:
        """Whether it has this permission: on a name, where it is one that is granted by names."""
        if permission is Permission.ADMIN:
            return self.admin
        if permission is Permission.METRICS:
            return self.metrics
        return self._globs[permission][1].match(name)

    def require(self, permission: Permission, name: str = "") -> None:
        """Raise `forbidden` unless it `allows` that."""
        if not self.allows(permission, name):
            raise forbidden(permission, name)

    def globs(self, permission: Permission) -> tuple[str, ...] | None:
        """The names on which it has this permission; None for all there are."""
        return self._globs[permission][0]

    def sees_binding(self, binding: Binding) -> bool:
        """Whether it may see both ends of it."""
        see = self._globs[Permission.SEE][1]
        return see.match(binding.source) and see.match(binding.queue or binding.exchange or "")

    def check(self) -> None:
        """Raise `unauthenticated` if it ended."""
        if self.ended or self.token.expired(self._now()):
            raise no_longer_valid()

    # --- who waits under it -------------------------------------------------------

    def watch(self, ended: Callable[[], None]) -> None:
        """Have `ended` called if it ends, until `unwatch`."""
        if self.ended:
            asyncio.get_running_loop().call_soon(ended)
            return
        self._waits[ended] = None
        if self.token.expires_at and self._timer is None:
            self._set_timer()

    def unwatch(self, ended: Callable[[], None]) -> None:
        """Call it no more."""
        self._waits.pop(ended, None)
        if not self._waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """It is over: everybody who waits is told."""
        self.ended = True
        waits, self._waits = self._waits, {}
        for ended in waits:
            ended()

    def _set_timer(self) -> None:
        # Broker time may run slower than the loop's, so it is looked at again.
        seconds = max(0.001, (self.token.expires_at - self._now()) / 1000)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(seconds, _LONGEST_TIMER_SECONDS), self._look)

    def _look(self) -> None:
        self._timer = None
        if self.token.expired(self._now()):
            self.end()
        elif self._waits:
            self._set_timer()


class Everything(Grant):
    """What whoever comes may do while no token is needed: all of it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Token("", "", _NO_DIGEST, Permissions(), 0), lambda: 0)

    def allows(self, permission: Permission, name: str = "") -> bool:
        """Yes."""
        return True

    def globs(self, permission: Permission) -> tuple[str, ...] | None:
        """All names."""
        return None

    def sees_binding(self, binding: Binding) -> bool:
        """Yes."""
        return True

    def watch(self, ended: Callable[[], None]) -> None:
        """It never ends."""

    def unwatch(self, ended: Callable[[], None]) -> None:
        """So nobody waits for that."""


EVERYTHING: Final = Everything()


class Tokens:
    """All of them. `note` is called, at most once in `NOTED_SECONDS`, when there are uses to be kept.

    `needed` says whether a call needs a token: from the moment when one is stored, be it expired, and then until the
    broker is started anew: revoking the last one shuts everybody out rather than letting everybody in.
    """

    def __init__(self, now: Callable[[], int], note: Callable[[], None]) -> None:
        self.needed = False
        self._now = now
        self._note = note
        self._by_id: dict[str, Grant] = {}
        self._by_name: dict[str, Grant] = {}
        self._used: dict[Grant, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def grant_of(self, text: str) -> Grant:
        """What the holder of a token may do. Raises `unauthenticated` for one that is not valid."""
        # Done in any case, so that the time it takes does not tell whether there is a token of that id.
        digest = digest_of(text)
        grant = self._by_id.get(id_of(text) or "")
        equal = same(digest, _NO_DIGEST if grant is None else grant.token.digest)
        if grant is None or not equal:
            raise no_longer_valid()
        now = self._now()
        if grant.token.expired(now):
            raise no_longer_valid()
        grant.used_at = now
        if grant not in self._used:
            self._used[grant] = None
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(NOTED_SECONDS, self._note_uses)
        return grant

    def named(self, name: str) -> Grant | None:
        """The one of this name."""
        return self._by_name.get(name)

    def load(self, tokens: Iterable[Token]) -> None:
        """Those of a store that was opened."""
        for token in tokens:
            self.made(token)

    def made(self, token: Token) -> None:
        """A token was made, and is on the disk."""
        self.needed = True
        self._by_id[token.id] = self._by_name[token.name] = Grant(token, self._now)

    def revoked(self, name: str) -> None:
        """A token was revoked, and that is on the disk."""
        grant = self._by_name.pop(name)
        del self._by_id[grant.id]
        self._used.pop(grant, None)
        grant.end()

    def take_uses(self) -> tuple[tuple[str, int], ...]:
        """The uses since the last call, by the ids of the tokens."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        used, self._used = self._used, {}
        return tuple((grant.id, grant.used_at) for grant in used)

    def _note_uses(self) -> None:
        self._timer = None
        self._note()


def new_token() -> tuple[str, str]:
    """A fresh id, and the token as its holder writes it."""
    id_ = secrets.token_hex(8)
    return id_, secret_text(id_, secrets.token_urlsafe(32))
