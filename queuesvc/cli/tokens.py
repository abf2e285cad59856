"""`queuesvc token create`, `list` and `revoke`: at a broker that runs, or in the directory of one that doesn't.

Secrets alone go to stdout, so that `TOKEN=$(queuesvc token create ...)` works; words go to stderr.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from queuesvc.cli.remote import DEFAULT_URL, Ask, NoAnswer, Reply, over_http

FAILED: Final = 1

Offline = Callable[[Path], AbstractContextManager[Ask]]
"""Opens the store in a directory and asks it, while no broker runs on it. Raises `NoAnswer`."""

Url = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar="QUEUESVC_URL", help=f"The broker, where it runs. Default: {DEFAULT_URL}."),
]
Secret = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", envvar="QUEUESVC_TOKEN", help="A token with admin, for a broker that needs one."),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Instead of --url: the directory of a broker that does not run. Needs no token."),
]


def _globs(what: str) -> Any:
    return typer.Option(metavar="GLOB", help=f"{what} Names, in which * is any run of characters. Repeatable.")


def make_tokens(offline: Offline) -> typer.Typer:
    """The verbs of `queuesvc token`."""
    cli = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True, rich_markup_mode=None)

    @cli.command("create")
    def create(
        name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called in lists and logs.")],
        publish: Annotated[list[str] | None, _globs("Exchanges and queues that it may publish to.")] = None,
        consume: Annotated[list[str] | None, _globs("Queues that it may receive from, settle and browse.")] = None,
        manage: Annotated[list[str] | None, _globs("Exchanges and queues that it may declare, bind, purge ...")] = None,
        admin: Annotated[bool, typer.Option("--admin", help="It may make and revoke tokens, and back up.")] = False,
        metrics: Annotated[bool, typer.Option("--metrics", help="It may read /metrics.")] = False,
        expires_seconds: Annotated[
            float | None, typer.Option(metavar="SECONDS", help="For how long it is valid. Default: until revoked.")
        ] = None,
        url: Url = None,
        token: Secret = None,
        data: Data = None,
    ) -> None:
        """Make a token and print it: it is shown this once."""
        named: dict[str, object] = {"publish": publish or [], "consume": consume or [], "manage": manage or []}
        wanted = {"name": name, **named, "admin": admin, "metrics": metrics, "expires_seconds": expires_seconds}
        with _asking(url, token, data, offline, make=True) as ask:
            if expires_seconds is not None and not math.isfinite(expires_seconds):  # JSON has no word for it
                raise NoAnswer("expires_seconds: must be a finite number; leave it out for a token without an end")
            made = _done(ask("POST", "/v1/tokens", wanted))
        typer.echo(f"token {name} is made: {_allowed(made)}. It is shown this once:", err=True)
        typer.echo(made["token"])

    @cli.command("list")
    def list_all(
        as_json: Annotated[
            bool, typer.Option("--json", help="As one JSON document, with the fields of GET /v1/tokens.")
        ] = False,
        url: Url = None,
        token: Secret = None,
        data: Data = None,
    ) -> None:
        """List the tokens: what they allow, until when, and when they were used last."""
        with _asking(url, token, data, offline) as ask:
            if as_json:
                typer.echo(json.dumps({"tokens": list(_pages(ask))}))
                return
            for one in _pages(ask):
                until = "expired" if one["expired"] else f"until {one['expires_at'] or 'revoked'}"
                used = f"used {one['last_used_at']}" if one["last_used_at"] else "never used"
                typer.echo(f"{one['name']}  {one['id']}  {_allowed(one)}; {until}; {used}")

    @cli.command("revoke")
    def revoke(
        name: Annotated[str, typer.Argument(metavar="NAME", help="Which.")],
        url: Url = None,
        token: Secret = None,
        data: Data = None,
    ) -> None:
        """Revoke a token, at once."""
        with _asking(url, token, data, offline) as ask:
            _done(ask("DELETE", f"/v1/tokens/{quote(name, safe='')}", None))
        typer.echo(f"token {name} is revoked", err=True)

    return cli


@contextmanager
def _asking(
    url: str | None, token: str | None, data: Path | None, offline: Offline, *, make: bool = False
) -> Iterator[Ask]:
    """Whom to ask. What cannot be asked ends the program with a line that says what to do; so does a directory
    that is not there, unless one may be made.
    """
    try:
        if data is not None and not make and not data.exists():
            raise NoAnswer(f"there is no {data}: --data names the directory of a broker")
        with nullcontext(over_http(url or DEFAULT_URL, token)) if data is None else offline(data) as ask:
            yield ask
    except NoAnswer as problem:
        typer.echo(f"queuesvc: {problem}", err=True)
        raise typer.Exit(FAILED) from None


def _done(reply: Reply) -> dict[str, Any]:
    if reply.refused:
        hint = "; --token or QUEUESVC_TOKEN gives one that has admin" if reply.status in (401, 403) else ""
        raise NoAnswer(f"{reply.document.get('detail', f'refused with {reply.status}')}{hint}")
    return reply.document


def _pages(ask: Ask) -> Iterator[dict[str, Any]]:
    after: str | None = ""
    while after is not None:
        page = _done(ask("GET", f"/v1/tokens?limit=1000&after={quote(after)}", None))
        yield from page["tokens"]
        after = page["next"]


def _allowed(token: dict[str, Any]) -> str:
    """What it allows, in a line."""
    named = [f"{what} {' '.join(token[what])}" for what in ("publish", "consume", "manage") if token[what]]
    return ", ".join([*named, *(flag for flag in ("admin", "metrics") if token[flag])])
