"""Tokens: made, shown, revoked."""

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from queuesvc.domain import tokens as domain
from queuesvc.domain.commands import GetToken, ListTokens
from queuesvc.domain.errors import invalid
from queuesvc.domain.limits import LIST_ITEMS_DEFAULT
from queuesvc.domain.replies import Page
from queuesvc.http.control import views
from queuesvc.http.control.token_models import TokenDeclaration
from queuesvc.http.endpoint import Call
from queuesvc.http.times import rfc3339


async def post_token(call: Call) -> Response:
    """Make a token. Its secret is in this answer and nowhere else."""
    wanted = await call.document(TokenDeclaration)
    call.grant.check()
    broker = call.edge.broker
    if not broker.tokens.needed and not wanted.admin:
        raise invalid("admin", "the first token must have it: from then on every call needs a token, this one too")
    expires_ms = None if wanted.expires_seconds is None else round(wanted.expires_seconds * 1000)
    made, text = await broker.create_token(wanted.name, wanted.permissions(), expires_ms)
    return views.answer({**_shown(call, made), "token": text}, 201)


async def list_tokens(call: Call) -> Response:
    """Show a page of tokens."""
    query = ListTokens(call.query.get("after", ""), call.query.get("limit", LIST_ITEMS_DEFAULT))
    page = await call.edge.broker.ask(query)
    assert isinstance(page, Page)
    return views.answer(views.page("tokens", page, lambda token: _shown(call, token)))


async def get_token(call: Call) -> Response:
    """Show a token."""
    token = await call.edge.broker.ask(GetToken(call.name("token")))
    assert isinstance(token, domain.Token)
    return views.answer(_shown(call, token))


async def delete_token(call: Call) -> Response:
    """Revoke a token."""
    await call.edge.broker.revoke_token(call.name("token"))
    return Response(status_code=204)


def _shown(call: Call, token: domain.Token) -> dict[str, Any]:
    broker = call.edge.broker
    grant = broker.tokens.named(token.name)
    used_at = token.last_used_at if grant is None else max(token.last_used_at, grant.used_at)
    return {
        "name": token.name,
        "id": token.id,
        **asdict(token.permissions),
        "created_at": rfc3339(token.created_at),
        "expires_at": rfc3339(token.expires_at) if token.expires_at else None,
        "expired": token.expired(broker.now()),
        "last_used_at": rfc3339(used_at) if used_at else None,
    }
