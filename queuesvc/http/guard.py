"""Who a request says it is for, and which page it comes from: web pages of others are kept out.

A browser sends requests for whatever page its user happens to look at, also to `localhost`, and lets the page
send a form or plain text anywhere. Three headers that no page can forge tell such requests:

- `Host` is the name that the client used. A page at `http://evil.example:8642` whose name was pointed at 127.0.0.1
  after it was loaded (DNS rebinding) reads our answers as its own; but its requests say `Host: evil.example:8642`.
- `Sec-Fetch-Site` says how the page is related to us. Browsers send it over https and to loopback.
- `Origin` says which page a request comes from, with every POST and every request that the page could read.

Clients that are no browsers send none of the last two. What is refused is a 403 `forbidden`, and does nothing.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from queuesvc.domain.errors import Code, Refused
from queuesvc.http.request import Pairs, malformed
from queuesvc.http.strict import ONE_HOST, says_one_host

HEADERS: Final = frozenset({b"origin", b"sec-fetch-site"})
"""A request with one of these comes from a browser and must be looked at with care."""

KEPT_HOSTS: Final = 256
SHOWN_CHARACTERS: Final = 100

_AUTHORITY: Final = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>[0-9]{0,5}))?")
_ORIGIN: Final = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@]+)")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_FROM_US: Final = b"same-origin"
_FROM_NOBODY: Final = b"none"  # the user's own doing: typed, or a bookmark


class Guard:
    """Knows the names under which this broker is called.

    Always: `localhost` and what ends in `.localhost`, and every address, which cannot be made to lead elsewhere.
    `hosts` are more: names, `*.example.org` for all below one, `*` for every name there is. Ports do not matter.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        names = {_plain(host) for host in hosts}
        self._any = "*" in names
        self._below = (".localhost", *(name[1:] for name in names if name.startswith("*.")))
        self._names = {"localhost", *names}
        self._known: set[bytes] = set()

    def knows(self, host: bytes) -> bool:
        """Whether a `Host` header names this broker."""
        if host in self._known:
            return True
        found = _AUTHORITY.fullmatch(host.decode("latin-1").lower())
        if found is None or not self._is_ours(found["six"], found["name"]):
            return False
        if len(self._known) >= KEPT_HOSTS:
            self._known.clear()
        self._known.add(host)
        return True

    def check(self, method: str, http_version: str, headers: Pairs) -> None:
        """Raise `malformed-request` for a request that does not say whom it is for, `forbidden` for one not for us.

        Our own connection has looked at that (`strict.py`), but another ASGI server's may not have.
        """
        if not says_one_host(http_version, headers):
            raise malformed(ONE_HOST)
        host = next((value for name, value in headers if name == b"host"), None)
        if host is not None and not self.knows(host):
            shown = host.decode("latin-1")
            if _AUTHORITY.fullmatch(shown.lower()) is None:
                raise malformed("the Host header is no host")
            raise Refused(
                Code.FORBIDDEN,
                f"{shown[:SHOWN_CHARACTERS]} is no name of this broker's; the setting allowed_hosts gives it names",
            )
        self._check_page(method, host or b"", headers)

    def _check_page(self, method: str, host: bytes, headers: Pairs) -> None:
        sites = {value for name, value in headers if name == b"sec-fetch-site"}
        origins = {value for name, value in headers if name == b"origin"}
        if sites == {_FROM_US}:
            return
        if not sites <= {_FROM_US, _FROM_NOBODY} and not _follows_link(method, headers):
            raise _other_page()
        if any(not _is_page_of(origin, host) for origin in origins):
            raise _other_page()

    def _is_ours(self, six: str | None, name: str | None) -> bool:
        if six is not None or name is None:
            return _is_address(six or "")
        name = _plain(name)
        return self._any or name in self._names or name.endswith(self._below) or _is_address(name)


def _other_page() -> Refused:
    return Refused(Code.FORBIDDEN, "a web page may use the broker only where it comes from the broker itself")


def _follows_link(method: str, headers: Pairs) -> bool:
    """Whether the user follows a link to us, into a window of its own: only the user sees what comes of it."""
    mode, target = (
        [value for name, value in headers if name == wanted] for wanted in (b"sec-fetch-mode", b"sec-fetch-dest")
    )
    return method in ("GET", "HEAD") and mode == [b"navigate"] and target == [b"document"]


def _is_page_of(origin: bytes, host: bytes) -> bool:
    """Whether a page of this origin comes from this host and port. Pages that hide where they come from say `null`."""
    found = _ORIGIN.fullmatch(origin.decode("latin-1").lower())
    if found is None:
        return False
    return _place(found["authority"], found["scheme"]) == _place(host.decode("latin-1").lower(), found["scheme"])


def _place(authority: str, scheme: str) -> tuple[str, str]:
    """Name and port, in one form for all that mean the same."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return authority, ""
    return found["six"] or _plain(found["name"]), found["port"] or _DEFAULT_PORTS[scheme]


def _plain(name: str) -> str:
    """In lower case, and without the dot that a full name may end in."""
    return name.lower().removesuffix(".")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
