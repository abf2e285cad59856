"""The documents of tokens."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from queuesvc.domain.errors import invalid
from queuesvc.domain.globs import check_glob
from queuesvc.domain.tokens import PATTERNS_MOST, Permissions
from queuesvc.http.data.documents import Time
from queuesvc.http.schema import Name, Shown, SomeSeconds, Strict


def _glob(value: str, info: ValidationInfo) -> str:
    return check_glob(value, info.field_name or "")


Glob = Annotated[str, AfterValidator(_glob), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9._:*-]{1,255}$"})]
Globs = Annotated[list[Glob], Field(max_length=PATTERNS_MOST)]


class TokenDeclaration(Strict):
    """A token to be made: what it allows, by names in which `*` stands for any run of characters."""

    name: Name
    """what it is called in lists and logs"""
    publish: Globs = []
    """exchanges and queues that it may publish to"""
    consume: Globs = []
    """queues that it may receive from, settle and browse"""
    manage: Globs = []
    """exchanges and queues that it may declare, bind, delete, purge, redrive and release"""
    admin: bool = False
    """whether it may make and revoke tokens, and make backups"""
    metrics: bool = False
    """whether it may read `/metrics`"""
    expires_seconds: SomeSeconds | None = None
    """for how long it is valid; null: until it is revoked"""

    @model_validator(mode="after")
    def _check_allows_something(self) -> "TokenDeclaration":
        if not (self.publish or self.consume or self.manage or self.admin or self.metrics):
            raise invalid("publish", "a token must allow something: publish, consume, manage, admin or metrics")
        return self

    def permissions(self) -> Permissions:
        """What it allows."""
        return Permissions(tuple(self.publish), tuple(self.consume), tuple(self.manage), self.admin, self.metrics)


class Token(Shown):
    """A token as it is shown: what it allows, and never its secret."""

    name: Name
    id: str
    """public: it stands in the token, behind `qsv_`"""
    publish: list[str]
    consume: list[str]
    manage: list[str]
    admin: bool
    metrics: bool
    created_at: Time
    expires_at: Time | None
    """null: when it is revoked"""
    expired: bool
    """whether its time is over: it allows nothing any more"""
    last_used_at: Time | None
    """the last call under it, to the minute if the broker was killed since; null: none"""


class NewToken(Token):
    """A token that was just made."""

    token: str
    """what its holder sends as `Authorization: Bearer ...`: shown now and never again"""


class TokenList(Shown):
    """A page of tokens, by name."""

    tokens: list[Token]
    next: str | None
    """the value to pass as `after` for more; null at the end"""
