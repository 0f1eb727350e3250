"""Jobs of print in PostgreSQL: what the engine does not know of them, and their films."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.index.origin import links_to_origin
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import Action, JobKind, Phases, Row, usual_actions
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.commands import PrintFilm
from darkroom_common.messages.events import PrintJobChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.declared import PRINTERS
from darkroom_common.resources.identity import NOBODY, identity
from darkroom_common.telemetry import traces

PHASES: Final = Phases(
    waiting="QUEUED",
    working=("COMPOSING", "PRINTING"),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
    doubtful="UNKNOWN",
)
_ACTIONS: Final[dict[tuple[Action, str], str]] = {
    **{key: to for key, to in usual_actions(PHASES).items() if key != ("cancel", "PRINTING")},
    ("retry", "UNKNOWN"): "QUEUED",
    ("cancel", "UNKNOWN"): "CANCELLED",
    ("confirm", "UNKNOWN"): "QUEUED",
}
"""PRINTING cannot be cancelled: film comes out."""
_ADD: Final = (
    "INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, requested_by,"
    " traceparent, sealed, rule, created_at, printer_id, state, reason, finished_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
    " CASE WHEN $12 THEN 'QUEUED' ELSE 'FAILED' END,"
    " CASE WHEN $12 THEN '' ELSE 'there is no printer of this name' END,"
    " CASE WHEN NOT $12 THEN now() END)"
    " ON CONFLICT DO NOTHING RETURNING *"
)
_DOUBT: Final = (
    "UPDATE print.film SET state = 'UNKNOWN', updated_at = now()"
    " WHERE job_id = $1 AND state = 'ACTING' RETURNING number"
)
_SETTLE: Final = (
    "UPDATE print.film SET state = $2, updated_at = now() WHERE job_id = $1 AND state = 'UNKNOWN'"
)
_DONE: Final = (
    "SELECT count(*) FILTER (WHERE state = 'DONE') AS done,"
    " count(*) FILTER (WHERE state <> 'DONE') AS left FROM print.film WHERE job_id = $1"
)


@dataclass(eq=False)
class PrintJob(Attempt):
    """A job that is printed here. `warnings`: what the printer has had to say, also before."""

    warnings: list[str] = field(default_factory=list)


class PrintJobs:
    """Writes the tables `job` and `film`."""

    def __init__(self, outbox: Outbox) -> None:
        self.kind = JobKind(
            name="print",
            table="print.job",
            lane="printer",
            target="printer_id",
            targets="print.printer",
            removed="the printer was removed",
            phases=PHASES,
            attempt=PrintJob,
            alone=True,
            actions=_ACTIONS,
            event=_event,
            removable="rule = ''",
            claimed=self.claimed,
            acted=self.acted,
        )
        self.table = JobTable(self.kind, outbox)

    async def add(self, db: Connection, request: PrintFilm) -> bool:
        """Add a queued job, a failed one for no printer; return whether it is new."""
        known = await identity(db, PRINTERS, request.printer, request.printer_id)
        row = await db.fetchrow(
            _ADD,
            request.job_id,
            request.printer,
            request.layout,
            list(request.sop_instance_uids),
            request.copies,
            request.requested_by,
            traces.inject().get("traceparent", ""),
            request.sealed,
            request.rule,
            request.occurred_at,
            known or request.printer_id or NOBODY,
            known is not None,
        )
        if row is not None:
            await self.table.entered(db, row)
        return row is not None

    @staticmethod
    async def find(db: Connection, job_id: str) -> Row | None:
        """Return the row of a job."""
        found: Row | None = await db.fetchrow("SELECT * FROM print.job WHERE id = $1", job_id)
        return found

    @staticmethod
    async def claimed(db: Connection, job: PrintJob) -> Ending | None:
        """End a job whose film may have been printed: only an operator prints it again (PRN-05)."""
        acting = await db.fetchval(_DOUBT, job.id)
        if acting is not None:
            reason = f"film {acting}: ended while the printer was to print; look for the film"
            return Ending(PHASES.doubtful, reason)
        job.warnings = list(job.row["warnings"])
        job.links = await links_to_origin(db, job.row["sop_instance_uids"][0])
        return None

    @staticmethod
    async def acted(db: Connection, row: Row, action: Action) -> Mapping[str, Any]:
        """Settle the films in question; a job whose last one has come out is done."""
        await db.execute(_SETTLE, row["id"], "DONE" if action == "confirm" else "WAITING")
        films = await db.fetchrow(_DONE, row["id"])
        columns: dict[str, Any] = {"films_done": films["done"] if films else 0}
        if action == "confirm" and films and not films["left"]:
            columns["state"] = "DONE"
        return columns

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

    async def change_order(self, db: Connection, job_id: str, sealed: str) -> None:
        """Keep another order of a job none of whose films is printed."""
        await db.execute("UPDATE print.job SET sealed = $2 WHERE id = $1", job_id, sealed)

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


def _event(row: Row) -> PrintJobChanged:
    return PrintJobChanged(
        job_id=row["id"], printer=row["printer"], state=row["state"], reason=row["reason"]
    )
