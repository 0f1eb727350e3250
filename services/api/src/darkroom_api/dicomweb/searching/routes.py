"""QIDO-RS at every path (PS3.18 section 10.6)."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.recorded import KNOWN
from darkroom_api.dicomweb.address import dicomweb_url, in_path, next_link, uids_of
from darkroom_api.dicomweb.forms import DICOM_XML, Form, form_of, xml_parts
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.searching.known import Kept, key_of
from darkroom_api.dicomweb.searching.parameters import Search, parse_search, wants_tags
from darkroom_api.http.documented import body, errors, parameter
from darkroom_api.http.etags import is_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, VARY, packed_response
from darkroom_common.index.answer import element, patient_json, results_json
from darkroom_common.index.fields import Level
from darkroom_common.index.rows import Found, Json, Versions, versions_of
from darkroom_common.index.tags.indexed import IndexedTag, is_complete, read_tags

CUT: Final = (
    "The number of results exceeded the maximum supported by the server."
    " Additional results can be requested."
)
INCOMPLETE: Final = "Not all that is stored has been indexed by the attributes that were named."
MULTIPART_TYPE: Final = "multipart/related"
_MANY: Final = 50
"""Results from which on their XML is made in a thread."""


def warning(*texts: str) -> str:
    """Return the value of Warning with code 299 for each text (RFC 7234 section 5.5)."""
    return ", ".join(f'299 darkroom "{text}"' for text in texts)


def _with_url(answer: Json, base: str, found: Found) -> Json:
    url = f"{base}/studies/{found.study.study_instance_uid}"
    if found.series is not None:
        url += f"/series/{found.series.series_instance_uid}"
    if found.instance is not None:
        url += f"/instances/{found.instance.sop_instance_uid}"
    answer["00081190"] = element("UR", url)
    return answer


async def _asked(request: Request, level: Level) -> Search:
    settings, items = parts_of(request.scope).settings, request.query_params.multi_items()
    tags: Sequence[IndexedTag] = ()
    complete = True
    if wants_tags(items):
        async with parts_of(request.scope).database.acquire() as db:
            tags, complete = await read_tags(db), await is_complete(db)
    search = parse_search(
        items,
        level,
        below=uids_of(request)[:2],
        most=settings.instance_search_limit if level is Level.INSTANCE else settings.search_limit,
        tags=tags,
    )
    if complete or not any(one.field.tagged for one in search.query.conditions):
        return search
    return replace(search, warnings=(*search.warnings, INCOMPLETE))


async def _found(request: Request, asked: Search) -> tuple[list[Json], bool, int | None]:
    """Return the results, whether there are more, and how many there are in all."""
    parts, query = parts_of(request.scope), asked.query
    async with parts.searches.of(principal_of(request.scope).user_id):
        if query.level is Level.PATIENT:
            patients = await parts.reader.patients(query)
            shown = [patient_json(query, one) for one in patients.results]
            return shown, patients.more, patients.total
        page = await parts.reader.search(query)
    base = dicomweb_url(request)
    answers = results_json(query, page.results)
    found = [_with_url(one, base, of) for one, of in zip(answers, page.results, strict=True)]
    return found, page.more, page.total


async def _search(request: Request, level: Level) -> Response:
    form, known = form_of(request), parts_of(request.scope).found
    key = key_of(dicomweb_url(request), request.scope, form)
    kept = known.recall(key)
    if kept is not None and KNOWN in request.scope:
        # What writes the row of the audit log asks if it still holds.
        request.scope[KNOWN] = kept.versions
        return await _json_response(request, form, kept.body, kept.headers)
    asked = await _asked(request, level)
    versions = await _versions(request, asked) if known.is_asked_again(key) else None
    results, more, total = await _found(request, asked)
    warnings = list(asked.warnings)
    headers = {"vary": VARY}
    if total is not None:
        headers["x-total-count"] = str(total)
    if more:
        items = request.query_params.multi_items()
        headers["link"] = next_link(request, items, asked.query.offset + asked.query.limit)
        if asked.capped:
            warnings.append(CUT)
    if warnings:
        headers["warning"] = warning(*warnings)
    if form is Form.XML and not results:  # no part is no multipart
        return Response(status_code=204, headers=headers)
    if form is Form.XML:
        return await _xml_response(results, headers)
    answer = orjson.dumps(results, option=orjson.OPT_SORT_KEYS)
    headers["etag"] = f'W/"{hashlib.sha256(answer).hexdigest()[:32]}"'
    if versions is not None:
        known.keep(key, Kept(versions, answer, headers))
    return await _json_response(request, form, answer, headers)


async def _versions(request: Request, asked: Search) -> Versions | None:
    """Return the versions of what a search is answered from; None if that is not one study."""
    study = asked.query.only_study
    if study is None or wants_tags(request.query_params.multi_items()):
        return None
    async with parts_of(request.scope).database.acquire() as db:
        return await versions_of(db, study)


async def _json_response(
    request: Request, form: Form, body: bytes, headers: Mapping[str, str]
) -> Response:
    if is_known(request, headers["etag"]):
        return Response(status_code=304, headers=dict(headers))
    return await packed_response(request, body, media_type=form.value, headers=headers)


async def _xml_response(results: Sequence[Json], headers: dict[str, str]) -> Response:
    """Return data sets as parts of XML, one each."""
    framing = Framing(DICOM_XML)
    made = partial(xml_parts, results, framing, first=True)
    data = await asyncio.to_thread(made) if len(results) > _MANY else made()
    return Response(data + framing.tail, headers={**headers, "content-type": framing.content_type})


async def search_patients(request: Request) -> Response:
    """Search for patients, whom other archives answer as well."""
    return await _search(request, Level.PATIENT)


async def search_studies(request: Request) -> Response:
    """Search for studies."""
    return await _search(request, Level.STUDY)


async def search_series(request: Request) -> Response:
    """Search for series."""
    return await _search(request, Level.SERIES)


async def search_instances(request: Request) -> Response:
    """Search for instances."""
    return await _search(request, Level.INSTANCE)


_PARAMETERS: Final = [
    parameter("PatientID", "One key of many: any attribute of the level, by keyword or tag."),
    parameter("includefield", "Attributes to answer besides; repeated, comma separated, or all."),
    parameter("fuzzymatching", "Word prefixes match in person names.", kind="boolean"),
    parameter("emptyvaluematching", 'Two quotation marks match no value: `""`.', kind="boolean"),
    parameter(
        "multiplevaluematching",
        "Of several values of a key, separated by a backslash, each has to be there.",
        kind="boolean",
    ),
    parameter("limit", "At most so many results.", kind="integer"),
    parameter("offset", "Results to pass over.", kind="integer"),
    parameter("accept", "Media types, instead of the header."),
    parameter("charset", "Character sets that are accepted; the answer is in UTF-8."),
]
_STUDY: Final = "/dicom-web/studies/{study}"
_SEARCHES: Final[tuple[tuple[str, Callable[[Request], Any]], ...]] = (
    ("/dicom-web/patients", search_patients),
    ("/dicom-web/studies", search_studies),
    ("/dicom-web/series", search_series),
    ("/dicom-web/instances", search_instances),
    (_STUDY + "/series", search_series),
    (_STUDY + "/instances", search_instances),
    (_STUDY + "/series/{series}/instances", search_instances),
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    answer = body("One object or part a result, in DICOM JSON or XML.", DICOM_JSON, MULTIPART_TYPE)
    answer[204] = {"description": "Nothing matches, and XML is wanted; of JSON an empty list is."}
    answer[304] = {"description": "It is still as `If-None-Match` says."}
    for path, endpoint in _SEARCHES:
        names = [name for name in ("study", "series") if f"{{{name}}}" in path]
        app.add_api_route(
            path,
            endpoint,
            tags=["QIDO-RS"],
            response_class=Response,
            responses={**answer, **errors(400, 401, 403, 404, 406, 412, 503)},
            openapi_extra={"parameters": _PARAMETERS + [in_path(name) for name in names]},
        )
