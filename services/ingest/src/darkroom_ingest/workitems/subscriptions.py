"""The tables `ingest.subscription` and `ingest.workitem_report`: who is told what (PS3.4 CC.2.3).

Who subscribes to the worklist, filtered or not, gets a subscription to each workitem of it that has
not ended, and to each one that comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.matching.data_sets import Test, match_of, test_of
from darkroom_common.index.matching.values import BadKey
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.as_workitem import STATES, workitem_of
from darkroom_common.specs.worklist.entries import ENTRY_PURPOSE, OPEN, WorklistEntry
from darkroom_common.specs.worklist.workitems import (
    FILTER_PURPOSE,
    FILTERED_WORKLIST,
    REPORT_PURPOSE,
    WORKITEM_PURPOSE,
    WORKLIST,
    UpsStatus,
    entry_of_uid,
    uid_of_entry,
)
from darkroom_ingest.workitems.reading import NotTaken, vr_of

GLOBAL: Final = (WORKLIST, FILTERED_WORKLIST)
MOST_SUBSCRIBERS: Final = 200
"""AE titles: each of them is told of each workitem, when it wants."""
KEPT_DAYS: Final = 7
KEPT_REPORTS: Final = 10_000
"""Of one AE title; the oldest go first."""
_PAGE: Final = 500
_SHARED: Final = (
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('darkroom subscriptions', 0))"
)
_ALONE: Final = "SELECT pg_advisory_xact_lock(hashtextextended('darkroom subscriptions', 0))"
_OTHERS: Final = "SELECT count(DISTINCT ae_title) FROM ingest.subscription WHERE ae_title <> $1"
_FOLLOWING: Final = """
    SELECT ae_title, deletion_lock, sealed, target, requested_by FROM ingest.subscription
    WHERE target = ANY($1::text[]) ORDER BY ae_title, target FOR SHARE
"""
_PUT: Final = """
    INSERT INTO ingest.subscription (ae_title, target, deletion_lock, sealed, requested_by)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ae_title, target) DO UPDATE
    SET deletion_lock = $3, sealed = $4, requested_by = $5
"""
_ONE: Final = """
    INSERT INTO ingest.subscription (ae_title, target, deletion_lock, requested_by)
    VALUES ($1, $2, $3, $4) ON CONFLICT (ae_title, target) DO NOTHING RETURNING true
"""
_TELL: Final = """
    INSERT INTO ingest.workitem_report
        (ae_title, sop_instance_uid, event_type, state, readiness, sealed)
    SELECT ae_title, $1, $2, $3, $4, $5 FROM ingest.subscription WHERE target = $1
"""
_TELL_ONE: Final = """
    INSERT INTO ingest.workitem_report (ae_title, sop_instance_uid, event_type, state, readiness)
    VALUES ($1, $2, 1, $3, $4)
"""
_WORKITEM: Final = (
    "SELECT state, readiness FROM ingest.workitem WHERE sop_instance_uid = $1 FOR SHARE"
)
_ENTRY: Final = "SELECT state FROM ingest.worklist WHERE id = $1 FOR SHARE"
_GONE: Final = "SELECT true FROM ingest.workitem_gone WHERE sop_instance_uid = $1"
_OPEN: Final = """
    SELECT sop_instance_uid, state, readiness, sealed FROM ingest.workitem
    WHERE state IN ('SCHEDULED', 'IN PROGRESS') AND sop_instance_uid > $1
    ORDER BY sop_instance_uid LIMIT $2 FOR SHARE
"""
_ENTRIES: Final = """
    WITH put AS (
        INSERT INTO ingest.subscription (ae_title, target, deletion_lock, requested_by)
        SELECT $1, ingest.workitem_uid(id), false, $2 FROM ingest.worklist
        WHERE state IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED')
        ON CONFLICT DO NOTHING
    )
    INSERT INTO ingest.workitem_report (ae_title, sop_instance_uid, event_type, state, readiness)
    SELECT $1, ingest.workitem_uid(id), 1,
        CASE state WHEN 'STARTED' THEN 'IN PROGRESS' ELSE 'SCHEDULED' END, 'READY'
    FROM ingest.worklist WHERE state IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED')
