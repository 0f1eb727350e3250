"""The rows of new instances: patients, studies, series, instances, and the counts above them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.messages.events import StudyStatusChanged
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.indexing.filing import Disagreement, Filing, Place
from darkroom_metadata.indexing.item import Item, LostRace, hexadecimal
from darkroom_metadata.studies.changes import told
from darkroom_metadata.studies.status import StudyStatus

FLAG_SEPARATOR: Final = "\x1f"
GIVEN_INSTANCES: Final = (
    " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[],"
    " $6::int[], $7::int[], $8::int[], $9::int[], $10::text[], $11::bytea[],"
    " $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[],"
    " $18::timestamptz[], $19::bytea[], $20::bytea[])"
    " AS g (series, uid, class, syntax, number, rows, columns, bits, frames, key, digest,"
    " size, start, receipt, ae, flags, header, at, head, places)"
)
"""What `instance_values` binds: the flags of an instance are one text, and $21 to $23 encrypt."""
_ADD_INSTANCES: Final = (
    "INSERT INTO index.instance (series_id, sop_instance_uid, sop_class_uid,"
    " transfer_syntax_uid, instance_number, pixel_rows, pixel_columns, bits_allocated,"
    " number_of_frames, object_key, sha256, size, data_set_offset, receipt,"
    " calling_ae_title, flags, header, phi_key, received_at, head_sha256, frame_places)"
    " SELECT g.series, g.uid, g.class, g.syntax, g.number, g.rows, g.columns, g.bits,"
    " g.frames, g.key, g.digest, g.size, g.start, g.receipt, g.ae,"
    " string_to_array(g.flags, E'\\x1f'), pgp_sym_encrypt(g.header, $21, $23), $22, g.at,"
    f" g.head, g.places{GIVEN_INSTANCES}"
    " ON CONFLICT (sop_instance_uid) DO NOTHING RETURNING id, sop_instance_uid"
)


@dataclass(frozen=True)
class Inserted:
    """What was done with new instances.

    Attributes:
        changed: what is to be told of studies that had gone on in their life.
        disagreements: rows that were made since an instance disagrees with what was there.
        ids: the instances' rows, by SOP instance UID.
        studies: the rows of the studies that they were filed under.
    """

    changed: list[StudyStatusChanged]
    disagreements: list[Disagreement]
    ids: dict[str, int]
    studies: frozenset[int]


@dataclass(frozen=True)
class RowWriter:
    """Inserts what is new, a statement a table; all of it in the caller's transaction."""

    keys: PhiKeys

    async def insert(self, db: Connection, items: Sequence[Item]) -> Inserted:
        """Add instances that are not known, with whatever of their parents is not known either.

        Raises:
            LostRace: another indexer has added one of them meanwhile.
        """
        patients = await self.patients(db, items)
        places, disagreements = await Filing(self.keys).places(db, items, patients)
        ids = await self._instances(db, items, places)
        changed = await self._count(db, items, places)
        return Inserted(changed, disagreements, ids, frozenset(one.study for one in places))

    async def patients(self, db: Connection, items: Sequence[Item]) -> dict[bytes, int]:
        """Add patients that are not known; return the rows of all, by their keys."""
        first = {item.found.patient_key: item.found.patient for item in reversed(items)}
        ordered = sorted(first)
        await db.execute(
            "INSERT INTO index.patient (patient_key, phi, phi_key, blind)"
            " SELECT k, pgp_sym_encrypt(phi, $4, $6), $5,"
            " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
            " FROM unnest($1::bytea[], $2::text[], $3::text[]) AS given (k, phi, blind)"
            " ORDER BY k ON CONFLICT (patient_key) DO NOTHING",
            ordered,
            [first[key].json for key in ordered],
            [hexadecimal(first[key].tokens) for key in ordered],
            self.keys.current_key,
            self.keys.current,
            PGP_OPTIONS,
        )
        rows = await db.fetch(
            "SELECT id, patient_key FROM index.patient WHERE patient_key = ANY($1::bytea[])",
            ordered,
        )
        return {row["patient_key"]: row["id"] for row in rows}

    async def _instances(
        self, db: Connection, items: Sequence[Item], places: Sequence[Place]
    ) -> dict[str, int]:
        added = await db.fetch(_ADD_INSTANCES, *instance_values(items, places, self.keys))
        if len(added) != len(items):
            raise LostRace("an instance was added by another indexer")
        return {row["sop_instance_uid"]: row["id"] for row in added}

    @staticmethod
    async def _count(
        db: Connection, items: Sequence[Item], places: Sequence[Place]
    ) -> list[StudyStatusChanged]:
        counted = Counter(place.series for place in places)
        await db.execute(
            "UPDATE index.series e SET instance_count = e.instance_count + g.n,"
            " version = e.version + 1"
            " FROM unnest($1::bigint[], $2::int[]) AS g (id, n) WHERE e.id = g.id",
            sorted(counted),
            [counted[number] for number in sorted(counted)],
        )
        of_study: dict[int, list[Item]] = {}
        for item, place in zip(items, places, strict=True):
            of_study.setdefault(place.study, []).append(item)
        changed = []
        for number, members in sorted(of_study.items()):
            row = await db.fetchrow(
                # study_pkey, series of the study by its unique key
                "UPDATE index.study s SET"
                " instance_count = s.instance_count + $2, byte_count = s.byte_count + $3,"
                " series_count = (SELECT count(*) FROM index.series e WHERE e.study_id = s.id),"
                " modalities = ARRAY(SELECT DISTINCT m FROM unnest(s.modalities || $4::text[]) AS m"
                "  ORDER BY m),"
                " sop_classes = ARRAY(SELECT DISTINCT c FROM unnest(s.sop_classes || $5::text[])"
                "  AS c ORDER BY c),"
                " calling_ae_titles = ARRAY(SELECT DISTINCT a FROM"
                "  unnest(s.calling_ae_titles || $6::text[]) AS a ORDER BY a),"
                " status = 'receiving', last_instance_at = clock_timestamp(),"
                " version = s.version + 1"
                " FROM (SELECT id, status FROM index.study WHERE id = $1) AS o WHERE s.id = o.id"
                " RETURNING s.study_instance_uid, o.status AS old, s.revision, s.version",
                number,
                len(members),
                sum(item.event.size for item in members),
                sorted({item.found.modality for item in members if item.found.modality}),
                sorted({item.event.sop_class_uid for item in members}),
                sorted({item.event.calling_ae_title for item in members}),
            )
            if row is not None and row["old"] != StudyStatus.RECEIVING:
                changed.append(told(row, StudyStatus.RECEIVING))
        return changed


def instance_values(items: Sequence[Item], places: Sequence[Place], keys: PhiKeys) -> list[Any]:
    """Return the parameters of a statement with `GIVEN_INSTANCES`."""
    return [
        [place.series for place in places],
        [item.sop_instance_uid for item in items],
        [item.event.sop_class_uid for item in items],
        [item.event.transfer_syntax_uid for item in items],
        [item.found.instance_number for item in items],
        [item.found.rows for item in items],
        [item.found.columns for item in items],
        [item.found.bits_allocated for item in items],
        [item.found.number_of_frames for item in items],
        [item.event.object_key for item in items],
        [bytes.fromhex(item.event.sha256) for item in items],
        [item.event.size for item in items],
        [item.event.data_set_offset for item in items],
        [item.event.receipt for item in items],
        [item.event.calling_ae_title for item in items],
        [FLAG_SEPARATOR.join(item.found.flags) for item in items],
        [item.found.header for item in items],
        [item.event.received_at for item in items],
        [item.found.head_sha256 for item in items],
        [item.found.frame_places for item in items],
        keys.current_key,
        keys.current,
        PGP_OPTIONS,
    ]
