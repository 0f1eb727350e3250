"""Turns a restored copy into an anonymous one, for installations that test (MET-07).

Nothing of the copy's database is taken over. A new data directory is made beside it: the objects,
each made anonymous, new keys, and an index that is read from those objects. Then it takes the place
of the copy, which is removed with all that it held: jobs, the audit log, exports, e-mail, logs,
queues, the spool. What no masked object says cannot be in it.
"""

import asyncio
import json
import secrets
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom_common.clock import utc_now
from darkroom_common.objects.directory import sync_directory
from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_local.engines.lock import DirectoryLock
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.process import Command
from darkroom_local.recovery.archive import RecoveryError
from darkroom_local.stack.keyring import Keyring, new_key, write_secret
from darkroom_local.stack.layout import SERVICES, Layout, Settings
from darkroom_local.stack.plan import Plan
from darkroom_local.stack.stack import DATABASE, create_database

Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class How:
    """How a copy is masked.

    Attributes:
        key_file: of the pseudonyms, which is made when it is not there; None: a key that is thrown
            away, so that nobody can tell who anybody was.
        rules: JSON of where devices write into pictures.
        profile: of PS3.15 annex E; empty: the usual one.
        dry: only say what would be.
    """

    key_file: Path | None = None
    rules: Path | None = None
    profile: str = ""
    dry: bool = False


@dataclass
class Masked:
    """What was masked, and what was left out, by reason."""

    objects: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    indexed: int = 0


def mask(data: Path, how: How, *, tell: Tell) -> Masked:
    """Mask the restored copy in a data directory. Not from within an event loop.

    Args:
        data: made by `darkroom restore`, and never started since.
        how: see there.
        tell: is told of each object that is left out, and how far it is.

    Raises:
        RecoveryError: it is no restored copy, or a step failed.
        AlreadyRunningError: something works in it.
        StartError: PostgreSQL does not start.
    """
    old = data.with_name(f".{data.name}.unmasked")
    # Of its own: what a masking has started that was killed may go on writing for a moment.
    draft = data.with_name(f".{data.name}.masking-{secrets.token_hex(4)}")
    _go_on(data, old)
    require_copy(data)
    with DirectoryLock(data):
        for left in data.parent.glob(f".{data.name}.masking*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            masked = _build(Layout(data), Layout(draft), how, tell)
            if how.dry:
                return masked
            data.rename(old)
            draft.rename(data)
            sync_directory(data.parent)
            shutil.rmtree(old)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return masked


def _go_on(data: Path, old: Path) -> None:
    """End what a masking has left that was killed at its end: the copy is back, or it goes."""
    if not old.exists():
        return
    if data.exists():
        shutil.rmtree(old)
    else:
        old.rename(data)


def require_copy(data: Path) -> None:
    """Refuse a directory in which real traffic comes in, or has.

    Raises:
        RecoveryError: it is not marked as a restored copy, or it runs.
    """
    layout = Layout(data)
    if layout.state.exists():
        raise RecoveryError(f"Darkroom runs in {data}, or was killed there: that is no copy")
    if not layout.restored.is_file():
        raise RecoveryError(
            f"{data} is not a copy that darkroom restore has made, or was started since: only such"
            " a copy is masked"
        )


def _build(old: Layout, new: Layout, how: How, tell: Tell) -> Masked:
    new.make()
    Keyring(new).make()
    key = new.scratch / "mask-key"
    if how.key_file is None or not how.key_file.exists():
        write_secret(key, new_key())
        if how.key_file is not None and not how.dry:
            write_secret(how.key_file, key.read_text())
    else:
        write_secret(key, how.key_file.read_text())
    masked = Masked()
    with _server(old) as plan:
        arguments = ["--into", new.objects.as_uri(), "--key-file", str(key)]
        arguments += ["--names-key-file", str(Keyring(new).path("pseudonym-key"))]
        arguments += ["--rules", str(how.rules)] if how.rules else []
        arguments += ["--profile", how.profile] if how.profile else []
        arguments += ["--dry-run"] if how.dry else []
        for line in _lines(plan.masking(arguments), new.log("mask")):
            tell(line)
            if line["event"] == "refused":
                masked.refused[line["reason"]] += 1
            masked.objects = line.get("masked", masked.objects)
    key.unlink()
    if how.dry:
        return masked
    with _server(new, fresh=True) as plan:
        for line in _lines(plan.rebuilding(), new.log("rebuild")):
            tell(line)
            masked.indexed = line.get("instances", masked.indexed)
    if masked.indexed != masked.objects:
        raise RecoveryError(f"{masked.objects} objects were masked, {masked.indexed} are indexed")
    said = {"at": utc_now().isoformat(), "objects": masked.objects, "refused": masked.refused}
    new.masked.write_text(json.dumps(said, indent=1))
    for name in ("mask", "rebuild", "migrate", "postgres"):
        new.log(name).unlink(missing_ok=True)
    return masked


@contextmanager
def _server(layout: Layout, *, fresh: bool = False) -> Iterator[Plan]:
    """Run PostgreSQL of a data directory alone, and lend a plan of commands on it."""
    server = PrivatePostgres(layout.postgres, log=layout.log("postgres"))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        try:
            keyring = Keyring(layout)
            if fresh:
                runner.run(create_database(server.superuser_url()))
            url = server.superuser_url(DATABASE)
            runner.run(bootstrap(url, {role: keyring.role_password(role) for role in ROLES}))
            amqp = dict.fromkeys(SERVICES, f"amqp://{LOOPBACK}")  # no broker has a part in it
            plan = Plan(
                settings=Settings(layout.data),
                layout=layout,
                keyring=keyring,
                superuser_url=url,
                amqp_urls=amqp,
                health_ports={},
            )
            if fresh:
                for _ in _lines(plan.migration(), layout.log("migrate")):
                    pass  # its log: which migrations there are
            yield plan
        finally:
            runner.run(server.stop())


def _lines(command: Command, log: Path) -> Iterator[dict[str, Any]]:
    """Run a command to its end, and yield what it says, a JSON object a line.

    Raises:
        RecoveryError: it failed; the text is its own.
    """
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command.arguments,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                if line.startswith(b"{"):
                    yield json.loads(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = [one for one in log.read_text().splitlines() if not one.startswith("{")]
        raise RecoveryError("\n".join(said[-3:]) or f"it ended with code {process.returncode}")
