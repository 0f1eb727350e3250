"""Every kind of object with every option is valid, by our own table and by dciodvfy."""

import os
import re
from pathlib import Path
from typing import Final

import pytest

from darkroom_api.conformance.own import OBJECTS
from darkroom_api.objects.exchange import Kind
from darkroom_common.dicom.part10 import decode_head
from tests.support.dciodvfy import heard
from tests.unit.api.making.kinds import AnyOf, made

COUNT = int(os.environ.get("DARKROOM_OBJECTS", "6"))
"""Of each kind; 1,000 have been made."""
WARNINGS: Final = (
    r"is only permitted to be empty when actually unknown; .* attribute <Laterality>",
    r"Unrecognized defined term <\w+> for value 1 of attribute <Body Part Examined>",
    r"Dicom dataset contains attributes not present in standard DICOM IOD - .*",
    r"Attribute is not present in standard DICOM IOD - \(0x0018,0x115e\) .*",
)
"""All that it warns of; docs/objects.md says why."""


@pytest.mark.req("IOD-05")
@pytest.mark.parametrize("kind", list(Kind))
def test_it_is_valid(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "made.dcm"
    for number in range(COUNT):
        values, body = AnyOf(number).values(kind)
        path.write_bytes(made(kind, values, body))
        errors, warnings = heard(path)
        assert errors == [], values
        unknown = [one for one in warnings if not any(re.match(each, one) for each in WARNINGS)]
        assert unknown == [], values


@pytest.mark.parametrize("kind", list(Kind))
def test_each_sop_class_that_is_stated_is_made(kind: Kind) -> None:
    stated, seen = set(OBJECTS[kind][0]), set[str]()
    for number in range(60):
        values, body = AnyOf(number).values(kind)
        seen.add(decode_head(made(kind, values, body))[0].sop_class_uid)
        if seen == stated:
            break
    assert seen == stated
