"""Attributes of a scheduled procedure step as an entry: what `attributes` tells, read again."""

from typing import Any, Final

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.matching.data_sets import values_at
from darkroom_ingest.worklist.attributes import OF_PATIENT, OF_STEP, tag_of

_CODE: Final = {"code": "CodeValue", "scheme": "CodingSchemeDesignator", "meaning": "CodeMeaning"}
_DAY: Final = 8
_SEVERAL: Final = "scheduled_station_ae_titles"


def entry_of(found: JsonDataset, item: JsonDataset) -> dict[str, Any]:
    """Return what a data set and an item of (0040,0100) say, by the names of `WorklistEntry`.

    Nothing is checked here: that is for `WorklistEntry`, whoever says it.
    """
    given: dict[str, Any] = {}
    for data_set, names in ((found, OF_PATIENT), (item, OF_STEP)):
        for keyword, name in names.items():
            values = [one.strip() for one in values_at(data_set, tag_of(keyword)) if one.strip()]
            if values:
                given[name] = values if name == _SEVERAL else values[0].rstrip("=")
    if born := given.pop("patient_birth_date", ""):
        given["patient_birth_date"] = _day(born)
    if given.get("patient_sex") not in {None, "M", "F"}:
        given["patient_sex"] = "O"
    given.pop("state", None)  # a dropped step is one to be done
    given["scheduled_at"] = _moment(
        item, "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
    )
    ordered = _moment(found, "IssueDateOfImagingServiceRequest", "IssueTimeOfImagingServiceRequest")
    if ordered:
        given["ordered_at"] = ordered
    codes = [_coded(one) for one in _items(found, "RequestedProcedureCodeSequence")]
    given["requested_procedure_code"] = next(iter(codes), None)
    given["scheduled_protocol_codes"] = [
        _coded(one) for one in _items(item, "ScheduledProtocolCodeSequence")
    ]
    return given


def _items(data_set: JsonDataset, keyword: str) -> list[JsonDataset]:
    found: list[JsonDataset] = data_set.get(tag_of(keyword), {}).get("Value", [])
    return found


def _coded(item: JsonDataset) -> dict[str, str]:
    return {
        name: next(iter(values_at(item, tag_of(keyword))), "") for name, keyword in _CODE.items()
    }


def _moment(data_set: JsonDataset, date: str, time: str) -> str:
    """Return date and time in the form of ISO 8601; what is none stays as it is."""
    day = _day(next(iter(values_at(data_set, tag_of(date))), ""))
    digits = next(iter(values_at(data_set, tag_of(time))), "").replace(":", "").strip()
    padded = digits[:6].ljust(6, "0")
    return f"{day}T{padded[:2]}:{padded[2:4]}:{padded[4:]}" if day else ""


def _day(text: str) -> str:
    digits = text.strip().replace(".", "")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == _DAY else digits
