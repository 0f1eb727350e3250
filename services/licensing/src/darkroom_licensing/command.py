"""`python -m darkroom_licensing licence [show | check | install <file> | keys]`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from darkroom_common.clock import monotonic
from darkroom_common.errors import ConfigurationError
from darkroom_common.messages.commands import ValidateLicence
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.output import complain, say
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.service import Command
from darkroom_licensing.document import LONGEST, public_keys
from darkroom_licensing.issuers import INSTALLED, Reader
from darkroom_licensing.keeping import Kept
from darkroom_licensing.settings import LicensingSettings

USAGE: Final = "usage: licence [show | check | install <file, or - for standard input>]"
_SECONDS: Final = 20.0
_PAUSE: Final = 0.2
_LAST: Final = (
    "SELECT id, told, checked_at FROM licensing.licence_check WHERE told <> ''"
    " ORDER BY id DESC LIMIT 1"
)
_REFUSED: Final = 1
_WRONG: Final = 2


async def run(settings: LicensingSettings, arguments: Sequence[str]) -> int:
    """Do what is asked; return the exit code: 1 while administration is read-only."""
    match arguments:
        case [*_, "-h" | "--help"]:
            say(USAGE)
            return 0
        case [] | ["show"]:
            async with _database(settings) as database:
                return _print(await _last(database))
        case ["check"]:
            async with _database(settings) as database:
                return await _check(database)
        case ["install", name]:
            return _install(settings, name)
        case _:
            complain(USAGE)
            return _WRONG


def _database(settings: LicensingSettings) -> Any:
    return open_database(settings.postgres_url.get_secret_value(), service="licensing-command")


async def _last(database: Database) -> Any:
    async with database.acquire() as db:
        return await db.fetchrow(_LAST)


async def _check(database: Database) -> int:
    """Have the service ask, and wait for what it says."""
    before = await _last(database)
    async with database.transaction() as db:
        await Outbox("licensing").put(db, ValidateLicence(requested_by="command line"))
    deadline = monotonic() + _SECONDS
    while monotonic() < deadline:
        now = await _last(database)
        if now is not None and (before is None or now["id"] > before["id"]):
            return _print(now)
        await asyncio.sleep(_PAUSE)
    complain(f"the service licensing has not answered within {_SECONDS:g} s: does it run?")
    return _WRONG


def _print(row: Any) -> int:
    if row is None:
        complain("the service licensing has not said anything yet")
        return _WRONG
    event = LicenceChecked.model_validate_json(row["told"])
    limits = ", ".join(f"{count} {what}" for what, count in sorted(event.entitlements.items()))
    shown = {
        "edition": "community" if event.state == "unconfigured" else "licensed",
        "state": event.state,
        "licence": " ".join(part for part in (event.licence_id, event.customer) if part) or "-",
        "valid until": "-" if event.valid_until is None else f"{event.valid_until:%Y-%m-%d %H:%M}",
        "limits": limits or "none",
        "features": "all" if "*" in event.features else ", ".join(event.features) or "none",
        "administration": "read-only" if event.read_only else "open",
        "since, or from": "-"
        if event.read_only_from is None
        else f"{event.read_only_from:%Y-%m-%d %H:%M} UTC",
        "last change": f"{row['checked_at']:%Y-%m-%d %H:%M} UTC",
    }
    lines = [f"{name:<15} {value}" for name, value in shown.items()]
    lines += [event.reason] if event.reason else []
    lines.append("Images are received, kept, sent, shown and printed whatever the licence is.")
    sys.stdout.write("\n".join(lines) + "\n")
    return _REFUSED if event.read_only else 0


def _install(settings: LicensingSettings, name: str) -> int:
    """Put a licence file where the service looks for it, if it is good.

    Raises:
        ConfigurationError: LICENCE_DIRECTORY is not set, or the file cannot be read.
        InvalidLicence: the file is not one for this installation.
    """
    if settings.licence_directory is None:
        raise ConfigurationError("LICENCE_DIRECTORY is not set: there is nowhere to keep it")
    if settings.odoo_url is not None:
        raise ConfigurationError("ODOO_URL is set: the licence comes from there")
    try:
        text = (
            sys.stdin.read(LONGEST + 1)
            if name == "-"
            else Path(name).read_text(encoding="utf-8", errors="replace")
        )
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror or type(error).__name__}") from error
    reader = Reader(public_keys(settings.licence_public_keys), settings.licence_installation)
    document = reader.read(text)
    Kept(settings.licence_directory, INSTALLED).write(f"{text.strip()}\n")
    ends = (
        "without an end" if document.valid_until is None else f"to {document.valid_until:%Y-%m-%d}"
    )
    sys.stdout.write(f"installed {document.licence_id} {document.customer}, {ends}\n")
    return 0


LICENCE: Final = Command("licence", run)
