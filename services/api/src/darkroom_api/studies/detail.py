"""One study with all that hangs on it."""

import re
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import entry
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import study_not_found
from darkroom_api.http.etags import ETAG, IfNoneMatch, answer, unless_known
from darkroom_api.http.parts import Parts, parts_of
from darkroom_api.studies.exam_id import TAKEN_ENDS
from darkroom_api.studies.examinations import Examination, Examinations
from darkroom_api.studies.identity import study_meant
from darkroom_api.studies.shown import StudyDetail, series, study
from darkroom_common.index.edits import changes_of, edition_of
from darkroom_common.index.fields import Level
from darkroom_common.index.objects import instance_uids
from darkroom_common.index.query import Query
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers import print as printing
from darkroom_common.readers import transmit

PATH: Final = "/api/v1/studies/{exam_id:path}"
MOST_SERIES: Final = 10_000
MOST_IMAGES: Final = 10_000
"""Of which print jobs are looked for."""
MOST_CHANGES: Final = 100
ExamId = Annotated[
    str,
    Path(min_length=1, max_length=64, description="the accession number or the StudyInstanceUID"),
]


def keep_apart(app: FastAPI) -> None:
    """Have no study take the path of something of a study, as its accession number may hold a `/`.

    So a method that is not of that path is 405 there, and no examination of such a name is looked
    for.
    """
    ends = "|".join(map(re.escape, TAKEN_ENDS))
    for route in app.routes:
        if isinstance(route, Route) and route.path == PATH:
            pattern = route.path_regex.pattern.replace("(?P<", f"(?!.+(?:{ends})$)(?P<", 1)
            route.path_regex = re.compile(pattern)


async def show_study(
    request: Request, exam_id: ExamId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show one study with its series, where it went, and what was changed."""
    parts = parts_of(request.scope)
    meant = await study_meant(request, exam_id)
    uid = meant.study_instance_uid
    shown, version = await detail(parts, uid)
    if parts.settings.ff_audit_enabled:
        await parts.reads.write(entry(request.scope, Action.STUDY_READ, "study", uid))
    return unless_known(answer(shown.model_dump(), version=version), if_none_match)


async def detail(parts: Parts, uid: str) -> tuple[StudyDetail, str]:
    """Return what is shown of a study, and its version for `If-Match`.

    Raises:
        ApiError: 404.
    """
    reader, exams = parts.reader, Examinations(parts.keys, parts.blind)
    row = await reader.study(uid)
    if row is None:
        raise study_not_found()
    found = await reader.search(Query(Level.SERIES, study_uid=uid, limit=MOST_SERIES))
    conflicts = await reader.conflicts(uid)
    async with parts.database.acquire() as db:
        images = await instance_uids(db, uid, most=MOST_IMAGES)
        exam, institution = (await exams.shown(db, [uid]))[uid]
        more: dict[str, Any] = {
            "sent_to": [dict(one) for one in await transmit.sends_of(db, uid)],
            "printed_on": [dict(one) for one in await printing.prints_of(db, images)],
            "history": await _history(parts, db, uid),
        }
        version = await _version(db, uid, exam)
    shown = StudyDetail.model_validate(
        {
            **study(row, exam, institution),
            "series": [series(uid, one.series) for one in found.results if one.series is not None],
            "conflicts": [asdict(one) for one in conflicts],
            **more,
        }
    )
    return shown, version


async def _history(parts: Parts, db: Connection, uid: str) -> list[dict[str, Any]]:
    """Return what was changed of what is ours and of what objects say, the newest first."""
    exams = Examinations(parts.keys, parts.blind)
    found = [asdict(one) for one in await exams.history(db, uid)]
    found += [asdict(one) for one in await changes_of(db, parts.keys.by_id(), uid)]
    return sorted(found, key=lambda one: one["at"], reverse=True)[:MOST_CHANGES]


async def current_version(parts: Parts, db: Connection, uid: str) -> str:
    """Return what `If-Match` looks at: how often people have changed a study."""
    exam = await Examinations(parts.keys, parts.blind).find(db, uid)
    return await _version(db, uid, exam)


async def _version(db: Connection, uid: str, exam: Examination) -> str:
    _, edition = await edition_of(db, uid)
    return f"{exam.version}-{edition}"


def add(app: FastAPI) -> None:
    """Add the route; it takes whatever path no other route has."""
    app.add_api_route(
        PATH,
        show_study,
        tags=["studies"],
        response_class=Response,
        responses={
            **errors(401, 403, 404, 409, 422, 503),
            200: {"model": StudyDetail, "headers": ETAG},
        },
    )
