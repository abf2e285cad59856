"""Tokens, and the globs by which things are shown and moved."""

import re
from collections.abc import Iterable
from dataclasses import replace

from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.replies import Done
from queuesvc.domain.tokens import Token
from tests.model.reference.world import World


def create(world: World, command: c.CreateToken) -> Token:
    if any(token.name == command.name or token.id == command.id for token in world.kept.tokens):
        raise Refused(Code.CONFLICT, command.name, fields=["name"])
    until = 0 if command.expires_ms is None else world.now + command.expires_ms
    token = Token(command.id, command.name, command.digest, command.permissions, world.now, until)
    world.kept.tokens.append(token)
    return token


def find(world: World, name: str) -> Token:
    for token in world.kept.tokens:
        if token.name == name:
            return token
    raise Refused(Code.NOT_FOUND, name)


def revoke(world: World, command: c.RevokeToken) -> Done:
    world.kept.tokens.remove(find(world, command.name))
    return Done()


def note_use(world: World, command: c.NoteTokenUse) -> Done:
    for id_, at in command.uses:
        world.kept.tokens = [
            replace(token, last_used_at=max(at, token.last_used_at)) if token.id == id_ else token
            for token in world.kept.tokens
        ]
    return Done()


def holds(world: World, id_: str) -> bool:
    """Whether a receive under this token may be served; "" is none."""
    if not id_:
        return True
    good = [token for token in world.kept.tokens if not token.expires_at or world.now < token.expires_at]
    return id_ in [token.id for token in good]


def fits(globs: Iterable[str] | None, *names: str) -> bool:
    """Whether each of the names is like one of the globs; None stands for all."""
    if globs is None:
        return True
    expressions = [".*".join(map(re.escape, glob.split("*"))) for glob in globs]
    return all(any(re.fullmatch(expression, name) for expression in expressions) for name in names)