"""
_SOME_ENTRIES: Final = """
    SELECT id, state, sealed FROM ingest.worklist
    WHERE state = ANY($1::text[]) AND id > $2 ORDER BY id LIMIT $3 FOR SHARE
"""
_DROP: Final = "DELETE FROM ingest.subscription WHERE ae_title = $1 AND target = $2 RETURNING true"
_DROP_ALL: Final = """
    DELETE FROM ingest.subscription WHERE ae_title = $1 AND target <> ALL($2::text[])
"""


@dataclass(frozen=True)
class Subscriber:
    """Who subscribes.

    Attributes:
        by: user name.
    """

    ae_title: str
    by: str


@dataclass(frozen=True)
class Report:
    """What subscribers are told.

    Attributes:
        kind: the type of the event.
        state: of the workitem then.
        readiness: likewise.
        said: what it says beyond these two.
    """

    kind: int
    state: str
    readiness: str
    said: JsonDataset


@dataclass(frozen=True)
class Subscriptions:
    """Who is told of which workitems."""

    database: Database
    seal: Seal

    async def hold(self, db: Connection) -> None:
        """Let nobody subscribe to the worklist until the transaction, which adds to it, ends."""
        await db.execute(_SHARED)

    async def follow(self, db: Connection, uid: str, attributes: JsonDataset) -> None:
        """Subscribe those that are to be told of every new workitem, or of such ones."""
        for row in await db.fetch(_FOLLOWING, list(GLOBAL)):
            if row["target"] == WORKLIST or self._fits(row["sealed"], attributes):
                given = (row["ae_title"], uid, row["deletion_lock"], row["requested_by"])
                await db.fetchval(_ONE, *given)

    async def follow_entry(self, db: Connection, entry_id: str, entry: WorklistEntry) -> None:
        """Subscribe those whose filter a new entry of the worklist fits, and tell them of it.

        Who subscribes to the whole worklist is seen to by the table itself.
        """
        uid, attributes = uid_of_entry(entry_id), workitem_of(entry_id, entry)
        for row in await db.fetch(_FOLLOWING, [FILTERED_WORKLIST]):
            if self._fits(row["sealed"], attributes):
                given = (row["ae_title"], uid, False, row["requested_by"])
                if await db.fetchval(_ONE, *given):
                    await db.execute(_TELL_ONE, row["ae_title"], uid, STATES[entry.state], "READY")

    async def tell(self, db: Connection, uid: str, report: Report) -> None:
        """Keep a report for each subscriber of a workitem."""
        sealed = self.seal.seal(report.said, purpose=REPORT_PURPOSE) if report.said else ""
        await db.execute(_TELL, uid, report.kind, report.state, report.readiness, sealed)

    async def subscribe(
        self, who: Subscriber, target: str, *, lock: bool, keys: Mapping[str, str]
    ) -> UpsStatus:
        """Subscribe an AE to a workitem or the worklist, and tell it what there is.

        Raises:
            NotTaken: there is no such workitem, too many subscribe, or a key cannot be.
        """
        tests = tests_of(keys)
        async with self.database.transaction() as db:
            await db.execute(_ALONE)
            if await db.fetchval(_OTHERS, who.ae_title) >= MOST_SUBSCRIBERS:
                raise NotTaken(UpsStatus.RESOURCE_LIMITATION, "too many AE titles subscribe")
            if target not in GLOBAL:
                return await self._subscribe_to(db, who, target, lock=lock)
            sealed = self.seal.seal(dict(keys), purpose=FILTER_PURPOSE) if keys else ""
            await db.execute(_PUT, who.ae_title, target, lock, sealed, who.by)
            if target == WORKLIST:
                await db.execute(_ENTRIES, who.ae_title, who.by)
            after = ""
            while page := await db.fetch(_OPEN, after, _PAGE):
                for row in page:
                    uid = row["sop_instance_uid"]
                    if tests and not self._holds(tests, row["sealed"]):
                        continue
                    await db.execute(_PUT, who.ae_title, uid, lock, "", who.by)
                    told = (who.ae_title, uid, row["state"], row["readiness"])
                    await db.execute(_TELL_ONE, *told)
                after = page[-1]["sop_instance_uid"]
            if target == FILTERED_WORKLIST:
                await self._to_entries(db, who, tests)
        return UpsStatus.SUCCESS

    async def _to_entries(self, db: Connection, who: Subscriber, tests: Sequence[Test]) -> None:
        """Subscribe an AE to the entries of the worklist that its filter fits."""
        after = ""
        while page := await db.fetch(_SOME_ENTRIES, list(OPEN), after, _PAGE):
            for row in page:
                after = row["id"]
                opened = self.seal.open(row["sealed"], purpose=ENTRY_PURPOSE)
                entry = WorklistEntry.model_validate(opened | {"state": row["state"]})
                attributes = workitem_of(row["id"], entry)
                if not all(test.holds(attributes) for test in tests):
                    continue
                uid = uid_of_entry(row["id"])
                given = (who.ae_title, uid, False, "", who.by)
                await db.execute(_PUT, *given)
                await db.execute(_TELL_ONE, who.ae_title, uid, STATES[entry.state], "READY")

    async def unsubscribe(self, ae_title: str, target: str) -> None:
        """Tell an AE no more of a workitem; of the worklist: of none.

        Raises:
            NotTaken: it does not subscribe.
        """
        async with self.database.transaction() as db:
            await self._drop(db, ae_title, target)
            if target in GLOBAL:
                await db.execute(_DROP_ALL, ae_title, list(GLOBAL))

    async def suspend(self, ae_title: str, target: str) -> None:
        """Subscribe an AE to nothing new any more; what it is told of stays (PS3.4 CC.2.3).

        Raises:
            NotTaken: it does not subscribe.
        """
        async with self.database.transaction() as db:
            await self._drop(db, ae_title, target)

    async def _drop(self, db: Connection, ae_title: str, target: str) -> None:
        if not await db.fetchval(_DROP, ae_title, target):
            raise NotTaken(UpsStatus.NOT_THERE, "there is no such subscription")

    async def _subscribe_to(
        self, db: Connection, who: Subscriber, uid: str, *, lock: bool
    ) -> UpsStatus:
        found = await db.fetchrow(_WORKITEM, uid)
        is_entry = found is None
        row = await self._entry(db, uid) if found is None else dict(found)
        if row is None:
            gone = await db.fetchval(_GONE, uid)
            raise NotTaken(UpsStatus.GONE if gone else UpsStatus.NOT_THERE, "it is not there")
        granted = lock and not is_entry
        await db.execute(_PUT, who.ae_title, uid, granted, "", who.by)
        await db.execute(_TELL_ONE, who.ae_title, uid, row["state"], row["readiness"])
        return UpsStatus.NO_DELETION_LOCK if lock and is_entry else UpsStatus.SUCCESS

    async def _entry(self, db: Connection, uid: str) -> Mapping[str, Any] | None:
        found = await db.fetchval(_ENTRY, entry_of_uid(uid) or "")
        if found is None:
            return None
        return {"state": STATES[found], "readiness": "READY"}

    def _fits(self, sealed: str, attributes: JsonDataset) -> bool:
        keys = self.seal.open(sealed, purpose=FILTER_PURPOSE) if sealed else {}
        return all(test.holds(attributes) for test in tests_of(keys))

    def _holds(self, tests: Sequence[Test], sealed: str) -> bool:
        attributes = self.seal.open(sealed, purpose=WORKITEM_PURPOSE)
        return all(test.holds(attributes) for test in tests)


def tests_of(keys: Mapping[str, str]) -> list[Test]:
    """Return what keys ask for.

    Raises:
        NotTaken: a key is no attribute, or its value cannot be.
    """
    found = []
    for path, text in keys.items():
        tag = path.rpartition(".")[2]
        vr = vr_of(tag)
        if vr in ("", "SQ"):
            raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "this is no key", tag)
        try:
            match = match_of(tag, vr, text)
        except BadKey as error:
            raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, error.reason, tag) from error
        if match is not None:
            found.append(test_of(path, vr, match, text))
    return found
