"""The command line: reads what was asked for, and hands it to what `main` wired."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesvc import __version__
from queuesvc.cli.keeping import Keeping, add_keeping
from queuesvc.cli.tokens import Offline, make_tokens

if TYPE_CHECKING:
    from queuesvc.settings import Settings

USAGE_ERROR = 2

_EPILOG = (
    "Every setting can come from a flag, from the environment (QUEUESVC_HOST, QUEUESVC_PORT, ...) or from a TOML file "
    "(host = ..., port = ...), in this order. The file is --config, else QUEUESVC_CONFIG, else ./queuesvc.toml where "
    "there is one. The README lists all settings."
)


def make_cli(serve: "Callable[[Settings], int]", offline: Offline, keeping: Callable[[], Keeping]) -> typer.Typer:
    """The `queuesvc` command.

    `serve` runs the broker until it is told to stop and returns the exit code; `offline` opens a store on which
    none runs; `keeping` is for who looks after one.
    """
    cli = typer.Typer(
        help="A message broker in one process and one file: exchanges and queues over HTTP.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    cli.add_typer(make_tokens(offline), name="token")

    @cli.callback()
    def about(
        version: Annotated[
            bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
        ] = False,
    ) -> None:
        """Options that stand before the verb."""

    _add_serve(cli, serve)
    add_keeping(cli, keeping)
    return cli


def _add_serve(cli: typer.Typer, serve: "Callable[[Settings], int]") -> None:
    # The values are text here: settings check them all in one place, wherever they come from.
    @cli.command("serve", epilog=_EPILOG)
    def run_serve(
        host: Annotated[
            str | None, typer.Option(metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1, this machine.")
        ] = None,
        port: Annotated[
            str | None, typer.Option(metavar="PORT", help="Port to listen on; 0 takes a free one. Default: 8642.")
        ] = None,
        data: Annotated[
            str | None,
            typer.Option(
                metavar="DIR", help="Directory to store in, made where it is missing. Default: ./queuesvc-data."
            ),
        ] = None,
        durability: Annotated[
            str | None,
            typer.Option(
                metavar="LEVEL",
                help="full: answers wait for the disk; relaxed: they don't, and a power loss takes the newest along. "
                "Default: full.",
            ),
        ] = None,
        insecure: Annotated[
            bool | None, typer.Option("--insecure", help="Listen beyond loopback without tokens: open to all.")
        ] = None,
        tls_cert: Annotated[
            str | None, typer.Option(metavar="FILE", help="Certificate in PEM form, with its chain: speak HTTPS.")
        ] = None,
        tls_key: Annotated[
            str | None, typer.Option(metavar="FILE", help="The certificate's private key in PEM form.")
        ] = None,
        log_level: Annotated[
            str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error. Default: info.")
        ] = None,
        log_format: Annotated[
            str | None,
            typer.Option(
                metavar="FORMAT", help="json, text, or auto: text where that is a terminal, else json. Default: auto."
            ),
        ] = None,
        config: Annotated[
            Path | None, typer.Option(metavar="FILE", help="TOML file with settings. Default: ./queuesvc.toml, if any.")
        ] = None,
    ) -> None:
        """Run the broker until SIGTERM or Ctrl+C."""
        from queuesvc.settings import BadSettings, load_settings  # it takes a while, and the other verbs do without

        flags: dict[str, object] = {"host": host, "port": port, "data": data, "durability": durability}
        flags |= {"insecure": insecure, "tls_cert": tls_cert, "tls_key": tls_key}
        flags |= {"log_level": log_level, "log_format": log_format}
        try:
            settings = load_settings(flags, config)
        except BadSettings as error:
            typer.echo(f"queuesvc: {error}", err=True)
            raise typer.Exit(USAGE_ERROR) from None
        raise typer.Exit(serve(settings))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"queuesvc {__version__}")
        raise typer.Exit
