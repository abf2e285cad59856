"""Receipts: the proof of one lease.

    <32 characters of base64url>.<message number in hexadecimal>

The first part, the token, is made once a receive: the store's epoch, the
queue's number, the lease's number, and a keyed check over the three. Queue and lease
numbers are never used twice and the key is the store's secret, so a receipt can
be neither guessed nor valid twice; which message it holds is for the machine to
compare, since only the newest lease of a message settles it.
"""

import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

_FIELDS: Final = struct.Struct(">IIQ")
_CHECK_BYTES: Final = 8
_TOKEN_LENGTH: Final = 32


class Receipt(NamedTuple):
    """What a receipt says once its check was found good."""

    epoch: int
    queue_id: int
    lease: int
    number: int


class Receipts:
    """Makes and reads the receipts of one store in one epoch."""

    def __init__(self, secret: bytes, epoch: int) -> None:
        self._secret = secret
        self.epoch = epoch
        self._last: tuple[str, tuple[int, int, int]] = ("", (0, 0, 0))

    def token(self, queue_id: int, lease: int) -> str:
        """The part that all receipts of one receive begin with."""
        fields = _FIELDS.pack(self.epoch, queue_id, lease)
        return urlsafe_b64encode(fields + self._check(fields)).decode()

    def parse(self, text: str) -> Receipt | None:
        """What the receipt says, or None where it is malformed or its check fails."""
        token, dot, number = text.partition(".")
        if not dot or not 1 <= len(number) <= 12 or not number.isalnum():
            return None
        fields = self._read(token)
        if fields is None:
            return None
        try:
            value = int(number, 16)
        except ValueError:
            return None
        # One spelling only: the same receipt spelled `0x1f` or `1F` would count twice in one call.
        return Receipt(*fields, value) if f"{value:x}" == number else None

    def _read(self, token: str) -> tuple[int, int, int] | None:
        # Receipts of one receive come together: their token is checked once.
        if token == self._last[0]:
            return self._last[1]
        if len(token) != _TOKEN_LENGTH or not token.isascii():
            return None
        try:
            raw = urlsafe_b64decode(token)
        except ValueError:
            return None
        fields, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        if len(fields) != _FIELDS.size or not hmac.compare_digest(check, self._check(fields)):
            return None
        self._last = (token, _FIELDS.unpack(fields))
        return self._last[1]

    def _check(self, fields: bytes) -> bytes:
        return hashlib.blake2b(fields, digest_size=_CHECK_BYTES, key=self._secret).digest()
