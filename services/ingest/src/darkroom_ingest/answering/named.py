"""From the identifier of a C-GET or C-MOVE to what is retrieved (PS3.4 sections C.4.2.2, C.4.3.2).

Unique keys alone count; a list of UIDs may stand for any of them.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dicom.text_elements import joined
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.objects import Wanted
from darkroom_ingest.answering.identifier import (
    LEVEL,
    LEVELS,
    OF_MODEL,
    RANK,
    UNIQUE,
    BadIdentifier,
    text_of,
)

PATIENT_ROOT: Final[Mapping[str, str]] = {
    "move": "1.2.840.10008.5.1.4.1.2.1.2",
    "get": "1.2.840.10008.5.1.4.1.2.1.3",
}
STUDY_ROOT: Final[Mapping[str, str]] = {
    "move": "1.2.840.10008.5.1.4.1.2.2.2",
    "get": "1.2.840.10008.5.1.4.1.2.2.3",
}
PATIENT_STUDY_ONLY: Final[Mapping[str, str]] = {
    "move": "1.2.840.10008.5.1.4.1.2.3.2",
    "get": "1.2.840.10008.5.1.4.1.2.3.3",
}
MODELS: Final = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY)
_UID: Final = re.compile(r"[0-9][0-9A-Za-z.\-_]{0,63}")
"""Real archives have UIDs that are none; no sign of them means anything to a search."""
_LONGEST_ID: Final = 64


def of_query(sop_class_uid: str) -> str:
    """Return the information model of a retrieval as the one that is asked by C-FIND."""
    return f"{sop_class_uid.rpartition('.')[0]}.1"


def parse_named(identifier: Dataset, sop_class_uid: str, *, relational: bool) -> tuple[str, Wanted]:
    """Return the level, and what is to be retrieved.

    Args:
        identifier: its text is decoded.
        sop_class_uid: the information model.
        relational: whether the unique keys of the levels above may be left out.

    Raises:
        BadIdentifier: it names nothing that can be retrieved in this model.
    """
    name = text_of(identifier, int(LEVEL, 16)).strip()
    level = LEVELS.get(name)
    of_model = OF_MODEL[of_query(sop_class_uid)]
    if level is None or level not in of_model:
        raise BadIdentifier(LEVEL, "no level of this information model")
    found: dict[Level, tuple[str, ...]] = {}
    for one in of_model:
        if RANK[one] > RANK[level]:
            continue
        found[one] = _values(identifier, one)
        if not found[one] and (one is level or not relational):
            raise BadIdentifier(BY_KEYWORD[UNIQUE[one]].tag, "a value is needed")
    return name, Wanted(
        patient_id="".join(found.get(Level.PATIENT, ())),
        studies=found.get(Level.STUDY, ()),
        series=found.get(Level.SERIES, ()),
        instances=found.get(Level.INSTANCE, ()),
    )


def _values(identifier: Dataset, level: Level) -> tuple[str, ...]:
    tag = BY_KEYWORD[UNIQUE[level]].tag
    text = text_of(identifier, int(tag, 16))
    if level is Level.PATIENT:
        patient = text.strip()
        if len(patient) > _LONGEST_ID or any(one in patient for one in "\\*?"):
            raise BadIdentifier(tag, "one patient is to be named")
        return (patient,) if patient else ()
    uids = [one.strip(" \0") for one in joined(text).split("\\")]
    uids = [one for one in uids if one]
    if not all(_UID.fullmatch(one) for one in uids):
        raise BadIdentifier(tag, "no UID, nor a list of them")
    return tuple(dict.fromkeys(uids))
