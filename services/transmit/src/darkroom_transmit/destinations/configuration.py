"""The destinations and rules in force, from PostgreSQL."""

from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.resources.declared import DESTINATIONS, RULES
from darkroom_common.resources.spec_table import SpecTable
from darkroom_common.resources.stored import Stored
from darkroom_common.seal import Seal
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.routing.decision import Rule
from darkroom_transmit.sending.breaker import State


class Configuration:
    """What transmit works with, and the tables that hold it."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self.destination_table = SpecTable(DESTINATIONS, database, seal=seal)
        self.rule_table = SpecTable(RULES, database)

    async def destinations(self) -> list[Destination]:
        """Return all destinations; one that cannot be read is there, but not enabled."""
        return [_destination(one) for one in await self.destination_table.all()]

    async def usable(self) -> dict[str, Destination]:
        """Return the destinations that can be read, by name."""
        return {one.name: one for one in await self.destinations() if not one.unreadable}

    async def named(self, name: str) -> Destination:
        """Return a destination.

        Raises:
            NotThere: there is none of this name.
            Unreadable: this version does not understand it.
        """
        return _destination(await self.destination_table.named(name))

    async def rules(self, db: Connection | None = None) -> list[Rule]:
        """Return the rules in their order; one that cannot be read is there, but not enabled.

        Args:
            db: within a transaction, until whose end they stay as they are; None to look only.
        """
        found = await self.rule_table.all(db, share=db is not None)
        return [Rule(one.name, one.spec) for one in found]

    async def show_breaker(self, name: str, state: State, reason: str, seconds: float) -> None:
        """Keep the state of a breaker where people can see it."""
        async with self._database.acquire() as db:
            await db.execute(
                "UPDATE transmit.destination SET breaker = $2, breaker_reason = $3,"
                " breaker_until = CASE WHEN $2 = 'closed' THEN NULL"
                " ELSE now() + make_interval(secs => $4) END WHERE name = $1",
                name,
                state,
                reason,
                seconds,
            )


def _destination(one: Stored[DestinationSpec]) -> Destination:
    return Destination(one.name, one.spec, one.version, one.secret, one.unreadable, one.id)
