"""`darkroom backup`, `restore` and `drill`: what `darkroom_local.recovery` does, on a terminal."""

import asyncio
import os
import shutil
import signal
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

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
from darkroom_local.recovery import fencing, masking
from darkroom_local.recovery import point as points
from darkroom_local.recovery import restore as restoring
from darkroom_local.recovery.archive import Archive, RecoveryError, is_bucket
from darkroom_local.recovery.shipping import Pace, Shipping
from darkroom_local.recovery.wal import WalArchive
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
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            "--to",
            help="A backup by name; or a point in time, such as 2026-11-27T14:30:00+01:00, or"
            " `latest`, of what `darkroom ship` has sent. Else the newest backup.",
        ),
    ] = None,
) -> None:
    """Make a data directory of a backup, for `darkroom up`; it must be empty, or not be there.

    Exit code 0: database and objects agree; 1: what is told is missing or damaged; 2: not done.
    """
    whole = data.expanduser().resolve()
    with _trouble(), _bar("objects") as progress:
        archive = _archive(place, key_file)
        make_reachable(whole.parent)
        if name is None or name in archive.generations():
            which = name or archive.newest()
            found = restoring.restore(archive, which, whole, secrets, progress=progress)
            said = None
        else:
            reached = points.restore_at(archive, _moment(name), whole, secrets, progress=progress)
            found, said = reached.compared, str(reached)
    if said is not None:
        typer.echo(said)
    _tell(found)


Rules = Annotated[
    Path | None,
    typer.Option(
        envvar="DARKROOM_MASK_RULES",
        help="JSON: where devices write into their pictures; see docs/masking.md.",
    ),
]
Pseudonyms = Annotated[
    Path | None,
    typer.Option(
        "--pseudonyms",
        envvar="DARKROOM_MASK_PSEUDONYMS",
        help="The key of the pseudonyms, made when it is not there: who is the same stays the same"
        " in the next copy. Without it the key is thrown away.",
    ),
]
Profile = Annotated[str, typer.Option(help="Of PS3.15 annex E; else basic+retain-modified-dates.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be, change nothing.")]


def mask(
    data: Data = DEFAULT,
    rules: Rules = None,
    pseudonyms: Pseudonyms = None,
    profile: Profile = "",
    dry_run: DryRun = False,
) -> None:
    """Make a restored copy anonymous, for an installation that tests. It cannot be undone.

    Only a directory that `darkroom restore` has made, and that was never started, is masked.
    Exit code 0: done; 1: objects were left out; 2: not done, and the copy is as it was.
    """
    how = masking.How(pseudonyms, rules, profile, dry_run)
    if not _mask(data.expanduser().resolve(), how):
        raise typer.Exit(_DISAGREES)


def refresh_test(
    place: Where,
    key_file: KeyFile,
    test: Annotated[Path, typer.Option("--test", help="The data directory to make: empty.")],
    data: Data = DEFAULT,
    dry_run: DryRun = False,
) -> None:
    """Back up, restore the backup into another directory, and mask that, in one go.

    What `darkroom mask` is told by options is said by DARKROOM_MASK_RULES, DARKROOM_MASK_PSEUDONYMS
    and DARKROOM_MASK_PROFILE. Exit code 0: done; 1: objects were left out; 2: not done, and nothing
    is there.
    """
    rules, pseudonyms = (os.environ.get(f"DARKROOM_MASK_{one}") for one in ("RULES", "PSEUDONYMS"))
    how = masking.How(
        Path(pseudonyms) if pseudonyms else None,
        Path(rules) if rules else None,
        os.environ.get("DARKROOM_MASK_PROFILE", ""),
        dry_run,
    )
    whole = test.expanduser().resolve()
    with _trouble(), _bar("objects") as progress:
        archive = _archive(place, key_file, may_make_key=True)
        done = backing_up.back_up(_source(data), archive, keep=30, progress=progress)
        secrets = Layout(data.expanduser().resolve()).secrets
        make_reachable(whole.parent)
        restoring.restore(archive, done.name, whole, secrets, progress=progress)
    anonymous = False
    try:
        whole_copy = _mask(whole, how)
        anonymous = not dry_run
    finally:
        if not anonymous:  # what is not anonymous does not stay
            shutil.rmtree(whole, ignore_errors=True)
    if not whole_copy:
        raise typer.Exit(_DISAGREES)


def _mask(data: Path, how: masking.How) -> bool:
    def tell(line: Mapping[str, Any]) -> None:
        if line["event"] == "refused":
            typer.echo(f"left out: {line['sop_instance_uid']}: {line['reason']}")

    with _trouble():
        masked = masking.mask(data, how, tell=tell)
    left = sum(masked.refused.values())
    would = "would be " if how.dry else ""
    typer.echo(f"{masked.objects} objects {would}masked, {left} left out")
    return not left


