"""Masks that are subtracted from frames (PS3.3 sections C.7.6.10 and C.11.13). Runs in workers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.grayscale import in_units
from darkroom_common.pixels.samples import Samples

AVERAGED: Final = 64
"""Frames of which one mask, or one contrast frame, is made."""
_NOTHING: Final = ("", "NONE")
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_NATIVE: Final = "NAT"
_SUBTRACTED: Final = "SUB"
_SHIFTS: Final = 2
_GROUPS: Final = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_OF_VALUES: Final = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *_GROUPS,
)
_OF_SIZE: Final = ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio")


@dataclass(frozen=True)
class Plan:
    """Of which frames, from 0, one is made that is to be seen.

    Attributes:
        contrast: are averaged.
        mask: are averaged, and subtracted; without any the frame is as it is stored.
        shift: of the mask, in rows down and columns to the right.
    """

    contrast: tuple[int, ...]
    mask: tuple[int, ...] = ()
    shift: tuple[float, float] = (0.0, 0.0)


def plans_of(image: Dataset, state: Dataset | None, numbers: Sequence[int]) -> list[Plan]:
    """Return what frames of an image, counted from 0, are made of.

    A presentation state stands for all that its image says of masks; an image has its own
    subtracted when it recommends to be viewed so.

    Raises:
        Unrenderable: a state asks for what cannot be followed.
    """
    said = image if state is None else state
    mode = str(said.get("RecommendedViewingMode") or "").strip().upper()
    wanted = mode == _SUBTRACTED if state is None else mode != _NATIVE
    items = list(said.get("MaskSubtractionSequence") or []) if wanted else []
    items = [one for one in items if _word(one, "MaskOperation") not in _NOTHING]
    found = [_plan(items, image, number) for number in numbers]
    if state is not None and items and any(not plan.mask for plan in found):
        raise Unrenderable("the mask that its state asks for cannot be subtracted")
    return found


def needed(plans: Sequence[Plan]) -> list[int]:
    """Return the frames that `made` takes, in the order in which it takes them."""
    found: list[int] = []
    for plan, before in zip(plans, [None, *plans], strict=False):
        found += [] if before is not None and before.mask == plan.mask else plan.mask
        found += plan.contrast
    return found


def _plan(items: Sequence[Dataset], image: Dataset, number: int) -> Plan:
    """Return the plan of one frame: by the first operation that is for it."""
    frames = int(image.get("NumberOfFrames") or 1)
    for item in items:
        averaged = int((_numbers(item, "ContrastFrameAveraging") or [1])[0])
        mask = _mask(item, number, frames, averaged)
        contrast = range(number, number + averaged)
        if not mask or not 1 <= averaged <= AVERAGED or contrast[-1] >= frames:
            continue
        if len(mask) <= AVERAGED and all(0 <= one < frames for one in mask):
            return Plan(tuple(contrast), mask, _shift(item, image, number))
    return Plan((number,))


def _mask(item: Dataset, number: int, frames: int, averaged: int) -> tuple[int, ...]:
    """Return the frames of the mask of a frame, from 0; none when the operation is not for it."""
    given = _numbers(item, "ApplicableFrameRange")
    ranges = list(zip(given[::2], given[1::2], strict=False))
    if ranges and not any(first <= number + 1 <= last for first, last in ranges):
        return ()
    offset = (_numbers(item, "TIDOffset") or [1])[0]
    match _word(item, "MaskOperation"):
        case "AVG_SUB" if ranges or number + averaged <= frames:
            return tuple(one - 1 for one in _numbers(item, "MaskFrameNumbers"))
        case "TID":
            return (number - offset,)
        case "REV_TID" if ranges:
            first = ranges[0][0] - 1
            return ((first - offset) - (number - first),)
    return ()


def _shift(item: Dataset, image: Dataset, number: int) -> tuple[float, float]:
    """Return the shift of a mask: of the item, or of the frame's own for it (C.8.19.3.3)."""
    said: Any = item.get("MaskSubPixelShift")
    wanted = item.get("SubtractionItemID")
    groups = [list(image.get(name) or []) for name in _GROUPS]
    for group in (*groups[0][number : number + 1], *groups[1][:1]):
        for one in group.get("FramePixelShiftSequence") or []:
            if wanted is not None and one.get("SubtractionItemID") == wanted:
                said = one.get("MaskSubPixelShift", said)
    if said is None or len(said) != _SHIFTS or not all(map(math.isfinite, said)):
        return (0.0, 0.0)
    return (float(said[0]), float(said[1]))


def _word(item: Dataset, keyword: str) -> str:
    return str(item.get(keyword) or "").strip().upper()


def _numbers(item: Dataset, keyword: str) -> list[int]:
    return [int(one) for one in FrameHeader(item, 1).numbers(keyword)]


@dataclass(frozen=True)
class Made:
    """A frame that is to be seen.

    Attributes:
        values: of it, and their photometric interpretation.
        subtracted: whether they are differences, in units of the modality.
    """

    values: tuple[Samples, str]
    subtracted: bool = False


@dataclass
class Subtracting:
    """Makes frames by their plans, one after the other.

    Args:
        image: the data set, without pixels.
        modality: what says what stored values mean: the image, or the state that it is shown by.
        frames: the values of the frames that are `needed`, and their photometric interpretation.
    """

    image: Dataset
    modality: Dataset
    frames: Iterator[tuple[Samples, str]]
    _mask: Any = field(default=None, init=False)
    _of: tuple[int, ...] = field(default=(), init=False)

    def made(self, plan: Plan) -> Made:
        """Return the next frame.

        Raises:
            Unrenderable: its colours have no mask.
        """
        if not plan.mask:
            self._of = ()
            return Made(next(self.frames))
        if plan.mask != self._of:
            self._mask, _ = self._average(plan.mask)
            self._of = plan.mask
        contrast, photometric = self._average(plan.contrast)
        difference = contrast - shifted(self._mask, plan.shift)
        return Made((difference, photometric), subtracted=True)

    def _average(self, numbers: Sequence[int]) -> tuple[Any, str]:
        total: Any = 0.0
        photometric = ""
        for number in numbers:
            values, photometric = next(self.frames)
            if photometric not in _GREY:
                raise Unrenderable("its colours have no mask that can be subtracted")
            total = total + in_units(values, FrameHeader(self.modality, number + 1))
        return total / len(numbers), photometric


def shifted(mask: Any, shift: tuple[float, float]) -> Any:
    """Return a mask that is moved by rows down and columns to the right, its border repeated.

    Between pixels values are interpolated linearly (C.7.6.10.1.2).
    """
    for axis, by in enumerate(shift):
        if not by:
            continue
        size = mask.shape[axis]
        at = np.clip(np.arange(size) - by, 0, size - 1)
        low = np.floor(at).astype(np.intp)
        part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, size - 1)
        mask = mask.take(low, axis) * (1 - part) + mask.take(high, axis) * part
    return mask


def of_difference(image: Dataset, number: int) -> Dataset:
    """Return the data set of an image without what is said of its values as they are stored.

    Args:
        image: see there.
        number: of the frame, from 0.
    """
    header, found = FrameHeader(image, number + 1), Dataset()
    found.update(image)
    for keyword in _OF_VALUES:
        if keyword in found:
            delattr(found, keyword)
    for keyword in _OF_SIZE:
        if (pair := header.numbers(keyword)) and keyword not in found:
            setattr(found, keyword, list(pair))
    return found
