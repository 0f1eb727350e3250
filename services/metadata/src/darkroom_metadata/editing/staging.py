"""Objects that are written and not in force yet, and how all of a study's come into force."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.messages.base import Message, new_message_id
from darkroom_common.messages.events import IndexedItem, InstancesReplaced
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_metadata.indexing.item import Item

_OF_STUDY: Final = " FROM index.series e JOIN index.instance i ON i.series_id = e.id"
_UNWRITTEN: Final = (  # of those of study $1 that have an earlier edition than $3
    " FROM index.series e JOIN index.instance i ON i.series_id = e.id WHERE e.study_id = $1"
    " AND i.edition < $3 AND NOT EXISTS (SELECT FROM index.edited g WHERE g.edit_id = $2"
    "  AND g.instance_id = i.id AND g.from_key = i.object_key)"
)
_NEXT: Final = (  # series_study_id_series_instance_uid_key, instance_series, edited_pkey
    "SELECT i.id, i.object_key, encode(i.sha256, 'hex') AS sha256, i.receipt, i.received_at,"
    f" i.calling_ae_title{_UNWRITTEN} ORDER BY i.id LIMIT $4"
)
_LEFT: Final = f"SELECT EXISTS (SELECT{_UNWRITTEN})"
_STAGE: Final = (
    "INSERT INTO index.edited AS g (edit_id, instance_id, from_key, object_key, sha256, size,"
    " data_set_offset, head_sha256, header, phi_key, frame_places)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, pgp_sym_encrypt($9, $10, $12), $11, $13)"
    " ON CONFLICT (edit_id, instance_id) DO UPDATE SET from_key = excluded.from_key,"
    " object_key = excluded.object_key, sha256 = excluded.sha256, size = excluded.size,"
    " data_set_offset = excluded.data_set_offset, head_sha256 = excluded.head_sha256,"
    " header = excluded.header, phi_key = excluded.phi_key, frame_places = excluded.frame_places"
)
_STAGED: Final = (
    f"{_OF_STUDY} JOIN index.edited g ON g.instance_id = i.id AND g.edit_id = $2"
    " AND g.from_key = i.object_key JOIN index.study s ON s.id = e.study_id WHERE e.study_id = $1"
)
_KEEP_ORIGINALS: Final = (  # conflict_bytes
    "INSERT INTO index.conflict (kind, state, instance_id, study_instance_uid,"
    " series_instance_uid, object_key, sha256, size, receipt, calling_ae_title, received_at,"
    " data_set_offset, head_sha256, header, phi_key, verified_at, resolved_at, resolved_by)"
    " SELECT 'correction', 'kept', i.id, s.study_instance_uid, e.series_instance_uid,"
    " i.object_key, i.sha256, i.size, i.receipt, i.calling_ae_title, i.received_at,"
    " i.data_set_offset, i.head_sha256, i.header, i.phi_key, i.verified_at, now(), $3"
    f"{_STAGED} AND g.object_key <> i.object_key"
    " ON CONFLICT (instance_id, object_key) WHERE kind IN ('instance', 'correction') DO NOTHING"
)
_PUT_IN_FORCE: Final = (
    "UPDATE index.instance i SET object_key = g.object_key, sha256 = g.sha256, size = g.size,"
    " data_set_offset = g.data_set_offset, head_sha256 = g.head_sha256, header = g.header,"
    " phi_key = g.phi_key, edition = $3, frame_places = g.frame_places,"
    " verified_at = CASE WHEN g.object_key = i.object_key THEN i.verified_at END"
    " FROM index.edited g, index.series e, index.study s WHERE g.edit_id = $2"
    " AND g.instance_id = i.id AND g.from_key = i.object_key AND e.id = i.series_id"
    " AND e.study_id = $1 AND s.id = e.study_id"
    " RETURNING s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,"
    " i.transfer_syntax_uid, e.modality, i.object_key, encode(i.sha256, 'hex') AS sha256, i.size,"
    " i.calling_ae_title, g.from_key"
)
_CLEAR: Final = "DELETE FROM index.edited WHERE edit_id = $1"
_KEYS: Final = "SELECT object_key FROM index.edited WHERE edit_id = $1 AND object_key <> from_key"
_NAMED: Final = (  # instance_object, conflict_object
    "SELECT EXISTS (SELECT FROM index.instance WHERE object_key = $1) OR EXISTS"
    " (SELECT FROM index.conflict WHERE object_key = $1 AND removed_at IS NULL) OR EXISTS"
    " (SELECT FROM index.edited WHERE object_key = $1 AND edit_id <> $2)"
)


@dataclass(frozen=True)
class Step:
    """What a job does with one study.

    Attributes:
        study: its row.
        edit_id: the job.
        edition: that its objects get.
        below: only those of an earlier edition are edited.
    """

    study: int
    edit_id: str
    edition: int
    below: int


@dataclass(frozen=True)
class Staging:
    """Writes the table `edited`."""

    keys: PhiKeys
    store: ObjectStore

    @staticmethod
    async def left(db: Connection, step: Step, *, most: int) -> list[asyncpg.Record]:
        """Return objects of a study that are to be edited and are not written yet."""
        return list(await db.fetch(_NEXT, step.study, step.edit_id, step.below, most))

    async def add(self, db: Connection, edit_id: str, row: asyncpg.Record, item: Item) -> None:
        """Keep that an object was written."""
        await db.execute(
            _STAGE,
            edit_id,
            row["id"],
            row["object_key"],
            item.event.object_key,
            bytes.fromhex(item.event.sha256),
            item.event.size,
            item.event.data_set_offset,
            item.found.head_sha256,
            item.found.header,
            self.keys.current_key,
            self.keys.current,
            PGP_OPTIONS,
            item.found.frame_places,
        )

    @staticmethod
    async def put_in_force(db: Connection, step: Step, *, by: str) -> list[asyncpg.Record] | None:
        """Bring the instances of a study to the objects that were written for them.

        Nobody else may write to the study meanwhile.

        Returns:
            The instances that were changed; None when one is left that has no object yet.
        """
        if await db.fetchval(_LEFT, step.study, step.edit_id, step.below):
            return None
        await db.execute(_KEEP_ORIGINALS, step.study, step.edit_id, by)
        rows = await db.fetch(_PUT_IN_FORCE, step.study, step.edit_id, step.edition)
        await db.execute(_CLEAR, step.edit_id)
        return [row for row in rows if row["object_key"] != row["from_key"]]

    async def give_up(self, database: Database, edit_id: str) -> None:
        """Remove what was written for an edit that will not be done."""
        now: datetime = SYSTEM_CLOCK.now()
        async with database.transaction() as db:
            for (key,) in await db.fetch(_KEYS, edit_id):
                if not await db.fetchval(_NAMED, key, edit_id):
                    await self.store.remove(key, untouched_since=now)
            await db.execute(_CLEAR, edit_id)


def told(rows: Sequence[asyncpg.Record]) -> list[tuple[Message, dict[str, str]]]:
    """Return what is told of instances that have other bytes than before."""
    changes = []
    for row in rows:
        given: dict[str, Any] = {k: v for k, v in row.items() if k != "from_key"}
        given |= {"receipt": new_message_id(), "called_ae_title": given["calling_ae_title"]}
        changes.append(IndexedItem.model_validate(given))
    return [(batch, batch.trace) for batch in InstancesReplaced.of(changes)]
