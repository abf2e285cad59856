"""Tokens of a running broker: known at once, over at once, and noted as used now and then."""

import asyncio
from pathlib import Path

import pytest

from queuesvc.broker import tokens
from queuesvc.broker.broker import Broker
from queuesvc.broker.tokens import Grant
from queuesvc.domain import commands as c
from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.replies import Received
from queuesvc.domain.tokens import PREFIX, Permission, Permissions, Token, same
from queuesvc.store.sqlite.store import SqliteStore
from tests.support.brokers import Full, Hands, bodies, commits_held_up, make_queue, publish, running, stats_of, to_queue
from tests.support.stores import look
from tests.support.until import until

ALL = Permissions(("*",), ("*",), ("*",), True, True)
PATIENTLY_MS = 10_000


async def make(broker: Broker, name: str = "t", permissions: Permissions = ALL, expires_ms: int | None = None) -> str:
    _, text = await broker.create_token(name, permissions, expires_ms)
    return text


def is_refused(broker: Broker, text: str) -> bool:
    try:
        broker.tokens.grant_of(text)
    except Refused as refused:
        return refused.code is Code.UNAUTHENTICATED
    return False


def under_way(broker: Broker, kind: type) -> bool:
    """Whether a batch with such a command is being written."""
    return any(isinstance(command, kind) for command, _ in broker._committer._under_way)


async def kept(broker: Broker, name: str = "t") -> Token:
    token = await broker.ask(c.GetToken(name))
    assert isinstance(token, Token)
    return token


async def test_it_opens_from_the_moment_of_the_answer_and_not_with_another_secret(broker: Broker) -> None:
    assert not broker.tokens.needed
    text = await make(broker)
    assert broker.tokens.needed
    grant = broker.tokens.grant_of(text)
    assert (grant.name, grant.admin, grant.metrics) == ("t", True, True)
    other = await make(broker, "u")
    head, id_, secret = text.split("_", 2)
    assert head == PREFIX
    wrong = [
        "",
        text[:-1],
        text + "x",
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        f"{PREFIX}_{id_}_{other.split('_', 2)[2]}",
        f"{PREFIX}_{'0' * 16}_{secret}",
        f"{PREFIX}_{id_}_",
        text.upper(),
        "ä",
    ]
    assert [one for one in wrong if not is_refused(broker, one)] == []


async def test_what_is_kept_is_a_hash(broker: Broker) -> None:
    text = await make(broker)
    token = await kept(broker)
    assert text.split("_", 2)[2] not in repr(token)
    assert len(token.digest) == 32
    assert repr(token.digest) not in repr(token)


