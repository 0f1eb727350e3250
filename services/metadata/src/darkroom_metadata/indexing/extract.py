"""What the index keeps of one object, read from its header."""

import re
from dataclasses import dataclass, field
from datetime import date, time
from functools import lru_cache
from typing import Any, Final

import orjson

from darkroom_common.dicom.charset import UNDECLARED, WRONG
from darkroom_common.dicom.json_values import JsonDataset, texts
from darkroom_common.index.fields import (
    PATIENT_JSON,
    PATIENT_SEARCHABLE,
    SERIES_JSON,
    SERIES_SEARCHABLE,
    STUDY_JSON,
    STUDY_SEARCHABLE,
    Field,
    search_text,
    search_tokens,
)
from darkroom_common.index.studies import minutes_ahead
from darkroom_common.postgres.phi import BlindIndex

UNREADABLE: Final = "header-unreadable"
"""Flag of an instance whose header could not be read, or not to its end."""
TEXT_FLAGS: Final = frozenset({UNDECLARED, WRONG})
"""Flags of an instance whose text may be other text."""
BY_READING: Final = frozenset({UNREADABLE, *TEXT_FLAGS})
"""Flags that reading an object gives: another reading may find otherwise."""
_COLUMNS: Final = (
    "00080020",
    "00080030",
    "00080060",
    "00100020",
    "00100021",
    "00200011",
    "00200013",
    "00280008",
    "00280010",
    "00280011",
    "00280100",
    "00400244",
    "00400245",
)
_FIELDS: Final = (PATIENT_JSON, PATIENT_SEARCHABLE, STUDY_JSON, STUDY_SEARCHABLE, SERIES_JSON)
KEPT: Final = frozenset(
    {*_COLUMNS}
    | {one.tag.partition(".")[0] for fields in (*_FIELDS, SERIES_SEARCHABLE) for one in fields}
)
"""Tags of a header that rows are made of."""
_DATE: Final = re.compile(r"^(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})$")
_TIME: Final = re.compile(r"^(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?$")
_INT4: Final = 2**31 - 1
_INT8: Final = 2**63 - 1
_REMEMBERED_LIMIT: Final = 16384  # bytes


@dataclass(frozen=True)
class Protected:
    """One row's share of PHI: the JSON to encrypt and the tokens to find it by."""

    json: str
    tokens: tuple[bytes, ...]


@dataclass(frozen=True)
class Extracted:
    """Everything that the index keeps of one object."""

    header: str
    patient_key: bytes
    patient: Protected
    study: Protected
    series: Protected
    study_date: date | None = None
    study_time: time | None = None
    utc_offset: int | None = None
    """Minutes ahead of UTC (PS3.3 C.12.1.1.8); None: it is not said."""
    modality: str | None = None
    series_number: int | None = None
    performed_date: date | None = None
    performed_time: time | None = None
    instance_number: int | None = None
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None
    number_of_frames: int | None = None
    flags: tuple[str, ...] = field(default=())
    head_sha256: bytes | None = None
    """Of the object's bytes before its data set."""
    frame_places: bytes | None = None
    """Of compressed pixel data, see `objects.frame_places`."""


