"""Makes the DICOM JSON of a search result: which attributes, from which row (PS3.18 10.6.3)."""

from collections.abc import Iterable, Iterator
from typing import Final

from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.query import Query
from darkroom_common.index.rows import Found, InstanceRow, Json, PatientRow, SeriesRow, StudyRow

BULK_KEYS: Final = ("BulkDataURI", "InlineBinary")


def _tags(*keywords: str) -> frozenset[str]:
    return frozenset(BY_KEYWORD[keyword].tag for keyword in keywords)


def _empty(*keywords: str) -> Json:
    return {BY_KEYWORD[keyword].tag: {"vr": BY_KEYWORD[keyword].vr} for keyword in keywords}


_REQUIRED_OF_STUDY: Final = _empty(
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
)
"""Answered without a value when the objects have none: the type R of PS3.18 table 10.6.3-3."""
_REQUIRED_OF_SERIES: Final = _empty("SeriesNumber")
"""The same of table 10.6.3-4."""


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


PATIENT_DEFAULT: Final = _tags(
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"
)
"""Of a patient, whom PS3.18 has no search for."""


def element(vr: str, *values: object) -> Json:
    """Return a DICOM JSON element; without values an empty one."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def results_json(query: Query, results: Iterable[Found]) -> Iterator[Json]:
    """Yield the attributes of each result, without URLs, which only the server knows.

    What is of one study, or of one series, is put together once for those that follow each other.
    """
    study: Json = {}
    series: Json = {}
    last: Found | None = None
    for found in results:
        if last is None or found.study is not last.study:
            study = _of_study(query, found.study)
        if found.series is not None and (last is None or found.series is not last.series):
            series = _of_series(query, found.series)
        answer = study | series
        if found.instance is not None:
            answer |= _from_header(found.instance.attributes, query)
            answer |= _instance_made(found.instance)
        yield answer | {tag: value for tag, value in found.tags.items() if tag not in answer}
        last = found


def _of_study(query: Query, study: StudyRow) -> Json:
    answer: Json = {"00080005": element("CS", "ISO_IR 192"), "00080056": element("CS", "ONLINE")}
    whole = query.level is Level.STUDY or query.study_uid is None
    if whole:
        answer |= _REQUIRED_OF_STUDY
    answer |= _picked(study.attributes, STUDY_DEFAULT, query, whole=whole)
    if whole or _asks(query, Level.STUDY):
        answer |= _study_made(study)
    answer["0020000D"] = element("UI", study.study_instance_uid)
    return answer


def _of_series(query: Query, series: SeriesRow) -> Json:
    whole = query.level is Level.SERIES or query.series_uid is None
    answer = dict(_REQUIRED_OF_SERIES) if whole else {}
    answer |= _picked(series.attributes, SERIES_DEFAULT, query, whole=whole)
    if whole or _asks(query, Level.SERIES):
        answer |= _series_made(series)
    answer["0020000E"] = element("UI", series.series_instance_uid)
    return answer


def patient_json(query: Query, patient: PatientRow) -> Json:
    """Return the attributes of one patient."""
    answer: Json = {"00080005": element("CS", "ISO_IR 192")}
    answer |= _picked(patient.attributes, PATIENT_DEFAULT, query, whole=True)
    answer |= computed(("00201200", "IS", (patient.studies,)))
    related = {"00201202": patient.series, "00201204": patient.instances}
    asked = ((tag, "IS", (count,)) for tag, count in related.items() if tag in query.include)
    return answer | computed(*asked)


def _asks(query: Query, level: Level) -> bool:
    made = {Level.STUDY: ("00080061", "00080062", "00201206", "00201208")}
    return any(tag in query.include for tag in made.get(level, ("00080060", "00201209")))


def _picked(attributes: Json, default: frozenset[str], query: Query, *, whole: bool) -> Json:
    """Return what is wanted of a row's attributes; `whole` when its level is answered in full."""
    if whole and query.include_all:
        return attributes
    wanted = query.include | default if whole else query.include
    return {tag: value for tag, value in attributes.items() if tag in wanted}


def computed(*attributes: tuple[str, str, tuple[object, ...]]) -> Json:
    """Return attributes (tag, VR, values) that the index makes: what has no value is left out.

    An attribute of an object may be there without a value; one that was computed must not be:
    viewers read its first value without looking (OHIF's list of studies, of the modalities).
    """
    present = {
        tag: (vr, [v for v in values if v not in (None, "")]) for tag, vr, values in attributes
    }
    return {tag: element(vr, *values) for tag, (vr, values) in present.items() if values}


def _study_made(study: StudyRow) -> Json:
    return computed(
        ("00080061", "CS", study.modalities),
        ("00080062", "UI", study.sop_classes),
        ("00201206", "IS", (study.series_count,)),
        ("00201208", "IS", (study.instance_count,)),
    )


def _series_made(series: SeriesRow) -> Json:
    return computed(
        ("00080060", "CS", (series.modality,)), ("00201209", "IS", (series.instance_count,))
    )


def _from_header(header: Json, query: Query) -> Json:
    if query.include_all:
        return {
            tag: value
            for tag, value in header.items()
            if not any(key in value for key in BULK_KEYS)
        }
    return {tag: header[tag] for tag in query.include if tag in header}


def _instance_made(instance: InstanceRow) -> Json:
    return computed(
        ("00080016", "UI", (instance.sop_class_uid,)),
        ("00080018", "UI", (instance.sop_instance_uid,)),
        ("00083002", "UI", (instance.transfer_syntax_uid,)),
        ("00200013", "IS", (instance.instance_number,)),
        ("00280008", "IS", (instance.number_of_frames,)),
        ("00280010", "US", (instance.pixel_rows,)),
        ("00280011", "US", (instance.pixel_columns,)),
        ("00280100", "US", (instance.bits_allocated,)),
    )


def header_json(header: Json, *, study: str, series: str, sop_class: str, instance: str) -> Json:
    """Return a header with at least the UIDs, for an object that could not be parsed."""
    known = computed(
        ("00080016", "UI", (sop_class,)),
        ("00080018", "UI", (instance,)),
        ("0020000D", "UI", (study,)),
        ("0020000E", "UI", (series,)),
    )
    return known | header