async def test_it_is_compared_in_constant_time(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether there is a token of that id or not, the same is done."""
    compared: list[tuple[int, int]] = []

    def watched(digest: bytes, other: bytes) -> bool:
        compared.append((len(digest), len(other)))
        return same(digest, other)

    monkeypatch.setattr(tokens, "same", watched)
    text = await make(broker)
    for one in (text, text[:-2] + "AA", f"{PREFIX}_{'0' * 16}_{text.split('_', 2)[2]}", "nonsense"):
        is_refused(broker, one)
    assert compared == [(32, 32)] * 4


async def test_names_are_unique(broker: Broker) -> None:
    await make(broker)
    with pytest.raises(Refused) as refused:
        await make(broker)
    assert refused.value.code is Code.CONFLICT
    assert len(broker.tokens) == 1


async def test_a_revoked_one_opens_nothing_and_the_last_one_shuts_everybody_out(broker: Broker) -> None:
    text = await make(broker)
    grant = broker.tokens.grant_of(text)
    await broker.revoke_token("t")
    assert is_refused(broker, text)
    assert grant.ended
    with pytest.raises(Refused):
        grant.check()
    assert len(broker.tokens) == 0
    assert broker.tokens.needed
    with pytest.raises(Refused) as refused:
        await broker.revoke_token("t")
    assert refused.value.code is Code.NOT_FOUND


async def test_whoever_asked_may_leave_before_the_commit(broker: Broker, folder: Path) -> None:
    with commits_held_up(folder):
        making = asyncio.create_task(make(broker))
        await until(lambda: under_way(broker, c.CreateToken))
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
    await until(lambda: len(broker.tokens) == 1)
    with commits_held_up(folder):
        revoking = asyncio.create_task(broker.revoke_token("t"))
        await until(lambda: under_way(broker, c.RevokeToken))
        revoking.cancel()
        await asyncio.gather(revoking, return_exceptions=True)
    await until(lambda: len(broker.tokens) == 0)


async def test_one_that_could_not_be_stored_opens_nothing(broker: Broker, store: SqliteStore) -> None:
    full = Full(store)
    await full.fill()
    many = Permissions(tuple(f"{number:0>200}" for number in range(100)))
    with pytest.raises(Refused) as refused:
        await make(broker, permissions=many)
    assert refused.value.code is Code.UNAVAILABLE
    assert not broker.tokens.needed
    await full.make_room()


async def test_they_outlive_the_broker(folder: Path) -> None:
    async with running(SqliteStore(folder)) as broker:
        texts = [await make(broker, f"t{number}") for number in range(3)]
        await broker.revoke_token("t1")
    async with running(SqliteStore(folder)) as broker:
        assert broker.tokens.needed
        assert [is_refused(broker, text) for text in texts] == [False, True, False]
        await broker.revoke_token("t0")
        await broker.revoke_token("t2")
    async with running(SqliteStore(folder)) as broker:
        assert not broker.tokens.needed


async def test_its_time_is_broker_time_also_over_a_restart(folder: Path) -> None:
    hands = Hands()
    async with running(SqliteStore(folder), hands) as broker:
        text = await make(broker, expires_ms=60_000)
        hands.pass_seconds(59.9)
        assert not is_refused(broker, text)
        hands.wall -= 3600  # a wall clock that is set back gives nobody an hour more
        hands.pass_seconds(0.2)
        assert is_refused(broker, text)
    async with running(SqliteStore(folder), hands) as broker:
        assert is_refused(broker, text)
        assert broker.tokens.needed
        assert (await kept(broker)).expired(broker.now())


# --- last use -------------------------------------------------------------------


async def test_many_uses_are_one_write_and_none_before_its_time(
    broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [await make(broker, f"t{number}") for number in range(3)]
    before = broker.meter.commits
    for _ in range(100):
        for text in texts:
            broker.tokens.grant_of(text)
    await broker.ask(c.ListTokens())
    assert broker.meter.commits == before
    broker.tokens._note_uses()  # as the timer does after a minute
    await until(lambda: broker.meter.commits == before + 1)
    uses = look(folder / "queuesvc.db", "SELECT last_used_at FROM token")
    assert len(uses) == 3
    assert all(at > 0 for (at,) in uses)
    broker.tokens._note_uses()
    await broker.ask(c.ListTokens())
    assert broker.meter.commits == before + 1


async def test_a_timer_notes_them(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "NOTED_SECONDS", 0.001)
    text = await make(broker)
    before = broker.meter.commits
    at = broker.tokens.grant_of(text).used_at
    await until(lambda: broker.meter.commits == before + 1)
    assert (await kept(broker)).last_used_at == at


async def test_a_broker_that_ends_notes_them(folder: Path) -> None:
    async with running(SqliteStore(folder)) as broker:
        text = await make(broker)
        at = broker.tokens.grant_of(text).used_at
    async with running(SqliteStore(folder)) as broker:
        assert (await kept(broker)).last_used_at == at


# --- who waits under it ---------------------------------------------------------


def waiting(broker: Broker, grant: Grant, *, auto_ack: bool = False) -> "asyncio.Task[Received]":
    return asyncio.create_task(broker.receive(c.Receive("q", auto_ack=auto_ack, token=grant.id), PATIENTLY_MS))


@pytest.mark.parametrize("auto_ack", [False, True])
async def test_a_revoke_and_a_message_in_one_batch(broker: Broker, folder: Path, auto_ack: bool) -> None:
    """The message is for the next in line: none is lost to one who may not have it."""
    gone = broker.tokens.grant_of(await make(broker, "gone"))
    stays = broker.tokens.grant_of(await make(broker, "stays"))
    first, second = waiting(broker, gone, auto_ack=auto_ack), waiting(broker, stays)
    await until(lambda: broker.waiting == 2)
    with commits_held_up(folder):
        other = broker.submit(c.Tick())
        await until(lambda: under_way(broker, c.Tick))
        revoked = asyncio.create_task(broker.revoke_token("gone"))
        await until(lambda: any(isinstance(command, c.RevokeToken) for command, _, _ in broker._committer._line._items))
        published = broker.submit(to_queue("q", "x"))
    await asyncio.gather(other, revoked, published)
    with pytest.raises(Refused) as refused:
        await first
    assert refused.value.code is Code.UNAUTHENTICATED
    assert bodies(await second) == [b"x"]
    stats = await stats_of(broker, "q")
    assert (stats.delivered, stats.acked) == (1, 0)


async def test_one_that_expired_gets_nothing(folder: Path) -> None:
    hands = Hands()
    async with running(SqliteStore(folder), hands) as broker:
        await make_queue(broker, "q")
        grant = broker.tokens.grant_of(await make(broker, expires_ms=1000))
        waits = waiting(broker, grant)
        await until(lambda: broker.waiting == 1)
        hands.pass_seconds(1)
        await publish(broker, "q", "x")
        with pytest.raises(Refused) as refused:
            await waits
        assert refused.value.code is Code.UNAUTHENTICATED
        assert (await stats_of(broker, "q")).ready == 1


@pytest.mark.parametrize("expires_ms", [None, 50])
async def test_who_waits_is_told_when_it_is_over(broker: Broker, expires_ms: int | None) -> None:
    grant = broker.tokens.grant_of(await make(broker, expires_ms=expires_ms))
    told: list[int] = []
    watchers = [lambda number=number: told.append(number) for number in range(3)]
    for watcher in watchers:
        grant.watch(watcher)
    grant.unwatch(watchers[1])
    if expires_ms is None:
        await broker.revoke_token("t")
    await until(lambda: grant.ended)
    assert told == [0, 2]
    late = asyncio.Event()
    grant.watch(late.set)
    await late.wait()


async def test_what_it_allows(broker: Broker) -> None:
    grant = broker.tokens.grant_of(await make(broker, "g", Permissions(("a*",), ("b",), ("c*", "d"))))
    named = {
        permission: [name for name in ("a", "ab", "b", "c", "d", "e") if grant.allows(permission, name)]
        for permission in (Permission.PUBLISH, Permission.CONSUME, Permission.MANAGE, Permission.SEE)
    }
    assert list(named.values()) == [["a", "ab"], ["b"], ["c", "d"], ["a", "ab", "b", "c", "d"]]
    assert not grant.allows(Permission.ADMIN)
    assert not grant.allows(Permission.METRICS)
    assert grant.globs(Permission.SEE) == ("a*", "b", "c*", "d")
