"""Destinations and rules in PostgreSQL. Every change leaves a row that the service cannot alter."""

from typing import Final, Literal

from darkroom_common.errors import PermanentError
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_common.specs.rules import RuleSpec
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.routing.decision import Rule
from darkroom_transmit.sending.breaker import State

log = get_logger(__name__)
SECRET_PURPOSE: Final = "destination secret"  # noqa: S105 - what is sealed, not a secret
WIRE_PURPOSE: Final = "transmit.destination.put.v1"


class AlreadyThere(PermanentError):
    """The name is taken."""


class NotThere(PermanentError):
    """There is nothing of this name."""


class InUse(PermanentError):
    """A rule names it, or jobs wait for it."""


class Configuration:
    """Writes the tables `destination`, `rule` and `change`."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def destinations(self) -> list[Destination]:
        """Return all destinations; one that cannot be read is passed over and told."""
        async with self._database.acquire() as db:
            rows = await db.fetch(
                "SELECT name, spec::text, secret, version FROM transmit.destination ORDER BY name"
            )
        found = []
        for row in rows:
            try:
                found.append(self._read(row["name"], row["spec"], row["secret"], row["version"]))
            except (ValueError, Unsealable) as error:
                log.error("destination.unreadable", destination=row["name"], error=str(error)[:200])
        return found

    def _read(self, name: str, spec: str, secret: str, version: int) -> Destination:
        opened = self._seal.open(secret, purpose=SECRET_PURPOSE) if secret else ""
        return Destination(name, DestinationSpec.model_validate_json(spec), opened, version)

    async def put_destination(
        self, name: str, spec: DestinationSpec, *, secret: str | None, only_new: bool, by: str
    ) -> bool:
        """Add or change; return whether it is new.

        Args:
            name: of the destination.
            spec: what it is from now on.
            secret: of its login; None keeps the one that is there.
            only_new: refuse to change one.
            by: who.

        Raises:
            AlreadyThere: with `only_new`.
        """
        text = spec.model_dump_json()
        async with self._database.transaction() as db:
            before = await db.fetchval(
                "SELECT spec::text FROM transmit.destination WHERE name = $1 FOR UPDATE", name
            )
            if before is not None and only_new:
                raise AlreadyThere("there is a destination of this name")
            sealed = None
            if secret is not None:
                sealed = self._seal.seal(secret, purpose=SECRET_PURPOSE) if secret else ""
            await db.execute(
                "INSERT INTO transmit.destination (name, spec, secret)"
                " VALUES ($1, $2::text::jsonb, coalesce($3, ''))"
                " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec,"
                " secret = coalesce($3, destination.secret), version = destination.version + 1,"
                " updated_at = now()",
                name,
                text,
                sealed,
            )
            await self._log(db, by, "destination", name, before, text)
        return before is None

    async def delete_destination(self, name: str, *, by: str) -> None:
        """Remove a destination.

        Raises:
            NotThere: there is none.
            InUse: a rule names it, or jobs wait for it.
        """
        async with self._database.transaction() as db:
            before = await db.fetchval(
                "SELECT spec::text FROM transmit.destination WHERE name = $1 FOR UPDATE", name
            )
            if before is None:
                raise NotThere("there is no destination of this name")
            if await db.fetchval(
                "SELECT EXISTS (SELECT FROM transmit.rule WHERE spec->'destinations' ? $1)", name
            ):
                raise InUse("a rule sends to it")
            if await db.fetchval(
                "SELECT EXISTS (SELECT FROM transmit.rule WHERE spec->'prefetch'->>'remote' = $1)",
                name,
            ):
                raise InUse("a rule retrieves priors from it")
            if await db.fetchval(
                "SELECT EXISTS (SELECT FROM transmit.job WHERE destination = $1"
                " AND state IN ('PENDING', 'SENDING', 'RETRYING'))",
                name,
            ):
                raise InUse("jobs wait for it")
            if await db.fetchval(
                "SELECT EXISTS (SELECT FROM transmit.retrieve WHERE remote = $1"
                " AND state IN ('PENDING', 'RETRIEVING', 'RETRYING'))",
                name,
            ):
                raise InUse("jobs retrieve from it")
            await db.execute("DELETE FROM transmit.destination WHERE name = $1", name)
            await self._log(db, by, "destination", name, before, None)

    async def renew_secrets(self) -> int:
        """Seal secrets under the current key that are not; return how many were."""
        renewed = 0
        async with self._database.transaction() as db:
            rows = await db.fetch(
                "SELECT name, secret FROM transmit.destination WHERE secret <> '' FOR UPDATE"
            )
            for row in rows:
                if self._seal.is_current(row["secret"]):
                    continue
                try:
                    opened = self._seal.open(row["secret"], purpose=SECRET_PURPOSE)
                except Unsealable as error:
                    log.error("secret.unreadable", destination=row["name"], error=str(error))
                    continue
                await db.execute(
                    "UPDATE transmit.destination SET secret = $2 WHERE name = $1",
                    row["name"],
                    self._seal.seal(opened, purpose=SECRET_PURPOSE),
                )
                renewed += 1
        return renewed

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

    async def rules(self) -> list[Rule]:
        """Return the rules in their order; one that cannot be read is passed over and told."""
        async with self._database.acquire() as db:
            rows = await db.fetch(
                "SELECT name, spec::text FROM transmit.rule ORDER BY position, name"
            )
        found = []
        for row in rows:
            try:
                found.append(Rule(row["name"], RuleSpec.model_validate_json(row["spec"])))
            except ValueError as error:
                log.error("rule.unreadable", rule=row["name"], error=str(error)[:200])
        return found

    async def put_rule(self, name: str, spec: RuleSpec, *, only_new: bool, by: str) -> bool:
        """Add or change a rule; return whether it is new.

        Raises:
            AlreadyThere: with `only_new`.
            NotThere: it names a destination that there is not.
        """
        text = spec.model_dump_json()
        named = set(spec.destinations)
        if spec.prefetch is not None:
            named.add(spec.prefetch.remote)
        async with self._database.transaction() as db:
            known = await db.fetch(
                "SELECT name FROM transmit.destination WHERE name = ANY($1::text[]) FOR SHARE",
                sorted(named),
            )
            if {row["name"] for row in known} != named:
                raise NotThere("it names a destination that there is not")
            before = await db.fetchval(
                "SELECT spec::text FROM transmit.rule WHERE name = $1 FOR UPDATE", name
            )
            if before is not None and only_new:
                raise AlreadyThere("there is a rule of this name")
            await db.execute(
                "INSERT INTO transmit.rule (name, position, spec) VALUES ($1, $2, $3::text::jsonb)"
                " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec,"
                " position = excluded.position, version = rule.version + 1, updated_at = now()",
                name,
                spec.position,
                text,
            )
            await self._log(db, by, "rule", name, before, text)
        return before is None

    async def delete_rule(self, name: str, *, by: str) -> None:
        """Remove a rule.

        Raises:
            NotThere: there is none.
        """
        async with self._database.transaction() as db:
            before = await db.fetchval(
                "DELETE FROM transmit.rule WHERE name = $1 RETURNING spec::text", name
            )
            if before is None:
                raise NotThere("there is no rule of this name")
            await self._log(db, by, "rule", name, before, None)

    @staticmethod
    async def _log(  # noqa: PLR0913, PLR0917 - the columns of a change
        db: Connection,
        by: str,
        kind: Literal["destination", "rule"],
        name: str,
        before: str | None,
        after: str | None,
    ) -> None:
        action = "added" if before is None else "removed" if after is None else "changed"
        await db.execute(
            "INSERT INTO transmit.change (by, action, kind, name, before, after)"
            " VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb)",
            by,
            action,
            kind,
            name,
            before,
            after,
        )
        log.info("configuration.changed", kind=kind, action=action, name=name, by=by)
