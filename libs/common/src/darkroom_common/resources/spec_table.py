"""Resources in PostgreSQL: read by whoever works with them, written by the one that owns them."""

from collections.abc import Callable
from typing import Any, Final, Generic

from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.resources.change_log import log_change
from darkroom_common.resources.resource import (
    AlreadyThere,
    InUse,
    NoRoom,
    NotThere,
    Resource,
    S,
    Stale,
    Unreadable,
)
from darkroom_common.resources.stored import Stored, idle, read_spec
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_READ: Final = (
    "SELECT name, spec::text AS spec, version, SECRET AS secret, IDENTITY AS id FROM TABLE"
    " ORDER BY KEYS"
)
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtext('TABLE'))"
_LOCK: Final = "SELECT spec::text AS spec, version FROM TABLE WHERE name = $1 FOR UPDATE"
_KNOWN: Final = "SELECT name FROM TABLE WHERE name = ANY($1::text[]) FOR SHARE"
_COUNT: Final = "SELECT count(*) FROM TABLE"
_PUT: Final = """
INSERT INTO TABLE AS kept (name, spec COLUMNS) VALUES ($1, $2::text::jsonb VALUES_)
ON CONFLICT (name) DO UPDATE
SET spec = excluded.spec, version = kept.version + 1, updated_at = now() CHANGES
"""
_SEALED: Final = "UPDATE TABLE SET secret = $2 WHERE name = $1"
_DELETE: Final = "DELETE FROM TABLE WHERE name = $1"


