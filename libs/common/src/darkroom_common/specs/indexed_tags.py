"""Attributes that people want to search by beside the usual ones (MET-05)."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydicom.datadict import dictionary_VR, private_dictionary_VR, tag_for_keyword

from darkroom_common.specs.base import ResourceSpec

_OF_TEXT: Final = "AE AS CS DA DT LO LT PN SH ST TM UC UI UR UT"
_OF_NUMBERS: Final = "DS FD FL IS SL SS SV UL US UV"
VRS: Final = frozenset(f"{_OF_TEXT} {_OF_NUMBERS}".split())
TagName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$")]
Path = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+(\.[A-Za-z0-9]+){0,7}$")]
_TAG: Final = re.compile(r"^[0-9A-Fa-f]{8}$")
_NO_CREATOR: Final = 0x100
"""Elements of an odd group below it reserve blocks, and are not themselves in one."""


class IndexedTagSpec(ResourceSpec):
    """An attribute to search by, by its name, its keyword or its tag."""

    path: Path = Field(
        max_length=256,
        description="keyword or tag; one within sequences behind theirs, with dots. The block of a"
        " private one counts as 10: 00091002 is element 02 of its creator",
    )
    creator: Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f\x7f]*$")] = Field(
        default="", max_length=64, description="who has reserved the private elements of the path"
    )
    vr: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        default=None, description="of a private one that nobody else knows"
    )
    level: Literal["study", "series", "instance"] = Field(
        description="what it is said of: it is kept once for each series, or for each instance"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        private = [tag for tag in self.tags if int(tag[3], 16) % 2]
        if bool(private) is not bool(self.creator.strip()):
            raise ValueError("a creator goes with private elements, and they with one")
        if any(int(tag[4:], 16) < _NO_CREATOR for tag in private):
            raise ValueError("a private element is one of a block")
        if any(self._known(tag) != "SQ" for tag in self.tags[:-1] if tag not in private):
            raise ValueError("what stands before a dot is a sequence")
        if self.value_representation not in VRS:
            raise ValueError("its values are no text and no numbers, or their VR is to be said")
        return self

    @property
    def tags(self) -> tuple[str, ...]:
        """The path as tags."""
        return tuple(_tag(part) for part in self.path.split("."))

    def _known(self, tag: str) -> str:
        try:
            if int(tag[3], 16) % 2:
                return private_dictionary_VR(int(tag, 16), self.creator)
            return dictionary_VR(int(tag, 16))
        except KeyError:
            return ""

    @property
    def value_representation(self) -> str:
        """The VR of its values."""
        return self.vr or self._known(self.tags[-1])


def _tag(part: str) -> str:
    if _TAG.match(part):
        return part.upper()
    number = tag_for_keyword(part)
    if number is None:
        raise ValueError("it is neither a keyword nor a tag")
    return f"{number:08X}"
