"""From the identifier of a C-FIND to a query of the index (PS3.4 sections C.2.2, C.4.1 and C.6)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from darkroom_common.dicom.text_elements import joined
from darkroom_common.errors import PermanentError
from darkroom_common.index.fields import BY_KEYWORD, BY_TAG, Field, Kept, Level
from darkroom_common.index.matching.values import BadKey, Matching, OneOf
from darkroom_common.index.query import Condition, Query, conditions, require_bounded, searchable

PATIENT_ROOT: Final = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY: Final = "1.2.840.10008.5.1.4.1.2.3.1"
"""Retired in 2004, and still asked for."""
LEVELS: Final[Mapping[str, Level]] = {
    "PATIENT": Level.PATIENT,
    "STUDY": Level.STUDY,
    "SERIES": Level.SERIES,
    "IMAGE": Level.INSTANCE,
}
OF_MODEL: Final[Mapping[str, tuple[Level, ...]]] = {
    PATIENT_ROOT: tuple(LEVELS.values()),
    STUDY_ROOT: (Level.STUDY, Level.SERIES, Level.INSTANCE),
    PATIENT_STUDY_ONLY: (Level.PATIENT, Level.STUDY),
}
RANK: Final = {Level.PATIENT: 0, Level.STUDY: 1, Level.SERIES: 2, Level.INSTANCE: 3}
UNIQUE: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.INSTANCE: "SOPInstanceUID",
}
LEVEL: Final = "00080052"
CHARACTER_SET: Final = "00080005"
RETRIEVE_AE: Final = "00080054"
_NO_KEYS: Final = frozenset({CHARACTER_SET, LEVEL, RETRIEVE_AE, "00080053", "00080201"})
"""Of the query itself, or answered whatever is asked."""
_COUNTED: Final = frozenset({"00201202", "00201204"})
"""Series and instances of a patient, whom the index counts them for."""
_AVAILABLE_SYNTAXES: Final = "00083002"
_BINARY: Final = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
MAX_KEYS: Final = 500
"""Of an identifier, those of items included."""


class BadIdentifier(PermanentError):
    """An identifier does not fit the SOP class. The text holds no value.

    Attributes:
        tag: of the attribute that is wrong, eight hexadecimal digits.
    """

    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(reason)
        self.tag = tag


@dataclass(frozen=True)
class Key:
    """An attribute that is asked for.

    Attributes:
        items: attributes of items that are asked for; nothing: all.
    """

    vr: str
    items: Mapping[str, "Key"] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What is agreed on beyond the usual service (PS3.4 section C.5.1.1)."""

    relational: bool = False
    combined: bool = False
    fuzzy: bool = False


@dataclass(frozen=True)
class Asked:
    """What an identifier asks for.

    Attributes:
        level: as the identifier names it.
        wanted: attributes of each answer, by tag.
        character_set: of the identifier, as it declares it.
        partly: some optional key is not known, or not matched.
        spelled: values of answers by tag, as they are spelled in the identifier.
    """

    level: str
    query: Query
    wanted: Mapping[str, Key]
    character_set: str
    partly: bool
    spelled: Mapping[str, str] = field(default_factory=dict)


def parse_identifier(identifier: Dataset, sop_class_uid: str, options: Options) -> Asked:
    """Return what an identifier asks for.

    Args:
        identifier: its text is decoded.
        sop_class_uid: the information model.
        options: as agreed on.

    Raises:
        BadIdentifier: it is none of this model.
    """
    name = text_of(identifier, int(LEVEL, 16)).strip()
    level = LEVELS.get(name)
    if level is None or level not in OF_MODEL[sop_class_uid]:
        raise BadIdentifier(LEVEL, "no level of this information model")
    keys = _Keys(level, options)
    keys.read(identifier)
    above = [one for one in OF_MODEL[sop_class_uid] if RANK[one] < RANK[level]]
    if not options.relational:
        _require_unique(keys.found, above)
    for one in (*above, level):  # PS3.4 section C.4.1.1.3.2
        unique = BY_KEYWORD[UNIQUE[one]]
        keys.wanted.setdefault(unique.tag, Key(unique.vr))
    study = _single(keys.found, "StudyInstanceUID")
    return Asked(
        level=name,
        query=Query(
            level,
            study_uid=study,
            series_uid=_single(keys.found, "SeriesInstanceUID") if study else None,
            conditions=tuple(keys.found),
            include=frozenset(keys.wanted),
            combined=options.combined,
        ),
        wanted=keys.wanted,
        character_set=text_of(identifier, int(CHARACTER_SET, 16)).strip(" "),
        partly=keys.partly,
        spelled=keys.spelled,
    )