def ship(
    place: Where,
    key_file: KeyFile,
    data: Data = DEFAULT,
    seconds: Annotated[
        float, typer.Option(min=1, help="Between two looks at what is new: what a loss costs.")
    ] = 10,
    scratch: Annotated[
        Path | None, typer.Option(help="Of its own, and stays; else <data>/shipping.")
    ] = None,
) -> None:
    """Send WAL and new objects to another place, sealed, until it is stopped (Ctrl-C).

    What it has sent `darkroom restore --to` and `darkroom standby` take. The settings are those of
    `darkroom backup`; the login of PostgreSQL may replicate. Exit code 2: it cannot go on.
    """
    whole = data.expanduser().resolve()
    with _trouble(), fencing.telling_services(whole):
        archive = _archive(place, key_file, may_make_key=True)
        source = _source(data)
        sent = fencing.begin_sending(archive, whole, place, key_file)
        own, pace = (scratch or data.expanduser() / "shipping").resolve(), Pace(seconds=seconds)
        ships = Shipping(source, WalArchive(archive), own, pace, typer.echo, sent)
        _until_told(ships.run())


def take_back(
    place: Where, key_file: KeyFile, data: Data = DEFAULT, dry_run: DryRun = False
) -> None:
    """Say that this site is the one to work with again, after another has taken its place.

    What was done at the other site since then is not here, unless this directory is a standby that
    has taken its place in turn. See first that the other site stays down. Exit code 2: not done.
    """
    with _trouble():
        whole, archive = data.expanduser().resolve(), _archive(place, key_file)
        if dry_run:
            typer.echo(fencing.would_take_back(archive, whole))
            return
        fencing.take_back(archive, whole, place, key_file)
    typer.echo(f"{whole} is the one to work with: darkroom up starts it, darkroom ship sends it")


def standby(
    place: Where,
    key_file: KeyFile,
    secrets: Secrets,
    data: Data = DEFAULT,
    seconds: Annotated[float, typer.Option(min=1, help="Between two looks at the place.")] = 10,
) -> None:
    """Follow what `darkroom ship` sends, at another site, until it is stopped or takes over.

    Exit code 2: it cannot go on, and the text says why.
    """
    with _trouble():
        whole = data.expanduser().resolve()
        following = points.Standby(_archive(place, key_file), whole, secrets)
        _until_told(following.follow(seconds=seconds, tell=typer.echo))


def failover(
    place: Where, key_file: KeyFile, secrets: Secrets, data: Data = DEFAULT, dry_run: DryRun = False
) -> None:
    """Have the standby take the place of the site that is lost; then `darkroom up` starts it.

    It ends `darkroom standby` of the same directory. See first that the other site stays down.
    Exit code 0: database and objects agree; 1: what is told is missing; 2: not done.
    """
    whole = data.expanduser().resolve()
    if dry_run:
        with _trouble():
            typer.echo(points.Standby(_archive(place, key_file), whole, secrets).would())
        return
    with _trouble(), _bar("objects") as progress:
        taking = points.Standby(_archive(place, key_file), whole, secrets)
        reached = asyncio.run(taking.take_place(progress=progress))
    typer.echo(str(reached))
    _tell(reached.compared)


def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or Ctrl-C, and end in good order."""

    async def run() -> None:
        task = asyncio.ensure_future(work)

        def end() -> None:
            if not task.cancelling():  # else it is stopping already
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def _moment(text: str) -> datetime | None:
    """Return a point in time; None: the newest.

    Raises:
        RecoveryError: it is none.
    """
    if text == "latest":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RecoveryError(
            f"{text} is no backup and no time: 2026-11-27T14:30:00+01:00, latest"
        ) from error
    if moment.tzinfo is None:
        raise RecoveryError(f"{text}: say the time zone, such as +01:00 or Z")
    return moment


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

    What `darkroom ship` has sent is restored in its place where that is newer.

    Exit code 0: database and objects agree; 1: they do not; 2: not done.
    """
    whole = data.expanduser().resolve()
    with _trouble(), _bar("objects") as progress:
        archive, aside = _archive(place, key_file), (scratch or whole.parent).resolve()
        keys = secrets or Layout(whole).secrets
        restored = drilling.drill_shipped if drilling.is_shipped(archive) else drilling.drill
        result, found = restored(archive, whole, keys, aside, progress=progress)
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


def add(app: typer.Typer) -> None:
    """Add these commands."""
    words = (backup, restore, drill, mask, refresh_test, ship, standby, failover, take_back)
    for word in words:
        app.command()(word)
