"""Where devices write into their pictures: rectangles that are blanked, by rule."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydicom.dataset import Dataset

from darkroom_common.errors import ConfigurationError
from darkroom_common.pixels.faults import Unconvertible

COMPRESSED: Final = "its picture is compressed, and a rule blanks a part of it"
"""What is told of it before it is decoded."""
_PIXELS: Final = 0x7FE00010
_UNDEFINED: Final = 0xFFFFFFFF
_OCTETS: Final = (8, 16, 32)
_WHOLE: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL"})
"""Photometric interpretations whose samples stand one by one."""
_Pixel = Annotated[int, Field(ge=0, le=65_535)]


class Rule(BaseModel):
    """Which pictures, and which rectangles of them: all that a device writes lies within.

    Attributes:
        manufacturer: a part of Manufacturer (0008,0070), whatever its case.
        blank: (left, top, width, height) in pixels; none: nothing is written into such pictures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: str = ""
    manufacturer: str = ""
    rows: int | None = Field(default=None, ge=1)
    columns: int | None = Field(default=None, ge=1)
    blank: tuple[tuple[_Pixel, _Pixel, _Pixel, _Pixel], ...]

    def fits(self, dataset: Dataset) -> bool:
        """Tell whether the rule is of a picture."""
        maker = str(dataset.get("Manufacturer") or "").casefold()
        return (
            (not self.modality or self.modality == str(dataset.get("Modality") or ""))
            and self.manufacturer.casefold() in maker
            and self.rows in (None, dataset.get("Rows"))
            and self.columns in (None, dataset.get("Columns"))
        )


_RULES: Final = TypeAdapter(tuple[Rule, ...])


def parse_rules(text: str | bytes) -> tuple[Rule, ...]:
    """Return the rules of a JSON list.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return _RULES.validate_json(text)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"the rules of burned-in pixels: {told}") from None


def blank(dataset: Dataset, rules: Sequence[Rule]) -> bool:
    """Blank what the first rule that fits says; return whether one does.

    Raises:
        Unconvertible: the pixels cannot be written into.
    """
    rule = next((one for one in rules if one.fits(dataset)), None)
    if rule is None or _PIXELS not in dataset:
        return False
    if rule.blank:
        _write(dataset, rule)
    dataset.BurnedInAnnotation = "NO"
    return True


def _write(dataset: Dataset, rule: Rule) -> None:
    element: Any = dataset.get_item(_PIXELS)
    if getattr(element, "length", 0) == _UNDEFINED or getattr(element, "is_undefined_length", 0):
        raise Unconvertible(COMPRESSED)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if bits not in _OCTETS or photometric not in _WHOLE:
        raise Unconvertible("its pixels cannot be blanked")
    octets = bits // 8
    planes = samples if samples > 1 and dataset.get("PlanarConfiguration") == 1 else 1
    width = octets * (1 if planes > 1 else samples)
    frames = int(dataset.get("NumberOfFrames") or 1) * planes
    value = bytearray(element.value or b"")
    if len(value) < frames * rows * columns * width:
        raise Unconvertible("its pixel data is shorter than its frames")
    for frame in range(frames):
        for left, top, wide, high in rule.blank:
            first, last = min(left, columns), min(left + wide, columns)
            for row in range(min(top, rows), min(top + high, rows)):
                line = (frame * rows + row) * columns
                size = (last - first) * width
                at = (line + first) * width
                value[at : at + size] = bytes(size)
    vr = str(element.VR or "OW")
    dataset.add_new(_PIXELS, vr, bytes(value))
