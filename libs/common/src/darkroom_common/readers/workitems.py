"""Reads the workitems of schema `ingest`, and the entries of the worklist as workitems."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.as_workitem import STATES, workitem_of
from darkroom_common.specs.worklist.entries import ENTRY_PURPOSE, WorklistEntry
from darkroom_common.specs.worklist.workitems import WORKITEM_PURPOSE, entry_of_uid

PAGE: Final = 200
_ONE: Final = """
    SELECT 'workitem' AS kind, sop_instance_uid AS id, state, version, sealed FROM ingest.workitem
    WHERE sop_instance_uid = $1
    UNION ALL
    SELECT 'entry', id, state, version, sealed FROM ingest.worklist WHERE id = $2
"""
_GONE: Final = "SELECT true FROM ingest.workitem_gone WHERE sop_instance_uid = $1"
_PAGE: Final = """
    (SELECT 'workitem' AS kind, sop_instance_uid AS id, state, scheduled_at, sealed
    FROM ingest.workitem  -- workitem_scheduled
    WHERE ($1::timestamptz IS NULL OR scheduled_at >= $1)
        AND ($2::timestamptz IS NULL OR scheduled_at < $2)
        AND ($3::text[] IS NULL OR state = ANY($3))
        AND ($5::bytea[] IS NULL OR patient_key = ANY($5))
        AND ($6::text[] IS NULL OR sop_instance_uid = ANY($6))
        AND (scheduled_at, sop_instance_uid) > ($8::timestamptz, $9::text)
    ORDER BY scheduled_at, sop_instance_uid LIMIT $10)
    UNION ALL
    (SELECT 'entry', id, state, scheduled_at, sealed
    FROM ingest.worklist  -- worklist_scheduled
    WHERE ($1::timestamptz IS NULL OR scheduled_at >= $1)
        AND ($2::timestamptz IS NULL OR scheduled_at < $2)
        AND ($4::text[] IS NULL OR state = ANY($4))
        AND ($5::bytea[] IS NULL OR patient_key = ANY($5))
        AND ($7::text[] IS NULL OR id = ANY($7))
        AND (scheduled_at, id) > ($8::timestamptz, $9::text)
    ORDER BY scheduled_at, id LIMIT $10)
    ORDER BY scheduled_at, id LIMIT $10
"""
_REPORTS: Final = """
    SELECT number, sop_instance_uid, event_type, state, readiness, sealed
    FROM ingest.workitem_report  -- workitem_report_next
    WHERE ae_title = $1 AND number > $2 ORDER BY number LIMIT $3
"""
_NEWEST: Final = "SELECT coalesce(max(number), 0) FROM ingest.workitem_report"
_SUBSCRIBES: Final = """
    SELECT EXISTS (SELECT FROM ingest.subscription WHERE ae_title = $1 AND requested_by = $2)
"""
_EARLIEST: Final = (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "")

Position = tuple[dt.datetime, str]


@dataclass(frozen=True)
class Narrow:
    """What the database looks at before a workitem is opened; None: whatever it is.

    Attributes:
        first: moment at which it is scheduled to start, by the clock of the department.
        last: behind the last such moment.
        states: of workitems.
        patient_keys: blind tokens of the patient's id.
        uids: of workitems.
    """

    first: dt.datetime | None = None
    last: dt.datetime | None = None
    states: Sequence[str] | None = None
    patient_keys: Sequence[bytes] | None = None
    uids: Sequence[str] | None = None


@dataclass(frozen=True)
class Found:
    """A workitem.

    Attributes:
        version: of its row.
        attributes: all of it but the lock.
    """

    version: int
    attributes: JsonDataset


@dataclass(frozen=True)
class Page:
    """Some workitems by their start; `after` is where the next page begins, None: nowhere."""

    found: list[JsonDataset] = field(default_factory=list)
    after: Position | None = None


async def workitem(db: Connection, seal: Seal, uid: str) -> Found | None:
    """Return a workitem; None: there is none."""
    row = await db.fetchrow(_ONE, uid, entry_of_uid(uid) or "")
    return None if row is None else Found(row["version"], _opened(seal, row))


async def is_gone(db: Connection, uid: str) -> bool:
    """Tell whether there was such a workitem."""
    return bool(await db.fetchval(_GONE, uid))


async def workitems(
    db: Connection, seal: Seal, narrow: Narrow, after: Position | None = None
) -> Page:
    """Return a page of workitems in the order of their start."""
    uids, entries, states = narrow.uids, None, None
    if uids is not None:
        entries = [one for uid in uids if (one := entry_of_uid(uid))]
    if narrow.states is not None:
        states = [theirs for theirs, ours in STATES.items() if ours in narrow.states]
    given = (states, narrow.patient_keys, uids, entries, *(after or _EARLIEST), PAGE)
    rows = await db.fetch(_PAGE, narrow.first, narrow.last, narrow.states, *given)
    last = rows[-1] if len(rows) == PAGE else None
    return Page(
        [_opened(seal, row) for row in rows],
        None if last is None else (last["scheduled_at"], last["id"]),
    )


def _opened(seal: Seal, row: Any) -> JsonDataset:
    if row["kind"] == "workitem":
        attributes: JsonDataset = seal.open(row["sealed"], purpose=WORKITEM_PURPOSE)
        return attributes
    given = seal.open(row["sealed"], purpose=ENTRY_PURPOSE)
    return workitem_of(row["id"], WorklistEntry.model_validate(given | {"state": row["state"]}))


async def reports(db: Connection, ae_title: str, after: int, most: int) -> list[Any]:
    """Return the reports to an AE that follow a number, so many at a time."""
    return list(await db.fetch(_REPORTS, ae_title, after, most))


async def subscribes(db: Connection, ae_title: str, username: str) -> bool:
    """Tell whether a user has subscribed an AE to something."""
    return bool(await db.fetchval(_SUBSCRIBES, ae_title, username))


async def newest_report(db: Connection) -> int:
    """Return the number of the last report to anybody; 0: there is none."""
    return int(await db.fetchval(_NEWEST))
