"""The broker as a process: wires it together, runs it until it is told to stop, and sets up the interpreter for it."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvloop

from queuesvc import __version__
from queuesvc.broker.broker import Broker
from queuesvc.broker.tokens import Tokens
from queuesvc.cli.logs import set_up_logs
from queuesvc.cli.remote import Ask, NoAnswer, Reply, read_json
from queuesvc.http import inside
from queuesvc.http.access import Access
from queuesvc.http.app import create_app
from queuesvc.http.direct import Edge
from queuesvc.http.door import TOLD_MOST
from queuesvc.http.guard import Guard
from queuesvc.http.rates import TokenLimits
from queuesvc.http.server import CannotListen, Server, address_of, bind, is_loopback
from queuesvc.http.tls import BadCertificate, server_context
from queuesvc.settings import Settings
from queuesvc.store.interface import StoreInUse, StoreRefused
from queuesvc.store.sqlite.store import SqliteStore

FAILED: Final = 1
OPEN_FILES: Final = 65_536
OTHER_FILES: Final = 64 + TOLD_MOST
"""Those of the store and such, and of connections that are one too many and are told so."""

log = logging.getLogger("queuesvc")


def serve(settings: Settings) -> int:
    """Run the broker until SIGTERM or SIGINT; returns the exit code: 0, or 1 where it could not run or go on."""
    set_up_logs(settings.log_level, settings.log_format)
    try:
        with bind(settings.host, settings.port) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
            return run.run(_serve(settings, listener))
    except (BadCertificate, CannotListen, StoreRefused) as refusal:
        print(f"queuesvc: {refusal}", file=sys.stderr)
        return FAILED


@contextlib.contextmanager
def offline(data: Path) -> Iterator[Ask]:
    """Ask the store in a directory without a server: whoever may read its files need not say who they are.

    Raises `NoAnswer` where it cannot be opened.
    """
    set_up_logs("warning")
    with asyncio.Runner() as run:
        broker = Broker(SqliteStore(data))
        try:
            run.run(broker.open())
        except StoreInUse as refusal:
            raise NoAnswer(f"{refusal}. Or ask that one: leave --data out, and say by --url where it is") from None
        except StoreRefused as refusal:
            raise NoAnswer(str(refusal)) from None
        try:
            app = create_app(broker, access=Access(None))

            def ask(method: str, path: str, document: dict[str, Any] | None) -> Reply:
                """As over HTTP, but from inside."""
                status, body = run.run(inside.ask(app, method, path, document))
                return Reply(status, read_json(body, str(data)))

            yield ask
        finally:
            run.run(broker.close())


async def _serve(settings: Settings, listener: socket.socket) -> int:
    most_connections = _allow_many_connections()
    tls = server_context(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    limits = settings.limits.limits()
    broker = Broker(SqliteStore(settings.data, limits, settings.reserve_bytes, settings.durability, settings.wal_bytes))
    signals = Signals()
    await broker.open()
    _settle_interpreter()
    app = create_app(broker, limits, Guard((settings.host, *settings.allowed_hosts)), _token_limits(settings).rates())
    try:
        _refuse_strangers(settings, listener, broker.tokens)
        server = Server(
            app,
            lambda: _announce(settings, listener),
            shutdown_seconds=settings.shutdown_seconds,
            patience_seconds=settings.slow_client_seconds,
            held_bytes=settings.slow_client_bytes,
            edge=Edge(app.data, app.guard, app.request_ids) if settings.short_way else None,
            tls=tls,
            connections=min(settings.limits.connections, most_connections),
        )
        watch = asyncio.create_task(_stop_when_broken(broker, server))
        if signals.watched_by(broker, server):
            await server.serve([listener])
        watch.cancel()
    finally:
        await broker.close()
    return FAILED if broker.broken.is_set() else 0


def _settle_interpreter() -> None:
    """Set the interpreter up for one busy loop and one writer's thread.

    The writer gives the interpreter lock away at each statement and must get it back from a busy loop, at once
    rather than after five milliseconds: twice the rate of single messages on a loaded machine. And the cycle
    collector need run but seldom, and not look at what was there at the start: nothing on the hot path
    makes cycles, and left alone it took 8 to 10 % of the time of batches.
    """
    sys.setswitchinterval(0.0001)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 2, 100_000)
    gc.enable()


async def _stop_when_broken(broker: Broker, server: Server) -> None:
    """What the store holds is unknown until it is read again: end, so that whoever runs us starts us anew."""
    await broker.broken.wait()
    log.critical("the store failed: ending, so that nothing is answered that may not be so")
    broker.shut_down()
    server.stop()


def _token_limits(settings: Settings) -> TokenLimits:
    given = settings.limits.model_dump()
    return TokenLimits(**{field.name: given[field.name] for field in dataclasses.fields(TokenLimits)})


def _refuse_strangers(settings: Settings, listener: socket.socket, tokens: Tokens) -> None:
    """Raise `CannotListen` where others could reach a broker that asks nobody who they are.

    While it runs, that cannot come about: once tokens were needed, they are until it is started anew.
    """
    if settings.insecure or tokens.needed or is_loopback(listener):
        return
    raise CannotListen(
        f"will not listen on {settings.host}:{settings.port} without tokens, where others could do anything: "
        "make one first (queuesvc token create --help), or pass --insecure if the network keeps others out"
    )


def _announce(settings: Settings, listener: socket.socket) -> None:
    data = settings.data
    where = data if data.is_absolute() else f"./{data}"
    address = address_of(listener, "http" if settings.tls_cert is None else "https")
    if data.stat().st_mode & 0o007:
        log.warning("other users of this machine may look into %s: chmod 700 keeps them out", where)
    print(f"queuesvc {__version__} listening on {address}, storing in {where}", flush=True)


def _allow_many_connections() -> int:
    """How many there can be. Each receive that waits holds one, and shells often allow a thousand files only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return OPEN_FILES if soft == resource.RLIM_INFINITY else max(1, soft - OTHER_FILES)


class Signals:
    """SIGTERM and SIGINT from here on. The first ends the waiting receives, then the server, then the store.

    A second one does not wait for the clients, and a third one for nothing.
    """

    def __init__(self) -> None:
        self._count = 0
        self._broker: Broker | None = None
        self._server: Server | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def watched_by(self, broker: Broker, server: Server) -> bool:
        """Tell these two of signals; False where one has come already."""
        self._broker, self._server = broker, server
        return self._count == 0

    def _on_signal(self) -> None:
        self._count += 1
        if self._count > 2:
            os._exit(FAILED)
        if self._broker is not None and self._server is not None:
            self._broker.shut_down()
            self._server.stop(at_once=self._count > 1)
