"""What is written on an image (PS3.18 section 8.3.5.1.2). Runs in workers."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from darkroom_api.rendering.appearance import Annotation
from darkroom_common.pixels.samples import is_colour
from darkroom_common.pixels.template import filled
from darkroom_common.pixels.text import draw_line

Octets = npt.NDArray[np.uint8]
_SHARE: Final = 32
"""Rows of the image for each row of text."""
_SMALLEST: Final = 10  # pixels of a letter
_LINE: Final = 1.3
_PATIENT: Final = (
    "{PatientName}\n{PatientID}\n{PatientBirthDate} {PatientSex}\n{StudyDate} {StudyTime}\n"
    "{InstitutionName}"
)
_TECHNIQUE: Final = {
    "": "{Modality} {SeriesNumber}/{InstanceNumber}\n{SeriesDescription}\n{BodyPartExamined}",
    "CT": "{KVP} kV {XRayTubeCurrent} mA\n{SliceThickness} mm\n{ConvolutionKernel}",
    "MR": "TR {RepetitionTime} TE {EchoTime}\n{SliceThickness} mm\n{MagneticFieldStrength} T",
}
"""By modality; the empty one is for all."""


def annotate(
    picture: Octets, dataset: Dataset, frame: int, wanted: tuple[Annotation, ...]
) -> Octets:
    """Write on a picture: the patient at its upper left, the technique at its lower left.

    Letters are white with black around them, so that they are seen on anything.

    Raises:
        FontsMissing: there are no fonts.
    """
    if not wanted:
        return picture
    size = max(_SMALLEST, picture.shape[0] // _SHARE)
    step = step_of(size)
    picture = picture.copy()
    if Annotation.PATIENT in wanted:
        lines = _lines(_PATIENT, dataset)
        write_lines(picture, lines, size, top=step // 4, left=size // 2)
    if Annotation.TECHNIQUE in wanted:
        modality = str(dataset.get("Modality") or "")
        lines = _lines(_TECHNIQUE[""], dataset) + _lines(_TECHNIQUE.get(modality, ""), dataset)
        if int(frame) > 1:
            lines = (*lines, f"{frame}")
        top = picture.shape[0] - step * len(lines) - step // 4
        write_lines(picture, lines, size, top=top, left=size // 2)
    return picture


def _lines(template: str, dataset: Dataset) -> tuple[str, ...]:
    """Return the lines that say something: a unit alone does not."""
    empty = filled(template, None)
    return tuple(
        line
        for line, bare in zip(filled(template, dataset), empty, strict=True)
        if line.replace(" ", "") != bare.replace(" ", "")
    )


def step_of(size: int) -> int:
    """Return the rows from one line to the next, of letters of this size."""
    return round(size * _LINE)


def write_lines(picture: Octets, lines: Sequence[str], size: int, *, top: int, left: int) -> None:
    """Write lines on a picture, as far as they fit.

    Args:
        picture: is changed.
        lines: one below the other.
        size: of letters.
        top: of the first line.
        left: of all.
    """
    step = step_of(size)
    for number, line in enumerate(lines):
        start = max(0, top + number * step)
        part = picture[start : start + step, left : picture.shape[1] - size // 2]
        if min(part.shape[:2]) < 1:
            continue
        mask = draw_line(line, rows=part.shape[0], columns=part.shape[1], size=size).mask
        ink = mask.astype(np.float32) / np.float32(255)
        shadow = _around(ink)
        if is_colour(part):
            ink, shadow = ink[..., np.newaxis], shadow[..., np.newaxis]
        part[:] = np.rint((part * (1 - shadow)) * (1 - ink) + 255 * ink).astype(np.uint8)


def _around(ink: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ink spread by one pixel to all sides."""
    padded = np.pad(ink, 1)
    rows, columns = ink.shape
    spread: npt.NDArray[np.float32] = np.maximum.reduce(
        [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    )
    return spread
