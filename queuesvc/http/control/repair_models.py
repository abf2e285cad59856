"""The documents of looking and repairing."""

from typing import Annotated, Final, Literal

from pydantic import Field

from queuesvc.domain import model as domain
from queuesvc.domain.limits import LIST_ITEMS
from queuesvc.http.data.documents import AnyMessage, Time
from queuesvc.http.request import COUNT_MOST
from queuesvc.http.schema import Name, Shown, Strict

ID_CHARACTERS: Final = 64
"""More than any id of ours has."""

Ids = Annotated[list[Annotated[str, Field(max_length=ID_CHARACTERS)]], Field(min_length=1, max_length=LIST_ITEMS)]


class BrowsedMessage(AnyMessage):
    """A message as it stands; `lease_expires_at` and `consumer` only while it is leased."""

    state: domain.State
    lease_expires_at: Time = ""
    consumer: str | None = None
    """the label that its consumer gave"""


class MessageList(Shown):
    """A page of messages, in the order of delivery."""

    messages: list[BrowsedMessage]
    next: str | None
    """the value to pass as `after` for more; null at the end"""


class PurgeResult(Shown):
    """How many messages were purged, or would be."""

    purged: int


class RedriveRequest(Strict):
    """Which messages to redrive, and where to."""

    max_messages: Annotated[int, Field(ge=1, le=COUNT_MOST)] | None = None
    """how many at most, the oldest first; null: as many as there are when it begins"""
    ids: Ids | None = None
    """only these"""
    from_: Annotated[Literal["dead", "arrived"] | None, Field(alias="from")] = None
    """`dead`: the queue's own dead ones; `arrived`: ready ones that died elsewhere. Null: dead if there are any"""
    to_queue: Name | None = None
    """where to; null: where each of them died"""
    dry_run: bool | None = None
    """only tell what would be moved"""


class ReleaseRequest(Strict):
    """Which leases to end."""

    ids: Ids
    """ids of leased messages"""
    dry_run: bool | None = None
    """only tell what would be released"""


class RepairFailure(Shown):
    """A message that was left as it is."""

    id: str
    code: Annotated[
        str, Field(json_schema_extra={"enum": ["message-not-found", "queue-not-found", "gone", "lease-lost"]})
    ]


class RedriveResult(Shown):
    """How many messages were redriven (or would be), and which could not be."""

    moved: int
    failed: list[RepairFailure]


class ReleaseResult(Shown):
    """How many leases were ended (or would be), and which messages have none."""

    released: int
    failed: list[RepairFailure]
