"""Lines of the conformance statement: each says one thing, and names the test that shows it.

A service makes its lines from what it registers, from its settings and from its code, and tells
them when it starts; the api puts them together as tables.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined] # documented, not re-exported

YES: Final = "yes"
NO: Final = "no"
_NEWER: Final = {
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.204": "JPIP HTJ2K Referenced",
    "1.2.840.10008.1.2.4.205": "JPIP HTJ2K Referenced Deflate",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
"""Of later editions than pydicom's dictionary."""


class StatedLine(BaseModel):
    """One line of a table of the conformance statement."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str = Field(max_length=32, description="its name in `conformance/tables.py`")
    cells: tuple[str, ...] = Field(description="one for each column of the table")
    shown_by: str = Field(max_length=256, description="the test that shows it, as pytest names it")


def line(table: str, *cells: object, shown_by: str) -> StatedLine:
    """Return a line of a table."""
    return StatedLine(table=table, cells=tuple(map(str, cells)), shown_by=shown_by)


def name_of(uid: str) -> str:
    """Return the name of a SOP class or a transfer syntax; of a private one its UID."""
    if uid in _NEWER:
        return _NEWER[uid]
    known = UID_dictionary.get(uid)
    return str(known[0]) if known else uid


def is_retired(uid: str) -> bool:
    """Tell whether the standard has given a UID up."""
    known = UID_dictionary.get(uid)
    return bool(known and known[3])


def tag_shown(path: str) -> str:
    """Return a tag, or a path of tags, as the standard writes it: (0010,0020)."""
    return " > ".join(f"({one[:4]},{one[4:]})" for one in path.split("."))


def attribute(keyword: str) -> tuple[str, str, str]:
    """Return keyword, tag and VR of an attribute.

    Raises:
        ValueError: there is none of this name.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute")
    return keyword, tag_shown(f"{tag:08X}"), dictionary_VR(tag)
