"""Searching for workitems (PS3.18 section 11.9)."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from pydicom.datadict import dictionary_VR
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import accepted
from darkroom_api.dicomweb.address import next_link
from darkroom_api.dicomweb.forms import DICOM_XML, Form, form_of, xml_parts
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.searching.parameters import (
    MAX_OFFSET,
    MAX_PARAMETERS,
    RESERVED,
    boolean_of,
    integer_of,
    path_of,
)
from darkroom_api.dicomweb.searching.routes import CUT, warning
from darkroom_api.dicomweb.workitems.routes import BASE
from darkroom_api.http.documented import body, errors, parameter
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import DICOM_JSON, VARY, json_response
from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.matching.data_sets import Test, match_of, test_of, values_at
from darkroom_common.index.matching.values import BadKey, OneOf, Range
from darkroom_common.postgres.phi import BlindIndex
from darkroom_common.readers import workitems
from darkroom_common.readers.workitems import Narrow, Position
from darkroom_common.specs.worklist.as_workitem import tag_of

_STATE: Final = tag_of("ProcedureStepState")
_START: Final = tag_of("ScheduledProcedureStepStartDateTime")
_PATIENT: Final = tag_of("PatientID")
_UID: Final = tag_of("SOPInstanceUID")
_DAY: Final = re.compile(r"[0-9]{8}")
RETURNED: Final = frozenset(
    map(
        tag_of,
        (
            *("SOPClassUID", "SOPInstanceUID", "ScheduledProcedureStepPriority"),
            *("ScheduledProcedureStepModificationDateTime", "ProcedureStepLabel", "WorklistLabel"),
            *("ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence"),
            *("ScheduledStationClassCodeSequence", "ScheduledHumanPerformersSequence"),
            "ScheduledStationGeographicLocationCodeSequence",
            *("ScheduledProcedureStepStartDateTime", "ExpectedCompletionDateTime"),
            *("ScheduledWorkitemCodeSequence", "CommentsOnTheScheduledProcedureStep"),
            *("InputReadinessState", "InputInformationSequence", "StudyInstanceUID"),
            *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
            *("AdmissionID", "IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription"),
            *("AdmittingDiagnosesCodeSequence", "ReferencedRequestSequence"),
            *("ReplacedProcedureStepSequence", "ProcedureStepState"),
            "ProcedureStepProgressInformationSequence",
        ),
    )
)
"""Of type 1, 1C and 2 as return keys (PS3.4 table CC.2.5-3)."""


@dataclass(frozen=True)
class Empty:
    """An attribute has to be without a value (PS3.4 section C.2.2.2.7)."""

    path: str

    def holds(self, data_set: JsonDataset) -> bool:
        """Tell whether it is."""
        return not any(values_at(data_set, self.path))


@dataclass(frozen=True)
class Asked:
    """A search.

    Attributes:
        wanted: tags of each answer; None: all.
    """

    tests: tuple[Test | Empty, ...]
    wanted: frozenset[str] | None
    limit: int
    offset: int
    capped: bool

    def narrow(self, blind: BlindIndex) -> Narrow:
        """Return what the database can look at."""
        first = last = None
        start = next((one for one in self._of(_START) if isinstance(one.match, Range)), None)
        if start is not None and isinstance(start.match, Range):
            first, last = _day(start.match.low, 0), _day(start.match.high, 1)
        patients = self._values(_PATIENT)
        keys = None if patients is None else [blind.exact("PatientID", one) for one in patients]
        return Narrow(first, last, self._values(_STATE), keys, self._values(_UID))

    def _of(self, path: str) -> list[Test]:
        return [one for one in self.tests if isinstance(one, Test) and one.path == path]

    def _values(self, path: str) -> Sequence[str] | None:
        for one in self._of(path):
            if isinstance(one.match, OneOf):
                return one.match.values
        return None


async def search(request: Request) -> Response:
    """Search for workitems, by their start."""
    parts = parts_of(request.scope)
    plain = any(one.kind == DICOM_XML and one.quality > 0 for one in accepted(request))
    form = Form.XML if plain else form_of(request)
    asked = parse(request.query_params.multi_items(), most=parts.settings.search_limit)
    async with parts.searches.of(principal_of(request.scope).user_id):
        results, more = await _found(request, asked)
    headers = {"vary": VARY}
    if more:
        items = request.query_params.multi_items()
        headers["link"] = next_link(request, items, asked.offset + asked.limit)
        if asked.capped:
            headers["warning"] = warning(CUT)
    else:
        headers["x-total-count"] = str(asked.offset + len(results))
    if not results:
        return Response(status_code=204, headers=headers)
    if form is Form.XML:
        framing = Framing(DICOM_XML)
        data = xml_parts(results, framing, first=True) + framing.tail
        return Response(data, headers={**headers, "content-type": framing.content_type})
    return await json_response(request, results, media_type=form.value, headers=headers)


async def _found(request: Request, asked: Asked) -> tuple[list[JsonDataset], bool]:
    """Return the workitems of a page that hold, and whether there are more."""
    parts = parts_of(request.scope)
    narrow, after, passed = asked.narrow(parts.blind), None, 0
    found: list[JsonDataset] = []
    while True:
        page_after: Position | None = after
        async with parts.database.acquire() as db:
            page = await workitems.workitems(db, parts.seal, narrow, page_after)
        for one in page.found:
            if not all(test.holds(one) for test in asked.tests):
                continue
            passed += 1
            if passed <= asked.offset:
                continue
            if len(found) == asked.limit:
                return found, True
            found.append(_shown(one, asked.wanted))
        after = page.after
        if after is None:
            return found, False


def _shown(found: JsonDataset, wanted: frozenset[str] | None) -> JsonDataset:
    if wanted is None:
        return found
    return {tag: value for tag, value in found.items() if tag in wanted}


def parse(items: Sequence[tuple[str, str]], *, most: int) -> Asked:
    """Return the search of a query string (PS3.18 section 8.3.4).

    Args:
        items: names and values, decoded.
        most: results at a time.

    Raises:
        BadKey: names the parameter that cannot be.
    """
    if len(items) > MAX_PARAMETERS:
        raise BadKey("query", f"has more than {MAX_PARAMETERS} parameters")
    given: dict[str, list[str]] = {name: [] for name in RESERVED}
    keys: dict[str, list[str]] = {}
    for name, value in items:
        if name in RESERVED:
            given[name].append(value)
        else:
            keys.setdefault(path_of(name), []).append(value)
    fuzzy = boolean_of("fuzzymatching", given["fuzzymatching"])
    empty = boolean_of("emptyvaluematching", given["emptyvaluematching"])
    tests: list[Test | Empty] = []
    for path, values in keys.items():
        tag = path.rpartition(".")[2]
        vr = dictionary_VR(int(tag, 16)).partition(" ")[0] if _even(tag) else "LO"
        if vr == "SQ" or (len(values) > 1 and vr != "UI"):
            raise BadKey(tag, "is a sequence" if vr == "SQ" else "is given twice")
        text = ",".join(values)
        if empty and text == '""':
            tests.append(Empty(path))
            continue
        match = match_of(tag, vr, text, fuzzy=fuzzy)
        if match is not None:
            tests.append(test_of(path, vr, match, text))
    limit = integer_of("limit", given["limit"])
    offset = integer_of("offset", given["offset"]) or 0
    if offset > MAX_OFFSET:
        raise BadKey("offset", f"is at most {MAX_OFFSET}; narrow the search")
    names = [one.strip() for text in given["includefield"] for one in text.split(",")]
    included = {path_of(one).partition(".")[0] for one in names if one and one != "all"}
    wanted = RETURNED | included | {path.partition(".")[0] for path in keys}
    return Asked(
        tests=tuple(tests),
        wanted=None if "all" in names else wanted,
        limit=most if limit is None else min(limit, most),
        offset=offset,
        capped=limit is None or limit > most,
    )


def _even(tag: str) -> bool:
    return int(tag[:4], 16) % 2 == 0


def _day(bound: object, days: int) -> dt.datetime | None:
    """Return the start of the day of a bound of a DT, or of a day after it; None: it names none."""
    found = _DAY.match(bound) if isinstance(bound, str) else None
    if found is None:
        return None
    try:
        day = dt.datetime.strptime(found[0], "%Y%m%d").replace(tzinfo=dt.UTC)
        return day + dt.timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise BadKey(_START, "is no day of the calendar") from error


_PARAMETERS: Final = [
    parameter("ProcedureStepState", "One key of many: any attribute, by keyword, tag or path."),
    parameter("includefield", "Attributes to answer besides; repeated, comma separated, or all."),
    parameter("fuzzymatching", "Word prefixes match in person names.", kind="boolean"),
    parameter("emptyvaluematching", 'Two quotation marks match no value: `""`.', kind="boolean"),
    parameter("limit", "At most so many results.", kind="integer"),
    parameter("offset", "Results to pass over.", kind="integer"),
    parameter("accept", "Media types, instead of the header."),
]


def add(app: FastAPI) -> None:
    """Add the route."""
    found = body("One object or part a workitem.", DICOM_JSON, "multipart/related")
    app.add_api_route(
        BASE,
        search,
        name="search_workitems",
        tags=["UPS-RS"],
        response_class=Response,
        responses={
            **found,
            204: {"description": "Nothing matches."},
            **errors(400, 401, 403, 406, 503),
        },
        openapi_extra={"parameters": _PARAMETERS},
    )
