"""What other nodes are asked: keys of queries, attributes of steps, what is to be migrated."""

import datetime as dt
import re
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StrictBool, StringConstraints, model_validator
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from darkroom_common.messages.base import Uid
from darkroom_common.specs.base import Spec, WrittenMoment
from darkroom_common.specs.destinations import ConfiguredAe, Name, Window

_IDENTIFYING: Final = 0x0008
"""The first group of attributes; those below are of commands, files and directories."""
MOST_MATCHES: Final = 1000
Text = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f\\]*$")]
"""A value or a pattern with the wildcards * and ?."""
Values = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One value, or a list of UIDs with backslashes between them."""
ShortText = Annotated[str, StringConstraints(max_length=16, pattern=r"^[^\x00-\x1f\x7f\\]*$")]
LongText = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x1f\x7f\\]*$")]
Code = Annotated[str, StringConstraints(max_length=16, pattern=r"^[A-Z0-9_ ]*$")]
_TAG: Final = re.compile(r"^[0-9A-Fa-f]{8}$")
_BULK: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "SQ"})
_NUMBERS: Final = frozenset({"AT", "FL", "FD", "SL", "SS", "UL", "US"})
_OURS: Final = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet"})


def keyword_of(name: str, *, matched: StrictBool = False) -> str:
    """Return the keyword of an attribute that is named by keyword or by its eight digits.

    Args:
        name: of the attribute.
        matched: it is to have a value, and not only to be told.

    Raises:
        ValueError: there is none that can be a key of a query.
    """
    keyword = keyword_for_tag(int(name, 16)) if _TAG.match(name) else name
    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None or tag >> 16 < _IDENTIFYING or keyword in _OURS:
        raise ValueError("a key is the keyword or the tag of an attribute")
    vr = dictionary_VR(tag)[:2]  # "OB or OW"
    if vr in _BULK or (matched and vr in _NUMBERS):
        raise ValueError("a key is an attribute of text, a number, a date or a UID")
    return keyword


class RemoteQuery(Spec):
    """Keys of a study root query, as PS3.4 section C.6.2.1 has them."""

    level: Literal["study", "series", "image"] = "study"
    keys: dict[str, Values] = Field(
        default_factory=dict,
        max_length=50,
        description="value or pattern by keyword or tag; dates as 20240101-20241231",
    )
    include: tuple[str, ...] = Field(
        default=(), max_length=50, description="keywords or tags to be told besides the usual ones"
    )
    limit: int = Field(default=200, ge=1, le=MOST_MATCHES)

    @model_validator(mode="after")
    def _asks_for_what_is(self) -> Self:
        for name in self.include:
            keyword_of(name)
        keywords = {keyword_of(name, matched=True) for name in self.keys}
        if len(keywords) != len(self.keys):
            raise ValueError("a key is given twice")
        if self.level != "study" and "StudyInstanceUID" not in keywords:
            raise ValueError("series and images are asked for with a StudyInstanceUID")
        if self.level == "image" and "SeriesInstanceUID" not in keywords:
            raise ValueError("images are asked for with a SeriesInstanceUID")
        return self


class WorklistQuery(Spec):
    """Which scheduled procedure steps to list (PS3.4 section K.6.1.2)."""

    patient_name: Text = ""
    patient_id: Text = ""
    accession_number: Text = ""
    requested_procedure_id: Text = ""
    modality: Code = ""
    scheduled_station_ae_title: ConfiguredAe | Literal[""] = ""
    scheduled_station_name: Text = ""
    date: dt.date | None = Field(default=None, description="of the start; this day alone")
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    limit: int = Field(default=200, ge=1, le=MOST_MATCHES)

    @model_validator(mode="after")
    def _one_way_to_say_when(self) -> Self:
        if self.date and (self.date_from or self.date_to):
            raise ValueError("date, or date_from and date_to")
        if self.date_from and self.date_to and self.date_from > self.date_to:
            raise ValueError("date_from is after date_to")
        return self


class NewProcedureStep(Spec):
    """A performed procedure step that begins (PS3.4 section F.7.2.1)."""

    modality: Annotated[Code, StringConstraints(min_length=1)]
    performed_procedure_step_id: Annotated[ShortText, StringConstraints(min_length=1)]
    study_instance_uid: Uid
    performed_station_ae_title: ConfiguredAe | None = Field(
        default=None, description="left out: our calling AE title"
    )
    performed_station_name: ShortText = ""
    performed_location: ShortText = ""
    started_at: WrittenMoment | None = Field(
        default=None, description="left out: now, in the time zone of the destination"
    )
    description: LongText = ""
    type_description: LongText = ""
    patient_name: LongText = ""
    patient_id: LongText = ""
    issuer_of_patient_id: LongText = ""
    patient_birth_date: dt.date | None = None
    patient_sex: Literal["", "M", "F", "O"] = ""
    study_id: ShortText = ""
    accession_number: ShortText = ""
    requested_procedure_id: ShortText = ""
    requested_procedure_description: LongText = ""
    scheduled_procedure_step_id: ShortText = ""
    scheduled_procedure_step_description: LongText = ""


class Reference(Spec):
    """An instance that a step has made."""

    sop_class_uid: Uid
    sop_instance_uid: Uid


class PerformedSeries(Spec):
    """A series that a step has made."""

    series_instance_uid: Uid
    protocol_name: Annotated[LongText, StringConstraints(min_length=1)]
    description: LongText = ""
    performing_physician_name: LongText = ""
    operators_name: LongText = ""
    retrieve_ae_title: ConfiguredAe | Literal[""] = ""
    images: tuple[Reference, ...] | None = Field(
        default=None, max_length=10_000, description="left out: those that are stored here"
    )


class DiscontinuationReason(Spec):
    """Why a step was discontinued, by the codes of CID 9300."""

    code: Annotated[ShortText, StringConstraints(min_length=1)]
    scheme: Annotated[ShortText, StringConstraints(min_length=1)] = "DCM"
    meaning: Annotated[LongText, StringConstraints(min_length=1)]


class ProcedureStepChange(Spec):
    """What became of a procedure step (PS3.4 section F.7.2.2)."""

    status: Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
    ended_at: WrittenMoment | None = Field(
        default=None, description="left out: now, when the step is over"
    )
    description: LongText | None = None
    series: tuple[PerformedSeries, ...] = Field(default=(), max_length=500)
    discontinuation_reason: DiscontinuationReason | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.status == "COMPLETED" and not self.series:
            raise ValueError("a completed step names its series")
        if self.status != "DISCONTINUED" and self.discontinuation_reason is not None:
            raise ValueError("a reason belongs to a step that is discontinued")
        if self.status == "IN PROGRESS" and self.ended_at is not None:
            raise ValueError("a step in progress has not ended")
        return self


class RetrieveOrder(Spec):
    """What to retrieve: a study, one of its series, or instances of it."""

    study_instance_uid: Uid
    series_instance_uid: Uid | None = None
    sop_instance_uids: tuple[Uid, ...] = Field(default=(), max_length=500)
    method: Literal["move", "get"] = "move"


Way = Literal["get", "move", "web", "directory", "dicomdir"]
"""C-FIND with C-GET or C-MOVE; QIDO-RS with WADO-RS; a tree of files; a medium with a DICOMDIR."""
FILES: Final[frozenset[Way]] = frozenset({"directory", "dicomdir"})
OF_FILES: Final = ":files"
"""What stands where the name of a destination does, for what comes from files."""
Modality = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_ ]{1,16}$")]


class MigrationSpec(Spec):
    """Which studies come from where, and how fast."""

    way: Way = Field(
        description="get, move: C-FIND with C-GET or C-MOVE; web: QIDO-RS and WADO-RS; directory,"
        " dicomdir: files below MIGRATION_DIRECTORY"
    )
    source: Name | None = Field(default=None, description="a destination; not of files")
    directory: str = Field(
        default="", max_length=1024, description="below MIGRATION_DIRECTORY, of files alone"
    )
    date_from: dt.date | None = Field(default=None, description="of study dates; none: all")
    date_to: dt.date | None = None
    modalities: tuple[Modality, ...] = Field(default=(), max_length=50, description="none: all")
    bytes_per_second: int | None = Field(
        default=None, ge=1024, description="what somebody has asked for first comes as it can"
    )
    studies_at_once: int = Field(default=2, ge=1, le=8)
    windows: tuple[Window, ...] = Field(default=(), max_length=50, description="none: always")
    time_zone: str = Field(default="UTC", max_length=64, description="of the windows, IANA name")
    calling_ae_title: ConfiguredAe = Field(
        default="MIGRATION", description="as which the objects of files come to ingest"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        of_files = self.way in FILES
        if of_files == bool(self.source):
            raise ValueError("a migration has a source, or comes from files")
        path = PurePosixPath(self.directory)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("directory lies below MIGRATION_DIRECTORY")
        if self.directory and not of_files:
            raise ValueError("a directory is of files")
        if self.date_from and self.date_to and self.date_from > self.date_to:
            raise ValueError("date_from is after date_to")
        try:
            ZoneInfo(self.time_zone)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError("time_zone is not known") from error
        return self

    @property
    def lane(self) -> str:
        """The source as jobs have it."""
        return self.source or OF_FILES


class FirstOrder(Spec):
    """What is to come before all else: studies, or those of a patient."""

    studies: tuple[Uid, ...] = Field(default=(), max_length=500)
    patient_id: str = Field(default="", max_length=64)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.studies) == bool(self.patient_id):
            raise ValueError("say studies or a patient")
        if set(self.patient_id) & set("*?\\"):
            raise ValueError("patient_id is just one")
        return self
