"""Results of a search, of the rows that its statements give."""

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


def found_of(query: Query, row: asyncpg.Record) -> Found:
    """Return a result."""
    study, level = study_of(row), query.level
    tags = {}
    if query.tags and level is not Level.INSTANCE:
        tags = said_of(query.tags, [attributes_of(text.encode()) for text in row["tagged"]])
    if level is Level.STUDY:
        return Found(study, tags=tags)
    series = SeriesRow(
        series_instance_uid=row["series_instance_uid"],
        modality=row["modality"],
        series_number=row["series_number"],
        instance_count=row["series_instance_count"],
        version=row["series_version"],
        attributes=attributes_of(row["series_phi"]),
    )
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
