"""The list of studies: searched by free text and narrowed by what people narrow examinations by."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
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
from darkroom_api.http.parts import Parts, parts_of
from darkroom_api.http.typed import Day
from darkroom_api.studies.examinations import Examinations, ExamStatus
from darkroom_api.studies.shown import Status, Study, study
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.matching.values import BadKey, Matching, Range
from darkroom_common.index.query import (
    Also,
    Condition,
    Query,
    conditions,
    free_words,
    require_bounded,
)
from darkroom_common.index.rows import StudyRow
from darkroom_common.index.studies import values_occurring
from darkroom_common.index.tags.indexed import read_tags
from darkroom_common.postgres.pool import Database

_STATED: Final = "x.exam_status = {}"  # listing_of_exam_status
_ASSIGNED: Final = "x.physician_key = ANY({})"  # listing_of_physician
Text = Annotated[str | None, Field(max_length=256)]


class StudyFilters(BaseModel):
    """What studies are searched by; `patient_*` and `accession_number` take wildcards * and ?."""

    model_config = ConfigDict(hide_input_in_errors=True)

    q: Text = Field(
        default=None,
        description="words and beginnings of words, in any order, each in the patient's name or id,"
        " the accession number or the description",
    )
    exam_status: ExamStatus | None = None
    start_date: Day | None = Field(
        default=None, description="of `order_datetime`, inclusive, in UTC"
    )
    end_date: Day | None = Field(default=None, description="inclusive")
    modality: Annotated[str | None, Field(max_length=64)] = Field(
        default=None, description="one or several, comma separated"
    )
    exam_source: Annotated[str | None, Field(max_length=16)] = Field(
        default=None, description="an AE title that has sent something of it"
    )
    physician: Text = Field(
        default=None, description="words and beginnings of words of who is assigned"
    )
    status: Status | None = None
    patient_name: Text = Field(
        default=None, description="words and beginnings of words, in any order"
    )
    patient_id: Text = None
    accession_number: Text = None


class StudySearch(StudyFilters, ListQuery):
    """What the list is searched by, and which page of it."""

    sort: Literal["-study_date", "-order_datetime"] = Field(
        default="-study_date",
        description="left out where `order_datetime` is narrowed, it is by that",
    )

    @property
    def order(self) -> str:
        """What the list is sorted by."""
        dated = self.start_date is not None or self.end_date is not None
        return "-order_datetime" if dated and "sort" not in self.model_fields_set else self.sort

    tag: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=10)] = Field(
        default_factory=list, description="NAME=value of an indexed tag of studies; repeated"
    )


class Filters(BaseModel):
    """The values that occur, sorted; up to 1000 of each."""

    exam_status: list[ExamStatus]
    exam_source: list[str]
    modality: list[str]
    physician: list[str]


async def list_studies(
    request: Request, response: Response, asked: Annotated[StudySearch, Parameter()]
) -> Listed[Study]:
    """Search for studies, newest first."""
    parts = parts_of(request.scope)
    query = await query_of(asked, Examinations(parts.keys, parts.blind), parts.database)
    if query is None:
        set_headers(request, response, asked, 0, None)
        return Listed(data=[], total=0, page=asked.page, page_size=asked.page_size)
    query = replace(
        query,
        by_order=asked.order == "-order_datetime",
        conditions=(*query.conditions, *await _tagged(parts, asked.tag)),
        limit=asked.page_size,
        offset=0 if asked.cursor else asked.offset,
        after=_after(asked),
    )
    async with parts.searches.of(principal_of(request.scope).user_id):
        answer = await parts.reader.search(query)
        total = answer.guess if answer.total is None else answer.total
        rows = [one.study for one in answer.results]
        data = await _shown(parts, rows)
    cursor = None
    if answer.last is not None:
        day, row = answer.last
        cursor = cursor_of(asked.order, ("" if day is None else day.isoformat(), row))
    set_headers(request, response, asked, total, cursor)
    return Listed(
        data=data,
        total=total,
        page=asked.page,
        page_size=asked.page_size,
        total_is_estimate=answer.total is None,
    )


async def _tagged(parts: Parts, given: Sequence[str]) -> list[Condition]:
    """Return the conditions on tags that people have named.

    Raises:
        BadKey: there is no such tag of studies, or it is not searched by such a value.
    """
    if not given:
        return []
    async with parts.database.acquire() as db:
        known = {tag.name: tag.field for tag in await read_tags(db)}
    found: list[Condition] = []
    for text in given:
        name, _, value = text.partition("=")
        if name not in known or known[name].level is not Level.STUDY:
            raise BadKey("tag", "names no indexed tag of studies")
        found += conditions(known[name], value)
    require_bounded(found)
    return found


async def query_of(asked: StudyFilters, exams: Examinations, database: Database) -> Query | None:
    """Return what is asked of the index; None for what nothing can match.

    Raises:
        BadKey: a value cannot be searched by, or too much is asked for.
        DependencyUnavailable: the database is away.
    """
    words, named = free_words(asked.q or ""), free_words(asked.physician or "")
    for text, its_words in ((asked.q, words), (asked.physician, named)):
        if text and text.strip() and not its_words:
            return None  # nothing but signs: no word begins so
    query = Query(
        Level.STUDY,
        conditions=_conditions(asked),
        words=words,
        sources=(asked.exam_source,) if asked.exam_source else (),
        listed=() if asked.exam_status is None else (_stated(asked.exam_status),),
        statuses=() if asked.status is None else (asked.status,),
        ordered=_ordered(asked),
        by_order=_ordered(asked) is not None,
    )
    if not named:
        return query
    async with database.acquire() as db:
        assigned = await exams.physicians_named(db, named)
    if not assigned:
        return None
    return replace(query, listed=(*query.listed, Also(_ASSIGNED, ((tuple(assigned), "bytea[]"),))))


def _conditions(asked: StudyFilters) -> tuple[Condition, ...]:
    found: list[Condition] = []
    for keyword, text in (
        ("PatientName", asked.patient_name),
        ("PatientID", asked.patient_id),
        ("AccessionNumber", asked.accession_number),
        ("ModalitiesInStudy", asked.modality),
    ):
        if text:
            fuzzy = "*" not in text and "?" not in text
            found += conditions(BY_KEYWORD[keyword], text, Matching(fuzzy=fuzzy))
    require_bounded(found)
    return tuple(found)


def _ordered(asked: StudyFilters) -> Range | None:
    if asked.start_date is None and asked.end_date is None:
        return None
    if asked.start_date and asked.end_date and asked.start_date > asked.end_date:
        raise BadKey("start_date", "is after end_date")
    return Range(asked.start_date, asked.end_date)


def _stated(status: ExamStatus) -> Also:
    return Also(_STATED, ((status, "text"),))


def _after(asked: StudySearch) -> tuple[dt.date | dt.datetime | None, int] | None:
    if asked.cursor is None:
        return None
    day, row = cursor_keys(asked.cursor, asked.order, [str, int])
    read = dt.datetime if asked.order == "-order_datetime" else dt.date
    try:
        return read.fromisoformat(str(day)) if day else None, int(str(row))
    except ValueError:
        raise no_cursor() from None


async def _shown(parts: Parts, rows: list[StudyRow]) -> list[Study]:
    uids = [row.study_instance_uid for row in rows]
    async with parts.database.acquire() as db:
        beside = await Examinations(parts.keys, parts.blind).shown(db, uids)
    return [Study.model_validate(study(row, *beside[row.study_instance_uid])) for row in rows]


async def list_filters(request: Request) -> Filters:
    """List the values by which studies can be narrowed."""
    parts = parts_of(request.scope)
    exams = Examinations(parts.keys, parts.blind)
    statuses: tuple[ExamStatus, ...] = ("pending", "in_progress", "completed", "cancelled")
    stated = [
        status
        for status in statuses
        if await parts.reader.any(Query(Level.STUDY, listed=(_stated(status),)))
    ]
    async with parts.database.acquire() as db:
        return Filters(
            exam_status=stated,
            exam_source=await values_occurring(db, "calling_ae_titles"),
            modality=await values_occurring(db, "modalities"),
            physician=await exams.physicians(db),
        )


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path in ("/api/v1/studies", "/api/v1/studies/search"):
        app.add_api_route(
            path,
            list_studies,
            tags=["studies"],
            responses={**LINKED, **errors(400, 401, 403, 422, 503)},
        )
    app.add_api_route(
        "/api/v1/studies/filters", list_filters, tags=["studies"], responses=errors(401, 403, 503)
    )
