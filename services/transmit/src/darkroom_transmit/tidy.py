"""What transmit forgets in time."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from darkroom_common.jobs.table import JobTable
from darkroom_common.jobs.tidy import Removal, jobs, rows

ARRIVAL_KEPT: Final = timedelta(days=365)
"""How a study came; a rule that looks at it later finds no AE titles."""
_ARRIVALS: Final = (
    "DELETE FROM transmit.arrival WHERE ctid = ANY(ARRAY(SELECT ctid FROM transmit.arrival"
    " WHERE first_at < now() - $1::interval LIMIT $2))"
)
_NOT_TOLD: Final = (
    "DELETE FROM transmit.asked_commitment WHERE ctid = ANY(ARRAY(SELECT ctid"
    " FROM transmit.asked_commitment WHERE state = 'FAILED'"
    " AND finished_at < now() - $1::interval LIMIT $2))"
)


def old_rows(tables: Sequence[JobTable[Any]], *, days: int) -> list[Removal]:
    """Return what is removed: jobs that have ended well so long ago, none with 0; and arrivals."""
    return [
        *(jobs(table, days=days) for table in tables),
        rows("arrivals", _ARRIVALS, ARRIVAL_KEPT),
        rows("commitments nobody took", _NOT_TOLD, ARRIVAL_KEPT),
    ]
