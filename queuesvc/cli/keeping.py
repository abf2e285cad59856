"""The verbs of whoever looks after the store: `queuesvc check` and what stands beside it."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from queuesvc.cli.remote import DEFAULT_URL, NoAnswer, download
from queuesvc.cli.tokens import Secret, Url
from queuesvc.store.keeping import CannotKeep, Checked, Counts, Restored

FOUND = FAILED = 1
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
    copy: Callable[[Path, Path], None]
    """copy the store in a directory, on which no broker runs, over an empty file"""
    check_copy: Callable[[Path], None]
    """check what came over the network"""
    restore: Callable[[Path, Path, bool], Restored]
    """make a store in a directory of a backup, in place of one that is there only if told so"""


def add_keeping(cli: typer.Typer, keeping: Callable[[], Keeping]) -> None:
    """Add the verbs to the command; `keeping` is asked when one is to be done."""
    _add_check(cli, keeping)
    _add_backup(cli, keeping)
    _add_restore(cli, keeping)


def _add_check(cli: typer.Typer, keeping: Callable[[], Keeping]) -> None:
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
        does = keeping()
        path = file or does.file_of(_directory(data, config))
        try:
            checked = does.check(path)
        except CannotKeep as error:
            raise _stop(error) from None
        for finding in checked.findings:
            typer.echo(finding)
        if checked.findings:
            typer.echo(f"queuesvc: {path}: {len(checked.findings)} findings", err=True)
            raise typer.Exit(FOUND)
        seconds = time.monotonic() - began
        typer.echo(f"{path}: all is well, {_said(checked)} ({seconds:.1f} s)")


def _add_backup(cli: typer.Typer, keeping: Callable[[], Keeping]) -> None:
    @cli.command("backup")
    def run_backup(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
        force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
        url: Url = None,
        token: Secret = None,
        data: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Instead of --url: the directory of a broker that does not run."),
        ] = None,
    ) -> None:
        """Back a store up: everything that is on the disk at one moment, while the broker goes on.

        FILE appears when it is whole, checked and on the disk, and only its owner may read it: it holds all
        messages, and what receipts and tokens are checked by. `queuesvc restore` makes a store of it.
        """
        does = keeping()
        try:
            with _appearing(file, force) as part:
                if data is not None:
                    does.copy(data, part)
                else:
                    with part.open("wb") as into:
                        into.writelines(download(url or DEFAULT_URL, token, "/v1/backup"))
                        into.flush()
                        os.fsync(into.fileno())
                    does.check_copy(part)
        except (CannotKeep, NoAnswer) as error:
            raise _stop(error, FAILED) from None
        typer.echo(f"{file}: {file.stat().st_size:,} bytes, checked")


def _add_restore(cli: typer.Typer, keeping: Callable[[], Keeping]) -> None:
    @cli.command("restore")
    def run_restore(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
        data: Data = None,
        config: Config = None,
        force: Annotated[
            bool,
            typer.Option("--force", help="Even where a store is; it is kept beside it, as queuesvc.db.replaced."),
        ] = False,
    ) -> None:
        """Make a store of a backup, in a directory in which none is. No broker may run there.

        The backup is checked wholly first. The store begins a new life: receipts of the old one settle nothing, what
        was leased is ready again, and no number is given twice. Tokens are those of the backup: what was revoked since
        is to be revoked again.
        """
        directory = _directory(data, config)
        try:
            restored = keeping().restore(file, directory, force)
        except CannotKeep as error:
            raise _stop(error, FAILED) from None
        again = f"{restored.leased:,} were leased and are ready again"
        typer.echo(f"{restored.file}: {restored.messages:,} messages, of which {again}")
        if restored.tokens:
            typer.echo(f"{restored.tokens:,} tokens are as they were: revoke again what was revoked since", err=True)


@contextlib.contextmanager
def _appearing(file: Path, force: bool) -> Iterator[Path]:
    """A file beside it, which takes its name once all went well. Raises `CannotKeep`."""
    if not force and os.path.lexists(file):
        raise CannotKeep(f"{file} is there already: choose another name, or --force")
    try:
        handle, name = tempfile.mkstemp(".part", f".{file.name}.", file.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            if force:
                part.replace(file)
            else:
                os.link(part, file)
        finally:
            part.unlink(missing_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except FileExistsError:
        raise CannotKeep(f"{file} is there already: choose another name, or --force") from None
    except OSError as error:
        raise CannotKeep(f"can't write {file}: {error.strerror}") from None


def _directory(data: str | None, config: Path | None) -> Path:
    """The store's: the flag's, or as the settings say. Ends the program with a line where these will not do."""
    from queuesvc.settings import BadSettings, load_settings  # it takes a while, and a backup by --url does without

    try:
        return load_settings({"data": data}, config).data
    except BadSettings as error:
        raise _stop(error) from None


def _stop(error: Exception, code: int = CANNOT) -> typer.Exit:
    typer.echo(f"queuesvc: {error}", err=True)
    return typer.Exit(code)


def _said(checked: Checked) -> str:
    counts = checked.counts or Counts(*[0] * len(Counts._fields))
    said = [f"{count:,} {name.replace('_', ' ')}" for name, count in counts._asdict().items() if name != "to_reclaim"]
    if counts.to_reclaim:
        said.append(f"{counts.to_reclaim:,} rows to reclaim")
    return f"version {checked.version}: {', '.join(said)}"
