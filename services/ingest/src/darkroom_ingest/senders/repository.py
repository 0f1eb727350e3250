"""The list of senders in the database: schema `ingest`, whose one writer this is.

Every change is one transaction that leaves a row in `ae_change`, which the role cannot alter, and
one line in the log of whoever made it.
"""

import json
from typing import Any, Final, Literal

from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.resources.declared import SENDERS
from darkroom_common.resources.resource import AlreadyThere, NotThere, Stale
from darkroom_common.specs.senders import SenderSpec
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.senders.admission import CalledTitle, Roster, Sender
from darkroom_ingest.senders.roster import as_json, from_json, parse_roster

log = get_logger(__name__)
SCHEMA: Final = "ingest"
CHANNEL: Final = "ingest_senders"
Action = Literal["added", "changed", "removed"]
Kind = Literal["called", "calling"]

# One statement, so that it is one state of the list. The tables are small and read whole.
_ROSTER: Final = """
SELECT jsonb_build_object(
    'called', (
        SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.ae_title), '[]') FROM ingest.called_ae c),
    'senders', (
        SELECT coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object(
            'hosts', (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'network', h.network::text, 'certificate_sha256', h.certificate_sha256)
                    ORDER BY h.network, h.certificate_sha256), '[]')
                FROM ingest.calling_ae_host h WHERE h.ae_title = s.ae_title),
            'sop_class_uids', (
                SELECT coalesce(jsonb_agg(u.sop_class_uid ORDER BY u.sop_class_uid), '[]')
                FROM ingest.calling_ae_sop_class u WHERE u.ae_title = s.ae_title)
            ) ORDER BY s.ae_title), '[]')
        FROM ingest.calling_ae s))::text
"""


class AlreadyListed(AlreadyThere):
    """The AE title is listed; change it instead."""


class NotListed(NotThere):
    """The AE title is not listed."""


async def read_roster(db: Connection, *, limit: float | None = None) -> Roster:
    """Return the list, within `limit` seconds.

    Raises:
        BrokenRoster: a row makes no sense.
    """
    return parse_roster(await db.fetchval(_ROSTER, timeout=limit))


async def put_sender(
    database: Database,
    sender: Sender,
    *,
    by: str,
    new: bool | None = None,
    version: int | None = None,
) -> bool:
    """List a calling AE (`new`), change what is listed (not `new`), or either; return which.

    Raises:
        AlreadyListed: it is, and should be new.
        NotListed: it is not, and should be.
        Stale: it is not of this version any more.
    """
    async with database.transaction() as db:
        before = await _before(db, sender.ae_title, version)
        if new and before is not None:
            raise AlreadyListed(f"{sender.ae_title} is listed already")
        if new is False and before is None:
            raise NotListed(f"{sender.ae_title} is not listed")
        await _write(db, sender)
        action: Action = "added" if before is None else "changed"
        await _record(db, action, "calling", sender.ae_title, by, before, as_json(sender))
    _told(action, "calling", sender.ae_title, by)
    return before is None


async def remove_sender(
    database: Database, ae_title: str, *, by: str, version: int | None = None
) -> None:
    """Take a calling AE from the list.

    Raises:
        NotListed: it is not listed.
        Stale: it is not of this version any more.
    """
    async with database.transaction() as db:
        before = await _before(db, ae_title, version)
        if before is None:
            raise NotListed(f"{ae_title} is not listed")
        await db.execute("DELETE FROM ingest.calling_ae WHERE ae_title = $1", ae_title)
        await _record(db, "removed", "calling", ae_title, by, before, None)
    _told("removed", "calling", ae_title, by)


class SenderTable:
    """The list of senders as a resource: see `darkroom_common.resources.answers`."""

    resource = SENDERS

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(  # noqa: PLR0913 - all of a request
        self,
        name: str,
        spec: SenderSpec,
        *,
        by: str,
        only_new: bool = False,
        version: int | None = None,
        secret: str | None = None,
        most: int | None = None,
    ) -> bool:
        """List a calling AE or change what is listed; return whether it is new."""
        del secret, most  # a sender has none, and no licence counts them
        sender = from_json({"ae_title": name, **spec.model_dump(mode="json")})
        new = True if only_new else None
        return await put_sender(self._database, sender, by=by, new=new, version=version)

    async def delete(self, name: str, *, by: str, version: int | None = None) -> None:
        """Take a calling AE from the list."""
        await remove_sender(self._database, name, by=by, version=version)


