"""Requests that are wrong below HTTP's meaning, each with what becomes of it.

Smuggling needs two servers that see different requests in the same bytes: so what could be seen in two ways
is refused and its connection closed. `REFUSED` is that; `TAKEN` is odd but means one thing only.
"""

from typing import Final

FIVE: Final = b"Content-Length: 5\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
PATH: Final = b"/v1/queues/q/messages"


def post(
    more: bytes = FIVE,
    body: bytes = b"hello",
    *,
    target: bytes = PATH,
    version: bytes = b"HTTP/1.1",
    method: bytes = b"POST",
) -> bytes:
    """A publish with these header lines beside its Host."""
    return method + b" " + target + b" " + version + b"\r\nHost: localhost\r\n" + more + b"\r\n" + body


def coded(coding: bytes, body: bytes = CHUNKS, **others: bytes) -> bytes:
    """A publish with this Transfer-Encoding."""
    return post(b"Transfer-Encoding: " + coding + b"\r\n", body, **others)


def chunked(body: bytes) -> bytes:
    """A chunked publish with these bytes behind its head."""
    return post(CHUNKED, body)


def sized(length: bytes, body: bytes = b"hello") -> bytes:
    """A publish with this Content-Length."""
    return post(b"Content-Length: " + length + b"\r\n", body)


def get(target: bytes, host: bytes = b"Host: localhost\r\n", version: bytes = b"HTTP/1.1") -> bytes:
    """A GET of this."""
    return b"GET " + target + b" " + version + b"\r\n" + host + b"\r\n"


