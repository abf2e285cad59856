"""Heads that the parser takes and we do not: what another server on the way could understand in another way."""

from queuesvc.http.request import Pairs

SCHEMES = (b"http://", b"https://")
ONE_HOST = "a request has one Host header, and no more"


def unfit(version: str, method: bytes, target: bytes, headers: Pairs) -> str | None:
    """Why a request with such a head is refused, or None (RFC 9112 §2.3, §3.2, §6.1; RFC 9110 §7.2).

    `headers` have lower-cased names.
    """
    if version not in ("1.1", "1.0"):
        return "the version of HTTP must be 1.1 or 1.0"
    if method == b"CONNECT":
        return "this is no proxy"
    if not says_one_host(version, headers):
        return ONE_HOST
    if not target.startswith(b"/") and target != b"*":
        if not target.lower().startswith(SCHEMES):
            return "the address is neither a path nor an http URL"
        host = target.split(b"/", 3)[2].lower()
        if any(name == b"host" and value.lower() != host for name, value in headers):
            return "the address is on another host than the Host header names"
    for name, value in headers:
        if name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
            return "the only Transfer-Encoding is chunked, in HTTP/1.1"
    return None


def says_one_host(version: str, headers: Pairs) -> bool:
    """Whether a request says whom it is for, and once. HTTP/1.0 knows no `Host`; no browser speaks it."""
    hosts = sum(name == b"host" for name, _ in headers)
    return hosts == 1 or (hosts == 0 and version == "1.0")
