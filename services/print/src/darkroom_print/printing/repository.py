"""Jobs of print in PostgreSQL: their states, their films, and who works at them."""

from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.messages.api import PrintFilm
from darkroom_common.messages.jobs import PrintJobChanged, PrintState
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces

_ONE_BY_ONE: Final = "SELECT pg_advisory_xact_lock(hashtextextended('print.' || $1, 0))"
_CLAIM: Final = (
    "UPDATE print.job SET state = 'COMPOSING', attempts = attempts + 1, reason = '',"
    " lease_owner = $2, lease_until = now() + make_interval(secs => $3), updated_at = now()"
    " WHERE id = (SELECT id FROM print.job WHERE printer = $1"
    "   AND ((state IN ('QUEUED', 'RETRYING') AND next_at <= now())"
    "     OR (state IN ('COMPOSING', 'PRINTING') AND lease_until < now()))"
    "   AND NOT EXISTS (SELECT FROM print.job o WHERE o.printer = $1"
    "     AND o.state IN ('COMPOSING', 'PRINTING') AND o.lease_until >= now())"
    "   ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, printer, layout, sop_instance_uids, copies, sealed, attempts, tries, films,"
    " traceparent, warnings"
)


@dataclass
class PrintJob:
    """A job that is worked at here."""

    id: str
    printer: str
    layout: str
    sop_instance_uids: tuple[str, ...]
    copies: int
    sealed: str
    attempts: int
    tries: int
    films: int
    traceparent: str
    warnings: list[str]

    @property
    def trace(self) -> dict[str, str]:
        """The trace that asked for it."""
        return {"traceparent": self.traceparent} if self.traceparent else {}


_JOB: Final = (
    "id, printer, layout, sop_instance_uids, copies, sealed, attempts, tries, films,"
    " traceparent, warnings"
)


