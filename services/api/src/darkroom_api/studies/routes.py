"""The list of studies and one study for people and programs that do not speak DICOM."""

import datetime as dt
from typing import Annotated, Literal

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.address import uid_of
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import study_not_found
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import (
    LINKED,
    Listed,
    ListQuery,
    cursor_keys,
    cursor_of,
    no_cursor,
    set_headers,
)
from darkroom_api.http.parts import parts_of
from darkroom_common.dicom.json_model import texts
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.query import Condition, Query, Range, conditions, require_bounded
from darkroom_common.index.rows import Json, SeriesRow, StudyRow

MOST_SERIES = 10_000
Status = Literal["receiving", "complete", "verified", "archived"]


class Study(BaseModel):
    """A study as the index has it."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    patient_birth_date: str = Field(description="as received, YYYYMMDD")
    patient_sex: str
    accession_number: str
    study_id: str
    study_date: dt.date | None
    study_time: dt.time | None
    description: str
    referring_physician: str
    modalities: list[str]
    series_count: int
    instance_count: int
    byte_count: int
    status: Status
    revision: int = Field(description="how often the study was complete")
    version: int = Field(description="grows with every change")
    calling_ae_titles: list[str]
    created_at: dt.datetime
    last_instance_at: dt.datetime
    completed_at: dt.datetime | None


class Series(BaseModel):
    """A series as the index has it."""

    series_instance_uid: str
    modality: str | None
    series_number: int | None
    description: str
    body_part: str
    station: str
    instance_count: int


class Conflict(BaseModel):
    """Something that disagrees with the study; see `/api/v1/conflicts`."""

    conflict_id: str
    kind: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    calling_ae_title: str
    size: int
    received_at: dt.datetime


class StudyDetail(Study):
    """A study with its series and conflicts."""

    series: list[Series]
    conflicts: list[Conflict] = Field(description="the newest 100 that are open")


def _text(attributes: Json, keyword: str) -> str:
    return next(iter(texts(attributes.get(BY_KEYWORD[keyword].tag))), "")


def _study(row: StudyRow) -> dict[str, object]:
    known = row.attributes
    return {
        "study_instance_uid": row.study_instance_uid,
        "patient_name": _text(known, "PatientName"),
        "patient_id": _text(known, "PatientID"),
        "patient_birth_date": _text(known, "PatientBirthDate"),
        "patient_sex": _text(known, "PatientSex"),
        "accession_number": _text(known, "AccessionNumber"),
        "study_id": _text(known, "StudyID"),
        "study_date": row.study_date,
        "study_time": row.study_time,
        "description": _text(known, "StudyDescription"),
        "referring_physician": _text(known, "ReferringPhysicianName"),
        "modalities": list(row.modalities),
        "series_count": row.series_count,
        "instance_count": row.instance_count,
        "byte_count": row.byte_count,
        "status": row.status,
        "revision": row.revision,
        "version": row.version,
        "calling_ae_titles": list(row.calling_ae_titles),
        "created_at": row.created_at,
        "last_instance_at": row.last_instance_at,
        "completed_at": row.completed_at,
    }


def _series(row: SeriesRow) -> Series:
    return Series(
        series_instance_uid=row.series_instance_uid,
        modality=row.modality,
        series_number=row.series_number,
        description=_text(row.attributes, "SeriesDescription"),
        body_part=_text(row.attributes, "BodyPartExamined"),
        station=_text(row.attributes, "StationName"),
        instance_count=row.instance_count,
    )


class StudySearch(ListQuery):
    """What the list is searched by. The texts take the wildcards * and ?."""

    sort: Literal["-study_date"] = "-study_date"
    patient_name: str | None = Field(
        default=None, max_length=256, description="words and beginnings of words, in any order"
    )
    patient_id: str | None = Field(default=None, max_length=256)
    accession_number: str | None = Field(default=None, max_length=256)
    modality: str | None = Field(
        default=None, max_length=64, description="one or several, comma separated"
    )
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    status: Status | None = None


def _after(asked: StudySearch) -> tuple[dt.date | None, int] | None:
    if asked.cursor is None:
        return None
    day, row = cursor_keys(asked.cursor, asked.sort, [str, int])
    try:
        return dt.date.fromisoformat(str(day)) if day else None, int(str(row))
    except ValueError:
        raise no_cursor() from None


async def list_studies(
    request: Request, response: Response, asked: Annotated[StudySearch, Parameter()]
) -> Listed[Study]:
    """Search for studies, newest first."""
    found: list[Condition] = []
    for keyword, text in (
        ("PatientName", asked.patient_name),
        ("PatientID", asked.patient_id),
        ("AccessionNumber", asked.accession_number),
        ("ModalitiesInStudy", asked.modality),
    ):
        if text:
            fuzzy = "*" not in text and "?" not in text
            found += conditions(BY_KEYWORD[keyword], text, fuzzy=fuzzy)
    if asked.date_from is not None or asked.date_to is not None:
        found.append(Condition(BY_KEYWORD["StudyDate"], Range(asked.date_from, asked.date_to)))
    query = Query(
        Level.STUDY,
        conditions=tuple(found),
        statuses=() if asked.status is None else (asked.status,),
        limit=asked.page_size,
        offset=0 if asked.cursor else asked.offset,
        after=_after(asked),
    )
    require_bounded(found)
    parts = parts_of(request.scope)
    async with parts.searches.of(principal_of(request.scope).user_id):
        answer = await parts.reader.search(query)
        total = answer.total
        if total is None:
            total = await parts.reader.expected(query)
    cursor = None
    if answer.last is not None:
        day, row = answer.last
        cursor = cursor_of(asked.sort, ("" if day is None else day.isoformat(), row))
    set_headers(request, response, asked, total, cursor)
    return Listed(
        data=[Study.model_validate(_study(one.study)) for one in answer.results],
        total=total,
        page=asked.page,
        page_size=asked.page_size,
        total_is_estimate=answer.total is None,
    )


async def study_detail(request: Request) -> StudyDetail:
    """Show one study with its series and conflicts."""
    reader = parts_of(request.scope).reader
    uid = uid_of(request, "study")
    study = await reader.study(uid)
    if study is None:
        raise study_not_found()
    series = await reader.search(Query(Level.SERIES, study_uid=uid, limit=MOST_SERIES))
    conflicts = await reader.conflicts(uid)
    return StudyDetail.model_validate(
        {
            **_study(study),
            "series": [_series(one.series) for one in series.results if one.series is not None],
            "conflicts": [
                Conflict(**{name: getattr(one, name) for name in Conflict.model_fields})
                for one in conflicts
            ],
        }
    )


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(
        "/api/v1/studies",
        list_studies,
        tags=["studies"],
        responses={**LINKED, **errors(400, 401, 403, 422, 503)},
    )
    app.add_api_route(
        "/api/v1/studies/{study}",
        study_detail,
        tags=["studies"],
        responses=errors(401, 403, 404, 503),
        openapi_extra={
            "parameters": [
                {
                    "name": "study",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "maxLength": 64},
                }
            ]
        },
    )
