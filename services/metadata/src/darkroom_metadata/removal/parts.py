"""Series and instances that are deleted, while their study stays.

Their rows go at once, so that nothing finds them; their objects stay, each with what has it indexed
again, until they are restored or purged. With the last instance the whole study is deleted.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import asyncpg

from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.events import InstancesStored, StoredItem
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.pool import Connection

_FOUND: Final = (  # series_study_id_series_instance_uid_key, instance_series
    "SELECT i.id, i.series_id, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid,"
    " i.object_key, encode(i.sha256, 'hex') AS sha256, i.size, i.data_set_offset,"
    " i.calling_ae_title, i.flags, i.received_at, e.series_instance_uid, s.study_instance_uid"
    " FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " JOIN index.instance i ON i.series_id = e.id WHERE s.id = ANY($1::bigint[])"
    " AND e.series_instance_uid = $2 AND ($3::text IS NULL OR i.sop_instance_uid = $3)"
)
_OTHERS: Final = (
    "SELECT EXISTS (SELECT FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    " WHERE e.study_id = ANY($1::bigint[]) AND i.id <> ALL($2::bigint[]))"
)
_CONFLICTS: Final = (  # conflict_bytes
    "SELECT id, object_key, state, kind IN ('instance', 'correction') AND removed_at IS NULL"
    " AS has_object FROM index.conflict WHERE instance_id = ANY($1::bigint[])"
)
_KEEP: Final = (
    "INSERT INTO index.removed_object (removal, object_key, item)"
    " SELECT $1, * FROM unnest($2::text[], $3::jsonb[]) ON CONFLICT DO NOTHING"
)
_GONE: Final = (
    "DELETE FROM index.resolution WHERE conflict_id = ANY($1::bigint[])",
    "DELETE FROM index.conflict WHERE id = ANY($1::bigint[])",
)
_INSTANCES_GONE: Final = "DELETE FROM index.instance WHERE id = ANY($1::bigint[])"
_SERIES_GONE: Final = (  # instance_series
    "DELETE FROM index.series e WHERE e.id = ANY($1::bigint[])"
    " AND NOT EXISTS (SELECT FROM index.instance i WHERE i.series_id = e.id)"
)
_COUNT_SERIES: Final = (
    "UPDATE index.series e SET version = e.version + 1, instance_count ="
    " (SELECT count(*) FROM index.instance i WHERE i.series_id = e.id)"
    " WHERE e.id = ANY($1::bigint[])"
)
_COUNT_STUDIES: Final = (
    "UPDATE index.study s SET version = s.version + 1, series_count = c.series,"
    " instance_count = c.instances, byte_count = c.bytes, sop_classes = c.classes,"
    " calling_ae_titles = c.titles, modalities = c.modalities FROM (SELECT e.study_id,"
    "  count(DISTINCT e.id) AS series, count(*) AS instances, sum(i.size) AS bytes,"
    "  array_agg(DISTINCT i.sop_class_uid) AS classes,"
    "  array_agg(DISTINCT i.calling_ae_title) AS titles,"
    "  coalesce(array_agg(DISTINCT e.modality) FILTER (WHERE e.modality IS NOT NULL), '{}')"
    "   AS modalities FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    "  WHERE e.study_id = ANY($1::bigint[]) GROUP BY e.study_id) AS c WHERE s.id = c.study_id"
)
_WHOLE: Final = (
    "UPDATE index.removal SET series_instance_uid = NULL, sop_instance_uid = NULL WHERE id = $1"
)
_RESTORABLE: Final = (  # removal_study
    "UPDATE index.removal SET restored_at = now(), updated_at = now() WHERE study_instance_uid = $1"
    " AND series_instance_uid = $2 AND sop_instance_uid IS NOT DISTINCT FROM $3"
    " AND purge_after IS NOT NULL AND purged_at IS NULL AND restored_at IS NULL RETURNING id"
)
_TAKE: Final = (
    "DELETE FROM index.removed_object WHERE removal = ANY($1::text[]) RETURNING object_key, item"
)
_KEYS: Final = "SELECT object_key FROM index.removed_object WHERE removal = $1"
_NAMED: Final = (  # instance_object, conflict_object, removed_object_key
    "SELECT EXISTS (SELECT FROM index.instance WHERE object_key = $1) OR EXISTS"
    " (SELECT FROM index.conflict WHERE object_key = $1 AND removed_at IS NULL)"
    " OR EXISTS (SELECT FROM index.removed_object WHERE object_key = $1 AND removal <> $2)"
)


class Part(NamedTuple):
    """A series, or an instance of it."""

    study: str
    series: str
    instance: str | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Part | None":
        """Return what a removal is about; None: the whole study."""
        if row["series_instance_uid"] is None:
            return None
        return cls(row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"])


class Found(NamedTuple):
    """What is there of a part."""

    instances: Sequence[asyncpg.Record]
    conflicts: Sequence[asyncpg.Record]
    is_all: bool
    """Whether the studies have nothing else."""

    @property
    def is_disputed(self) -> bool:
        """Whether a conflict about it is open."""
        return any(row["state"] == "open" for row in self.conflicts)


async def find(db: Connection, part: Part, studies: Sequence[int]) -> Found:
    """Return what is there of a part, in the rows of its study."""
    rows = await db.fetch(_FOUND, studies, part.series, part.instance)
    ids = [row["id"] for row in rows]
    conflicts = await db.fetch(_CONFLICTS, ids)
    return Found(rows, conflicts, not await db.fetchval(_OTHERS, studies, ids))


async def make_whole(db: Connection, removal: str) -> None:
    """Let a removal be that of the whole study."""
    await db.execute(_WHOLE, removal)


async def take_away(db: Connection, removal: str, found: Found, studies: Sequence[int]) -> None:
    """Remove rows, and keep what they are made of again."""
    keys = [row["object_key"] for row in found.instances]
    items: list[str | None] = [_item(row).model_dump_json() for row in found.instances]
    aside = [row["object_key"] for row in found.conflicts if row["has_object"]]
    await db.execute(_KEEP, removal, keys + aside, items + [None] * len(aside))
    conflicts = [row["id"] for row in found.conflicts]
    for sql in _GONE:
        await db.execute(sql, conflicts)
    await db.execute(_INSTANCES_GONE, [row["id"] for row in found.instances])
    series = list({row["series_id"] for row in found.instances})
    for sql, of in ((_SERIES_GONE, series), (_COUNT_SERIES, series), (_COUNT_STUDIES, studies)):
        await db.execute(sql, of)


def _item(row: asyncpg.Record) -> StoredItem:
    """Return how an object is told again; under a new receipt, for the old one is known."""
    given = {name: row[name] for name in StoredItem.model_fields if name in dict(row)}
    return StoredItem(receipt=new_message_id(), called_ae_title="", **given)


async def put_back(db: Connection, part: Part) -> list[InstancesStored] | None:
    """Restore a part; return what has its objects indexed again, None when nothing is deleted."""
    removals = [row["id"] for row in await db.fetch(_RESTORABLE, *part)]
    if not removals:
        return None
    rows = await db.fetch(_TAKE, removals)
    items: list[StoredItem] = [
        StoredItem.model_validate_json(row["item"]) for row in rows if row["item"] is not None
    ]
    return list(InstancesStored.of(items))


async def purge(db: Connection, store: ObjectStore, removal: str, *, untouched_since: Any) -> bool:
    """Delete the objects of a removal for good; tell whether none was put again meanwhile.

    What something else names as well stays: it has come again, or was deleted twice.
    """
    for row in await db.fetch(_KEYS, removal):
        key = row["object_key"]
        named = await db.fetchval(_NAMED, key, removal)
        if not named and not await store.remove(key, untouched_since=untouched_since):
            return False
    await db.execute(_TAKE, [removal])
    return True
