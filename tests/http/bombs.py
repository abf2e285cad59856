"""JSON that costs its reader more than its writer, or is none: what each is, and what must become of it."""

from typing import Final

MIB: Final = 1024 * 1024
TOO_LARGE: Final = 413
MALFORMED: Final = 400
INVALID: Final = 422


def nested(levels: int, begin: bytes, end: bytes) -> bytes:
    """A value so many levels deep."""
    return begin * levels + b"0" + end * levels


def members(count: int) -> bytes:
    """An object of so many members."""
    return b"{" + b",".join(b'"m%d":0' % number for number in range(count)) + b"}"


def in_field(field: str, value: bytes) -> bytes:
    """A member of an object, as it is written."""
    return b'"%b":%b' % (field.encode(), value)


VALUES: Final = {
    "lists 1,000 levels deep": nested(1000, b"[", b"]"),
    "objects 1,000 levels deep": nested(1000, b'{"a":', b"}"),
    "lists 100 levels deep": nested(100, b"[", b"]"),
    "objects 10,000 levels deep": nested(10_000, b'{"a":', b"}"),
    "1,001 members": members(1001),
    "10,000 elements": b"[" + b",".join([b"0"] * 10_000) + b"]",
    "10,000 texts": b"[" + b",".join([b'"x"'] * 10_000) + b"]",
    "10,000 objects": b"[" + b",".join([b"{}"] * 10_000) + b"]",
    "a text of 100,000 characters": b'"' + b"x" * 100_000 + b'"',
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "1e300": b"1e300",
    "5,000 digits": b"9" * 5000,
    "5,000 digits of a fraction": b"0." + b"9" * 5000 + b"e400",
    "2^64": b"%d" % 2**64,
    "-2^63 - 1": b"%d" % (-(2**63) - 1),
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "a lone surrogate": b'"\\ud800"',
    "a lone surrogate in bytes": b'"\xed\xa0\x80"',
    "two surrogates the wrong way round": b'"\\udc00\\ud800"',
    "NUL": b'"\\u0000"',
    "no UTF-8": b'"\xff"',
    "an object with a lone surrogate": b'{"\\ud800": 1}',
    "a list of null": b"[null]",
}
"""Values that no field of the control plane's, of a receive's or of a settlement's may have."""

WHOLE: Final = {
    "lists 10,000 levels deep": (nested(10_000, b"[", b"]"), {MALFORMED}),
    "lists 100,000 levels deep, without an end": (b"[" * 100_000, {MALFORMED}),
    "objects 10,000 levels deep": (nested(10_000, b'{"a":', b"}"), {MALFORMED}),
    "an unknown field 1,000 levels deep": (b"{" + in_field("zz", nested(1000, b"[", b"]")) + b"}", {INVALID}),
    "1,001 members": (members(1001), {INVALID}),
    "a field's name of 100,000 characters": (b"{" + in_field("z" * 100_000, b"1") + b"}", {INVALID}),
    "a field's name in other letters": (b'{"%b":1}' % ("é" * 10_000).encode(), {INVALID}),
    "a field's name that is a lone surrogate": (b'{"\\ud800":1}', {MALFORMED}),
    "a byte order mark": (b"\xef\xbb\xbf{}", {MALFORMED}),
    "UTF-16": ("{}".encode("utf-16"), {MALFORMED}),
    "NaN": (b"NaN", {MALFORMED}),
    "a number of 100,000 digits": (b"9" * 100_000, {INVALID, MALFORMED}),
    "a list": (b"[]", {INVALID}),
    "a text": (b'"{}"', {INVALID}),
    "null": (b"null", {INVALID}),
    "two documents": (b"{}{}", {MALFORMED}),
    "a comma too many": (b'{"zz":1,}', {MALFORMED}),
    "a comment": (b"{/**/}", {MALFORMED}),
    "single quotes": (b"{'zz':1}", {MALFORMED}),
    "NUL": (b"\0", {MALFORMED}),
    "1 MiB of spaces": (b" " * MIB + b'{"zz":1}', {TOO_LARGE, INVALID}),
    "1 MiB of a text": (b"{" + in_field("zz", b'"' + b"x" * MIB + b'"') + b"}", {TOO_LARGE, INVALID}),
    "500,000 lists": (b'{"zz":[' + b",".join([b"[]"] * 500_000) + b"]}", {TOO_LARGE, INVALID}),
}
"""Bodies, and which statuses they may have."""


def vast() -> dict[str, bytes]:
    """Bodies of almost 16 MiB, the most that a request may be: made when they are wanted."""
    most = 16 * MIB - 1024

    def filled(item: bytes) -> bytes:
        return b'{"zz":[' + b",".join([item] * (most // (len(item) + 1))) + b"]}"

    return {
        "a million members": members(1_000_000),
        "lists": filled(b"[]"),
        "objects": filled(b"{}"),
        "numbers": filled(b"0"),
        "great numbers": filled(b"9" * 30),
        "texts": filled(b'"x"'),
        "members of members": filled(b'{"a":{}}'),
        "digits": b'{"zz":' + b"9" * most + b"}",
        "a name": b'{"' + b"z" * most + b'":0}',
        "spaces": b" " * most + b'{"zz":0}',
        "levels": b"[" * most,
    }
