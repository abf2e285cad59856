"""What each command needs of a token: no command is without a rule."""

from typing import get_args

import pytest

from queuesvc.domain import commands as c
from queuesvc.domain.model import Envelope, Exchange, ExchangeType, QueueSettings
from queuesvc.domain.needs import needs
from queuesvc.domain.tokens import Permission, Permissions

PUBLISH, CONSUME, MANAGE, ADMIN = Permission.PUBLISH, Permission.CONSUME, Permission.MANAGE, Permission.ADMIN
DIRECT = ExchangeType.DIRECT
ONE = (Envelope(b"", ""),)

CASES: list[tuple[c.Command, list[tuple[Permission, str]]]] = [
    (c.PutExchange(Exchange("x", DIRECT)), [(MANAGE, "x")]),
    (c.PutExchange(Exchange("x", DIRECT, "alternate")), [(MANAGE, "x"), (PUBLISH, "alternate")]),
    (c.DeleteExchange("x"), [(MANAGE, "x")]),
    (c.PutQueue("q", QueueSettings()), [(MANAGE, "q")]),
    (c.PutQueue("q", QueueSettings(dead_letter_exchange="dlx")), [(MANAGE, "q"), (PUBLISH, "dlx")]),
    (c.PatchQueue("q", {"paused": True}), [(MANAGE, "q")]),
    (c.PatchQueue("q", {"dead_letter_exchange": None}), [(MANAGE, "q")]),
    (c.PatchQueue("q", {"dead_letter_exchange": "dlx"}), [(MANAGE, "q"), (PUBLISH, "dlx")]),
    (c.DeleteQueue("q"), [(MANAGE, "q")]),
    (c.Bind("x", queue="q"), [(MANAGE, "x"), (MANAGE, "q")]),
    (c.Bind("x", exchange="y"), [(MANAGE, "x"), (MANAGE, "y")]),
    (c.Unbind(1), []),
    (
        c.PutDefinitions(
            (Exchange("x", DIRECT, "alternate"),),
            (("q", QueueSettings(dead_letter_exchange="dlx")),),
            (c.Bind("y", queue="r"),),
        ),
        [(MANAGE, "x"), (PUBLISH, "alternate"), (MANAGE, "q"), (PUBLISH, "dlx"), (MANAGE, "y"), (MANAGE, "r")],
    ),
    (c.Publish(ONE, exchange="x"), [(PUBLISH, "x")]),
    (c.Publish(ONE, queue="q"), [(PUBLISH, "q")]),
    (c.Publish(ONE, queue="_reply.address"), []),
    (c.Receive("q"), [(CONSUME, "q")]),
    (c.Ack("q", ()), [(CONSUME, "q")]),
    (c.Nack("q", ()), [(CONSUME, "q")]),
    (c.Extend("q", (), 1), [(CONSUME, "q")]),
    (c.Undeliver("q", 1), []),
    (
        c.Transaction((c.Ack("a", ()),), (c.Nack("n", ()),), (c.Publish(ONE, "x"), c.Publish(ONE, queue="q"))),
        [(CONSUME, "a"), (CONSUME, "n"), (PUBLISH, "x"), (PUBLISH, "q")],
    ),
    (c.PurgeQueue("q"), [(MANAGE, "q")]),
    (c.RemoveMessage("q", "id"), [(MANAGE, "q")]),
    (c.Redrive("q", 1), [(MANAGE, "q")]),
    (c.Redrive("q", 1, to_queue="q"), [(MANAGE, "q")]),
    (c.Redrive("q", 1, to_queue="r"), [(MANAGE, "q"), (PUBLISH, "r")]),
    (c.Release("q", ()), [(MANAGE, "q")]),
    (c.CreateToken("t", "1", b"", Permissions()), [(ADMIN, "")]),
    (c.RevokeToken("t"), [(ADMIN, "")]),
    (c.NoteTokenUse(()), []),
    (c.Tick(), []),
]


@pytest.mark.parametrize(("command", "wanted"), CASES, ids=[repr(command)[:60] for command, _ in CASES])
def test_what_a_command_needs(command: c.Command, wanted: list[tuple[Permission, str]]) -> None:
    assert list(needs(command)) == wanted


def test_every_command_is_here() -> None:
    assert {type(command) for command, _ in CASES} == set(get_args(c.Command))
