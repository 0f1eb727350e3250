"""Results of a search, of the rows that its statements give."""

from collections.abc import Sequence

import asyncpg
import orjson

from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query
from darkroom_common.index.rows import (
    Found,
    InstanceRow,
    SeriesRow,
    attributes_of,
    readable,
    study_of,
)
from darkroom_common.index.tags.indexed import said_of


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
