"""No error that dciodvfy finds in a sample file is missed, but those that are told of here.

docs/validation.md has the list of IODs and the same deviations.
"""

from collections import Counter
from pathlib import Path
from typing import Final

import pynetdicom
import pytest

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.validation.findings import Severity
from darkroom_common.validation.validate import validate
from tests.support.dciodvfy import Said, could_read, dciodvfy, said
from tests.support.real_files import REAL_FILES

_NETWORK = Path(pynetdicom.__file__).parent / "tests" / "dicom_files"
FILES: Final = (*REAL_FILES, *sorted(_NETWORK.glob("*.dcm")))
DEVIATIONS: Final = {
    # PS3.3 C.7.9: segmented data may be there in a Color Palette IOD.
    "Color Palette": ("PaletteColorLookupTableData",),
    # PS3.3 C.10.9: `Multiplex Group Time Offset` may be present otherwise.
    "12-Lead ECG": ("Element=<MultiplexGroupTimeOffset>",),
    # PS3.3 A.19.3: Frame of Reference has usage U.
    "RT Structure Set": ("Module=<FrameOfReference>",),
    # PS3.3 C.8.15.3.10: HU is for images that are no derived ones.
    "Enhanced CT Image": ("attribute <Rescale Type>",),
    # PS3.10 chapter 8: a directory is no composite object, and its structure is not validated.
    "Basic Directory": ("DirectoryRecord", "Directory"),
}
"""IOD to what lines hold that say otherwise than the edition of the standard that we follow."""
DEFLATED: Final = frozenset({"image_dfl.dcm", "SCImageStorage_Deflated.dcm"})
"""Debian's dciodvfy inflates nothing; here they are read."""
UNCERTAIN: Final = ("Element=<Laterality>",)
"""Errors of dciodvfy that are warnings here where the object does not say enough."""


def missed(path: Path) -> list[Said]:
    """What dciodvfy says of a file and we do not."""
    lines = dciodvfy(path)
    with path.open("rb") as file:
        try:
            report = validate(file)
        except Unreadable:
            return []  # the whole object is refused
    every = list(said(lines))
    if path.name in DEFLATED:
        every = []
    elif not could_read(lines):  # what it says is missing may be after where it stopped
        every = [one for one in every if one.tag is None and report.iod is not None]
    deviations = DEVIATIONS.get(report.iod or "", ())
    return [
        one
        for one in every
        if not one.is_found(list(report.findings))
        and not any(part in one.line for part in deviations)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_error_is_missed(path: Path) -> None:
    assert [one.line for one in missed(path)] == []


def test_the_comparison_is_of_something() -> None:
    counted = Counter(len(dciodvfy(path)) > 0 for path in FILES[:80])
    assert counted[True] > 40


def test_errors_are_errors_here_too() -> None:
    """Of one file with many errors: all of them have the same severity, but the uncertain."""
    path = next(one for one in FILES if one.name == "IM00000V")
    with path.open("rb") as file:
        findings = list(validate(file).findings)
    graver = [one for one in findings if one.severity is Severity.ERROR]
    lines = [one for one in said(dciodvfy(path)) if not any(x in one.line for x in UNCERTAIN)]
    assert len(lines) > 10
    assert [one.line for one in lines if not one.is_found(graver)] == []
