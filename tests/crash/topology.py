"""The exchanges and small queues of the campaign: each with settings of its own, and what may remove messages there."""

from dataclasses import dataclass, field
from typing import Any

EXCHANGE = "x"
DEAD_LETTERS = "dlx"
BINDINGS = {"all": "#", "red": "red.*", "even": "*.even"}
KEYS = {
    "red.even": ("all", "even", "red"),
    "red.odd": ("all", "red"),
    "blue.odd": ("all",),
    "blue.even": ("all", "even"),
}
"""Routing keys, and the queues that a message reaches by each."""


@dataclass(frozen=True)
class Kept:
    """A queue.

    Messages move only between queues of one `circle`. Where it is `leaky`, something may remove a message without
    saying which: a purge, its time to live, an `auto_ack` whose answer was cut off.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    circle: str = ""
    leaky: bool = False
    expires: bool = False
    rejects: bool = False
    """whether consumers reject here"""


_BACKOFF = {"initial_seconds": 0.1, "max_seconds": 0.5}
QUEUES = {
    "all": Kept({"lease_seconds": 3, "delivery_limit": None}),
    "red": Kept({"lease_seconds": 0.5, "delivery_limit": None, "retry_backoff": _BACKOFF}),
    "even": Kept({"lease_seconds": 2, "delivery_limit": None, "max_priority": 3}),
    "sink": Kept({"lease_seconds": 2, "delivery_limit": None}),
    "groups": Kept({"lease_seconds": 1, "delivery_limit": None}),
    "work": Kept(
        {"lease_seconds": 0.5, "delivery_limit": 3, "dead_letter_exchange": DEAD_LETTERS}, "mortal", rejects=True
    ),
    "fading": Kept(
        {"lease_seconds": 0.5, "message_ttl_seconds": 0.7, "dead_letter_exchange": DEAD_LETTERS}, "mortal", rejects=True
    ),
    "graves": Kept({"lease_seconds": 1}, "mortal", rejects=True),
    "park": Kept({"lease_seconds": 0.3, "delivery_limit": 2}, rejects=True),
    "small": Kept({"lease_seconds": 1, "max_messages": 20, "delivery_limit": None}),
    "brief": Kept({"lease_seconds": 0.5, "message_ttl_seconds": 0.7}, leaky=True, expires=True),
    "purged": Kept({"lease_seconds": 1}, leaky=True),
    "auto": Kept({}, leaky=True),
}
DIRECT = ("work", "fading", "park", "small", "brief", "purged", "auto", "groups")
"""Queues that are published to by name."""


def circle(queue: str) -> str:
    """The circle of a queue; most are alone in theirs."""
    return QUEUES[queue].circle or queue
