"""The verbs of whoever looks after the store: `queuesvc check` and what stands beside it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from queuesvc.settings import BadSettings, Settings, load_settings
from queuesvc.store.keeping import CannotKeep, Checked, Counts

FOUND = 1
CANNOT = 2

Data = Annotated[str | None, typer.Option(metavar="DIR", help="Directory of the store. Default: ./queuesvc-data.")]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TOML file with settings. Default: ./queuesvc.toml, if any.")
]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the verbs do, as `main` wires it. Each raises `CannotKeep`."""

    file_of: Callable[[Path], Path]
    """the file of a store in a directory"""
    check: Callable[[Path], Checked]
    """check a file"""


def add_keeping(cli: typer.Typer, keeping: Keeping) -> None:
    """Add the verbs to the command."""

    @cli.command("check")
    def run_check(
        file: Annotated[
            Path | None, typer.Argument(metavar="[FILE]", help="A backup or another copy of a store's file.")
        ] = None,
        data: Data = None,
        config: Config = None,
    ) -> None:
        """Check a store that no broker runs on, or a copy: is the file whole, do all rows fit, are the counters right?

        Reads only. Says what is wrong, one finding a line. Exit code: 0 where all is well, 1 where something was found,
        2 where it could not be checked. Of a running broker, check a backup.
        """
        if file is not None and data is not None:
            raise typer.BadParameter("give a FILE or --data, not both")
        began = time.monotonic()
        try:
            path = file or keeping.file_of(settings_of(data, config).data)
            checked = keeping.check(path)
        except (BadSettings, CannotKeep) as error:
            raise _stop(error) from None
        for finding in checked.findings:
            typer.echo(finding)
        if checked.findings:
            typer.echo(f"queuesvc: {path}: {len(checked.findings)} findings", err=True)
            raise typer.Exit(FOUND)
        seconds = time.monotonic() - began
        typer.echo(f"{path}: all is well, {_said(checked)} ({seconds:.1f} s)")


def settings_of(data: str | None, config: Path | None) -> Settings:
    """The settings, with the directory from a flag. Raises `BadSettings`."""
    return load_settings({"data": data}, config)


def _stop(error: Exception) -> typer.Exit:
    typer.echo(f"queuesvc: {error}", err=True)
    return typer.Exit(CANNOT)


def _said(checked: Checked) -> str:
    counts = checked.counts or Counts(*[0] * len(Counts._fields))
    said = [f"{count:,} {name.replace('_', ' ')}" for name, count in counts._asdict().items() if name != "to_reclaim"]
    if counts.to_reclaim:
        said.append(f"{counts.to_reclaim:,} rows to reclaim")
    return f"version {checked.version}: {', '.join(said)}"
