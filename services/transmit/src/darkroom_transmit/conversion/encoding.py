"""A data set in another encoding, its values byte for byte as they were (PS3.5 chapter 7).

pydicom writes a value that it has not decoded as the bytes that it read. So each value gets its VR
here, and the byte order of the target, without ever being decoded: text in a wrong character set
and numbers that are none come out as they went in.
"""

from typing import Any, Final

from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

_WIDTHS: Final = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OL", "OF"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
PIXEL_DATA: Final = 0x7FE00010
_LUT_DATA: Final = 0x00283006
_ONE_VALUE: Final = 2
_WIDE: Final = 32


def swapped(data: bytes, width: int) -> bytes:
    """Return values of `width` bytes with the bytes of each reversed; 0 or 1 leaves them."""
    if width <= 1:  # an octet has no order
        return data
    whole = len(data) // width * width
    result = bytearray(data)
    for at in range(width):
        result[at:whole:width] = data[width - 1 - at : whole : width]
    return bytes(result)


def reencode(dataset: Dataset, *, implicit: bool, signed: bool = False) -> None:
    """Make pydicom write a data set in little endian, implicit or explicit, values untouched.

    Args:
        dataset: as read; it is changed, at all levels.
        implicit: the VRs of the target.
        signed: the pixel representation that holds where the data set has none of its own.
    """
    was_implicit, was_little = dataset.original_encoding
    signed = bool(dataset.get("PixelRepresentation", int(signed)) or 0)
    for tag in list(dataset.keys()):
        element: Any = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            element = _with_vr(element, dataset, signed=signed)
            if element.VR == "SQ":
                dataset[tag] = element
                element = dataset[tag]
            elif was_little is False:
                width = _WIDTHS.get(element.VR, 1)
                if tag == PIXEL_DATA and dataset.get("BitsAllocated") == _WIDE:
                    width = 4
                element = element._replace(
                    value=swapped(element.value or b"", width), is_little_endian=True
                )
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                reencode(item, implicit=implicit, signed=signed)
        if isinstance(element, RawDataElement):
            element = element._replace(is_implicit_VR=implicit, value=element.value or b"")
            dataset[tag] = element
    if was_implicit != implicit or was_little is not True:
        dataset.set_original_encoding(
            implicit, is_little_endian=True, character_encoding=dataset.original_character_set
        )


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
