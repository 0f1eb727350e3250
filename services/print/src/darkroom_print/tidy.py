"""What print forgets in time."""

from datetime import timedelta
from typing import Final

from darkroom_common.jobs.tidy import Removal, jobs, rows
from darkroom_print.printing.repository import PrintJobs

PICTURES_KEPT: Final = timedelta(minutes=10)
PICTURES_SECONDS: Final = 60.0
_EMPTY: Final = (
    "UPDATE print.job SET sealed = '', sop_instance_uids = '{}' WHERE id IN (SELECT id"
    " FROM print.job WHERE state = 'DONE' AND rule <> '' AND sealed <> ''"
    " AND finished_at < now() - $1::interval ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
)
"""A job of a rule stays as a name: the study is not printed again when it is complete once more."""
_PICTURES: Final = (
    "DELETE FROM print.picture WHERE id IN (SELECT id FROM print.picture"
    " WHERE created_at < now() - $1::interval ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
)
PICTURES: Final = rows("pictures", _PICTURES, PICTURES_KEPT)
"""Nobody will fetch them any more."""


def old_jobs(kept: PrintJobs, *, days: int) -> tuple[Removal, ...]:
    """Return what becomes of jobs that have ended well so long ago; 0 keeps all."""
    removal = jobs(kept.table, days=days)
    return removal, rows("orders of rules", _EMPTY, removal.older_than)
