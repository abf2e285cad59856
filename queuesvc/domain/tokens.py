"""Tokens: who may do what, told by a secret that is shown once and kept as its hash.

A token as its holder writes it is `qsv_<id>_<secret>`. The id is public, and finds the token. The secret is 256
random bits, so one SHA-256 of the whole keeps it as safe as a slow hash would: slow hashes are for
what people think up, which can be guessed; this cannot.
"""

import hmac
import re
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

from queuesvc.domain.errors import Code, Refused, shown

PREFIX: Final = "qsv"
_SECRET: Final = re.compile(PREFIX + r"_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
PATTERNS_MOST: Final = 100
"""The most globs that one permission of a token has."""


class Permission(StrEnum):
    """What a token may be allowed."""

    PUBLISH = "publish"
    """to exchanges, and straight into queues"""

    CONSUME = "consume"
    """of queues: receive, settle, browse"""

    MANAGE = "manage"
    """of exchanges and queues: declare, bind, delete, purge, redrive, release, definitions"""

    ADMIN = "admin"
    """tokens and backups"""

    METRICS = "metrics"
    """`/metrics`"""

    SEE = "see"
    """that it is there, and how it stands: what has any of the first three"""


NAMED: Final = (Permission.PUBLISH, Permission.CONSUME, Permission.MANAGE)
"""Those that are granted by globs on names."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one token allows: globs on names, and two that are all or nothing."""

    publish: tuple[str, ...] = ()
    consume: tuple[str, ...] = ()
    manage: tuple[str, ...] = ()
    admin: bool = False
    metrics: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept. Moments are broker time; `expires_at` 0 is never, `last_used_at` 0 is not yet."""

    id: str
    name: str
    digest: bytes = field(repr=False)
    permissions: Permissions
    created_at: int
    expires_at: int = 0
    last_used_at: int = 0

    def expired(self, now: int) -> bool:
        """Whether its time is over."""
        return 0 < self.expires_at <= now


def secret_text(id_: str, secret: str) -> str:
    """The token as its holder writes it."""
    return f"{PREFIX}_{id_}_{secret}"


def id_of(text: str) -> str | None:
    """The public id in what a holder wrote, or None for what is no token."""
    match = _SECRET.fullmatch(text)
    return None if match is None else match[1]


def digest_of(text: str) -> bytes:
    """What is kept of it."""
    return sha256(text.encode()).digest()


def same(digest: bytes, other: bytes) -> bool:
    """Whether two digests are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(digest, other)


def forbidden(permission: Permission, name: str = "") -> Refused:
    """A 403. It says what was asked for and nothing of whether it is there."""
    what = f"{permission.value} on {shown(name)!r}" if name else permission.value
    return Refused(Code.FORBIDDEN, f"this token does not allow {what}", permission=permission.value)


def no_longer_valid() -> Refused:
    """The 401 of a token that is none, or is none any more: which of the two is not told."""
    return Refused(Code.UNAUTHENTICATED, "the token is not valid: it is unknown, was revoked or has expired")
