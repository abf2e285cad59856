"""What a refusal must look like on the wire."""

from typing import Any

import httpx2


def refused(response: httpx2.Response, status: int, code: str, **members: Any) -> dict[str, Any]:
    """Check that it is the problem of this code (RFC 9457), with these members among its own; returns all of them."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:queuesvc:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert {name: problem.get(name) for name in members} == members
    return problem
