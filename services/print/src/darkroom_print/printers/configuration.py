"""Printers and auto-print rules in PostgreSQL. Every change leaves a row that stays."""

from dataclasses import dataclass
from typing import Final, Literal

from darkroom_common.errors import PermanentError
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.specs.printers import PrinterSpec, PrintRuleSpec
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.printers.profiles import capabilities

log = get_logger(__name__)
_WAITING: Final = "('QUEUED', 'COMPOSING', 'PRINTING', 'RETRYING', 'UNKNOWN')"


class AlreadyThere(PermanentError):
    """The name is taken."""


class NotThere(PermanentError):
    """There is nothing of this name."""


class InUse(PermanentError):
    """A rule names it, or jobs wait for it."""


@dataclass(frozen=True)
class Printer:
    """A printer of the table."""

    name: str
    spec: PrinterSpec


@dataclass(frozen=True)
class PrintRule:
    """An auto-print rule of the table."""

    name: str
    spec: PrintRuleSpec


class Configuration:
    """Writes the tables `printer`, `rule` and `change`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def printers(self) -> list[Printer]:
        """Return all printers; one that cannot be read is passed over and told."""
        async with self._database.acquire() as db:
            rows = await db.fetch("SELECT name, spec::text FROM print.printer ORDER BY name")
        found = []
        for row in rows:
            try:
                spec = PrinterSpec.model_validate_json(row["spec"])
            except ValueError as error:
                log.error("printer.unreadable", printer=row["name"], error=str(error)[:200])
            else:
                found.append(Printer(row["name"], spec))
        return found

    async def printer(self, name: str) -> Printer:
        """Return a printer.

        Raises:
            NotThere: there is none of this name.
        """
        for one in await self.printers():
            if one.name == name:
                return one
        raise NotThere("there is no printer of this name")

    async def put_printer(self, name: str, spec: PrinterSpec, *, only_new: bool, by: str) -> bool:
        """Add or change; return whether it is new.

        Raises:
            AlreadyThere: with `only_new`.
            UnknownProfile: it names a profile that there is not.
        """
        capabilities(spec)
        text = spec.model_dump_json()
        async with self._database.transaction() as db:
            before = await db.fetchval(
                "SELECT spec::text FROM print.printer WHERE name = $1 FOR UPDATE", name
            )
            if before is not None and only_new:
                raise AlreadyThere("there is a printer of this name")
            await db.execute(
                "INSERT INTO print.printer (name, spec) VALUES ($1, $2::text::jsonb)"
                " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec,"
                " version = printer.version + 1, updated_at = now()",
                name,
                text,
            )
            await log_change(db, by, "printer", name, before, text)
        return before is None

    async def delete_printer(self, name: str, *, by: str) -> None:
        """Remove a printer.

        Raises:
            NotThere: there is none.
            InUse: a rule names it, or jobs wait for it.
        """
        async with self._database.transaction() as db:
            before = await db.fetchval(
                "SELECT spec::text FROM print.printer WHERE name = $1 FOR UPDATE", name
            )
            if before is None:
                raise NotThere("there is no printer of this name")
            if await db.fetchval(
                "SELECT EXISTS (SELECT FROM print.rule WHERE spec->>'printer' = $1)", name
            ):
                raise InUse("a rule prints on it")
            if await db.fetchval(
                "SELECT EXISTS (SELECT FROM print.job WHERE printer = $1"  # noqa: S608 - our own words
                f" AND state IN {_WAITING})",
                name,
            ):
                raise InUse("jobs wait for it")
            await db.execute("DELETE FROM print.printer WHERE name = $1", name)
            await log_change(db, by, "printer", name, before, None)

    async def show_status(self, name: str, status: str, info: str) -> None:
        """Keep what a printer has said of itself where people can see it."""
        async with self._database.acquire() as db:
            await db.execute(
                "UPDATE print.printer SET status = $2, status_info = $3, status_at = now()"
                " WHERE name = $1",
                name,
                status,
                info,
            )

    async def rules(self, db: Connection) -> list[PrintRule]:
        """Return the rules; one that cannot be read is passed over and told."""
        found = []
        for row in await db.fetch("SELECT name, spec::text FROM print.rule ORDER BY name"):
            try:
                spec = PrintRuleSpec.model_validate_json(row["spec"])
            except ValueError as error:
                log.error("rule.unreadable", rule=row["name"], error=str(error)[:200])
            else:
                found.append(PrintRule(row["name"], spec))
        return found

    async def put_rule(self, name: str, spec: PrintRuleSpec, *, only_new: bool, by: str) -> bool:
        """Add or change a rule; return whether it is new.

        Raises:
            AlreadyThere: with `only_new`.
            NotThere: it names a printer that there is not.
        """
        text = spec.model_dump_json()
        async with self._database.transaction() as db:
            if not await db.fetchval(
                "SELECT true FROM print.printer WHERE name = $1 FOR SHARE", spec.printer
            ):
                raise NotThere("it names a printer that there is not")
            before = await db.fetchval(
                "SELECT spec::text FROM print.rule WHERE name = $1 FOR UPDATE", name
            )
            if before is not None and only_new:
                raise AlreadyThere("there is a rule of this name")
            await db.execute(
                "INSERT INTO print.rule (name, spec) VALUES ($1, $2::text::jsonb)"
                " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec,"
                " version = rule.version + 1, updated_at = now()",
                name,
                text,
            )
            await log_change(db, by, "rule", name, before, text)
        return before is None

    async def delete_rule(self, name: str, *, by: str) -> None:
        """Remove a rule.

        Raises:
            NotThere: there is none.
        """
        async with self._database.transaction() as db:
            before = await db.fetchval(
                "DELETE FROM print.rule WHERE name = $1 RETURNING spec::text", name
            )
            if before is None:
                raise NotThere("there is no rule of this name")
            await log_change(db, by, "rule", name, before, None)


async def log_change(  # noqa: PLR0913, PLR0917 - the columns of a change
    db: Connection,
    by: str,
    kind: Literal["printer", "rule"],
    name: str,
    before: str | None,
    after: str | None,
) -> None:
    """Keep who has changed what."""
    action = "added" if before is None else "removed" if after is None else "changed"
    await db.execute(
        "INSERT INTO print.change (by, action, kind, name, before, after)"
        " VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb)",
        by,
        action,
        kind,
        name,
        before,
        after,
    )
    log.info("configuration.changed", kind=kind, action=action, name=name, by=by)
