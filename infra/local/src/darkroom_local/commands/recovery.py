"""`darkroom backup`, `restore` and `drill`: what `darkroom_local.recovery` does, on a terminal."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom_common.errors import DarkroomError
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.phi import PhiKeys
from darkroom_local.commands.operators import DEFAULT, Data
from darkroom_local.engines.lock import AlreadyRunningError
from darkroom_local.engines.process import StartError, make_reachable
from darkroom_local.recovery import backup as backing_up
from darkroom_local.recovery import drill as drilling
from darkroom_local.recovery import restore as restoring
from darkroom_local.recovery.archive import Archive, RecoveryError, is_bucket
from darkroom_local.stack.keyring import Keyring, KeysLostError, new_keys, write_secret
from darkroom_local.stack.layout import Layout, Settings

Where = Annotated[
    str, typer.Argument(metavar="PLACE", help="Where backups are kept: a directory, or s3://...")
]
KeyFile = Annotated[
    Path,
    typer.Option(
        "--key-file",
        envvar="DARKROOM_BACKUP_KEYS_FILE",
        help="What backups are sealed with; keep it apart from them, and a copy of it.",
    ),
]
Secrets = Annotated[
    Path, typer.Option(help="The installation's keys: a copy of the folder secrets of its data.")
]
_DISAGREES, _NOT_DONE = 1, 2
_EXPECTED = (DarkroomError, AlreadyRunningError, KeysLostError, StartError, OSError)


def backup(
    place: Where,
    key_file: KeyFile,
    data: Data = DEFAULT,
    keep: Annotated[int, typer.Option(min=1, help="Generations that are kept.")] = 30,
) -> None:
    """Keep database and objects in another place, sealed. The private PostgreSQL must run.

    Only objects that are new are copied. With DARKROOM_POSTGRES_URL, DARKROOM_STORE_URL and
    DARKROOM_PHI_KEYS (or ..._FILE) set, it is these that are kept. The keys in `secrets` are not
    in it: keep copies of them, elsewhere. Exit code 0: done, 2: not done.
    """
    with _trouble(), _bar("objects") as progress:
        archive = _archive(place, key_file, may_make_key=True)
        done = backing_up.back_up(_source(data), archive, keep=keep, progress=progress)
    typer.echo(
        f"backup {done.name}: the database and {done.objects} objects, of which {done.copied}"
        f" ({done.copied_bytes / 1e6:.1f} MB) were copied; {done.forgotten} older ones removed"
    )


def restore(
    place: Where,
    key_file: KeyFile,
    secrets: Secrets,
    data: Data = DEFAULT,
    name: Annotated[str | None, typer.Option(help="A backup by name; else the newest.")] = None,
) -> None:
    """Make a data directory of a backup, for `darkroom up`; it must be empty, or not be there.

    Exit code 0: database and objects agree; 1: what is told is missing or damaged; 2: not done.
    """
    whole = data.expanduser().resolve()
    with _trouble(), _bar("objects") as progress:
        archive = _archive(place, key_file)
        make_reachable(whole.parent)
        found = restoring.restore(
            archive, name or archive.newest(), whole, secrets, progress=progress
        )
    _tell(found)


def drill(
    place: Where,
    key_file: KeyFile,
    data: Data = DEFAULT,
    secrets: Annotated[
        Path | None, typer.Option(help="A copy of the installation's keys; else those of --data.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Where it is restored for so long; else beside --data.")
    ] = None,
) -> None:
    """Restore the newest backup aside, compare, and say RPO and RTO; `darkroom status` shows it.

    Exit code 0: database and objects agree; 1: they do not; 2: not done.
    """
    whole = data.expanduser().resolve()
    with _trouble(), _bar("objects") as progress:
        result, found = drilling.drill(
            _archive(place, key_file),
            whole,
            secrets or Layout(whole).secrets,
            (scratch or whole.parent).resolve(),
            progress=progress,
        )
    typer.echo(str(result))
    _tell(found)


def _tell(found: restoring.Compared) -> None:
    for line in restoring.told(found):
        typer.echo(line)
    if not found.agrees:
        raise typer.Exit(_DISAGREES)


def _source(data: Path) -> backing_up.Source:
    settings = Settings.load(data, 0, 0, None, "DARKROOM")
    layout = Layout(settings.data)
    keyring = Keyring(layout)
    try:
        url = settings.postgres_url or keyring.path("superuser-url").read_text()
        keys = (
            os.environ.get("DARKROOM_PHI_KEYS")
            or Path(os.environ.get("DARKROOM_PHI_KEYS_FILE", keyring.path("phi-keys"))).read_text()
        )
    except OSError as error:
        raise RecoveryError(f"Darkroom has never run in {layout.data}: {error}") from error
    store = open_store(settings.store_url or layout.objects.as_uri())
    return backing_up.Source(url, store, backing_up.fingerprints(PhiKeys.parse(keys).keys))


def _archive(place: str, key_file: Path, *, may_make_key: bool = False) -> Archive:
    if may_make_key and not key_file.exists() and _is_empty(place):
        write_secret(key_file, new_keys())
        typer.echo(f"{key_file} is new: without a copy of it no backup can be read")
    return Archive.open(place, key_file)


def _is_empty(place: str) -> bool:
    if is_bucket(place):
        return not asyncio.run(open_store(place, setting="PLACE").holds_anything())
    return Path(place).is_dir() and not any(Path(place).iterdir())


@contextmanager
def _bar(title: str) -> Iterator[backing_up.Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _trouble() -> Iterator[None]:
    """Say in a sentence what an operator can do something about."""
    try:
        yield
    except _EXPECTED as error:
        typer.echo(f"darkroom: {error}", err=True)
        raise typer.Exit(_NOT_DONE) from error
    except KeyboardInterrupt:
        typer.echo("darkroom: interrupted; ask for the same again to go on", err=True)
        raise typer.Exit(_NOT_DONE) from None