LENGTHS: Final = {
    "length and chunks": post(FIVE + CHUNKED, CHUNKS),
    "chunks and length": post(CHUNKED + FIVE, CHUNKS),
    "two lengths alike": post(FIVE + FIVE),
    "two lengths": post(FIVE + b"Content-Length: 6\r\n"),
    "a list of lengths": sized(b"5, 5"),
    "a list of different lengths": sized(b"5, 6"),
    "a signed length": sized(b"+5"),
    "a negative length": sized(b"-5"),
    "an empty length": sized(b"", b""),
    "a hexadecimal length": sized(b"0x5"),
    "a length with a space": sized(b"5 5"),
    "a length with an underscore": sized(b"0_5"),
    "a length with a fraction": sized(b"5.0"),
    "a length beyond 64 bits": sized(b"18446744073709551621"),
    "a length of 5,000 digits": sized(b"9" * 5000),
    "a length behind a control character": sized(b"\x0b5"),
    "a length of other digits": sized("٥".encode()),
    "a space before the colon of the length": post(b"Content-Length : 5\r\n"),
}
CODINGS: Final = {
    "two codings": post(CHUNKED + CHUNKED, CHUNKS),
    "gzip, chunked": coded(b"gzip, chunked"),
    "gzip, then chunked": post(b"Transfer-Encoding: gzip\r\n" + CHUNKED, CHUNKS),
    "chunked, gzip": coded(b"chunked, gzip"),
    "chunked twice": coded(b"chunked, chunked"),
    "identity": coded(b"identity", b""),
    "identity with a length": post(b"Transfer-Encoding: identity\r\n" + FIVE),
    "not quite chunked": coded(b"xchunked"),
    "chunked and more": coded(b"chunked x"),
    "quoted": coded(b'"chunked"'),
    "with a parameter": coded(b"chunked;q=1"),
    "behind a control character": coded(b"\x0bchunked"),
    "empty coding": coded(b"", b""),
    "a space before the colon of the coding": post(b"Transfer-Encoding : chunked\r\n", CHUNKS),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS),
    "chunks in HTTP/1.0": coded(b"chunked", version=b"HTTP/1.0"),
}
BAD_CHUNKS: Final = {
    "a negative size": chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
    "a signed size": chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "a size with 0x": chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a size with an underscore": chunked(b"0_5\r\nhello\r\n0\r\n\r\n"),
    "a size beyond 64 bits": chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "no size": chunked(b"\r\nhello\r\n0\r\n\r\n"),
    "a space before the size": chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
    "a space behind the size": chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "line feeds for ends": chunked(b"5\nhello\n0\n\n"),
    "a line feed behind a chunk": chunked(b"5\r\nhello\n0\r\n\r\n"),
    "a line feed at the end": chunked(b"5\r\nhello\r\n0\r\n\n"),
    "a line feed in an extension": chunked(b"5;a\nhello\r\n0\r\n\r\n"),
    "a carriage return in an extension": chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "NUL in an extension": chunked(b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    "more in a chunk than its size": chunked(b"5\r\nhello!\r\n0\r\n\r\n"),
    "less in a chunk than its size": chunked(b"6\r\nhello\r\n0\r\n\r\n"),
    "nothing behind a chunk": chunked(b"5\r\nhello0\r\n\r\n"),
    "a trailer that is a length": chunked(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "a trailer that is a coding": chunked(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a trailer that is no header": chunked(b"5\r\nhello\r\n0\r\nX T 1\r\n\r\n"),
}
LINES: Final = {
    "line feeds for ends of lines": b"POST %b HTTP/1.1\nHost: localhost\nContent-Length: 5\n\nhello" % PATH,
    "one line feed for an end": post(b"X-A: 1\nX-B: 2\r\n" + FIVE),
    "a line feed for the empty line": b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\nhello" % PATH,
    "a carriage return for the empty line": b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\rhello"
    % PATH,
    "a carriage return for an end": post(b"X-A: 1\rX-B: 2\r\n" + FIVE),
    "a folded header": post(b"X-A: 1\r\n  2\r\n" + FIVE),
    "a folded first header": b"POST %b HTTP/1.1\r\n Host: localhost\r\n\r\n" % PATH,
    "NUL in a value": post(b"X-A: a\0b\r\n" + FIVE),
    "a control character in a value": post(b"X-A: a\x01b\r\n" + FIVE),
    "DEL in a value": post(b"X-A: a\x7fb\r\n" + FIVE),
    "NUL in a name": post(b"X\0A: b\r\n" + FIVE),
    "a space in a name": post(b"X A: 1\r\n" + FIVE),
    "a space before a colon": post(b"X-A : 1\r\n" + FIVE),
    "a bracket in a name": post(b"X(A): 1\r\n" + FIVE),
    "a letter beyond ASCII in a name": post("X-é: 1\r\n".encode() + FIVE),
    "no colon": post(b"XA\r\n" + FIVE),
    "no name": post(b": 1\r\n" + FIVE),
    "headers beyond 64 KiB in all": post(b"X: 1\r\n" * 20_000 + FIVE),
    "a name beyond 64 KiB": post(b"X" * 70_000 + b": 1\r\n" + FIVE),
}
TARGETS: Final = {
    "a space in the target": post(target=b"/v1/queues/q q/messages"),
    "a tab in the target": post(target=b"/v1/queues/q\tq/messages"),
    "NUL in the target": post(target=b"/v1/queues/q\0/messages"),
    "letters beyond ASCII in the target": post(target="/v1/queues/é/messages".encode()),
    "no UTF-8 in the target": post(target=b"/v1/queues/\xff/messages"),
    "a target without a slash": get(b"healthz"),
    "a backslash": get(b"\\healthz"),
    "only a query": get(b"?x"),
    "another scheme": get(b"ftp://x/healthz"),
    "an absolute target without a host": get(b"http://"),
    "an absolute target on another host": get(b"http://evil.example/healthz"),
    "an absolute target on another port": get(b"http://localhost:1/healthz"),
    "a host for a target": get(b"x:80"),
    "CONNECT": post(b"", b"", method=b"CONNECT", target=b"x:80"),
    "CONNECT to a path": post(b"", b"", method=b"CONNECT", target=b"/healthz"),
    "CONNECT with a body": post(method=b"CONNECT", target=b"/healthz"),
}
FIRST_LINES: Final = {
    "a tab for a space": b"POST\t%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % PATH,
    "a space at the end": b"POST %b HTTP/1.1 \r\nHost: localhost\r\n\r\n" % PATH,
    "a space at the beginning": b" POST %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % PATH,
    "a method in small letters": post(method=b"post"),
    "an unknown method": post(method=b"BREW"),
    "a control character in the method": post(method=b"PO\x01ST"),
    "no version": b"GET /healthz\r\n\r\n",
    "HTTP/0.9": get(b"/healthz", version=b"HTTP/0.9"),
    "HTTP/2.0": get(b"/healthz", version=b"HTTP/2.0"),
    "HTTP/1.2": get(b"/healthz", version=b"HTTP/1.2"),
    "HTTP/1.10": get(b"/healthz", version=b"HTTP/1.10"),
    "HTTP/11.1": get(b"/healthz", version=b"HTTP/11.1"),
    "http/1.1": get(b"/healthz", version=b"http/1.1"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 100,
    "NUL": b"\0" * 100,
}
HOSTS: Final = {
    "no host": get(b"/healthz", b""),
    "two hosts": get(b"/healthz", b"Host: localhost\r\nHost: localhost2\r\n"),
    "two hosts alike": get(b"/healthz", b"Host: localhost\r\nHost: localhost\r\n"),
    "two hosts in HTTP/1.0": get(b"/healthz", b"Host: localhost\r\nHost: localhost2\r\n", b"HTTP/1.0"),
    "no host for a publish": b"POST %b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" % PATH,
}
REFUSED: Final = {**LENGTHS, **CODINGS, **BAD_CHUNKS, **LINES, **TARGETS, **FIRST_LINES, **HOSTS}
"""Answered with a 400, and the connection closed; nothing of it was done."""

TAKEN: Final = {
    "plain": (post(), 201),
    "zeros before a length": (sized(b"0005"), 201),
    "a tab before a length": (sized(b"\t5"), 201),
    "CHUNKED": (coded(b"CHUNKED"), 201),
    "extensions": (chunked(b'5;a=b\r\nhello\r\n0;c="d;e"\r\n\r\n'), 201),
    "a trailer": (chunked(b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"), 201),
    "letters beyond ASCII in a value": (post("X-A: é\r\n".encode() + FIVE), 201),
    "an unknown expectation": (post(b"Expect: 200-ok\r\n" + FIVE), 201),
    "HTTP/1.0 without a host": (get(b"/healthz", b"", b"HTTP/1.0"), 200),
    "an absolute target": (get(b"HTTP://LOCALHOST/healthz"), 200),
    "an asterisk": (post(b"", b"", method=b"OPTIONS", target=b"*"), 404),
    "two slashes": (get(b"//healthz"), 404),
    "dots": (get(b"/v1/../healthz"), 404),
    "TRACE": (post(b"", b"", method=b"TRACE", target=b"/healthz"), 405),
    "8,000 headers": (post(b"X: 1\r\n" * 8_000 + FIVE), 201),
}
"""Taken, and answered so."""

LOOSER: Final = {
    "two spaces in the first line": b"POST  %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % PATH,
    "empty lines ahead": b"\r\n\r\n" + post(),
    "a size with many zeros": chunked(b"0" * 30 + b"5\r\nhello\r\n0\r\n\r\n"),
    "RTSP/1.0": post(version=b"RTSP/1.0"),
}
"""What h11 refuses and we take, because it cannot be seen in two ways: RFC 9112 allows the first two (§3, §2.2)."""
