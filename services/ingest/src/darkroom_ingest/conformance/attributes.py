"""Attributes of queries, of the worklist and of performed steps, as the code has them."""

from collections.abc import Iterator
from typing import Final

from pydicom.datadict import keyword_for_tag

from darkroom_common.conformance.lines import NO, YES, StatedLine, attribute, line, tag_shown
from darkroom_common.index.fields import FIELDS, Level
from darkroom_common.index.query import searchable
from darkroom_ingest.worklist.attributes import NOTHING, OF_PATIENT, OF_STEP
from darkroom_ingest.worklist.steps import AT_FIRST, AT_LAST, FIXED, SERIES

_TEST: Final = "tests/e2e/test_conformance.py"
_FOUND: Final = f"{_TEST}::test_every_attribute_of_a_query_is_found_as_stated"
_LISTED: Final = f"{_TEST}::test_every_attribute_of_the_worklist_is_answered_as_stated"
_PERFORMED: Final = f"{_TEST}::test_steps_need_what_is_stated"
_NAMES: Final = {Level.PATIENT: "PATIENT", Level.STUDY: "STUDY", Level.SERIES: "SERIES"}
_BY_WEB_ALONE: Final = ("AvailableTransferSyntaxUID", "TimezoneOffsetFromUTC")
_COUNTED: Final = (
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedSeries",
    "NumberOfPatientRelatedInstances",
)
_CODES: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_STEPS: Final = "ScheduledProcedureStepSequence"


def query() -> Iterator[StatedLine]:
    """Yield the attributes of C-FIND."""
    for one in FIELDS:
        if one.keyword in _BY_WEB_ALONE:
            continue
        level = _NAMES.get(one.level, "IMAGE")
        matched = YES if searchable(one) else NO
        about = (level, one.keyword, tag_shown(one.tag), one.vr, matched, YES)
        yield line("query", *about, shown_by=_FOUND)
    for keyword in _COUNTED:
        yield line("query", "PATIENT", *attribute(keyword), NO, YES, shown_by=_FOUND)
    yield line("query", "IMAGE", "every other one of the header", "", "", NO, YES, shown_by=_FOUND)


def worklist() -> Iterator[StatedLine]:
    """Yield the attributes of the modality worklist."""
    for keyword in OF_PATIENT:
        yield line("worklist", *attribute(keyword), YES, YES, shown_by=_LISTED)
    for keyword in NOTHING:
        yield line("worklist", *attribute(keyword), NO, "without a value", shown_by=_LISTED)
    yield _below("RequestedProcedureCodeSequence")
    moments = ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")
    for keyword in (*OF_STEP, *moments):
        yield _below(_STEPS, keyword)
    yield _below(_STEPS, "ScheduledProtocolCodeSequence")


def _below(*keywords: str) -> StatedLine:
    """Return a line of the worklist about an attribute of an item, or about a code."""
    known = [attribute(keyword) for keyword in keywords]
    name, tag = " > ".join(one[0] for one in known), " > ".join(one[1] for one in known)
    vr = known[-1][2]
    if vr == "SQ":
        name = f"{name} > {', '.join(_CODES)}"
    return line("worklist", name, tag, vr, YES, YES, shown_by=_LISTED)


def steps() -> Iterator[StatedLine]:
    """Yield the attributes of performed steps that something is asked of."""
    for tag in (*AT_FIRST, *sorted(FIXED - {*AT_FIRST}), *AT_LAST, SERIES):
        begins = "with a value" if tag in AT_FIRST else "as it comes"
        if tag in FIXED:
            goes_on = "not taken: warning 0107 when it differs"
        elif tag in AT_LAST:
            goes_on = "with a value in a final state"
        elif tag == SERIES:
            goes_on = "with a value when COMPLETED"
        else:
            goes_on = "IN PROGRESS, COMPLETED or DISCONTINUED"
        named = keyword_for_tag(int(tag, 16))
        yield line("steps", "SCP", named, tag_shown(tag), begins, goes_on, shown_by=_PERFORMED)
