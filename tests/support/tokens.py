"""A broker that needs tokens, and who holds which."""

from typing import Any

import httpx2

from tests.support.server import Server

Headers = dict[str, str]


def bearer(secret: str) -> Headers:
    """The header under which a token is shown."""
    return {"Authorization": f"Bearer {secret}"}


class Holders:
    """Makes tokens at a broker, of which the first is `root`: it may do everything. To be entered, and left."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = httpx2.Client(base_url=server.url, timeout=60)
        """bears the token of `root`"""

    def __enter__(self) -> "Holders":
        self.http.__enter__()
        everything = {"publish": ["*"], "consume": ["*"], "manage": ["*"], "admin": True, "metrics": True}
        self.root_secret = self.secret("root", **everything)
        self.root = bearer(self.root_secret)
        self.http.headers.update(self.root)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def secret(self, name: str, **wanted: Any) -> str:
        """A token's secret."""
        answer = self.http.post("/v1/tokens", json={"name": name, **(wanted or {"metrics": True})})
        assert answer.status_code == 201, answer.text
        secret: str = answer.json()["token"]
        return secret

    def holder(self, name: str, **wanted: Any) -> Headers:
        """The header of whoever holds such a token."""
        return bearer(self.secret(name, **wanted))

    def shown(self, name: str) -> dict[str, Any]:
        """A token as the broker shows it."""
        answer = self.http.get(f"/v1/tokens/{name}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def revoke(self, name: str) -> None:
        """Revoke it."""
        assert self.http.delete(f"/v1/tokens/{name}").status_code == 204
