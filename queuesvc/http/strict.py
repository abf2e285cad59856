"""Heads that the parser takes and we do not: what another server on the way could understand in another way."""

from queuesvc.http.request import Pairs

SCHEMES = (b"http://", b"https://")


def unfit(version: str, method: bytes, target: bytes, headers: Pairs) -> str | None:
    """Why a request with such a head is refused, or None (RFC 9112 §2.3, §3.2, §6.1; RFC 9110 §7.2).

    `headers` have lower-cased names.
    """
    if version not in ("1.1", "1.0"):
        return "the version of HTTP must be 1.1 or 1.0"
    if method == b"CONNECT":
        return "this is no proxy"
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "a request must have one Host header"
    if not target.startswith(b"/") and target != b"*" and not target.lower().startswith(SCHEMES):
        return "the address is neither a path nor an http URL"
    for name, value in headers:
        if name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
            return "the only Transfer-Encoding is chunked, in HTTP/1.1"
    return None
