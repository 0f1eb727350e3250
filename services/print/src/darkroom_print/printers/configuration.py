"""The printers and auto-print rules in force, from PostgreSQL."""

from darkroom_common.films.profiles import capabilities
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.resources.declared import PRINT_RULES, PRINTERS
from darkroom_common.resources.spec_table import SpecTable
from darkroom_common.resources.stored import Stored
from darkroom_common.specs.printers import PrinterSpec, PrintRuleSpec

Printer = Stored[PrinterSpec]
PrintRule = Stored[PrintRuleSpec]


class Configuration:
    """What print works with, and the tables that hold it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.printer_table = SpecTable(PRINTERS, database, check=capabilities)
        self.rule_table = SpecTable(PRINT_RULES, database)

    async def printers(self) -> list[Printer]:
        """Return all printers; one that cannot be read is there, but not enabled."""
        return await self.printer_table.all()

    async def printer(self, name: str) -> Printer:
        """Return a printer.

        Raises:
            NotThere: there is none of this name.
            Unreadable: this version does not understand it.
        """
        return await self.printer_table.named(name)

    async def rules(self, db: Connection) -> list[PrintRule]:
        """Return the rules, which stay as they are until the transaction has ended.

        One that cannot be read is there, but not enabled.
        """
        return await self.rule_table.all(db, share=True)

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
