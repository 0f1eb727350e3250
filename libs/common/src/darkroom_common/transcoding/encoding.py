"""A data set in another encoding, its values byte for byte as they were (PS3.5 chapter 7).

pydicom writes a value that it has not decoded as the bytes that it read. So each value gets its VR
here, and the byte order of the target, without ever being decoded: text in a wrong character set
and numbers that are none come out as they went in. What the target cannot say is left out.
"""

from collections.abc import Iterator
from typing import Any, Final

from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.transcoding.representation import PAD, width_of, written_as

PIXEL_DATA: Final = 0x7FE00010
_LUT_DATA: Final = 0x00283006
_ONE_VALUE: Final = 2
_WIDE: Final = 32
_NOT_IN_DATA_SETS: Final = frozenset({0x0000, 0x0002})
"""Groups of commands and of file meta information (PS3.5 section 7.1)."""


def swapped(data: bytes, width: int) -> bytes:
    """Return values of `width` bytes with the bytes of each reversed; 0 or 1 leaves them."""
    if width <= 1:  # an octet has no order
        return data
    whole = len(data) // width * width
    result = bytearray(data)
    for at in range(width):
        result[at:whole:width] = data[width - 1 - at : whole : width]
    return bytes(result)


def reencode(dataset: Dataset, *, implicit: bool, signed: bool = False) -> list[str]:
    """Make pydicom write a data set in little endian, implicit or explicit, values untouched.

    An element whose value means nothing under the VR that its reader will assume is written so
    that it does, or taken out: a sequence that is none, text for a number, in implicit VR also
    what contradicts the dictionary. What stands in no data set is taken out, too.

    Args:
        dataset: as read; it is changed, at all levels.
        implicit: the VRs of the target.
        signed: the pixel representation that holds where the data set has none of its own.

    Returns:
        The tags that were taken out, as 8 hexadecimal digits, at whatever level.
    """
    was_implicit, was_little = dataset.original_encoding
    signed = bool(dataset.get("PixelRepresentation", int(signed)) or 0)
    left_out = list(_leave_out(dataset, implicit=implicit))
    for tag in list(dataset.keys()):
        element: Any = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            element = _reencoded(element, dataset, implicit=implicit, signed=signed)
            if element is None:
                del dataset[tag]
                left_out.append(_name(tag))
                continue
            dataset[tag] = element
            if element.VR == "SQ":  # an empty one
                element = dataset[tag]
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                left_out += reencode(item, implicit=implicit, signed=signed)
    if was_implicit != implicit or was_little is not True:
        dataset.set_original_encoding(
            implicit, is_little_endian=True, character_encoding=dataset.original_character_set
        )
    return left_out


def _leave_out(dataset: Dataset, *, implicit: bool) -> Iterator[str]:
    """Take out what cannot be said whatever its value."""
    for tag in list(dataset.keys()):
        element: Any = dataset.get_item(tag)
        known = _known_vr(tag)
        is_sequence = element.VR == "SQ" and not element.is_raw
        broken = element.VR == "UN" and not element.is_raw  # see `dicom.stored`
        contradicts = implicit and is_sequence and known not in (None, "SQ")
        encapsulated = implicit and element.is_raw and element.length == UNDEFINED
        if (
            tag.group in _NOT_IN_DATA_SETS
            or broken
            or contradicts
            or (encapsulated and tag != PIXEL_DATA)
        ):
            del dataset[tag]
            yield _name(tag)


def _reencoded(
    element: RawDataElement, dataset: Dataset, *, implicit: bool, signed: bool
) -> RawDataElement | None:
    """Return an element as it is written; None when it cannot be said."""
    given = element.VR is not None
    element = _with_vr(element, dataset, signed=signed)
    vr = str(element.VR)
    value = element.value or b""
    if element.length == UNDEFINED:
        return element._replace(is_implicit_VR=implicit)
    if element.is_little_endian is False:
        width = width_of(vr)
        if element.tag == PIXEL_DATA and dataset.get("BitsAllocated") == _WIDE:
            width = 4
        value = swapped(value, width)
    known = _known_vr(element.tag)
    wanted = vr
    if implicit and given and known is not None and vr not in known.split(" or "):
        wanted = str(_with_vr(element._replace(VR=None), dataset, signed=signed).VR)
    written = written_as(wanted, vr, value)
    if written is None:
        return None
    if len(written) % 2:  # PS3.5 section 7.1.1
        written += PAD.get(wanted, b"\0")
    return element._replace(
        VR=wanted,
        value=written,
        length=len(written),
        is_implicit_VR=implicit,
        is_little_endian=True,
    )


def _known_vr(tag: BaseTag) -> str | None:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def _name(tag: BaseTag) -> str:
    return f"{tag.group:04X}{tag.element:04X}"


def _with_vr(element: RawDataElement, dataset: Dataset, *, signed: bool) -> RawDataElement:
    if element.VR is not None:
        return element
    vr = _dictionary_vr(element, dataset)
    if " or " in vr:
        if element.tag == _LUT_DATA and element.length <= _ONE_VALUE:
            vr = "US"
        elif "OW" in vr:
            vr = "OW"
        else:
            vr = "SS" if signed else "US"
    return element._replace(VR=vr)


def _dictionary_vr(element: RawDataElement, dataset: Dataset) -> str:
    tag = element.tag
    if tag.element == 0:
        return "UL"
    if tag.is_private_creator:
        return "LO"
    try:
        if not tag.is_private:
            return dictionary_VR(tag)
        creator: Any = dataset.get((tag.group, tag.element >> 8))
        return "UN" if creator is None else private_dictionary_VR(tag, str(creator.value))
    except KeyError:
        return "UN"
