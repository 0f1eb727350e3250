"""Makes the DICOM JSON of a search result: which attributes, from which row (PS3.18 10.6.3)."""

from collections.abc import Callable
from typing import Any, Final

from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.query import Query
from darkroom_common.index.rows import Found, InstanceRow, Json, SeriesRow, StudyRow

BULK_KEYS: Final = ("BulkDataURI", "InlineBinary")


def _tags(*keywords: str) -> frozenset[str]:
    return frozenset(BY_KEYWORD[keyword].tag for keyword in keywords)


STUDY_DEFAULT: Final = _tags(
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDescription",
)
"""PS3.18 table 10.6.3-3; the issuer and the description besides, which every client asks for."""
SERIES_DEFAULT: Final = _tags(
    "Modality",
    "TimezoneOffsetFromUTC",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "RequestAttributesSequence",
)
"""PS3.18 table 10.6.3-4."""


def element(vr: str, *values: object) -> Json:
    """Return a DICOM JSON element; without values an empty one."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def result_json(query: Query, found: Found) -> Json:
    """Return the attributes of one result, without URLs, which only the server knows."""
    answer: Json = {"00080005": element("CS", "ISO_IR 192"), "00080056": element("CS", "ONLINE")}
    whole_study = query.level is Level.STUDY or query.study_uid is None
    answer |= _picked(found.study.attributes, STUDY_DEFAULT, query, whole=whole_study)
    if whole_study or _asks(query, Level.STUDY):
        answer |= _study_made(found.study)
    answer["0020000D"] = element("UI", found.study.study_instance_uid)
    if found.series is not None:
        whole_series = query.level is Level.SERIES or query.series_uid is None
        answer |= _picked(found.series.attributes, SERIES_DEFAULT, query, whole=whole_series)
        if whole_series or _asks(query, Level.SERIES):
            answer |= _series_made(found.series)
        answer["0020000E"] = element("UI", found.series.series_instance_uid)
    if found.instance is not None:
        answer |= _from_header(found.instance.attributes, query)
        answer |= _instance_made(found.instance)
    return answer


def _asks(query: Query, level: Level) -> bool:
    made = {Level.STUDY: ("00080061", "00080062", "00201206", "00201208")}
    return any(tag in query.include for tag in made.get(level, ("00080060", "00201209")))


def _picked(attributes: Json, default: frozenset[str], query: Query, *, whole: bool) -> Json:
    """Return what is wanted of a row's attributes; `whole` when its level is answered in full."""
    if whole and query.include_all:
        return attributes
    wanted = query.include | default if whole else query.include
    return {tag: value for tag, value in attributes.items() if tag in wanted}


def _study_made(study: StudyRow) -> Json:
    return {
        "00080061": element("CS", *study.modalities),
        "00080062": element("UI", *study.sop_classes),
        "00201206": element("IS", study.series_count),
        "00201208": element("IS", study.instance_count),
    }


def _series_made(series: SeriesRow) -> Json:
    made = {"00201209": element("IS", series.instance_count)}
    if series.modality is not None:
        made["00080060"] = element("CS", series.modality)
    return made


def _from_header(header: Json, query: Query) -> Json:
    if query.include_all:
        return {
            tag: value
            for tag, value in header.items()
            if not any(key in value for key in BULK_KEYS)
        }
    return {tag: header[tag] for tag in query.include if tag in header}


def _instance_made(instance: InstanceRow) -> Json:
    made: Json = {
        "00080016": element("UI", instance.sop_class_uid),
        "00080018": element("UI", instance.sop_instance_uid),
        "00083002": element("UI", instance.transfer_syntax_uid),
    }
    columns: tuple[tuple[str, str, Callable[[InstanceRow], Any]], ...] = (
        ("00200013", "IS", lambda row: row.instance_number),
        ("00280008", "IS", lambda row: row.number_of_frames),
        ("00280010", "US", lambda row: row.pixel_rows),
        ("00280011", "US", lambda row: row.pixel_columns),
        ("00280100", "US", lambda row: row.bits_allocated),
    )
    for tag, vr, value in columns:
        if value(instance) is not None:
            made[tag] = element(vr, value(instance))
    return made


def header_json(header: Json, *, study: str, series: str, sop_class: str, instance: str) -> Json:
    """Return a header with at least the UIDs, for an object that could not be parsed."""
    return {
        "00080016": element("UI", sop_class),
        "00080018": element("UI", instance),
        "0020000D": element("UI", study),
        "0020000E": element("UI", series),
        **header,
    }
