"""How conflicts come to be: one for each object or row that disagrees, told once."""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from darkroom_common.messages.base import Message
from darkroom_common.messages.events import ConflictOpened
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.indexing.filing import Disagreement
from darkroom_metadata.indexing.item import Item

# conflict_bytes: what was discarded and has come again is open again; nothing else is told twice.
_OPEN_BYTES: Final = (
    "INSERT INTO index.conflict AS c (instance_id, study_instance_uid, series_instance_uid,"
    " object_key, sha256, size, receipt, calling_ae_title, received_at, data_set_offset,"
    " head_sha256, header, phi_key)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, pgp_sym_encrypt($12, $13, $15), $14)"
    " ON CONFLICT (instance_id, object_key) WHERE kind IN ('instance', 'correction')"
    " DO UPDATE SET state = 'open', remove_after = NULL, removed_at = NULL, resolved_at = NULL,"
    " resolved_by = '', version = c.version + 1, receipt = excluded.receipt,"
    " received_at = excluded.received_at, header = excluded.header, phi_key = excluded.phi_key,"
    " verified_at = NULL WHERE c.state = 'discarded' RETURNING c.*"
)
_OPEN_BESIDE: Final = (
    "INSERT INTO index.conflict (kind, attributes, first_study_id, first_series_id,"
    " beside_study_id, beside_series_id, instance_id, study_instance_uid, series_instance_uid,"
    " object_key, sha256, size, receipt, calling_ae_title, received_at, data_set_offset,"
    " head_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
    " $17) RETURNING *"
)


async def open_bytes(
    db: Connection, instance: int, item: Item, keys: PhiKeys
) -> ConflictOpened | None:
    """Keep that an instance has come with other bytes; None when that is known."""
    event = item.event
    row = await db.fetchrow(
        _OPEN_BYTES,
        instance,
        *_object(item),
        item.found.header,
        keys.current_key,
        keys.current,
        PGP_OPTIONS,
    )
    return None if row is None else _opened(row, event.sop_instance_uid)


async def open_beside(
    db: Connection, made: Sequence[Disagreement], ids: Mapping[str, int]
) -> list[tuple[Message, dict[str, str]]]:
    """Keep which rows were made beside others; return what is told of that."""
    told: list[tuple[Message, dict[str, str]]] = []
    for one in made:
        item = one.item
        row = await db.fetchrow(
            _OPEN_BESIDE,
            one.kind,
            list(one.attributes),
            *one.first,
            *one.beside,
            ids[item.sop_instance_uid],
            *_object(item),
        )
        if row is not None:
            told.append((_opened(row, item.sop_instance_uid), item.event.trace))
    return told


def _object(item: Item) -> tuple[object, ...]:
    event = item.event
    return (
        event.study_instance_uid,
        event.series_instance_uid,
        event.object_key,
        bytes.fromhex(event.sha256),
        event.size,
        event.receipt,
        event.calling_ae_title,
        event.received_at,
        event.data_set_offset,
        item.found.head_sha256,
    )


def _opened(row: asyncpg.Record, sop_instance_uid: str) -> ConflictOpened:
    return ConflictOpened(
        conflict_id=str(row["id"]),
        kind=row["kind"],
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        sop_instance_uid=sop_instance_uid,
        attributes=tuple(row["attributes"]),
        calling_ae_title=row["calling_ae_title"],
    )