class JobRepository:
    """Writes the tables `job` and `film`. Every change of a state puts its event out."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def add(self, db: Connection, request: PrintFilm) -> bool:
        """Add a queued job and return whether it is new."""
        added = await db.fetchval(
            "INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, requested_by,"
            " traceparent, sealed, rule) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT DO NOTHING RETURNING id",
            request.job_id,
            request.printer,
            request.layout,
            list(request.sop_instance_uids),
            request.copies,
            request.requested_by,
            traces.inject().get("traceparent", ""),
            request.sealed,
            request.rule,
        )
        if added is None:
            return False
        if not await db.fetchval("SELECT true FROM print.printer WHERE name = $1", request.printer):
            await db.execute(
                "UPDATE print.job SET state = 'FAILED', finished_at = now(),"
                " reason = 'there is no printer of this name' WHERE id = $1",
                request.job_id,
            )
            await self._changed(db, request.job_id, request.printer, "FAILED")
            return True
        await self._changed(db, request.job_id, request.printer, "QUEUED")
        return True

    async def _changed(
        self,
        db: Connection,
        job_id: str,
        printer: str,
        state: PrintState,
        trace: dict[str, str] | None = None,
    ) -> None:
        event = PrintJobChanged(job_id=job_id, printer=printer, state=state)
        await self._outbox.put_traced(db, [(event, traces.inject() if trace is None else trace)])

    async def find(self, db: Connection, job_id: str) -> PrintJob | None:
        """Return a job as it is."""
        row = await db.fetchrow(f"SELECT {_JOB} FROM print.job WHERE id = $1", job_id)  # noqa: S608 - our own words
        return None if row is None else _job(row)

    async def claim(
        self, db: Connection, printer: str, *, owner: str, lease: float
    ) -> PrintJob | None:
        """Claim the oldest job that is due; one at a time of each printer.

        A job of a process that died comes here, too. If its film may have been printed, it goes
        to UNKNOWN, and nobody prints it again but by an operator (PRN-05).
        """
        await db.execute(_ONE_BY_ONE, printer)  # two processes must not claim two jobs at once
        row = await db.fetchrow(_CLAIM, printer, owner, lease)
        if row is None:
            return None
        job = _job(row)
        acting = await db.fetchval(
            "UPDATE print.film SET state = 'UNKNOWN', updated_at = now()"
            " WHERE job_id = $1 AND state = 'ACTING' RETURNING number",
            job.id,
        )
        if acting is not None:
            reason = f"film {acting}: ended while the printer was told to print; look for the film"
            await self.finish(db, job, "UNKNOWN", reason, owner=owner)
            return None
        await self._changed(db, job.id, printer, "COMPOSING", job.trace)
        return job

    async def renew(self, db: Connection, job_id: str, *, owner: str, lease: float) -> bool:
        """Keep a claimed job; return whether it is still ours."""
        kept = await db.fetchval(
            "UPDATE print.job SET lease_until = now() + make_interval(secs => $3)"
            " WHERE id = $1 AND lease_owner = $2 AND state IN ('COMPOSING', 'PRINTING')"
            " RETURNING id",
            job_id,
            owner,
            lease,
        )
        return kept is not None

    async def waiting_films(self, db: Connection, job_id: str, films: int) -> list[int]:
        """Keep how many films a job has, and return those that are not printed."""
        await db.execute(
            "INSERT INTO print.film (job_id, number) SELECT $1, generate_series(1, $2::integer)"
            " ON CONFLICT DO NOTHING",
            job_id,
            films,
        )
        await db.execute("UPDATE print.job SET films = $2 WHERE id = $1", job_id, films)
        rows = await db.fetch(
            "SELECT number FROM print.film WHERE job_id = $1 AND state = 'WAITING' ORDER BY number",
            job_id,
        )
        return [row["number"] for row in rows]

    async def change_order(self, db: Connection, job: PrintJob, sealed: str) -> None:
        """Keep another order of a job none of whose films is printed."""
        job.sealed = sealed
        await db.execute("UPDATE print.job SET sealed = $2 WHERE id = $1", job.id, sealed)

    async def printing(self, db: Connection, job: PrintJob, *, owner: str) -> bool:
        """Say that the printer is being worked with; return whether the job is still ours."""
        mine = await db.fetchval(
            "UPDATE print.job SET state = 'PRINTING', updated_at = now() WHERE id = $1"
            " AND lease_owner = $2 AND state IN ('COMPOSING', 'PRINTING') RETURNING id",
            job.id,
            owner,
        )
        if mine is None:
            return False
        await self._changed(db, job.id, job.printer, "PRINTING", job.trace)
        return True

    async def acting(
        self, db: Connection, job_id: str, number: int, sha256: bytes, *, owner: str
    ) -> bool:
        """Say that a film is about to be printed: before the N-ACTION. Return whether to go on."""
        mine = await db.fetchval(
            "SELECT true FROM print.job WHERE id = $1 AND lease_owner = $2 AND state = 'PRINTING'"
            " FOR UPDATE",
            job_id,
            owner,
        )
        if not mine:
            return False
        await db.execute(
            "UPDATE print.film SET state = 'ACTING', sha256 = $3, updated_at = now()"
            " WHERE job_id = $1 AND number = $2",
            job_id,
            number,
            sha256,
        )
        return True

    async def not_acted(self, db: Connection, job_id: str, number: int) -> None:
        """Say that the printer has refused to print a film."""
        await db.execute(
            "UPDATE print.film SET state = 'WAITING', updated_at = now()"
            " WHERE job_id = $1 AND number = $2 AND state = 'ACTING'",
            job_id,
            number,
        )

    async def printed(
        self, db: Connection, job_id: str, number: int, print_job: str, warnings: list[str]
    ) -> None:
        """Say that a film is printed."""
        await db.execute(
            "UPDATE print.film SET state = 'DONE', print_job = $3, warnings = $4,"
            " updated_at = now() WHERE job_id = $1 AND number = $2 AND state IN ('ACTING')",
            job_id,
            number,
            print_job,
            warnings,
        )
        await db.execute(
            "UPDATE print.job SET films_done = (SELECT count(*) FROM print.film"
            " WHERE job_id = $1 AND state = 'DONE'), updated_at = now() WHERE id = $1",
            job_id,
        )

    async def unknown(self, db: Connection, job_id: str, number: int) -> None:
        """Say that nobody knows whether a film was printed."""
        await db.execute(
            "UPDATE print.film SET state = 'UNKNOWN', updated_at = now()"
            " WHERE job_id = $1 AND number = $2",
            job_id,
            number,
        )

    async def finish(  # noqa: PLR0913 - all but four by keyword
        self,
        db: Connection,
        job: PrintJob,
        state: PrintState,
        reason: str,
        *,
        owner: str,
        wait: float = 0.0,
        counts: bool = False,
    ) -> bool:
        """End an attempt; return whether the job was still ours."""
        mine = await db.fetchval(
            "UPDATE print.job SET state = $3, reason = $4, lease_owner = '', lease_until = NULL,"
            " next_at = now() + make_interval(secs => $5), tries = tries + $6, warnings = $7,"
            " updated_at = now(),"
            " finished_at = CASE WHEN $3 IN ('DONE', 'FAILED', 'UNKNOWN') THEN now() END"
            " WHERE id = $1 AND lease_owner = $2 AND state IN ('COMPOSING', 'PRINTING')"
            " RETURNING id",
            job.id,
            owner,
            state,
            reason,
            wait,
            int(counts),
            job.warnings,
        )
        if mine is None:
            return False
        await self._changed(db, job.id, job.printer, state, job.trace)
        return True

    async def act(self, db: Connection, job_id: str, action: str) -> tuple[str, str] | None:
        """Do what an operator says; return the state before and after, None without a job."""
        row = await db.fetchrow(
            "SELECT state, printer FROM print.job WHERE id = $1 FOR UPDATE", job_id
        )
        if row is None:
            return None
        state: PrintState = row["state"]
        after = _AFTER.get((action, state))
        if after is None:
            return state, ""
        film = "DONE" if action == "confirm" else "WAITING"
        await db.execute(
            "UPDATE print.film SET state = $2, updated_at = now()"
            " WHERE job_id = $1 AND state = 'UNKNOWN'",
            job_id,
            film,
        )
        left = await db.fetchval(
            "SELECT count(*) FROM print.film WHERE job_id = $1 AND state <> 'DONE'", job_id
        )
        if action == "confirm" and not left:
            after = "DONE"
        over = after in ("DONE", "CANCELLED")
        await db.execute(
            "UPDATE print.job SET state = $2, reason = '', tries = 0, next_at = now(),"
            " films_done = (SELECT count(*) FROM print.film WHERE job_id = $1 AND state = 'DONE'),"
            " finished_at = CASE WHEN $3 THEN now() END, lease_owner = '', lease_until = NULL,"
            " updated_at = now() WHERE id = $1",
            job_id,
            after,
            over,
        )
        await self._changed(db, job_id, row["printer"], after)
        return state, after

    async def keep_picture(
        self, db: Connection, picture: str, media_type: str, sealed: bytes
    ) -> None:
        """Keep a picture for the API to fetch."""
        await db.execute(
            "INSERT INTO print.picture (id, media_type, sealed) VALUES ($1, $2, $3)",
            picture,
            media_type,
            sealed,
        )

    async def forget_pictures(self, db: Connection, *, older_than_seconds: float) -> None:
        """Remove pictures that nobody will fetch."""
        await db.execute(
            "DELETE FROM print.picture WHERE created_at < now() - make_interval(secs => $1)",
            older_than_seconds,
        )


_AFTER: Final[dict[tuple[str, str], PrintState]] = {
    ("retry", "FAILED"): "QUEUED",
    ("retry", "CANCELLED"): "QUEUED",
    ("retry", "UNKNOWN"): "QUEUED",
    ("retry", "RETRYING"): "QUEUED",
    ("cancel", "QUEUED"): "CANCELLED",
    ("cancel", "RETRYING"): "CANCELLED",
    ("cancel", "COMPOSING"): "CANCELLED",
    ("cancel", "UNKNOWN"): "CANCELLED",
    ("confirm", "UNKNOWN"): "QUEUED",
}
"""The state of a job after an operator has acted. PRINTING cannot be cancelled: film comes out."""


def _job(row: Any) -> PrintJob:
    values = dict(row)
    values["sop_instance_uids"] = tuple(values["sop_instance_uids"])
    values["warnings"] = list(values["warnings"])
    return PrintJob(**values)
