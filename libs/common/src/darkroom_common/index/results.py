"""Results of a search: the columns that its statements give, and what is made of their rows."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import orjson

from darkroom_common.index.fields import BY_TAG, Level
from darkroom_common.index.pages import once
from darkroom_common.index.query import Query
from darkroom_common.index.rows import (
    STUDY,
    Found,
    InstanceRow,
    SeriesRow,
    attributes_of,
    readable,
    study_of,
)
from darkroom_common.index.tags.indexed import TAGGED_OF_SERIES, TAGGED_OF_STUDY, said_of

_SERIES: Final = (
    ", e.id AS series_id, e.series_instance_uid, e.modality, e.series_number,"
    " e.instance_count AS series_instance_count, e.version AS series_version,"
    " {series} AS series_phi"
)
_INSTANCE: Final = (
    ", i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.instance_number,"
    " i.pixel_rows, i.pixel_columns, i.bits_allocated, i.number_of_frames, {instance} AS header"
)


def columns_of(query: Query, passphrases: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the columns of a query's answer and the values that they bind.

    Args:
        query: see there.
        passphrases: of the keys, by their numbers.
    """
    wanted = {BY_TAG[tag].level for tag in query.include if tag in BY_TAG}
    beyond = any(tag not in BY_TAG for tag in query.include)
    phi = "pgp_sym_decrypt_bytea({0}.phi, ($1::text[])[{0}.phi_key])"
    if query.level is not Level.STUDY:  # once for all rows of a page: `all_found` knows
        phi = once(phi, query.level)
    header = (
        "CASE WHEN length(i.header) > 0"
        " THEN pgp_sym_decrypt_bytea(i.header, ($1::text[])[i.phi_key]) ELSE ''::bytea END"
    )
    nothing = "''::bytea"
    study = (
        query.level is Level.STUDY
        or query.study_uid is None
        or bool(wanted & {Level.PATIENT, Level.STUDY})
    )
    columns = STUDY.format(study=phi.format("s") if study else nothing)
    if query.by_order:
        columns += ", hit.ordered"
    if query.level is not Level.STUDY:
        series = query.level is Level.SERIES or query.series_uid is None or Level.SERIES in wanted
        columns += _SERIES.format(series=phi.format("e") if series else nothing)
    if query.level is Level.INSTANCE:
        deep = beyond or query.include_all or bool(query.tags)
        columns += _INSTANCE.format(instance=header if deep else nothing)
    if query.tags and query.level is not Level.INSTANCE:  # whose header says it all
        columns += TAGGED_OF_STUDY if query.level is Level.STUDY else TAGGED_OF_SERIES
    # PostgreSQL refuses a value that nothing refers to.
    return columns, [passphrases] if "$1" in columns else []


def all_found(query: Query, rows: Sequence[asyncpg.Record]) -> list[Found]:
    """Return the results of a page; what several rows have of one study or series is read once."""
    found: list[Found] = []
    before: asyncpg.Record | None = None
    for row in rows:
        found.append(_found_of(query, row, before, found[-1] if found else None))
        before = row
    return found


def _found_of(
    query: Query, row: asyncpg.Record, before: asyncpg.Record | None, last: Found | None
) -> Found:
    level = query.level
    if before is None or last is None or before["study_id"] != row["study_id"]:
        last = None
    study = study_of(row) if last is None else last.study
    tags = {}
    if query.tags and level is not Level.INSTANCE:
        tags = said_of(query.tags, [attributes_of(text.encode()) for text in row["tagged"]])
    if level is Level.STUDY:
        return Found(study, tags=tags)
    series = None if last is None else last.series
    if series is None or before is None or before["series_id"] != row["series_id"]:
        series = _series_of(row)  # a UID may have several rows: see index.series_beside
    if level is Level.SERIES:
        return Found(study, series, tags=tags)
    instance = InstanceRow(
        sop_instance_uid=row["sop_instance_uid"],
        sop_class_uid=row["sop_class_uid"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        instance_number=row["instance_number"],
        pixel_rows=row["pixel_rows"],
        pixel_columns=row["pixel_columns"],
        bits_allocated=row["bits_allocated"],
        number_of_frames=row["number_of_frames"],
        attributes=orjson.loads(readable(row["header"]) or b"{}"),
    )
    return Found(study, series, instance, said_of(query.tags, [instance.attributes]))


def _series_of(row: asyncpg.Record) -> SeriesRow:
    return SeriesRow(
        series_instance_uid=row["series_instance_uid"],
        modality=row["modality"],
        series_number=row["series_number"],
        instance_count=row["series_instance_count"],
        version=row["series_version"],
        attributes=attributes_of(row["series_phi"]),
    )