async def put_called(database: Database, title: CalledTitle, *, by: str, new: bool) -> None:
    """List an AE title that this node answers to (`new`), or change what is listed.

    Raises:
        AlreadyListed: it is, and should be new.
        NotListed: it is not, and should be.
    """
    after = {"enabled": title.enabled, "description": title.description}
    async with database.transaction() as db:
        before = await _called_before(db, title.ae_title)
        if new and before is not None:
            raise AlreadyListed(f"{title.ae_title} is listed already")
        if not new and before is None:
            raise NotListed(f"{title.ae_title} is not listed")
        await db.execute(
            "INSERT INTO ingest.called_ae (ae_title, enabled, description) VALUES ($1, $2, $3)"
            " ON CONFLICT (ae_title) DO UPDATE"
            " SET enabled = excluded.enabled, description = excluded.description",
            title.ae_title,
            title.enabled,
            title.description,
        )
        action: Action = "added" if new else "changed"
        await _record(db, action, "called", title.ae_title, by, before, after)
    _told(action, "called", title.ae_title, by)


async def remove_called(database: Database, ae_title: str, *, by: str) -> None:
    """Answer to a title no more.

    Raises:
        NotListed: it is not listed.
    """
    async with database.transaction() as db:
        before = await _called_before(db, ae_title)
        if before is None:
            raise NotListed(f"{ae_title} is not listed")
        await db.execute("DELETE FROM ingest.called_ae WHERE ae_title = $1", ae_title)
        await _record(db, "removed", "called", ae_title, by, before, None)
    _told("removed", "called", ae_title, by)


async def _before(
    db: Connection, ae_title: str, version: int | None = None
) -> dict[str, Any] | None:
    """Return what is listed for a calling AE; changes of the list wait for each other."""
    await _one_at_a_time(db)
    if version is not None:
        found = await db.fetchval("SELECT version FROM ingest.sender WHERE name = $1", ae_title)
        if found != version:
            raise Stale("this sender has been changed meanwhile")
    listed = (await read_roster(db)).senders
    return next((as_json(one) for one in listed if one.ae_title == ae_title), None)


async def _called_before(db: Connection, ae_title: str) -> dict[str, Any] | None:
    await _one_at_a_time(db)
    row = await db.fetchrow(
        "SELECT enabled, description FROM ingest.called_ae WHERE ae_title = $1", ae_title
    )
    return None if row is None else dict(row)


async def _one_at_a_time(db: Connection) -> None:
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('ingest.calling_ae'))")


async def _write(db: Connection, sender: Sender) -> None:
    await db.execute(
        "INSERT INTO ingest.calling_ae"
        " (ae_title, enabled, description, host_rule, sop_class_rule, max_associations,"
        " character_set, character_set_rule, query_rule, retrieve_rule)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (ae_title) DO UPDATE SET"
        " enabled = excluded.enabled, description = excluded.description,"
        " host_rule = excluded.host_rule, sop_class_rule = excluded.sop_class_rule,"
        " max_associations = excluded.max_associations,"
        " character_set = excluded.character_set,"
        " character_set_rule = excluded.character_set_rule,"
        " query_rule = excluded.query_rule, retrieve_rule = excluded.retrieve_rule",
        sender.ae_title,
        sender.enabled,
        sender.description,
        sender.host_rule,
        sender.sop_class_rule,
        sender.max_associations,
        sender.character_set,
        sender.character_set_rule,
        sender.query_rule,
        sender.retrieve_rule,
    )
    await db.execute("DELETE FROM ingest.calling_ae_host WHERE ae_title = $1", sender.ae_title)
    await db.executemany(
        "INSERT INTO ingest.calling_ae_host (ae_title, network, certificate_sha256)"
        " VALUES ($1, $2, $3)",
        [(sender.ae_title, rule.network, rule.certificate_sha256) for rule in sender.hosts],
    )
    await db.execute("DELETE FROM ingest.calling_ae_sop_class WHERE ae_title = $1", sender.ae_title)
    await db.executemany(
        "INSERT INTO ingest.calling_ae_sop_class (ae_title, sop_class_uid) VALUES ($1, $2)",
        [(sender.ae_title, uid) for uid in sender.sop_class_uids],
    )


async def _record(  # noqa: PLR0913, PLR0917 - one for each column
    db: Connection,
    action: Action,
    kind: Kind,
    ae_title: str,
    by: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    await db.execute(
        "INSERT INTO ingest.ae_change (by, action, kind, ae_title, before, after)"
        " VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb)",
        by,
        action,
        kind,
        ae_title,
        *(one and json.dumps(one) for one in (before, after)),
    )


def _told(action: Action, kind: Kind, ae_title: str, by: str) -> None:
    log.info("senders.changed", action=action, kind=kind, ae=ae_title, by=by)
