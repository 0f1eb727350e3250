"""`python -m darkroom_metadata replication`: how it stands, and how it begins anew.

Exit code 0: nothing waits and nothing was refused; 1: something does or was; 2: it could not run.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, Final

from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import Connection, open_database, the_row
from darkroom_metadata.replication import due, inbound
from darkroom_metadata.settings import MetadataSettings

_SITE: Final = "SELECT name, is_on, sent FROM index.replication_site"
_PEERS: Final = "SELECT name, taken FROM index.replication_peer ORDER BY name"
_FAILED: Final = (
    "SELECT kind, reason, count(*) AS count FROM index.replication_due WHERE reason <> ''"
    " GROUP BY kind, reason ORDER BY kind, reason"
)
_KEPT: Final = (  # replication_told_ended
    "SELECT site, kind, state, study_instance_uid, reason, ended_at FROM index.replication_told"
    " WHERE state IN ('outvoted', 'refused') ORDER BY ended_at DESC LIMIT 100"
)
_FORGET: Final = "DELETE FROM index.replication_told WHERE state IN ('outvoted', 'refused')"
_BEGIN: Final = "UPDATE index.replication_site SET begun = sent + 1, swept = '', swept_at = NULL"
_FROM_THERE: Final = (  # instance_object: what came from another site, which may have lost it
    "INSERT INTO index.replication_due (kind, study_instance_uid, subject, size)"
    " SELECT 'object', s.study_instance_uid, i.object_key, i.size FROM index.replication_taken t"
    " JOIN index.instance i USING (object_key) JOIN index.series e ON e.id = i.series_id"
    " JOIN index.study s ON s.id = e.study_id WHERE s.status <> 'deleted' AND NOT EXISTS"
    "  (SELECT FROM index.replication_due d WHERE d.subject = t.object_key) ORDER BY i.id"
)
_ALL: Final = (
    "SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS bytes FROM ("
    " SELECT size FROM index.instance UNION ALL SELECT size FROM index.conflict"
    " WHERE kind IN ('instance', 'correction') AND removed_at IS NULL) AS every"
)
_RESTART: Final = ("DELETE FROM index.replicated", _BEGIN, _FROM_THERE)


async def replication(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not run.
        SystemExit: the arguments are wrong; after a usage line, with code 2.
    """
    parser = argparse.ArgumentParser(prog="python -m darkroom_metadata replication")
    parser.add_argument("action", choices=("status", "settled", "restart"))
    parser.add_argument("--dry-run", action="store_true", help="restart: say what would be sent")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="metadata-replication", size=2) as database:
        await require_compatible(database, schema="index", package="darkroom_metadata")
        async with database.session() as db:
            if given.action == "restart":
                return await (_would(db) if given.dry_run else restart(db))
            if given.action == "settled":
                await db.execute(_FORGET)
            return await _status(db, as_json=given.json)


async def restart(db: Connection) -> int:
    """Have everything sent again: to a new second store, or to a site that has lost all.

    Returns:
        the exit code: 2, metadata is sending just now.
    """
    if not await due.lock(db):
        say("metadata is sending just now: stop it, or take REPLICATION_URL away, first")
        return 2
    async with db.transaction():
        for sql in _RESTART:
            await db.execute(sql)
    say("all objects are sent again")
    return 0


async def _would(db: Connection) -> int:
    """Say what a restart would have sent."""
    row = the_row(await db.fetchrow(_ALL))
    say(f"{row['objects']} objects, {row['bytes'] / 1e9:.3f} GB would be sent again")
    return 0


async def _status(db: Connection, *, as_json: bool) -> int:
    site = await db.fetchrow(_SITE)
    waiting = await due.lag(db)
    untaken, seconds = await inbound.lag(db)
    kept = [dict(row) for row in await db.fetch(_KEPT)]
    told: dict[str, Any] = {
        "site": site["name"] if site else None,
        "sends": bool(site and site["is_on"]),
        "files": site["sent"] if site else 0,
        "waiting": {
            "objects": waiting.objects,
            "bytes": waiting.bytes,
            "seconds": round(waiting.seconds, 1),
        },
        "failed": [dict(row) for row in await db.fetch(_FAILED)],
        "peers": {row["name"]: row["taken"] for row in await db.fetch(_PEERS)},
        "untaken": {"changes": untaken, "seconds": round(seconds, 1)},
        "kept": [{**one, "ended_at": one["ended_at"].isoformat()} for one in kept],
    }
    if as_json:
        say(json.dumps(told))
    else:
        _say(told)
    return 1 if waiting.objects or untaken or kept else 0


def _say(told: dict[str, Any]) -> None:
    waiting, untaken = told["waiting"], told["untaken"]
    say(
        f"site {told['site'] or '-'}: {'sends' if told['sends'] else 'does not send'},"
        f" {told['files']} files told"
    )
    say(
        f"waiting for the second store: {waiting['objects']} ({waiting['bytes']} bytes),"
        f" the first for {waiting['seconds']} s"
    )
    for one in told["failed"]:
        say(f"  of these failed: {one['count']} {one['kind']}: {one['reason']}")
    for name, number in told["peers"].items():
        say(f"site {name}: {number} files read")
    say(f"not done here yet: {untaken['changes']}, the first for {untaken['seconds']} s")
    for one in told["kept"]:
        study = one["study_instance_uid"] or "all of a patient"
        say(f"  {one['state']}: {one['kind']} of {one['site']} ({study}): {one['reason']}")
