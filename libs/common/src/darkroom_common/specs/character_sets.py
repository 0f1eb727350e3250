"""The name of a character set, as people give it."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from darkroom_common.dicom.charset import is_assumable


def _assumable(name: str) -> str:
    if not is_assumable(name):
        raise ValueError("no such character set")
    return name


CharacterSetName = Annotated[
    str, StringConstraints(min_length=1, max_length=128), AfterValidator(_assumable)
]
"""A value of (0008,0005), or a code page by its name: `ISO_IR 100`, `GB18030`, `windows-1251`."""