class SpecTable(Generic[S]):
    """The table of a resource, for its writer.

    Args:
        resource: what is declared of it.
        database: of the writer.
        seal: of the secrets.
        check: raises a `PermanentError` for a spec that makes no sense to the writer.
    """

    def __init__(
        self,
        resource: Resource[S],
        database: Database,
        *,
        seal: Seal | None = None,
        check: Callable[[S], object] = lambda _: None,
    ) -> None:
        self.resource = resource
        self._database = database
        self._seal = seal
        self._check = check
        self._logged: dict[str, tuple[str, ...]] = {}

    def _sql(self, statement: str, resource: Resource[Any] | None = None) -> str:
        return statement.replace("TABLE", (resource or self.resource).table)

    async def all(self, db: Connection | None = None, *, share: bool = False) -> list[Stored[S]]:
        """Return all in their order; what cannot be read is not enabled, and logged once.

        Args:
            db: a connection; None for one of its own.
            share: whether none of them may be changed or removed until the transaction has ended:
                for what is done under their authority.
        """
        statement = self._sql(_READ) + (" FOR SHARE" if share else "")
        statement = statement.replace("SECRET", "secret" if self.resource.secret else "''")
        statement = statement.replace("IDENTITY", "id" if self.resource.identified else "''")
        statement = statement.replace("KEYS", ", ".join(self.resource.order))
        if db is not None:
            rows = await db.fetch(statement)
        else:
            async with self._database.acquire() as connection:
                rows = await connection.fetch(statement)
        found = [self._stored(row) for row in rows]
        unreadable = {one.name: one.unreadable for one in found if one.unreadable}
        for name, fields in unreadable.items():
            if self._logged.get(name) != fields:
                log.error(
                    "resource.unreadable", kind=self.resource.kind, name=name, fields=list(fields)
                )
        self._logged = unreadable
        return found

    def _stored(self, row: Any) -> Stored[S]:
        spec, unreadable = read_spec(self.resource.spec, row["spec"])
        try:
            secret = self._opened(row["secret"])
        except Unsealable:
            secret, unreadable = "", (*unreadable, "secret")
            spec = idle(self.resource.spec)
        return Stored(row["name"], spec, row["version"], secret, unreadable, row["id"])

    def _opened(self, secret: str) -> str:
        return (
            str(self._sealer.open(secret, purpose=self.resource.secret_purpose)) if secret else ""
        )

    @property
    def _sealer(self) -> Seal:
        if self._seal is None:
            raise TypeError(f"{self.resource.table} needs a seal")
        return self._seal

    async def named(self, name: str) -> Stored[S]:
        """Return one that can be worked with.

        Raises:
            NotThere: there is none of this name.
            Unreadable: see there.
        """
        for one in await self.all():
            if one.name != name:
                continue
            if one.unreadable:
                fields = ", ".join(one.unreadable)
                raise Unreadable(f"this version does not understand {fields} of it")
            return one
        raise self.resource.missing()

    async def put(  # noqa: PLR0913 - all of a request
        self,
        name: str,
        spec: S,
        *,
        by: str,
        only_new: bool = False,
        version: int | None = None,
        secret: str | None = None,
        first_secret: str | None = None,
        most: int | None = None,
    ) -> bool:
        """Add or change; return whether it is new.

        Args:
            name: of the resource.
            spec: what it is from now on.
            by: who.
            only_new: change none.
            version: change no other.
            secret: None keeps the one that is there.
            first_secret: of a new one to which `secret` gives none.
            most: add none when there are as many.

        Raises:
            AlreadyThere: with `only_new`.
            NoRoom: with `most`.
            NotThere: it names what is not there.
            Stale: with `version`.
            PermanentError: it makes no sense to the writer.
        """
        self._check(spec)
        text = spec.model_dump_json()
        async with self._database.transaction() as db:
            await db.execute(self._sql(_ONE_AT_A_TIME))
            await self._require_referred(db, spec)
            before = await self._before(db, name, version)
            if before is not None and only_new:
                raise AlreadyThere(f"there is a {self.resource.title} of this name")
            if before is None and most is not None:
                there = await db.fetchval(self._sql(_COUNT))  # of those before us in the lock, too
                if there >= most:
                    noun = f"{self.resource.title}s"
                    raise NoRoom(f"The licence is for {most} {noun}, and there are {there}.")
            copied = self.resource.copied
            statement = self._sql(_PUT).replace("COLUMNS", "".join(f", {one}" for one in copied))
            statement = statement.replace("VALUES_", "".join(f", {e}" for e in copied.values()))
            changes = "".join(f", {one} = excluded.{one}" for one in copied)
            await db.execute(statement.replace("CHANGES", changes), name, text)
            if secret is None and before is None:
                secret = first_secret
            if secret is not None:
                sealed = (
                    self._sealer.seal(secret, purpose=self.resource.secret_purpose)
                    if secret
                    else ""
                )
                await db.execute(self._sql(_SEALED), name, sealed)
            await self._log(db, by, name, before, text)
        return before is None

    async def delete(self, name: str, *, by: str, version: int | None = None) -> None:
        """Remove one.

        Raises:
            NotThere: there is none.
            InUse: another resource names it, or jobs wait for it.
            Stale: with `version`.
        """
        async with self._database.transaction() as db:
            before = await self._before(db, name, version)
            if before is None:
                raise self.resource.missing()
            for use in self.resource.uses:
                if await db.fetchval(use.query, name):
                    raise InUse(use.reason)
            await db.execute(self._sql(_DELETE), name)
            await self._log(db, by, name, before, None)

    async def _require_referred(self, db: Connection, spec: S) -> None:
        """Lock what a spec names, so that it is not removed meanwhile."""
        for reference in self.resource.references:
            names = sorted(set(reference.names(spec)))
            found = await db.fetch(self._sql(_KNOWN, reference.to), names)
            if {row["name"] for row in found} != set(names):
                raise NotThere(f"it names a {reference.to.title} that there is not")

    async def _before(self, db: Connection, name: str, version: int | None) -> str | None:
        row = await db.fetchrow(self._sql(_LOCK), name)
        if version is not None and (row is None or row["version"] != version):
            raise Stale(f"this {self.resource.title} has been changed meanwhile")
        return None if row is None else str(row["spec"])

    async def _log(
        self, db: Connection, by: str, name: str, before: str | None, after: str | None
    ) -> None:
        kind, schema = self.resource.kind, self.resource.schema
        await log_change(db, schema, by=by, kind=kind, name=name, before=before, after=after)
