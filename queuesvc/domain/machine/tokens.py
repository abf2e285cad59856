"""The verbs of tokens. Whether a request may be made is for the edge to say, from these; one rule stands here.

It is that of receives which wait: messages are handed out inside a batch, so whether the token under which
somebody waits still holds is looked at there, too.
"""

from dataclasses import replace

from queuesvc.domain.commands import CreateToken, NoteTokenUse, RevokeToken
from queuesvc.domain.effects import TokenDropped, TokenPut
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.machine.state import State
from queuesvc.domain.replies import Done
from queuesvc.domain.tokens import Token, no_longer_valid


def create(state: State, command: CreateToken) -> Token:
    """Make a token."""
    if command.name in state.tokens or command.id in state.tokens_by_id:
        raise Refused(Code.CONFLICT, f"there is a token {command.name!r} already", fields=["name"])
    expires_at = 0 if command.expires_ms is None else state.now + command.expires_ms
    token = Token(command.id, command.name, command.digest, command.permissions, state.now, expires_at)
    _put(state, token)
    return token


def revoke(state: State, command: RevokeToken) -> Done:
    """Remove a token."""
    token = state.token(command.name)
    del state.tokens[token.name], state.tokens_by_id[token.id]
    state.effects.topology.append(TokenDropped(token.id))
    return Done()


def note_use(state: State, command: NoteTokenUse) -> Done:
    """Keep when tokens were used last."""
    for id_, at in command.uses:
        token = state.tokens_by_id.get(id_)
        if token is not None and token.last_used_at < at:
            _put(state, replace(token, last_used_at=at))
    return Done()


def check(state: State, id_: str) -> None:
    """`unauthenticated` unless this token is there, and its time is not over."""
    token = state.tokens_by_id.get(id_)
    if token is None or token.expired(state.now):
        raise no_longer_valid()


def _put(state: State, token: Token) -> None:
    state.tokens[token.name] = state.tokens_by_id[token.id] = token
    state.effects.topology.append(TokenPut(token))
