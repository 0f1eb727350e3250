"""Draws images: frames as they are seen, cut, scaled, annotated and encoded. Runs in workers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from darkroom_api.dicomweb.retrieving.pixels import frames_in
from darkroom_api.rendering.appearance import GIF, Appearance, Viewport
from darkroom_api.rendering.encoding import animated, encoded
from darkroom_api.rendering.exchange import Picture
from darkroom_api.rendering.legend import annotate
from darkroom_api.rendering.presentation.mask import (
    Made,
    Subtracting,
    needed,
    of_difference,
    plans_of,
)
from darkroom_api.rendering.presentation.state import PresentationState
from darkroom_api.rendering.scaling import scaled
from darkroom_api.rendering.stored_frames import frame_bytes
from darkroom_common.dicom.charset import NOTHING_ASSUMED
from darkroom_common.dicom.stored import PIXELS, StoredObject
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE, NATIVE, VIDEO
from darkroom_common.pixels.decoding import native_grey, stored_values
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.grayscale import Octets, octets_of
from darkroom_common.pixels.image import Image, prepared, render, render_octets, render_plain
from darkroom_common.pixels.plain import plain_image
from darkroom_common.pixels.samples import Samples

Shown = npt.NDArray[np.float32]
_MOST_FRAMES: Final = 2000
_MOST_SAMPLES: Final = 1 << 28
"""Of the frames of an animation, together."""
_PIXEL_DATA: Final = 0x7FE00010
_VRS: Final = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}


def draw(stored: StoredObject, picture: Picture, state: StoredObject | None = None) -> bytes:
    """Return an image.

    Args:
        stored: the image.
        picture: what is made of it.
        state: the presentation state that it is shown by.

    Raises:
        NoSuchFrame: there are fewer.
        NoPixels: there are none, or they cannot be told apart.
        Unrenderable: they cannot be shown.
    """
    if state is None and (octets := _plain(stored, picture)) is not None:
        return encoded(octets, Dataset(), picture.kind, picture.appearance)
    found = stored.data_set(stop_at=PIXELS)
    dataset = found.data_set
    if not any(tag in dataset for tag in PIXELS):
        raise Unrenderable("it has no pixels")
    if stored.transfer_syntax_uid in VIDEO:
        raise Unrenderable("it is a video, which is not decoded")
    numbers, shown_by = _numbers(dataset, picture), _read_state(state)
    plans = plans_of(dataset, None if shown_by is None else shown_by.dataset, numbers)
    wanted = needed(plans)
    if picture.kind == GIF:
        _require_few(dataset, len(wanted))
    values = frames_in(stored, dataset, wanted)
    tag = next(tag for tag in PIXELS if tag in dataset)
    del dataset[tag]
    prepared(found, NOTHING_ASSUMED)
    frames = frame_bytes(stored, values)
    source = _Source(dataset, tag, stored.transfer_syntax_uid, shown_by)
    made = source.subtracting(frames)
    pictures = (
        source.drawn(number, made.made(plan), picture.appearance)
        for number, plan in zip(numbers, plans, strict=True)
    )
    if picture.kind == GIF:
        return animated(pictures, dataset)
    return encoded(next(pictures), dataset, picture.kind, picture.appearance)


def _plain(stored: StoredObject, picture: Picture) -> Octets | None:
    """Return the image of a plain object, pixel for pixel; None: it is drawn the general way."""
    asked = picture.appearance
    if picture.kind == GIF or asked.annotations or asked.viewport is not None:
        return None
    plain = plain_image(stored)
    if plain is None:
        return None
    if picture.frames is not None:
        number = picture.frames[0]
    else:
        number = (plain.frames - 1) // 2 if picture.middle else 0
    if not 0 <= number < plain.frames:
        return None
    return render_plain(plain, number, asked.window)


def _read_state(state: StoredObject | None) -> PresentationState | None:
    if state is None:
        return None
    return PresentationState(prepared(state.data_set(), NOTHING_ASSUMED))


def _numbers(dataset: Dataset, picture: Picture) -> tuple[int, ...]:
    """Return the frames, counted from 0."""
    count = max(1, int(dataset.get("NumberOfFrames") or 1))
    if picture.kind == GIF:
        frames = range(count) if picture.frames is None else picture.frames
        _require_few(dataset, len(frames))
        return tuple(frames)
    if picture.frames is not None:
        return picture.frames
    given = int(dataset.get("RepresentativeFrameNumber") or 0)
    if 1 <= given <= count:
        return (given - 1,)
    return ((count - 1) // 2 if picture.middle else 0,)


def _require_few(dataset: Dataset, frames: int) -> None:
    """Refuse an animation that takes too long."""
    size = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * frames
    if frames > _MOST_FRAMES or size > _MOST_SAMPLES:
        raise Unrenderable("it has more frames than one animation may have")


@dataclass(frozen=True)
class _Source:
    """An object without its pixels, of which one frame after the other is drawn."""

    dataset: Dataset
    tag: int
    syntax: str
    state: PresentationState | None = None

    def subtracting(self, bodies: Iterator[bytes]) -> Subtracting:
        """Return what makes frames of these ones."""
        modality = self.dataset if self.state is None else self.state.modality_of(self.dataset)
        return Subtracting(self.dataset, modality, map(self._values, bodies))

    def drawn(self, number: int, made: Made, appearance: Appearance) -> Octets:
        """Return a frame, from 0, as (rows, columns) or (rows, columns, 3)."""
        values, frame = made.values, number + 1
        if self.state is not None:
            octets = self.state.show(
                values, self.dataset, frame, appearance.viewport, subtracted=made.subtracted
            )
            return annotate(octets, self.dataset, frame, appearance.annotations)
        header = of_difference(self.dataset, number) if made.subtracted else self.dataset
        if appearance.viewport is None:
            octets = render_octets(values, header, frame, appearance.window)
        else:
            image = render(values, header, frame, appearance.window)
            octets = octets_of(fitted(image, appearance.viewport))
        return annotate(octets, self.dataset, number + 1, appearance.annotations)

    def _values(self, body: bytes) -> tuple[Samples, str]:
        syntax, vr = self.syntax, _VRS[self.tag]
        if syntax in NATIVE:
            found = native_grey(body, self.dataset) if self.tag == _PIXEL_DATA else None
            if found is not None:
                return found
            syntax = EXPLICIT_LITTLE  # that is how frames are handed out
        else:
            body, vr = encapsulate([body], has_bot=False), "OB"
        self.dataset.file_meta.TransferSyntaxUID = UID(syntax)
        self.dataset.NumberOfFrames = 1
        self.dataset[self.tag] = DataElement(self.tag, vr, body, already_converted=True)
        try:
            return stored_values(self.dataset, 1)
        finally:
            del self.dataset[self.tag]
            self.dataset.file_meta.TransferSyntaxUID = UID(self.syntax)  # of its tables, too


def fitted(image: Image, viewport: Viewport) -> Shown:
    """Return the part of an image that is asked for, as large as the viewport lets it be.

    It keeps the aspect of the object, and is cut where it leaves the image (PS3.18 8.3.5.1.3).

    Raises:
        Unrenderable: the part is beside the image.
    """
    rows, columns = image.pixels.shape[:2]
    width = float(columns) if viewport.width is None else viewport.width
    height = float(rows) if viewport.height is None else viewport.height
    left, top = max(0.0, viewport.left), max(0.0, viewport.top)
    right = min(float(columns), viewport.left + abs(width))
    bottom = min(float(rows), viewport.top + abs(height))
    if right - left <= 0 or bottom - top <= 0:
        raise Unrenderable("the part that is asked for is beside the image")
    scale = min(viewport.columns / (right - left), viewport.rows / ((bottom - top) * image.aspect))
    size = (
        max(1, min(viewport.columns, round((right - left) * scale))),
        max(1, min(viewport.rows, round((bottom - top) * image.aspect * scale))),
    )
    box = (left, top, right, bottom)
    shown = scaled(image.pixels, size, box)
    if math.copysign(1.0, width) < 0:
        shown = shown[:, ::-1]
    if math.copysign(1.0, height) < 0:
        shown = shown[::-1]
    return shown
