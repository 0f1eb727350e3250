"""Instances get other bytes, and are filed anew; what stands above them is counted again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from darkroom_common.messages.base import Message, new_message_id
from darkroom_common.messages.events import InstancesReplaced, StudyStatusChanged
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.indexing.filing import Disagreement, Filing, Place
from darkroom_metadata.indexing.item import Item, LostRace
from darkroom_metadata.indexing.repository import indexed, lock_studies
from darkroom_metadata.indexing.rows import GIVEN_INSTANCES, RowWriter, instance_values
from darkroom_metadata.studies.changes import told
from darkroom_metadata.studies.status import StudyStatus

_PLACES: Final = (  # instance_sop_instance_uid_key
    "SELECT i.id, i.sop_instance_uid, i.series_id, e.study_id, s.study_instance_uid"
    " FROM index.instance i JOIN index.series e ON e.id = i.series_id"
    " JOIN index.study s ON s.id = e.study_id WHERE i.sop_instance_uid = ANY($1::text[])"
    " ORDER BY i.id FOR UPDATE OF i"
)
_REPLACE: Final = (
    "UPDATE index.instance i SET series_id = g.series, sop_class_uid = g.class,"
    " transfer_syntax_uid = g.syntax, instance_number = g.number, pixel_rows = g.rows,"
    " pixel_columns = g.columns, bits_allocated = g.bits, number_of_frames = g.frames,"
    " object_key = g.key, sha256 = g.digest, size = g.size, data_set_offset = g.start,"
    " receipt = g.receipt, calling_ae_title = g.ae, flags = string_to_array(g.flags, E'\\x1f'),"
    " header = pgp_sym_encrypt(g.header, $21, $23), phi_key = $22, received_at = g.at,"
    " head_sha256 = g.head, frame_places = g.places, verified_at = NULL{}"
    " WHERE i.sop_instance_uid = g.uid"
)
_COUNT_SERIES: Final = (  # instance_series
    "UPDATE index.series e SET version = e.version + 1,"
    " instance_count = (SELECT count(*) FROM index.instance i WHERE i.series_id = e.id)"
    " WHERE e.id = ANY($1::bigint[])"
)
_DROP_SERIES: Final = (
    "DELETE FROM index.series e WHERE e.id = ANY($1::bigint[])"
    " AND NOT EXISTS (SELECT FROM index.instance i WHERE i.series_id = e.id) RETURNING e.id"
)
_COUNT_STUDIES: Final = (
    "UPDATE index.study s SET version = s.version + 1, series_count = c.series,"
    " instance_count = c.instances, byte_count = c.bytes, modalities = c.modalities,"
    " sop_classes = c.classes, calling_ae_titles = c.titles"
    " FROM (SELECT t.id, count(DISTINCT e.id) AS series, count(i.id) AS instances,"
    "  coalesce(sum(i.size), 0)::bigint AS bytes,"
    "  coalesce(array_agg(DISTINCT e.modality) FILTER (WHERE e.modality IS NOT NULL), '{}')"
    "   AS modalities,"
    "  coalesce(array_agg(DISTINCT i.sop_class_uid) FILTER (WHERE i.id IS NOT NULL), '{}')"
    "   AS classes,"
    "  coalesce(array_agg(DISTINCT i.calling_ae_title) FILTER (WHERE i.id IS NOT NULL), '{}')"
    "   AS titles"
    "  FROM unnest($1::bigint[]) AS t (id) LEFT JOIN index.series e ON e.study_id = t.id"
    "  LEFT JOIN index.instance i ON i.series_id = e.id GROUP BY t.id) AS c WHERE s.id = c.id"
)
_DROP_STUDIES: Final = (
    "DELETE FROM index.study s WHERE s.id = ANY($1::bigint[])"
    " AND NOT EXISTS (SELECT FROM index.series e WHERE e.study_id = s.id) RETURNING s.id"
)
_RECEIVING: Final = (
    "UPDATE index.study s SET status = 'receiving', last_instance_at = clock_timestamp()"
    " FROM (SELECT id, status FROM index.study WHERE id = ANY($1::bigint[]) FOR UPDATE) AS o"
    " WHERE s.id = o.id RETURNING s.study_instance_uid, o.status AS old, s.revision, s.version"
)
# With one of the two that disagreed gone, there is nothing left to decide.
_SETTLE: Final = (  # conflict_open
    "UPDATE index.conflict SET state = 'kept', resolved_at = now(), version = version + 1"
    " WHERE state = 'open' AND kind IN ('patient', 'series', 'modality') AND id <> $3"
    " AND (first_study_id = ANY($1::bigint[]) OR beside_study_id = ANY($1::bigint[])"
    " OR first_series_id = ANY($2::bigint[]) OR beside_series_id = ANY($2::bigint[]))"
)


@dataclass
class Refiled:
    """What was done.

    Attributes:
        places: where the instances are now, in the order that they were given.
        ids: the instances' rows, by SOP instance UID.
    """

    places: list[Place]
    ids: dict[str, int]
    disagreements: list[Disagreement]
    changed: list[StudyStatusChanged]


@dataclass(frozen=True)
class Refiling:
    """Replaces instances, in the caller's transaction."""

    keys: PhiKeys

    async def lock(self, db: Connection, items: Sequence[Item]) -> dict[str, asyncpg.Record]:
        """Let no other writer into the studies that instances leave and come to.

        Returns:
            The rows of the instances, with their place, by SOP instance UID.

        Raises:
            LostRace: an instance has been filed elsewhere meanwhile: begin again.
        """
        uids = [item.sop_instance_uid for item in items]
        before = await db.fetch(_PLACES.removesuffix(" FOR UPDATE OF i"), uids)
        studies = {row["study_instance_uid"] for row in before}
        await lock_studies(db, studies | {item.event.study_instance_uid for item in items})
        after = await db.fetch(_PLACES, uids)
        if {row["study_instance_uid"] for row in after} - studies or len(after) != len(uids):
            raise LostRace("an instance has been filed elsewhere")
        return {row["sop_instance_uid"]: row for row in after}

    async def replace(
        self,
        db: Connection,
        items: Sequence[Item],
        before: dict[str, asyncpg.Record],
        *,
        conflict: int,
    ) -> Refiled:
        """File instances that are in the index with other bytes.

        Args:
            db: within the transaction.
            items: what they are from now on.
            before: as `lock` has returned.
            conflict: which is being resolved, and stays as it is.

        Raises:
            LostRace: begin again in a new transaction.
        """
        patients = await RowWriter(self.keys).patients(db, items)
        places, disagreements = await Filing(self.keys).places(db, items, patients)
        await db.execute(
            _REPLACE.format(GIVEN_INSTANCES), *instance_values(items, places, self.keys)
        )
        series = {row["series_id"] for row in before.values()} | {one.series for one in places}
        studies = {row["study_id"] for row in before.values()} | {one.study for one in places}
        await self.recount(db, series, studies, conflict=conflict)
        messages = await self.receiving(db, {one.study for one in places})
        ids = {uid: row["id"] for uid, row in before.items()}
        return Refiled(places, ids, disagreements, messages)

    @staticmethod
    async def recount(
        db: Connection, series: set[int], studies: set[int], *, conflict: int = 0
    ) -> None:
        """Count what stands above instances again; what has none any more goes."""
        await db.execute(_COUNT_SERIES, sorted(series))
        no_series = [row[0] for row in await db.fetch(_DROP_SERIES, sorted(series))]
        await db.execute(_COUNT_STUDIES, sorted(studies))
        no_studies = [row[0] for row in await db.fetch(_DROP_STUDIES, sorted(studies))]
        await db.execute(_SETTLE, no_studies, no_series, conflict)

    @staticmethod
    async def receiving(db: Connection, studies: set[int]) -> list[StudyStatusChanged]:
        """Take studies that instances have come to back to where quiet time completes them."""
        rows = await db.fetch(_RECEIVING, sorted(studies))
        receiving = StudyStatus.RECEIVING
        return [told(row, receiving) for row in rows if row["old"] != receiving]


def replaced(items: Sequence[Item]) -> list[tuple[Message, dict[str, str]]]:
    """Return what is told of instances that have other bytes than before."""
    changes = [indexed(item).model_copy(update={"receipt": new_message_id()}) for item in items]
    batches = InstancesReplaced.of(changes)
    return [(batch, batch.trace) for batch in batches]
