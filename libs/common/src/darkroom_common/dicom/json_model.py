"""A data set as DICOM JSON (PS3.18 annex F), computed once, when it is indexed.

Text is UTF-8. Large binary values and all pixel data stay in the object and are referred to by a
relative `BulkDataURI`: `bulkdata/<tag>[/<item>/<tag>...]`, items counted from 0. An element that
pydicom cannot convert is kept as the text or the bytes that it is: nothing of a header is dropped
but the items of sequences nested deeper than `DEPTH_LIMIT`, which are found in the object only.
"""

import base64
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

FILE_META: Final = 2
"""The group of the file meta information: none of it is an attribute of the object."""
INLINE_LIMIT: Final = 1024
"""Bytes of a binary value that stands in the JSON itself."""
DEFER_LIMIT: Final = 65536
"""Bytes of any value that is read at all; longer ones are referred to."""
DEPTH_LIMIT: Final = 64
"""Sequences within sequences that are kept; JSON encoders refuse 255 levels, and each takes 3."""
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_CHARACTER_SET: Final = 0x00080005

Element = dict[str, Any]
JsonDataset = dict[str, Element]


def to_json(dataset: Dataset, prefix: str = "bulkdata/", depth: int = 0) -> JsonDataset:
    """Return a data set as DICOM JSON, without group 2 and without group lengths."""
    found: JsonDataset = {}
    for tag in sorted(dataset.keys()):
        if tag.group == FILE_META or tag.element == 0:
            continue
        name = f"{tag.group:04X}{tag.element:04X}"
        found[name] = _element(dataset, tag, f"{prefix}{name}", depth)
    if f"{_CHARACTER_SET:08X}" in found:
        found[f"{_CHARACTER_SET:08X}"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found


def _element(dataset: Dataset, tag: BaseTag, path: str, depth: int) -> Element:
    raw: Any = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.value is None and raw.length:
        vr = _vr(raw)
        if vr != "SQ":  # a long sequence is read from the file after all: it is no bulk data
            return {"vr": vr, "BulkDataURI": path}
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            if depth >= DEPTH_LIMIT:
                return {"vr": "SQ"}
            items = [
                to_json(item, f"{path}/{i}/", depth + 1)
                for i, item in enumerate(element.value or [])
            ]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        if tag in _PIXELS and element.value:
            return {"vr": _one_vr(element.VR), "BulkDataURI": path}
        return _plain(element, path)
    except Exception:  # noqa: BLE001 - a value that is not what its VR says: keep it as it is
        return _as_it_is(raw, path)


def _one_vr(vr: str) -> str:
    return "OW" if "OW" in vr else vr[:2]  # "OB or OW" until the transfer syntax decides


def _vr(raw: RawDataElement) -> str:
    if raw.VR:
        return str(raw.VR)
    try:
        return _one_vr(dictionary_VR(raw.tag))
    except KeyError:
        return "UN"


def _plain(element: DataElement, path: str) -> Element:
    if element.VR in _BINARY or " or " in element.VR:
        vr, value = _one_vr(element.VR), element.value
        if isinstance(value, bytes):
            if not value:
                return {"vr": vr}
            if len(value) > INLINE_LIMIT:
                return {"vr": vr, "BulkDataURI": path}
            return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}
    converted: Element = clean(element.to_json_dict(None, INLINE_LIMIT))
    return converted


def _as_it_is(raw: Any, path: str) -> Element:
    value = raw.value
    vr = _vr(raw) if isinstance(raw, RawDataElement) else _one_vr(str(raw.VR))
    if isinstance(value, bytes):
        if len(value) > INLINE_LIMIT:
            return {"vr": vr, "BulkDataURI": path}
        if vr in _BINARY or vr == "SQ":
            return {"vr": "UN", "InlineBinary": base64.b64encode(value).decode("ascii")}
        text = value.decode("utf-8", "replace").strip("\x00 ")
        return {"vr": vr, "Value": clean(text.split("\\"))} if text else {"vr": vr}
    return {"vr": vr}


def clean(value: Any) -> Any:
    """Return JSON without NUL and lone surrogates, which PostgreSQL and UTF-8 refuse."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return value


def texts(element: Element | None) -> list[str]:
    """Return the values of an element as text, a person name with its groups joined by `=`."""
    if element is None:
        return []
    found: list[str] = []
    for value in element.get("Value", ()):
        if isinstance(value, dict):
            groups = [value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
            found.append("=".join(groups).rstrip("="))
        elif value is not None:
            found.append(str(value))
    return [text for text in found if text]
