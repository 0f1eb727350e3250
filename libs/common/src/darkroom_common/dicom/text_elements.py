"""Text of data sets that are in memory, read and written in any character set, not as pydicom does.

pydicom decodes code extensions only in part, puts U+FFFD for what it cannot read and a question
mark for what it cannot write.
"""

from collections.abc import Iterator
from typing import Any, Final

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from darkroom_common.dicom.charset import TextReader, character_set, declaration
from darkroom_common.dicom.code_extensions import BACKSLASH, DELIMITERS

CHARACTER_SET: Final = 0x00080005
CODED: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose text is in the character set of (0008,0005), PS3.5 section 6.1.2.3."""


def decode_text(dataset: Dataset, text: TextReader) -> None:
    """Decode the text of a data set, at all levels, before pydicom does; it is changed.

    Elements that are plain ASCII are left to pydicom.
    """
    outer = text.current
    if CHARACTER_SET in dataset:
        text.declare(declared_in(dataset))
    for tag in list(dataset.keys()):
        stands: Any = dataset.get_item(tag, keep_deferred=True)
        vr = vr_of(stands)
        if vr == "SQ":
            for item in dataset[tag].value or ():
                decode_text(item, text)
        elif vr in CODED and isinstance(stands, RawDataElement) and stands.value:
            raw = bytes(stands.value)
            if not (raw.isascii() and b"\x1b" not in raw and text.has_ascii):
                said = text.read(raw, vr)
                if BACKSLASH not in said:  # else `json_model` separates its values
                    _put(dataset, tag, vr, said.rstrip(" \0"))
    text.back_to(outer)


def read_values(dataset: Dataset, tag: int, text: TextReader) -> list[str]:
    """Return the values of an element of text; none without.

    Args:
        dataset: as read, or `decode_text` was there before.
        tag: of the element.
        text: of the data set or item.
    """
    if tag not in dataset:
        return []
    stands: Any = dataset.get_item(tag)
    vr, value = vr_of(stands), stands.value
    said = text.read(value, vr) if isinstance(value, bytes) else joined(value)
    parts = said.rstrip(" \0").split("\\") if vr in DELIMITERS else [said.rstrip(" \0")]
    return [part.replace(BACKSLASH, "\\") for part in parts]


def declare_text(dataset: Dataset, *, wanted: str = "") -> None:
    """Declare and encode the text of a data set that was made in memory; it is changed.

    One that declares a character set is left as it is.

    Args:
        dataset: with values as text.
        wanted: the character set that the peer prefers.
    """
    found = "" if CHARACTER_SET in dataset else declaration(*_texts(dataset), wanted=wanted)
    if found:
        dataset.SpecificCharacterSet = found.split("\\")
        _encode(dataset, found)


def put_text(dataset: Dataset, tag: int, vr: str, raw: bytes) -> None:
    """Put text into a data set that is encoded already in the character set of its data set."""
    padded = raw + b" " * (len(raw) % 2)
    at = BaseTag(tag)
    dataset[at] = RawDataElement(
        at, vr, len(padded), padded, 0, is_implicit_VR=False, is_little_endian=True
    )


def _encode(dataset: Dataset, declared: str) -> None:
    for tag in list(dataset.keys()):
        stands: Any = dataset.get_item(tag)
        if stands.VR == "SQ":
            for item in stands.value:
                _encode(item, declared)
        elif stands.VR in CODED and not (value := joined(stands.value)).isascii():
            raw = character_set(declared).encode(value, stands.VR)
            put_text(dataset, tag, stands.VR, raw)


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in CODED:
            yield joined(element.value)


def _put(dataset: Dataset, tag: BaseTag, vr: str, value: str) -> None:
    dataset[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)


def declared_in(dataset: Dataset) -> bytes:
    """Return the value of (0008,0005) of a data set that has one."""
    stands: Any = dataset.get_item(CHARACTER_SET)
    value = stands.value
    return value if isinstance(value, bytes) else joined(value).encode("ascii", "replace")


def joined(value: Any) -> str:
    """Return the values of an element of text as one text."""
    if value is None:
        return ""
    several = isinstance(value, list) or hasattr(value, "insert")
    return "\\".join("" if one is None else str(one) for one in value) if several else str(value)


def vr_of(element: DataElement | RawDataElement) -> str:
    """Return the VR of an element; by the dictionary where it has none, else UN."""
    if element.VR is not None:
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "LO" if element.tag.is_private_creator else "UN"
