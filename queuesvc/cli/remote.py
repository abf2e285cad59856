"""Ask a broker over HTTP, as a verb of the command line does: one question, one answer, nothing kept."""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_URL: Final = "http://127.0.0.1:8642"
TIMEOUT_SECONDS: Final = 30.0
PATIENT_SECONDS: Final = 3600.0
"""how long an answer may need to begin that is made first: a backup of a large store"""


class NoAnswer(Exception):
    """It could not be asked; the text says why and what to do."""


class Reply(NamedTuple):
    """What came back: `document` is its JSON, {} for none. A refusal's says why in `detail` (RFC 9457)."""

    status: int
    document: dict[str, Any]

    @property
    def refused(self) -> bool:
        """Whether it was not done."""
        return self.status >= 400


Ask = Callable[[str, str, dict[str, Any] | None], Reply]
"""Method, path and JSON of a request to its reply. Raises `NoAnswer`."""


def over_http(url: str, token: str | None) -> Ask:
    """Ask the broker that runs there, under this token."""
    path_before = _path_of(url)

    def ask(method: str, path: str, document: dict[str, Any] | None) -> Reply:
        """Ask it one thing."""
        connection = _connect(url)
        try:
            connection.request(method, path_before + path, _body(document), _bearing(token))
            answer = connection.getresponse()
            return Reply(answer.status, read_json(answer.read(), url))
        except ssl.SSLError as error:
            raise NoAnswer(
                f"no secure connection to {url}: {error.reason}; SSL_CERT_FILE may name whom to trust"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(
                f"no broker answers at {url} ({error or type(error).__name__}): start it, say by --url where it is, "
                "or name by --data the directory of one that does not run"
            ) from None
        finally:
            connection.close()

    return ask


def download(url: str, token: str | None, path: str) -> Iterator[bytes]:
    """Post, and give what the answer carries in pieces, all of it. Raises `NoAnswer`."""
    path = _path_of(url) + path
    connection = _connect(url, PATIENT_SECONDS)
    try:
        connection.request("POST", path, None, _bearing(token))
        answer = connection.getresponse()
        if answer.status >= 400:
            hint = "; --token or QUEUESVC_TOKEN gives one that has admin" if answer.status in (401, 403) else ""
            raise NoAnswer(f"{read_json(answer.read(), url).get('detail', f'refused with {answer.status}')}{hint}")
        while chunk := answer.read(1024 * 1024):
            yield chunk
    except http.client.IncompleteRead:
        raise NoAnswer(f"the answer of {url} broke off: try again") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(f"no answer from {url}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def read_json(body: bytes, whose: str) -> dict[str, Any]:
    """The object that an answer carries. Raises `NoAnswer`."""
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NoAnswer(f"what answers at {whose} is no queuesvc broker")
    return document


def _path_of(url: str) -> str:
    """What stands before every path at this address. Raises `NoAnswer` for one that can be no broker's."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.path.rstrip("/")
    except ValueError:
        pass
    raise NoAnswer(f"{url} is no address of a broker: it should be like {DEFAULT_URL}")


def _connect(url: str, seconds: float = TIMEOUT_SECONDS) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=seconds)


def _bearing(token: str | None) -> dict[str, str]:
    """Raises `NoAnswer` for what cannot go into a header: whatever tells of that later says the token with it."""
    if token is None:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise NoAnswer("the token has a line break or another character in it that no token has: copy it again")
    return {"Authorization": f"Bearer {token}"}


def _body(document: dict[str, Any] | None) -> bytes | None:
    return None if document is None else json.dumps(document).encode()
