"""A data set as DICOM JSON (PS3.18 annex F), computed once, when it is indexed.

Text is UTF-8. Large binary values and all pixel data stay in the object and are referred to by a
relative `BulkDataURI`: `bulkdata/<tag>[/<item>/<tag>...]`, items counted from 0. What values look
like is in `json_values`: pydicom only finds the elements. Nothing of a header is dropped but the
items of sequences nested deeper than `DEPTH_LIMIT`, which are found in the object only.
"""

from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.hooks import raw_element_vr
from pydicom.tag import BaseTag

from darkroom_common.dicom.charset import UTF_8, TextReader
from darkroom_common.dicom.json_values import (
    BINARY,
    KNOWN_VRS,
    Element,
    JsonDataset,
    binary,
    element,
    of_numbers,
    of_text,
)
from darkroom_common.dicom.text_elements import CHARACTER_SET, declared_in, joined

FILE_META: Final = 2
"""The group of the file meta information: none of it is an attribute of the object."""
DEFER_LIMIT: Final = 65536
"""Bytes of any value that is read at all; longer ones are referred to."""
DEPTH_LIMIT: Final = 64
"""Sequences within sequences that are kept; JSON encoders refuse 255 levels, and each takes 3."""
PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
AS_UTF_8: Final[Element] = {"vr": "CS", "Value": [UTF_8]}
"""What (0008,0005) of JSON is, whatever it was in the object."""
_NUMERIC: Final = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})


def to_json(
    dataset: Dataset, text: TextReader | None = None, *, prefix: str = "bulkdata/", depth: int = 0
) -> JsonDataset:
    """Return a data set as DICOM JSON, without group 2 and without group lengths.

    Args:
        dataset: as pydicom has read it, or made in memory.
        text: reads its text, and knows afterwards what was odd; none: nothing is assumed.
        prefix: of each `BulkDataURI`.
        depth: of the sequence that it is an item of.
    """
    reader = text or TextReader()
    outer = reader.current
    found: JsonDataset = {}
    if CHARACTER_SET in dataset:
        reader.declare(declared_in(dataset))
    for tag in sorted(dataset.keys()):
        if tag.group == FILE_META or tag.element == 0:
            continue
        name = f"{tag.group:04X}{tag.element:04X}"
        found[name] = _element(dataset, tag, f"{prefix}{name}", depth, reader)
    if CHARACTER_SET in dataset:
        found[f"{CHARACTER_SET:08X}"] = AS_UTF_8
    reader.back_to(outer)
    return found


def _element(dataset: Dataset, tag: BaseTag, path: str, depth: int, text: TextReader) -> Element:
    stands: Any = dataset.get_item(tag, keep_deferred=True)
    raw = stands if isinstance(stands, RawDataElement) else None
    vr = str(stands.VR) if raw is None else _vr(raw, dataset)
    deferred = raw is not None and raw.value is None and raw.length
    if deferred and vr != "SQ":  # a long sequence is read from the file after all: no bulk data
        return {"vr": _one_vr(vr), "BulkDataURI": path}
    if vr == "SQ":
        return _sequence(dataset, tag, path, depth, text)
    if tag in PIXELS and stands.value:
        return {"vr": _one_vr(vr), "BulkDataURI": path}
    return _converted(stands, vr, path) if raw is None else _read(dataset, raw, vr, path, text)


def _read(dataset: Dataset, raw: RawDataElement, vr: str, path: str, text: TextReader) -> Element:
    tag = raw.tag
    if " or " in vr:
        vr = str(dataset[tag].VR)  # pydicom looks at the rest of the data set
    content = bytes(raw.value or b"")
    if " or " in vr:
        return binary(_one_vr(vr), content, path)
    if vr in BINARY or vr not in KNOWN_VRS:
        return binary(vr if vr in BINARY else "UN", content, path)
    return element(vr, content, text, big=not raw.is_little_endian)


def _sequence(dataset: Dataset, tag: BaseTag, path: str, depth: int, text: TextReader) -> Element:
    if depth >= DEPTH_LIMIT:
        return {"vr": "SQ"}
    stands: Any = dataset.get_item(tag, keep_deferred=True)
    try:
        items = dataset[tag].value or []
    except Exception:  # noqa: BLE001 - a value that is no sequence: keep it as it is
        if isinstance(stands.value, bytes):
            return binary("UN", stands.value, path)
        return {"vr": "UN", "BulkDataURI": path}
    found = [
        to_json(item, text, prefix=f"{path}/{number}/", depth=depth + 1)
        for number, item in enumerate(items)
    ]
    return {"vr": "SQ", "Value": found} if found else {"vr": "SQ"}


def _one_vr(vr: str) -> str:
    return "OW" if "OW" in vr else vr[:2]  # "OB or OW" until the transfer syntax decides


def _vr(raw: RawDataElement, dataset: Dataset) -> str:
    found: dict[str, Any] = {}
    raw_element_vr(raw, found, ds=dataset)
    vr = str(found["VR"])
    if vr in KNOWN_VRS or vr == "SQ" or " or " in vr:
        return vr
    try:
        return dictionary_VR(raw.tag)
    except KeyError:
        return "UN"


def _converted(element: DataElement, vr: str, path: str) -> Element:
    """Return an element that was made in memory, or that pydicom has decoded."""
    value = element.value
    if isinstance(value, bytes) or vr in BINARY or " or " in vr:
        return binary(_one_vr(vr), value if isinstance(value, bytes) else b"", path)
    if vr not in _NUMERIC:
        return of_text(vr, joined(value))
    several = list(value) if isinstance(value, list) or hasattr(value, "insert") else [value]
    present = [one for one in several if one not in (None, "")]
    if not present:
        return {"vr": vr}
    return of_numbers(vr, present)
