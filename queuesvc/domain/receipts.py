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
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

_FIELDS: Final = struct.Struct(">IIQ")
_CHECK_BYTES: Final = 8
TOKEN_LENGTH: Final = 32
# A receipt has one spelling, so that one given twice is seen to be the same.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_NUMBER: Final = re.compile(r"[1-9a-f][0-9a-f]{0,11}")


class Token(NamedTuple):
    """What the first part of a receipt says once its check was found good."""

    epoch: int
    queue_id: int
    lease: int


class Receipts:
    """Makes and reads the receipts of one store in one epoch."""

    def __init__(self, secret: bytes, epoch: int) -> None:
        self._secret = secret
        self.epoch = epoch
        self._last: tuple[str, Token] = ("", Token(0, 0, 0))

    def token(self, queue_id: int, lease: int) -> str:
        """The part that all receipts of one receive begin with."""
        fields = _FIELDS.pack(self.epoch, queue_id, lease)
        return urlsafe_b64encode(fields + self._check(fields)).decode()

    def parse(self, text: str) -> tuple[Token, int] | None:
        """Its token and the message's number; None where it is malformed or its check fails."""
        if text[TOKEN_LENGTH : TOKEN_LENGTH + 1] != "." or not _NUMBER.fullmatch(text, TOKEN_LENGTH + 1):
            return None
        # Receipts of one receive come together: their token is checked once.
        text_of_token = text[:TOKEN_LENGTH]
        if text_of_token != self._last[0]:
            token = self._read(text_of_token)
            if token is None:
                return None
            self._last = (text_of_token, token)
        return self._last[1], int(text[TOKEN_LENGTH + 1 :], 16)

    def _read(self, text: str) -> Token | None:
        if _TOKEN.fullmatch(text) is None:
            return None
        raw = urlsafe_b64decode(text)
        fields, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        return Token._make(_FIELDS.unpack(fields)) if hmac.compare_digest(check, self._check(fields)) else None

    def _check(self, fields: bytes) -> bytes:
        return hashlib.blake2b(fields, digest_size=_CHECK_BYTES, key=self._secret).digest()
