"""dciodvfy of Debian's dicom3tools: what it says of a file, and what of ours says the same."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

from darkroom_common.validation.findings import Finding, Kind

_NAMES: Final = {row[2].lower(): tag for tag, row in DicomDictionary.items()}
_TAG: Final = r"\(0x([0-9a-f]{4}),0x([0-9a-f]{4})\)"
_ELEMENT: Final = r".*Element=<(\w+)>"
_OF_ATTRIBUTES: Final = (
    (r"Missing attribute Type" + _ELEMENT, Kind.MISSING),
    (r"(?:Empty attribute|Attribute present but empty)" + _ELEMENT, Kind.EMPTY),
    (r"Attribute present when condition unsatisfied" + _ELEMENT, Kind.NOT_ALLOWED),
    (r"Bad attribute Value Multiplicity" + _ELEMENT, None),
    (r"Bad Sequence number of Items" + _ELEMENT, None),
    (r"Unrecognized enumerated value <.*> for value \d+ of attribute <(.*)>", None),
    (r"Value invalid for this VR - " + _TAG, None),
    (r'Illegal root for UID - ".*" in ' + _TAG, None),
    (r"Orientation vector is not unit vector for .* vector of (\w+)", Kind.GEOMETRY),
    (r"Media\w+SOP(Class|Instance)UID", Kind.CONSISTENCY),
    (r"StudyInstanceUID has same value as (FrameOfReferenceUID)", Kind.CONSISTENCY),
    (r"Metaheader present but doesn't contain (Transfer Syntax UID)", Kind.MISSING),
    (r"Invalid Value Representation - (Pixel Data)", Kind.VR),
    (r"(PixelData) has incorrect value length", None),
    (r"Number of items in (PerFrame\w+)", Kind.CONSISTENCY),
    (r"(Referenced SOP Instance) is not listed in Current", Kind.CONSISTENCY),
    (r"(Coordinates) Content Item has missing", Kind.MISSING),
    (r".*attribute <(.*)>", None),
)
"""The lines that name an attribute, and our kind of finding; None: any of that attribute."""
_OTHER_NAMES: Final = {
    "class": 0x00080016,
    "instance": 0x00080018,
    "referenced sop instance": 0x00081155,
    "coordinates": 0x0040A730,
}
_UNREAD: Final = re.compile(
    r"Dicom dataset read failed|Tags out of order|Sequence (Item dataset|attribute) read failed"
    r"|Tag read failed|Attribute read failed|Seek failed"
)
"""It could not read the file to its end."""
_SUMMARY: Final = re.compile(
    r"Dicom dataset contains invalid data values|Information Object Not found"
)
"""Says nothing of its own: of values it has said which, and an unknown IOD is no error of ours."""


@dataclass(frozen=True)
class Said:
    """One line of errors.

    Attributes:
        line: its text.
        tag: the attribute; None when it could not read the file.
        kind: of our finding that says the same; None for any.
    """

    line: str
    tag: int | None
    kind: Kind | None

    def is_found(self, findings: list[Finding]) -> bool:
        """Tell whether one of our findings says the same."""
        if self.tag is None:
            return any(one.kind is Kind.STRUCTURE for one in findings)
        return any(
            one.tag == self.tag and (self.kind is None or one.kind is self.kind) for one in findings
        )


def dciodvfy(path: Path) -> list[str]:
    """Run it; return the lines that are errors."""
    return heard(path)[0]


def heard(path: Path) -> tuple[list[str], list[str]]:
    """Run it; return the lines that are errors, and those that are warnings."""
    ended = subprocess.run(
        ["dciodvfy", path],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    lines = ended.stderr.splitlines()
    errors, warnings = (
        [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        for prefix in ("Error - ", "Warning - ")
    )
    return errors, warnings


def could_read(lines: list[str]) -> bool:
    """Tell whether dciodvfy could read the file to its end."""
    return not any(map(_UNREAD.match, lines))


def said(lines: list[str]) -> Iterator[Said]:
    """Yield what lines of errors say.

    Raises:
        LookupError: a line is not understood.
    """
    for line in lines:
        if _SUMMARY.match(line):
            continue
        if _UNREAD.match(line):
            yield Said(line, None, None)
            continue
        for pattern, kind in _OF_ATTRIBUTES:
            found = re.match(pattern, line)
            if found is not None:
                yield Said(line, _tag(*found.groups()), kind)
                break
        else:
            raise LookupError(line)


def _tag(name: str, number: str = "") -> int:
    if number:
        return int(name + number, 16)
    known = tag_for_keyword(name) or _NAMES.get(name.lower()) or _OTHER_NAMES.get(name.lower())
    if known is None:
        raise LookupError(name)
    return int(known)
