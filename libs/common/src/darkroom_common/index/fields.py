"""Which attributes the index keeps, where, and in which form a search finds them.

The indexer (metadata) and every reader use these constants, so that what is written is what is
searched. `j` of a study row holds patient and study attributes together, `j` of a series row the
series' own; `n` and `blind` of a row hold the encrypted-searchable fields of the same levels.
Instance attributes beyond the columns come from the instance's encrypted header.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

from darkroom_common.postgres.phi import BlindIndex, normalise


class Level(StrEnum):
    """Levels of the information model. Patient attributes live in study rows, as a snapshot."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


class Kept(StrEnum):
    """Where an attribute of the index is found."""

    COLUMN = "column"
    """A plain column; not identifying."""
    SEARCHABLE = "searchable"
    """In the encrypted `j`, and in `n` and `blind` for searching."""
    RETURNED = "returned"
    """In the encrypted `j` only: answered, not searched."""
    COMPUTED = "computed"
    """Made from columns when it is answered; not in `j`."""


@dataclass(frozen=True)
class Field:
    """One attribute. A path such as `A.B` names B in the items of the sequence A.

    Attributes:
        creator: of the private elements of the path.
        tagged: whether people have named it: its values are in the table `tagged`.
    """

    keyword: str
    tag: str
    vr: str
    level: Level
    kept: Kept
    column: str | None = None
    creator: str = ""
    tagged: bool = False

    @property
    def in_json(self) -> bool:
        """Whether the level's `j` holds this attribute under `tag`."""
        return self.kept is not Kept.COMPUTED and "." not in self.tag


_P, _S, _E, _I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE
_COL, _FIND, _SHOW, _MADE = Kept.COLUMN, Kept.SEARCHABLE, Kept.RETURNED, Kept.COMPUTED

FIELDS: Final[tuple[Field, ...]] = (
    # patient
    Field("PatientName", "00100010", "PN", _P, _FIND),
    Field("PatientID", "00100020", "LO", _P, _FIND),
    Field("IssuerOfPatientID", "00100021", "LO", _P, _FIND),
    Field("IssuerOfPatientIDQualifiersSequence", "00100024", "SQ", _P, _SHOW),
    Field("PatientBirthDate", "00100030", "DA", _P, _FIND),
    Field("PatientBirthTime", "00100032", "TM", _P, _SHOW),
    Field("PatientSex", "00100040", "CS", _P, _FIND),
    Field("OtherPatientIDs", "00101000", "LO", _P, _FIND),
    Field("OtherPatientNames", "00101001", "PN", _P, _FIND),
    Field("EthnicGroup", "00102160", "SH", _P, _SHOW),
    Field("PatientComments", "00104000", "LT", _P, _SHOW),
    Field("PatientIdentityRemoved", "00120062", "CS", _P, _SHOW),
    # study
    Field("StudyDate", "00080020", "DA", _S, _COL, "study_date"),
    Field("StudyTime", "00080030", "TM", _S, _COL, "study_time"),
    Field("AccessionNumber", "00080050", "SH", _S, _FIND),
    Field("IssuerOfAccessionNumberSequence", "00080051", "SQ", _S, _SHOW),
    Field("ReferringPhysicianName", "00080090", "PN", _S, _FIND),
    Field("TimezoneOffsetFromUTC", "00080201", "SH", _S, _SHOW),
    Field("StudyDescription", "00081030", "LO", _S, _FIND),
    Field("ProcedureCodeSequence", "00081032", "SQ", _S, _SHOW),
    Field("PhysiciansOfRecord", "00081048", "PN", _S, _SHOW),
    Field("NameOfPhysiciansReadingStudy", "00081060", "PN", _S, _FIND),
    Field("AdmittingDiagnosesDescription", "00081080", "LO", _S, _SHOW),
    Field("PatientAge", "00101010", "AS", _S, _SHOW),
    Field("PatientSize", "00101020", "DS", _S, _SHOW),
    Field("PatientWeight", "00101030", "DS", _S, _SHOW),
    Field("AdditionalPatientHistory", "001021B0", "LT", _S, _SHOW),
    Field("StudyInstanceUID", "0020000D", "UI", _S, _COL, "study_instance_uid"),
    Field("StudyID", "00200010", "SH", _S, _FIND),
    Field("InstanceAvailability", "00080056", "CS", _S, _MADE),
    Field("ModalitiesInStudy", "00080061", "CS", _S, _MADE, "modalities"),
    Field("SOPClassesInStudy", "00080062", "UI", _S, _MADE, "sop_classes"),
    Field("NumberOfStudyRelatedSeries", "00201206", "IS", _S, _MADE, "series_count"),
    Field("NumberOfStudyRelatedInstances", "00201208", "IS", _S, _MADE, "instance_count"),
    # series
    Field("Modality", "00080060", "CS", _E, _COL, "modality"),
    Field("SeriesInstanceUID", "0020000E", "UI", _E, _COL, "series_instance_uid"),
    Field("SeriesNumber", "00200011", "IS", _E, _COL, "series_number"),
    Field("PerformedProcedureStepStartDate", "00400244", "DA", _E, _COL, "performed_date"),
    Field("PerformedProcedureStepStartTime", "00400245", "TM", _E, _COL, "performed_time"),
    Field("SeriesDate", "00080021", "DA", _E, _FIND),
    Field("SeriesTime", "00080031", "TM", _E, _FIND),
    Field("Manufacturer", "00080070", "LO", _E, _FIND),
    Field("InstitutionName", "00080080", "LO", _E, _FIND),
    Field("StationName", "00081010", "SH", _E, _FIND),
    Field("SeriesDescription", "0008103E", "LO", _E, _FIND),
    Field("InstitutionalDepartmentName", "00081040", "LO", _E, _FIND),
    Field("PerformingPhysicianName", "00081050", "PN", _E, _FIND),
    Field("OperatorsName", "00081070", "PN", _E, _FIND),
    Field("ManufacturerModelName", "00081090", "LO", _E, _FIND),
    Field("BodyPartExamined", "00180015", "CS", _E, _FIND),
    Field("DeviceSerialNumber", "00181000", "LO", _E, _SHOW),
    Field("SoftwareVersions", "00181020", "LO", _E, _SHOW),
    Field("ProtocolName", "00181030", "LO", _E, _FIND),
    Field("PatientPosition", "00185100", "CS", _E, _SHOW),
    Field("FrameOfReferenceUID", "00200052", "UI", _E, _SHOW),
    Field("Laterality", "00200060", "CS", _E, _FIND),
    Field("PerformedProcedureStepID", "00400253", "SH", _E, _FIND),
    Field("PerformedProcedureStepDescription", "00400254", "LO", _E, _SHOW),
    Field("RequestAttributesSequence", "00400275", "SQ", _E, _SHOW),
    Field(
        "RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009", "SH", _E, _FIND
    ),
    Field("RequestAttributesSequence.RequestedProcedureID", "00400275.00401001", "SH", _E, _FIND),
    Field("NumberOfSeriesRelatedInstances", "00201209", "IS", _E, _MADE, "instance_count"),
    # instance: answered from columns, everything else from the header
    Field("SOPClassUID", "00080016", "UI", _I, _COL, "sop_class_uid"),
    Field("SOPInstanceUID", "00080018", "UI", _I, _COL, "sop_instance_uid"),
    Field("InstanceNumber", "00200013", "IS", _I, _COL, "instance_number"),
    Field("NumberOfFrames", "00280008", "IS", _I, _COL, "number_of_frames"),
    Field("Rows", "00280010", "US", _I, _COL, "pixel_rows"),
    Field("Columns", "00280011", "US", _I, _COL, "pixel_columns"),
    Field("BitsAllocated", "00280100", "US", _I, _COL, "bits_allocated"),
    Field("AvailableTransferSyntaxUID", "00083002", "UI", _I, _MADE, "transfer_syntax_uid"),
)

