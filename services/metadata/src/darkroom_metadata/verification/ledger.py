"""What verification has done and found, in PostgreSQL.

One runner at a time: it holds an advisory lock of its session and writes through that session
alone, so that whoever has lost the connection has lost the lock and can write nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from darkroom_common.messages.events import InstanceDamaged, InstancesStored, StoredItem
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, the_row
from darkroom_common.postgres.statement import statement
from darkroom_metadata.studies.changes import judge_verified
from darkroom_metadata.verification.expected import Run, unnamed
from darkroom_metadata.verification.judgement import Check, Expected, Finding, FindingKind

_VERIFIED: Final = (
    "UPDATE index.{table} SET verified_at = clock_timestamp() WHERE id = ANY($1::bigint[])"
)
_LIES: Final = "UPDATE index.{table} SET in_slow = $2 WHERE id = ANY($1::bigint[])"
_LOCK: Final = 0x76657269  # "veri"
DUE: Final = "due"
RUNS_KEPT: Final = timedelta(days=400)


@dataclass(frozen=True)
class Looked:
    """What one step of a run has seen."""

    cursor: str
    checked: int
    bytes: int = 0
    well: tuple[str, ...] = ()
    """Keys of objects in which `settles` was not found."""
    settles: tuple[FindingKind, ...] = ()
    """The kinds of which this check can say that they are no more."""
    read: tuple[Expected, ...] = ()
    """What was read back whole, well or not."""
    elsewhere: tuple[Expected, ...] = ()
    """What lies in the other store of two than its row says."""
    findings: tuple[Finding, ...] = ()
    published: tuple[StoredItem, ...] = ()
    """Of orphans, to have them indexed."""


@dataclass(frozen=True)
class Ledger:
    """Reads and writes through the session that holds the lock."""

    outbox: Outbox

    @staticmethod
    async def lock(db: Connection) -> bool:
        """Take the lock unless another session has it; giving the session back releases it."""
        taken: bool = await db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
        return taken

    @staticmethod
    async def is_time(db: Connection, check: Check, every: timedelta) -> bool:
        """Tell whether a scheduled run is unfinished, or none has begun for so long."""
        due: bool = await db.fetchval(
            # verification_run_running, verification_run_last
            "SELECT EXISTS (SELECT FROM index.verification_run"
            "  WHERE kind = $1 AND scope = $2 AND state = 'running')"
            " OR NOT EXISTS (SELECT FROM index.verification_run"
            "  WHERE kind = $1 AND state = 'finished' AND scope IN ($2, 'all')"
            "  AND started > clock_timestamp() - $3::interval)",
            check.value,
            DUE,
            every,
        )
        return due

    @staticmethod
    async def open(
        db: Connection, check: Check, scope: str, *, age: timedelta, since: datetime | None = None
    ) -> Run:
        """Return the unfinished run of this scope, or begin one.

        Args:
            db: the session with the lock.
            check: which pass.
            scope: what tells it from others, see `verification_run`.
            age: contents: leave out what was read back within so long.
            since: contents: leave out what was received before.
        """
        await db.execute(
            "DELETE FROM index.verification_run WHERE started < clock_timestamp() - $1::interval",
            RUNS_KEPT,
        )
        row = await db.fetchrow(
            "INSERT INTO index.verification_run (kind, scope, due, since)"
            " VALUES ($1, $2, clock_timestamp() - $3::interval, $4)"
            " ON CONFLICT (kind, scope) WHERE state = 'running'"
            " DO UPDATE SET scope = excluded.scope RETURNING *",
            check.value,
            scope,
            age,
            since,
        )
        return Run.of(the_row(row))

    @staticmethod
    async def abandon(db: Connection, run: Run) -> None:
        """Give up other unfinished runs that an operator began: nobody goes on with them."""
        await db.execute(
            "UPDATE index.verification_run SET state = 'abandoned', finished = clock_timestamp()"
            " WHERE kind = $1 AND scope NOT IN ($2, $3) AND state = 'running'",
            run.check.value,
            run.scope,
            DUE,
        )

    async def save(self, db: Connection, run: Run, looked: Looked) -> tuple[Run, list[Finding]]:
        """Keep what was seen, with the events that tell it; return the run and what is new."""
        async with db.transaction():
            for table, is_conflict in (("instance", False), ("conflict", True)):
                ids = [one.row_id for one in looked.read if one.is_conflict is is_conflict]
                await db.execute(statement(_VERIFIED, table=table), ids)
                for in_slow in (False, True):
                    ids = [
                        one.row_id
                        for one in looked.elsewhere
                        if one.is_conflict is is_conflict and one.in_slow is not in_slow
                    ]
                    if ids:
                        await db.execute(statement(_LIES, table=table), ids, in_slow)
            named = [one for one in looked.findings if one.expected]
            gone = await unnamed(db, [one.object_key for one in named])
            findings = {
                (one.object_key, one.kind): one
                for one in looked.findings
                if one.expected is None or one.object_key not in gone
            }
            fresh = await self._keep(db, list(findings.values()), looked)
            await self._settle(db, looked, list(findings.values()))
            published = InstancesStored.of(looked.published)
            await self.outbox.put(db, *published, *_damaged(fresh))
            instances = [one.row_id for one in looked.read if not one.is_conflict]
            instances += [one.expected.instance_id for one in fresh if one.expected]
            if instances:
                await self.outbox.put(db, *await judge_verified(db, instances))
            row = await db.fetchrow(
                "UPDATE index.verification_run SET cursor = $2, checked = checked + $3,"
                " bytes = bytes + $4, findings = findings + $5 WHERE id = $1 RETURNING *",
                run.id,
                looked.cursor,
                looked.checked,
                looked.bytes,
                len(findings),
            )
        return Run.of(the_row(row)), fresh

    @staticmethod
    async def _keep(db: Connection, findings: Sequence[Finding], looked: Looked) -> list[Finding]:
        """Write findings; return those that were not open before."""
        repaired = {message.object_key for message in looked.published}
        rows = await db.fetch(
            # verification_finding_open
            "INSERT INTO index.verification_finding AS f"
            " (object_key, kind, instance_id, receipt, sha256, size, repaired_at)"
            " SELECT key, kind, instance, receipt, decode(digest, 'hex'), size,"
            "  CASE WHEN repaired THEN clock_timestamp() END"
            " FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[],"
            "  $6::bigint[], $7::bool[])"
            " AS given (key, kind, instance, receipt, digest, size, repaired)"
            " ON CONFLICT (object_key, kind) WHERE resolved_at IS NULL DO UPDATE SET"
            "  last_seen = clock_timestamp(), size = excluded.size,"
            "  sha256 = coalesce(excluded.sha256, f.sha256),"
            "  repaired_at = coalesce(excluded.repaired_at, f.repaired_at)"
            " RETURNING object_key, kind, xmax = 0 AS fresh",
            [one.object_key for one in findings],
            [one.kind.value for one in findings],
            [one.expected.instance_id if one.expected else None for one in findings],
            [one.receipt for one in findings],
            [one.sha256 for one in findings],
            [one.whole_size for one in findings],
            [one.object_key in repaired for one in findings],
        )
        fresh = {(row["object_key"], row["kind"]) for row in rows if row["fresh"]}
        return [one for one in findings if (one.object_key, one.kind.value) in fresh]

    @staticmethod
    async def _settle(db: Connection, looked: Looked, findings: Sequence[Finding]) -> None:
        """Resolve what is no more: for objects that are well, and for those damaged otherwise."""
        await db.execute(
            "UPDATE index.verification_finding f SET resolved_at = clock_timestamp()"
            " FROM unnest($1::text[], $2::text[]) AS seen (key, kind)"
            " WHERE f.object_key = seen.key AND f.kind <> seen.kind"
            " AND f.kind = ANY($3::text[]) AND f.resolved_at IS NULL",
            [*looked.well, *(one.object_key for one in findings)],
            [*("" for _ in looked.well), *(one.kind.value for one in findings)],
            [kind.value for kind in looked.settles],
        )

    @staticmethod
    async def finish(db: Connection, run: Run) -> Run:
        """End a run; one over the objects also resolves the orphans that it has not seen again."""
        async with db.transaction():
            if run.check is Check.OBJECTS:
                await db.execute(
                    "UPDATE index.verification_finding SET resolved_at = clock_timestamp()"
                    " WHERE resolved_at IS NULL AND instance_id IS NULL AND last_seen < $1",
                    run.started,
                )
            row = await db.fetchrow(
                "UPDATE index.verification_run SET state = 'finished',"
                " finished = clock_timestamp() WHERE id = $1 RETURNING *",
                run.id,
            )
        return Run.of(the_row(row))

    @staticmethod
    async def open_findings(db: Connection) -> dict[FindingKind, int]:
        """Return how many findings of each kind are open."""
        rows = await db.fetch(
            "SELECT kind, count(*) AS n FROM index.verification_finding"
            " WHERE resolved_at IS NULL GROUP BY kind"
        )
        found = {FindingKind(row["kind"]): int(row["n"]) for row in rows}
        return {kind: found.get(kind, 0) for kind in FindingKind}

    @staticmethod
    async def oldest(db: Connection, *, in_slow: bool) -> timedelta:
        """Return how long the instance of a store that has waited longest was not read back."""
        age: timedelta | None = await db.fetchval(
            # instance_read_back
            "SELECT clock_timestamp() - coalesce(verified_at, indexed_at) FROM index.instance"
            " WHERE in_slow = $1 ORDER BY coalesce(verified_at, indexed_at) LIMIT 1",
            in_slow,
        )
        return age or timedelta(0)


def _damaged(findings: Sequence[Finding]) -> list[InstanceDamaged]:
    """Return what is told of findings: nothing of objects that no row names, or of copies."""
    return [
        InstanceDamaged(
            receipt=row.receipt,
            study_instance_uid=row.study_instance_uid,
            series_instance_uid=row.series_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            object_key=row.object_key,
            kind=finding.kind.value,
            sha256=row.sha256,
            size=row.size,
            found_sha256=finding.sha256,
        )
        for finding in findings
        if (row := finding.expected) is not None
        and finding.kind not in (FindingKind.ORPHAN, FindingKind.REPLICA)
    ]