def extract(
    header: JsonDataset,
    *,
    study_instance_uid: str,
    blind: BlindIndex,
    flags: tuple[str, ...] = (),
    text: str | None = None,
) -> Extracted:
    """Return what the index keeps, from the header alone.

    Args:
        header: as DICOM JSON, `KEPT` of it at least; empty for an object that cannot be read.
        study_instance_uid: the study's, derived or received: it stands for the patient when the
            data set has no patient id.
        blind: makes the tokens.
        flags: kept with the instance.
        text: the whole header; None: `header` is that.
    """
    patient_id = _first(header, "00100020")
    issuer = _first(header, "00100021")
    known = blind.token("patient", "value", f"{issuer}\x1f{patient_id}") if patient_id else None
    return Extracted(
        header=orjson.dumps(header).decode() if text is None else text,
        patient_key=known or nameless_patient(study_instance_uid, blind),
        patient=_protect(header, PATIENT_JSON, PATIENT_SEARCHABLE, blind),
        study=_protect(header, STUDY_JSON, STUDY_SEARCHABLE, blind),
        series=_protect(header, SERIES_JSON, SERIES_SEARCHABLE, blind),
        study_date=parse_date(_first(header, "00080020")),
        study_time=parse_time(_first(header, "00080030")),
        utc_offset=minutes_ahead(_first(header, "00080201")),
        modality=_first(header, "00080060")[:16] or None,
        series_number=_integer(header, "00200011", _INT8),
        performed_date=parse_date(_first(header, "00400244")),
        performed_time=parse_time(_first(header, "00400245")),
        instance_number=_integer(header, "00200013", _INT8),
        rows=_integer(header, "00280010", _INT4),
        columns=_integer(header, "00280011", _INT4),
        bits_allocated=_integer(header, "00280100", _INT4),
        number_of_frames=_integer(header, "00280008", _INT4),
        flags=flags,
    )


def nameless_patient(study_instance_uid: str, blind: BlindIndex) -> bytes:
    """Return the key of the patient of a study whose objects do not say whose it is."""
    return blind.token("patient", "value", f"study\x1f{study_instance_uid}")


def _protect(
    header: JsonDataset, kept: tuple[Field, ...], searched: tuple[Field, ...], blind: BlindIndex
) -> Protected:
    attributes = orjson.dumps({item.tag: header[item.tag] for item in kept if item.tag in header})
    if b"\\u0000" in attributes:
        attributes = orjson.dumps(_without_nul(orjson.loads(attributes)))
    work = _protected if len(attributes) <= _REMEMBERED_LIMIT else _protected.__wrapped__
    return work(attributes, searched, blind)


def _without_nul(value: Any) -> Any:
    """Return JSON without NUL, which PostgreSQL's JSON cannot hold; the whole header keeps it."""
    match value:
        case str():
            return value.replace("\0", "")
        case list():
            return [_without_nul(one) for one in value]
        case dict():
            return {name: _without_nul(one) for name, one in value.items()}
    return value


@lru_cache(maxsize=256)
def _protected(attributes: bytes, searched: tuple[Field, ...], blind: BlindIndex) -> Protected:
    """Remembered: the objects of a series share what is kept of patient, study and series."""
    header = orjson.loads(attributes)
    normal: dict[str, str] = {}
    tokens: set[bytes] = set()
    for item in searched:
        values = _values(header, item.tag)
        text = search_text(item, values)
        if text:
            normal[item.keyword] = text
            tokens |= search_tokens(blind, item, values)
    document = b'{"j":%b,"n":%b}' % (attributes, orjson.dumps(normal))
    return Protected(document.decode(), tuple(sorted(tokens)))


def _values(header: JsonDataset, path: str) -> list[str]:
    head, _, rest = path.partition(".")
    if not rest:
        return texts(header.get(head))
    items: list[Any] = header.get(head, {}).get("Value", [])
    return [text for item in items if isinstance(item, dict) for text in _values(item, rest)]


def _first(header: JsonDataset, tag: str) -> str:
    return next(iter(_values(header, tag)), "").replace("\0", "").strip()


def _integer(header: JsonDataset, tag: str, limit: int) -> int | None:
    try:
        number = int(_first(header, tag))
    except ValueError:
        return None
    return number if -limit <= number <= limit else None


def parse_date(text: str) -> date | None:
    """Return a DA value (PS3.5 section 6.2), the forms of ACR-NEMA too; None when it is none."""
    match = _DATE.match(text)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def parse_time(text: str) -> time | None:
    """Return a TM value (PS3.5 section 6.2), whole or cut, with or without colons."""
    match = _TIME.match(text)
    if match is None:
        return None
    fraction = (match[4] or "").ljust(6, "0")
    try:
        return time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59), int(fraction))
    except ValueError:
        return None
