"""The rows of new instances: patients, studies, series, instances, and the counts above them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from darkroom_common.errors import TransientError
from darkroom_common.messages.events import StoredItem, StudyStatusChanged
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.indexing.extract import Extracted
from darkroom_metadata.studies.changes import told
from darkroom_metadata.studies.status import StudyStatus

FLAG_SEPARATOR: Final = "\x1f"


class LostRace(TransientError):
    """Another indexer has added one of these instances meanwhile: begin again."""


@dataclass(frozen=True)
class Item:
    """One stored object with what was read from it."""

    event: StoredItem
    found: Extracted

    @property
    def sop_instance_uid(self) -> str:
        """The instance's UID."""
        return self.event.sop_instance_uid


def _hex(tokens: Iterable[bytes]) -> str:
    return ",".join(token.hex() for token in tokens)


@dataclass(frozen=True)
class RowWriter:
    """Inserts what is new, a statement a table; all of it in the caller's transaction."""

    keys: PhiKeys

    async def insert(self, db: Connection, items: Sequence[Item]) -> list[StudyStatusChanged]:
        """Add instances that are not known, with whatever of their parents is not known either.

        Returns:
            What is to be told of studies that had gone on in their life.

        Raises:
            LostRace: another indexer has added one of them meanwhile.
        """
        patients = await self.patients(db, items)
        studies = await self._studies(db, items, patients)
        series = await self._series(db, items, studies)
        await self._instances(db, items, studies, series)
        return await self._count(db, items, studies, series)

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
            [_hex(first[key].tokens) for key in ordered],
            self.keys.current_key,
            self.keys.current,
            PGP_OPTIONS,
        )
        rows = await db.fetch(
            "SELECT id, patient_key FROM index.patient WHERE patient_key = ANY($1::bytea[])",
            ordered,
        )
        return {row["patient_key"]: row["id"] for row in rows}

    async def _studies(
        self, db: Connection, items: Sequence[Item], patients: dict[bytes, int]
    ) -> dict[str, int]:
        first = {item.event.study_instance_uid: item for item in reversed(items)}
        ordered = sorted(first)
        found = [first[uid].found for uid in ordered]
        await db.execute(
            "INSERT INTO index.study (study_instance_uid, patient_id, study_date, study_time,"
            " phi, phi_key, blind, traceparent)"
            " SELECT uid, patient, day, moment, pgp_sym_encrypt(phi, $7, $9), $8,"
            " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h), trace"
            " FROM unnest($1::text[], $2::bigint[], $3::date[], $4::time[], $5::text[], $6::text[],"
            " $10::text[]) AS given (uid, patient, day, moment, phi, blind, trace)"
            " ON CONFLICT (study_instance_uid) DO NOTHING",
            ordered,
            [patients[one.patient_key] for one in found],
            [one.study_date for one in found],
            [one.study_time for one in found],
            [one.study.json for one in found],
            [_hex(one.study.tokens) for one in found],
            self.keys.current_key,
            self.keys.current,
            PGP_OPTIONS,
            [first[uid].event.traceparent for uid in ordered],
        )
        rows = await db.fetch(
            "SELECT id, study_instance_uid FROM index.study"
            " WHERE study_instance_uid = ANY($1::text[])",
            ordered,
        )
        return {row["study_instance_uid"]: row["id"] for row in rows}

    async def _series(
        self, db: Connection, items: Sequence[Item], studies: dict[str, int]
    ) -> dict[tuple[int, str], int]:
        first = {
            (studies[item.event.study_instance_uid], item.event.series_instance_uid): item.found
            for item in reversed(items)
        }
        ordered = sorted(first)
        found = [first[key] for key in ordered]
        await db.execute(
            "INSERT INTO index.series (study_id, series_instance_uid, modality, series_number,"
            " performed_date, performed_time, phi, phi_key, blind)"
            " SELECT study, uid, modality, number, day, moment, pgp_sym_encrypt(phi, $9, $11), $10,"
            " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
            " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::date[],"
            " $6::time[], $7::text[], $8::text[])"
            " AS given (study, uid, modality, number, day, moment, phi, blind)"
            " ON CONFLICT (study_id, series_instance_uid) DO NOTHING",
            [study for study, _ in ordered],
            [uid for _, uid in ordered],
            [one.modality for one in found],
            [one.series_number for one in found],
            [one.performed_date for one in found],
            [one.performed_time for one in found],
            [one.series.json for one in found],
            [_hex(one.series.tokens) for one in found],
            self.keys.current_key,
            self.keys.current,
            PGP_OPTIONS,
        )
        rows = await db.fetch(
            "SELECT id, study_id, series_instance_uid FROM index.series"
            " WHERE (study_id, series_instance_uid) IN"
            " (SELECT * FROM unnest($1::bigint[], $2::text[]))",
            [study for study, _ in ordered],
            [uid for _, uid in ordered],
        )
        return {(row["study_id"], row["series_instance_uid"]): row["id"] for row in rows}

    async def _instances(
        self,
        db: Connection,
        items: Sequence[Item],
        studies: dict[str, int],
        series: dict[tuple[int, str], int],
    ) -> None:
        columns: list[list[Any]] = [
            [
                series[studies[item.event.study_instance_uid], item.event.series_instance_uid]
                for item in items
            ],
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
        ]
        added = await db.fetch(
            "INSERT INTO index.instance (series_id, sop_instance_uid, sop_class_uid,"
            " transfer_syntax_uid, instance_number, pixel_rows, pixel_columns, bits_allocated,"
            " number_of_frames, object_key, sha256, size, data_set_offset, receipt,"
            " calling_ae_title, flags, header, phi_key, received_at, head_sha256)"
            " SELECT g.series, g.uid, g.class, g.syntax, g.number, g.rows, g.columns, g.bits,"
            " g.frames, g.key, g.digest, g.size, g.start, g.receipt, g.ae,"
            " string_to_array(g.flags, E'\\x1f'), pgp_sym_encrypt(g.header, $20, $22), $21, g.at,"
            " g.head"
            " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[],"
            " $6::int[], $7::int[], $8::int[], $9::int[], $10::text[], $11::bytea[],"
            " $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[],"
            " $18::timestamptz[], $19::bytea[])"
            " AS g (series, uid, class, syntax, number, rows, columns, bits, frames, key, digest,"
            " size, start, receipt, ae, flags, header, at, head)"
            " ON CONFLICT (sop_instance_uid) DO NOTHING RETURNING id",
            *columns,
            self.keys.current_key,
            self.keys.current,
            PGP_OPTIONS,
        )
        if len(added) != len(items):
            raise LostRace("an instance was added by another indexer")

    @staticmethod
    async def _count(
        db: Connection,
        items: Sequence[Item],
        studies: dict[str, int],
        series: dict[tuple[int, str], int],
    ) -> list[StudyStatusChanged]:
        counted = Counter(
            series[studies[item.event.study_instance_uid], item.event.series_instance_uid]
            for item in items
        )
        await db.execute(
            "UPDATE index.series e SET instance_count = e.instance_count + g.n,"
            " version = e.version + 1"
            " FROM unnest($1::bigint[], $2::int[]) AS g (id, n) WHERE e.id = g.id",
            sorted(counted),
            [counted[number] for number in sorted(counted)],
        )
        ordered = sorted(items, key=lambda item: item.event.study_instance_uid)
        changed = []
        for uid, group in groupby(ordered, key=lambda item: item.event.study_instance_uid):
            members = list(group)
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
                studies[uid],
                len(members),
                sum(item.event.size for item in members),
                sorted({item.found.modality for item in members if item.found.modality}),
                sorted({item.event.sop_class_uid for item in members}),
                sorted({item.event.calling_ae_title for item in members}),
            )
            if row is not None and row["old"] != StudyStatus.RECEIVING:
                changed.append(told(row, StudyStatus.RECEIVING))
        return changed
