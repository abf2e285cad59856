"""What a consumer is shown (§5), as bytes on the wire: JSON for many messages, headers and body for one."""

from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import orjson

from queuesvc.domain.ids import Ids
from queuesvc.domain.model import Content, State
from queuesvc.domain.replies import Delivery, Failure, Received, Shown
from queuesvc.http.data import properties
from queuesvc.http.request import Pairs
from queuesvc.http.times import rfc3339

# Everything printable stands for itself in a header but the escape's own sign and the space.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@lru_cache(maxsize=1024)
def json_text(text: str) -> str:
    """Text as a JSON string. Kept, since routing keys recur."""
    return orjson.dumps(text).decode()


def messages(received: Received, ids: Ids) -> bytes:
    """The messages of a receive as a JSON list, members in the contract's order.

    Under `auto_ack` there is no lease: `receipt` and `lease_expires_at` are null.
    """
    token = received.token
    leased_until = f'"{rfc3339(received.lease_expires_at)}"' if token else "null"
    pieces: list[bytes] = []
    for number, delivery_count, failed_count, content in received.deliveries:
        receipt = f'"{token}.{number:x}"' if token else "null"
        lead = f'"receipt":{receipt},"lease_expires_at":{leased_until}'
        pieces += _message(ids, lead, delivery_count, failed_count, content)
    return _list(pieces)


def browsed(messages: Iterable[Shown], ids: Ids) -> bytes:
    """Messages looked at where they stand, as a JSON list."""
    pieces: list[bytes] = []
    for message in messages:
        lead = f'"state":"{message.state.value}"'
        if message.state is State.LEASED:
            consumer = json_text(message.consumer) if message.consumer else "null"
            lead += f',"lease_expires_at":"{rfc3339(message.lease_expires_at)}","consumer":{consumer}'
        pieces += _message(ids, lead, message.delivery_count, message.failed_count, message.content)
    return _list(pieces)


def _message(
    ids: Ids, lead: str, delivery_count: int, failed_count: int, content: Content
) -> tuple[bytes, bytes, bytes]:
    """A message as a JSON object and a comma, in pieces; `lead` is what stands between its id and its counts."""
    first, published_at, expires_at, exchange, routing_key, shown, deaths, body = content
    expires = f'"{rfc3339(expires_at)}"' if expires_at else "null"
    try:
        name, payload = "body", orjson.dumps(body.decode())
    except UnicodeDecodeError:
        name, payload = "body_base64", b'"%b"' % b64encode(body)
    text = (
        f'{{"id":"{ids.head(published_at)}{first:012x}",{lead},'
        f'"delivery_count":{delivery_count},"failed_count":{failed_count},'
        f'"exchange":"{exchange}","routing_key":{json_text(routing_key)},{shown},'
        f'"published_at":"{rfc3339(published_at)}","expires_at":{expires},"deaths":[{deaths}],"{name}":'
    )
    return text.encode(), payload, b"},"


def _list(pieces: list[bytes]) -> bytes:
    """A JSON list of what `_message` gave."""
    if not pieces:
        return b"[]"
    pieces[-1] = b"}"
    return b"[%b]" % b"".join(pieces)


def failures(failed: tuple[Failure, ...]) -> bytes:
    """The receipts that did not settle, as a JSON list."""
    if not failed:
        return b"[]"
    return orjson.dumps([{"receipt": receipt, "code": code.value} for receipt, code in failed])


def raw_head(received: Received, delivery: Delivery, ids: Ids) -> Pairs:
    """The headers of one message received raw: its own type, and everything else as percent-encoded `Message-*`."""
    leased: list[tuple[str, str | int | None]] = [
        ("receipt", f"{received.token}.{delivery.number:x}" if received.token else None),
        ("lease-expires-at", rfc3339(received.lease_expires_at) if received.token else None),
        ("delivery-count", delivery.delivery_count),
        ("failed-count", delivery.failed_count),
    ]
    return content_head(delivery.content, ids, leased)


def content_head(content: Content, ids: Ids, leased: Iterable[tuple[str, str | int | None]] = ()) -> Pairs:
    """The headers of one message's body: its type, and its properties as percent-encoded `Message-*`.

    What is null or empty is left out. `leased` is what else is told of it.
    """
    members = properties.parse(content.properties)
    shown: list[tuple[str, str | int | None]] = [
        ("id", ids.make(content.published_at, content.first)),
        *leased,
        ("exchange", content.exchange),
        ("routing-key", content.routing_key),
        ("priority", members["priority"]),
        ("group", members["group"]),
        ("correlation-id", members["correlation_id"]),
        ("reply-to", members["reply_to"]),
        ("published-at", rfc3339(content.published_at)),
        ("expires-at", rfc3339(content.expires_at) if content.expires_at else None),
        ("deaths", f"[{content.deaths}]" if content.deaths else None),
    ]
    shown += [
        (f"header-{name}", value if type(value) is str else orjson.dumps(value).decode())
        for name, value in members["headers"].items()
    ]
    head: Pairs = [
        (b"content-type", members["content_type"].encode()),
        (b"content-length", b"%d" % len(content.body)),
    ]
    for name, value in shown:
        # An application header that is empty is still one.
        if value is not None and (value != "" or name.startswith("header-")):
            head.append((f"message-{name}".encode(), quote(str(value), safe=_PLAIN).encode()))
    return head
