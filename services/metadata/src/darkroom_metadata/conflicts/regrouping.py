"""Brings the studies of one UID to what their instances say, after these have been read again.

An earlier release has filed every instance under the first study and series of its UIDs: those
that disagree get rows beside them. A study that was made beside another, since that one could not
be read yet, is one with it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_common.messages.events import StudyStatusChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.conflicts.opening import open_beside
from darkroom_metadata.conflicts.refiling import Refiling
from darkroom_metadata.indexing.filing import KnownStudy, alike, known_studies
from darkroom_metadata.indexing.item import Item

_SERIES: Final = (  # series_study_id_series_instance_uid_key, series_beside_study
    "SELECT id, series_instance_uid, modality FROM index.series WHERE study_id = $1 ORDER BY id"
)
_JOIN: Final = "UPDATE index.instance SET series_id = $2 WHERE series_id = $1"
_MOVE: Final = "UPDATE index.series SET study_id = $2 WHERE id = $1"
_STAND_BESIDE: Final = (
    "INSERT INTO index.series_beside SELECT * FROM ONLY index.series WHERE id = $1"
)
_LEAVE: Final = "DELETE FROM ONLY index.series WHERE id = $1"


@dataclass(frozen=True)
class Regrouping:
    """Works in the transaction of a caller that has the lock of the study's UID."""

    keys: PhiKeys
    outbox: Outbox

    async def part(self, db: Connection, strangers: Sequence[Item]) -> None:
        """File instances that disagree with what they were filed under, and tell of it."""
        if not strangers:
            return
        refiling = Refiling(self.keys)
        before = await refiling.lock(db, strangers)
        done = await refiling.replace(db, strangers, before, conflict=0)
        await self.outbox.put(db, *done.changed)
        opened = await open_beside(db, done.disagreements, done.ids)
        await self.outbox.put_traced(db, opened)

    async def unite(self, db: Connection, uid: str) -> None:
        """Make one of those studies of a UID that do not disagree any more."""
        kept: list[KnownStudy] = []
        changed: list[StudyStatusChanged] = []
        for _, study in await known_studies(db, self.keys, [uid]):
            alike = [one for one in kept if not one.disagrees(study.patient, study.known)]
            if not alike:
                kept.append(study)
                continue
            changed += await self._join(db, study.id, alike[0].id)
        await self.outbox.put(db, *changed)

    @staticmethod
    async def _join(db: Connection, study: int, first: int) -> list[StudyStatusChanged]:
        there = list(await db.fetch(_SERIES, first))
        touched: set[int] = set()
        for one in await db.fetch(_SERIES, study):
            same = [
                row for row in there if row["series_instance_uid"] == one["series_instance_uid"]
            ]
            target = next((row for row in same if alike(row["modality"], one["modality"])), None)
            if target is not None:
                await db.execute(_JOIN, one["id"], target["id"])
                touched |= {one["id"], target["id"]}
                continue
            if same:  # the UID is taken by one of another modality
                await db.execute(_STAND_BESIDE, one["id"])
                await db.execute(_LEAVE, one["id"])
            await db.execute(_MOVE, one["id"], first)
            there.append(one)
        await Refiling.recount(db, touched, {study, first})
        return await Refiling.receiving(db, {first})