class _Keys:
    """Goes through the attributes of an identifier."""

    def __init__(self, level: Level, options: Options) -> None:
        self.found: list[Condition] = []
        self.wanted: dict[str, Key] = {}
        self.spelled: dict[str, str] = {}
        self.partly = False
        self._level = level
        self._matching = Matching(fuzzy=options.fuzzy)
        self._left = MAX_KEYS

    def read(self, identifier: Dataset) -> None:
        """Take what is asked for.

        Raises:
            BadIdentifier: a value suits no kind of matching, or there are too many keys.
        """
        for tag in self._tags(identifier):
            name = f"{tag:08X}"
            if name in _NO_KEYS:
                continue
            vr = vr_of(identifier, tag)
            if vr == "SQ":
                self._sequence(name, identifier[tag].value)
            else:
                self._key(name, vr, text_of(identifier, tag))
        try:
            require_bounded(self.found)
        except BadKey as error:
            raise BadIdentifier(LEVEL, error.reason) from error

    def _tags(self, data_set: Dataset) -> Iterator[int]:
        for tag in data_set.keys():  # noqa: SIM118 - iterating itself decodes every value
            self._left -= 1
            if self._left < 0:
                raise BadIdentifier(LEVEL, f"more than {MAX_KEYS} keys")
            if tag.element:
                yield int(tag)

    def _key(self, name: str, vr: str, text: str) -> None:
        known = BY_TAG.get(name)
        field = known
        if name == BY_KEYWORD["Modality"].tag and self._level is Level.STUDY:
            field = BY_KEYWORD["ModalitiesInStudy"]  # what clients mean
        elif self._is_answered(name, known):
            self.wanted[name] = Key(known.vr if known else vr)
        else:
            self.partly = True
            return
        before = len(self.found)
        self._match(field, name, text)
        if len(self.found) > before and field is not None and field.kept is Kept.SEARCHABLE:
            self.spelled[name] = text

    def _sequence(self, name: str, items: Any) -> None:
        inner: dict[str, Key] = {}
        for item in items or ():
            for tag in self._tags(item):
                below, vr = f"{tag:08X}", vr_of(item, tag)
                inner[below] = Key(vr)
                text = "" if vr == "SQ" else text_of(item, tag)
                self._match(BY_TAG.get(f"{name}.{below}"), name, text)
        if self._is_answered(name, BY_TAG.get(name)):
            self.wanted[name] = Key("SQ", inner)
        else:
            self.partly = True

    def _match(self, field: Field | None, name: str, text: str) -> None:
        if not text.strip(" \0*"):
            return
        if field is None or not searchable(field) or RANK[field.level] > RANK[self._level]:
            self.partly = True
            return
        try:
            self.found += conditions(field, text, self._matching)
        except BadKey as error:
            raise BadIdentifier(name, error.reason) from error

    def _is_answered(self, name: str, known: Field | None) -> bool:
        """Tell whether results of the level have an attribute."""
        if name == _AVAILABLE_SYNTAXES:
            return False
        if name == "00201200" or name in _COUNTED:
            return self._level is Level.PATIENT
        if known is None:
            return self._level is Level.INSTANCE  # whose whole header is kept
        return RANK[known.level] <= RANK[self._level]


def _require_unique(found: list[Condition], above: list[Level]) -> None:
    for level in above:
        if _single(found, UNIQUE[level]) is None:
            tag = BY_KEYWORD[UNIQUE[level]].tag
            raise BadIdentifier(tag, "one value is needed: relational queries are not agreed on")


def _single(found: list[Condition], keyword: str) -> str | None:
    matches = [one.match for one in found if one.field.keyword == keyword]
    match matches:
        case [OneOf((only,))]:
            return only
        case _:
            return None


def vr_of(data_set: Dataset, tag: int) -> str:
    """Return the VR of an attribute; of one that is not known, the one that it came with."""
    known = BY_TAG.get(f"{tag:08X}")
    if known is not None:
        return known.vr
    stands: Any = data_set.get_item(tag)
    if stands.VR not in (None, "UN"):
        return str(stands.VR)
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:  # private
        return "UN"


def text_of(data_set: Dataset, tag: int) -> str:
    """Return the values of an attribute as text; nothing of one that is not there, or is binary."""
    stands: Any = data_set.get_item(tag) if tag in data_set else None
    if stands is None or stands.value is None:
        return ""
    if not isinstance(stands, RawDataElement):
        return str(joined(stands.value))
    if stands.VR in _BINARY or (stands.VR is None and vr_of(data_set, tag) in _BINARY):
        try:
            return str(joined(data_set[tag].value))
        except Exception as error:  # pydicom raises whatever it stumbles over
            raise BadIdentifier(f"{tag:08X}", "the value cannot be read") from error
    return bytes(stands.value or b"").decode("latin-1").rstrip("\0 ")
