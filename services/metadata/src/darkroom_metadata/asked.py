"""What people ask for of studies by the broker, kept as jobs of the index."""

from typing import Any, Protocol

from darkroom_common.jobs.attempt import Attempt
from darkroom_common.jobs.kind import JobKind, Phases
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection


class Asked(Protocol):
    """Who asks, and for what."""

    @property
    def requested_by(self) -> str:
        """Return a user name."""

    @property
    def action(self) -> str:
        """Return what is to be done."""


def phases(working: str) -> Phases:
    """Return the states of such jobs; `working` is the word for being at work."""
    return Phases(
        waiting="PENDING",
        working=(working,),
        retrying="RETRYING",
        ended_well=("DONE",),
        failed="FAILED",
        cancelled="CANCELLED",
    )


class AskedJobs:
    """Writes a table of such jobs.

    Args:
        name: of the kind and of its table.
        states: made by `phases`.
        change: the word for it in the log of changes.
    """

    def __init__(self, outbox: Outbox, name: str, states: Phases, change: str) -> None:
        kind: JobKind[Attempt] = JobKind(
            name=name,
            table=f"index.{name}",
            lane="action",
            phases=states,
            attempt=Attempt,
            change=change,
        )
        self.table: JobTable[Attempt] = JobTable(kind, outbox)

    async def added(self, db: Connection, row: Any, asked: Asked, subject: str) -> bool:
        """Tell of the row of a job, if there is a new one; return whether there is."""
        if row is None:
            return False
        await self.table.log_change(db, asked.requested_by, asked.action, subject)
        await self.table.entered(db, row)
        return True