BY_KEYWORD: Final = {field.keyword: field for field in FIELDS}
BY_TAG: Final = {field.tag: field for field in FIELDS}

STUDY_JSON: Final = tuple(f for f in FIELDS if f.level in (_P, _S) and f.in_json)
"""What `j` of a study row holds: the patient's and the study's attributes that are present."""
PATIENT_JSON: Final = tuple(f for f in FIELDS if f.level is _P and f.in_json)
"""What `j` of a patient row holds."""
SERIES_JSON: Final = tuple(f for f in FIELDS if f.level is _E and f.in_json)
"""What `j` of a series row holds; items of sequences whole."""

STUDY_SEARCHABLE: Final = tuple(f for f in FIELDS if f.level in (_P, _S) and f.kept is _FIND)
"""What `n` and `blind` of a study row hold."""
PATIENT_SEARCHABLE: Final = tuple(f for f in FIELDS if f.level is _P and f.kept is _FIND)
"""What `n` and `blind` of a patient row hold."""
SERIES_SEARCHABLE: Final = tuple(f for f in FIELDS if f.level is _E and f.kept is _FIND)
"""What `n` and `blind` of a series row hold."""

PHYSICIAN: Final = Field("AssignedPhysicianName", "", "PN", _S, _FIND)
"""Who is assigned to an examination: searched as a name of DICOM is, and none of the standard's."""

SEPARATOR: Final = "\\"
"""Between the terms of a multi-valued field in `n`; DICOM values cannot hold it."""


NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
"""VRs whose values are equal when they are the same number."""


def _number(text: str) -> str:
    """Return the one way in which a number is written; a text that is none as it is."""
    try:
        number = Decimal(text.strip()).normalize()
    except InvalidOperation:
        return normalise(text)
    return f"{number:e}" if number else "0"


def terms(field: Field, values: Iterable[str]) -> list[str]:
    """Return the distinct normalised terms by which a field's values are found.

    A person name in DICOM form (`alphabetic=ideographic=phonetic`) gives a term for each group.
    """
    found: dict[str, None] = {}
    for value in values:
        for part in value.split("=") if field.vr == "PN" else (value,):
            text = _number(part) if field.vr in NUMBERS else normalise(part.replace(SEPARATOR, " "))
            if text:
                found[text] = None
    return list(found)


def search_text(field: Field, values: Iterable[str]) -> str:
    """Return what `n[field.keyword]` holds; an absent or empty value has no entry in `n`."""
    return SEPARATOR.join(terms(field, values))


def search_tokens(blind: BlindIndex, field: Field, values: Iterable[str]) -> set[bytes]:
    """Return the tokens that `blind` holds for a field's values."""
    found: set[bytes] = set()
    for term in terms(field, values):
        found |= blind.tokens(field.keyword, term)
    return found
