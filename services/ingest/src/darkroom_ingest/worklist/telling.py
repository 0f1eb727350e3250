"""Tells the index when studies were ordered, in the transaction that changes the worklist.

What is tidied is not told: the index keeps the time of an order that nobody has taken back.
"""

from collections.abc import Iterable
from typing import Final

from darkroom_common.messages.procedure_steps import StudyOrdered
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_ingest.senders.repository import SCHEMA

_OUTBOX: Final = Outbox(SCHEMA)
_BATCH: Final = 500
_ORDERED: Final = (  # worklist_study; numbered in the turn that `Entries.alone` gives
    "SELECT o.*, nextval('ingest.order_version') AS version FROM"
    " (SELECT uid, min(coalesce(w.ordered_at, w.created_at)) AS ordered_at"
    "  FROM unnest($1::text[]) AS given (uid)"
    "  LEFT JOIN ingest.worklist w ON w.study_instance_uid = uid GROUP BY uid) AS o"
)
_TOLD: Final = (  # worklist_untold
    "UPDATE ingest.worklist SET told = true WHERE study_instance_uid = ANY($1::text[]) AND NOT told"
)
_UNTOLD: Final = (  # worklist_untold
    "SELECT DISTINCT study_instance_uid FROM ingest.worklist WHERE NOT told LIMIT $1"
)


async def tell_orders(db: Connection, studies: Iterable[str]) -> None:
    """Tell when each of these studies was ordered, or that it is not any more.

    Args:
        db: with a transaction that `Entries.alone` has begun.
        studies: UIDs.
    """
    uids = sorted(set(studies))
    await db.execute(_TOLD, uids)
    rows = await db.fetch(_ORDERED, uids)
    await _OUTBOX.put(
        db,
        *(
            StudyOrdered(
                study_instance_uid=row["uid"], ordered_at=row["ordered_at"], version=row["version"]
            )
            for row in rows
        ),
    )


async def tell_untold(db: Connection) -> int:
    """Tell of some entries that an earlier release has kept; return how many studies they are of.

    Args:
        db: with a transaction that `Entries.alone` has begun.
    """
    uids = [row[0] for row in await db.fetch(_UNTOLD, _BATCH)]
    if uids:
        await tell_orders(db, uids)
    return len(uids)
