"""The endpoints of tokens, one row each."""

from typing import Final

from queuesvc.domain.errors import Code
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import on
from queuesvc.http.control import token_models, tokens
from queuesvc.http.endpoint import JSON, Answer, Body, Endpoint, paging
from queuesvc.http.request import text

TOKENS: Final = (
    Endpoint(
        "POST",
        "/v1/tokens",
        "postToken",
        "Tokens",
        "Make a token",
        about="The secret is in the answer and nowhere else. As soon as there is a token every call needs one, so the "
        "first must have `admin`.",
        body=Body("what it is to allow", {JSON: token_models.TokenDeclaration}),
        answers={201: Answer("made", {JSON: token_models.NewToken})},
        problems=(Code.CONFLICT,),
        handler=tokens.post_token,
        need=on(Permission.ADMIN),
        example="""curl {url}/v1/tokens -d '{"name": "shop", "publish": ["orders*"], "consume": ["orders.*"]}'""",
    ),
    Endpoint(
        "GET",
        "/v1/tokens",
        "listTokens",
        "Tokens",
        "List the tokens",
        query=paging(text, "name", {}),
        answers={200: Answer("a page of tokens, by name", {JSON: token_models.TokenList})},
        handler=tokens.list_tokens,
        need=on(Permission.ADMIN),
        example="curl {url}/v1/tokens",
    ),
    Endpoint(
        "GET",
        "/v1/tokens/{token}",
        "getToken",
        "Tokens",
        "Show a token",
        answers={200: Answer("the token", {JSON: token_models.Token})},
        problems=(Code.NOT_FOUND,),
        handler=tokens.get_token,
        need=on(Permission.ADMIN),
        example="curl {url}/v1/tokens/shop",
    ),
    Endpoint(
        "DELETE",
        "/v1/tokens/{token}",
        "deleteToken",
        "Tokens",
        "Revoke a token",
        about="At once: receives that wait under it end in a 401 and take no message.",
        answers={204: Answer("revoked")},
        problems=(Code.NOT_FOUND,),
        handler=tokens.delete_token,
        need=on(Permission.ADMIN),
        example="curl -X DELETE {url}/v1/tokens/shop",
    ),
)
