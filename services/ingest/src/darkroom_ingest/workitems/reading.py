"""Data sets of workitems as they are sent: DICOM JSON or the Native DICOM Model (PS3.18 8.7.3)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from pydicom.datadict import dictionary_VR

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.errors import PermanentError
from darkroom_common.specs.storable import first_fault
from darkroom_common.specs.worklist.workitems import PAYLOAD_LIMIT, Payload, UpsStatus
from darkroom_ingest.stow.encoding import Unsayable, encode_json
from darkroom_ingest.stow.native_xml import NativeXml

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_INTEGERS: Final = frozenset({"SL", "SS", "SV", "UL", "US", "UV"})
_FLOATS: Final = frozenset({"FD", "FL"})
_DAY: Final = r"(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?"
_IN_YEAR: Final = rf"(0[1-9]|1[0-2])|{_DAY}({_TIME})?"
_FORMS: Final = {
    "DA": re.compile(rf"[0-9]{{4}}{_DAY}"),
    "TM": re.compile(_TIME),
    "DT": re.compile(rf"[0-9]{{4}}({_IN_YEAR})?([+-][0-9]{{4}})?"),
}
"""Of values by which is searched (PS3.5 section 6.2)."""
_CHARACTER_SET: Final = "00080005"


class NotTaken(PermanentError):
    """What is asked is not done.

    Attributes:
        status: why.
        tags: of the attributes that it is about.
    """

    def __init__(self, status: UpsStatus, reason: str, *tags: str) -> None:
        super().__init__(reason)
        self.status = status
        self.tags = tags


def read(payload: Payload) -> JsonDataset:
    """Return the data set of a payload, its tags in capitals and without a character set.

    Raises:
        NotTaken: it is none, or a value is none of its VR.
    """
    content = payload.content.encode()
    if len(content) > PAYLOAD_LIMIT:
        raise _bad(f"it is larger than {PAYLOAD_LIMIT} bytes")
    given = _xml(content) if payload.form == "xml" else _json(content)
    fault = first_fault(given)
    if fault is not None:
        raise _bad(fault.reason)
    if not isinstance(given, dict):
        raise _bad("it is no data set")
    try:
        encoded = encode_json(given)
    except Unsayable as error:
        raise _bad(error.code) from error
    if encoded.bulk:
        raise _bad("values that stand elsewhere are not taken")
    found = _normal(given)
    found.pop(_CHARACTER_SET, None)
    return found


def _bad(reason: str) -> NotTaken:
    return NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, f"the data set cannot be read: {reason}")


def _json(content: bytes) -> Any:
    """Return the one data set of a body, which clients send in a list as well."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _bad("it is not JSON") from error
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _xml(content: bytes) -> Any:
    parser = NativeXml()
    try:
        parser.feed(content)
        return parser.finish()
    except Unsayable as error:
        raise _bad(error.code) from error


def _normal(data_set: Mapping[str, Any]) -> JsonDataset:
    found: JsonDataset = {}
    for tag, element in data_set.items():
        vr = element["vr"]
        name = tag.upper()
        if _TAG.fullmatch(tag) is None or name in found:
            raise _bad("an attribute is named twice, or not by its tag")
        if int(name[:4], 16) % 2 == 0 and vr_of(name) not in (vr, ""):
            raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "an attribute is of another VR", name)
        values = list(_values(vr, element.get("Value") or ()))
        form = _FORMS.get(vr)
        if form is not None and not all(form.fullmatch(str(one)) for one in values if one):
            raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, f"a value is no {vr}", name)
        rest = {key: value for key, value in element.items() if key not in ("vr", "Value")}
        found[name] = {"vr": vr, **rest, **({"Value": values} if values else {})}
    return found


def vr_of(tag: str) -> str:
    """Return the VR of an attribute of the dictionary; empty: it has none, or several."""
    try:
        vr = dictionary_VR(int(tag, 16))
    except KeyError:
        return ""
    return "" if " " in vr else vr


def _values(vr: str, values: Any) -> Iterator[Any]:
    for value in values:
        if vr == "SQ":
            yield _normal(value or {})
        elif isinstance(value, str) and vr in _INTEGERS:
            yield int(value)
        elif isinstance(value, str) and vr in _FLOATS:
            yield float(value)
        else:
            yield value
