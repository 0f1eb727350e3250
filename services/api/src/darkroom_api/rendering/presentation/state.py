"""An image as a presentation state wants it seen. Runs in workers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from darkroom_api.rendering.appearance import Viewport
from darkroom_api.rendering.presentation.area import Area, Turn, fitted
from darkroom_api.rendering.presentation.graphics import draw_graphics
from darkroom_api.rendering.presentation.shutter import close
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.image import Image, colours_of, render
from darkroom_common.pixels.lookup import read_table
from darkroom_common.pixels.overlay import overlay_mask
from darkroom_common.pixels.samples import Samples

_OF_PIXELS: Final = (
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
_MODALITY: Final = ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "RescaleType")
_VOI: Final = ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction")
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_GROUPS: Final = range(0x6000, 0x6020, 2)
_ACTIVATION: Final = 0x1001
_WHITE: Final = 255.0
_PALETTE: Final = "RedPaletteColorLookupTableDescriptor"
_MOST_ENTRIES: Final = 1 << 16
"""Of a table that says 0 (PS3.3 C.7.6.3.1.5)."""


@dataclass(frozen=True)
class PresentationState:
    """What a presentation state says.

    Attributes:
        dataset: of it.
    """

    dataset: Dataset

    def show(
        self,
        values: tuple[Samples, str],
        image: Dataset,
        frame: int,
        viewport: Viewport | None,
        *,
        subtracted: bool = False,
    ) -> Any:
        """Return octets, (rows, columns) or (rows, columns, 3).

        Args:
            values: of the frame, and their photometric interpretation.
            image: its data set, without pixels.
            frame: from 1.
            viewport: that is filled; its part of the image is the displayed area of the state.
            subtracted: whether the values are differences, which have their units.

        Raises:
            Unrenderable: the state is not of this image, or cannot be followed.
        """
        uid = str(image.get("SOPInstanceUID") or "")
        self._require(uid, frame)
        header = Dataset() if subtracted else self.modality_of(image)
        voi = _chosen(self._item("SoftcopyVOILUTSequence", uid, frame), _VOI)
        if not voi and not subtracted:
            voi = _everything(header, values[0])
        header.update(voi)
        pixels = self._values(values, image, frame, header)
        self._overlay(pixels, image, frame)
        close(self.dataset, pixels)
        area = Area.of(self._item("DisplayedAreaSelectionSequence", uid, frame), pixels.shape[:2])
        turn = Turn.of(self.dataset)
        shown = fitted(
            Image(pixels, None, detector=False, aspect=area.aspect), area, turn, viewport
        )
        octets = np.rint(shown * np.float32(_WHITE)).astype(np.uint8)
        draw_graphics(octets, self._annotations(uid, frame), self._layers(), area, turn)
        return octets

    def _require(self, uid: str, frame: int) -> None:
        """Refuse an image that the state is not of (PS3.3 C.11.11)."""
        series = self.dataset.get("ReferencedSeriesSequence") or []
        named = [one for each in series for one in each.get("ReferencedImageSequence") or []]
        if not any(_names(one, uid, frame) for one in named):
            raise Unrenderable("the presentation state is not one of this image")

    def modality_of(self, image: Dataset) -> Dataset:
        """Return what says what the stored values of an image mean: the state, not the image."""
        header = _chosen(image, _OF_PIXELS)
        header.update(_chosen(self.dataset, _MODALITY))
        return header

    def _item(self, keyword: str, uid: str, frame: int) -> Dataset:
        """Return the first item of a sequence that is of a frame; else an empty one."""
        items = self.dataset.get(keyword) or []
        return next((item for item in items if _is_of(item, uid, frame)), Dataset())

    def _values(
        self, values: tuple[Samples, str], image: Dataset, frame: int, header: Dataset
    ) -> Any:
        """Return the pixels after the transformations of the state (PS3.4 N.2.1), 0 to 1."""
        stored, photometric = values
        if photometric not in _GREY:
            return render(values, image, frame, overlays=False).pixels
        header.PhotometricInterpretation = "MONOCHROME2"  # what is white, the state says
        if _PALETTE in self.dataset:
            header.PresentationLUTShape = "IDENTITY"
            return self._colours(render((stored, "MONOCHROME2"), header, 1, overlays=False).pixels)
        tables = self.dataset.get("PresentationLUTSequence") or []
        if not tables:
            header.PresentationLUTShape = self.dataset.get("PresentationLUTShape") or "IDENTITY"
        pixels = render((stored, "MONOCHROME2"), header, 1, overlays=False).pixels
        if tables:
            table = read_table(tables[0], signed=False)
            spread = table.first + pixels.astype(np.float64) * (len(table.entries) - 1)
            pixels = (table.apply(spread) / ((1 << table.bits) - 1)).astype(np.float32)
        return pixels

    def _colours(self, grey: Any) -> Any:
        """Return pseudo colours: the palette is as wide as what VOI leaves (PS3.4 N.2.2)."""
        described = FrameHeader(self.dataset, 1).numbers(_PALETTE)
        if not described:
            raise Unrenderable("its palette is not whole")
        entries = int(described[0]) or _MOST_ENTRIES
        first = int(described[1]) if len(described) > 1 else 0
        index = np.rint(first + grey.astype(np.float64) * (entries - 1))
        return colours_of(index.astype(np.int32), self.dataset)

    def _overlay(self, pixels: Any, image: Dataset, frame: int) -> None:
        """Draw the overlays that the state activates: its own, and those of the image."""
        for source in (self.dataset, image):
            drawn = Dataset()
            for group in _GROUPS:
                if (group, _ACTIVATION) in self.dataset and self.dataset[group, _ACTIVATION].value:
                    drawn.update(source.group_dataset(group))
            mask = overlay_mask(drawn, frame, pixels.shape[:2])
            if mask is not None:
                pixels[mask] = 1.0
            if source is self.dataset and any((group, 0x3000) in drawn for group in _GROUPS):
                return  # a group of the state stands for that of the image

    def _annotations(self, uid: str, frame: int) -> list[Dataset]:
        items = self.dataset.get("GraphicAnnotationSequence") or []
        return [item for item in items if _is_of(item, uid, frame)]

    def _layers(self) -> list[Dataset]:
        return list(self.dataset.get("GraphicLayerSequence") or [])


def _chosen(dataset: Dataset, keywords: Iterable[str]) -> Dataset:
    found = Dataset()
    found.update({dataset[name].tag: dataset[name] for name in keywords if name in dataset})
    return found


def _everything(header: Dataset, stored: Samples) -> Dataset:
    """Return the window of all values that there may be: without a VOI LUT none is cut off."""
    given = FrameHeader(header, 1)
    bits = int(header.get("BitsStored") or 8 * stored.dtype.itemsize)
    low, high = 0.0, float((1 << bits) - 1)
    if header.get("PixelRepresentation") == 1:
        low, high = -float(1 << (bits - 1)), float((1 << (bits - 1)) - 1)
    if tables := given.items("ModalityLUTSequence"):
        low, high = 0.0, float((1 << read_table(tables[0], signed=low < 0).bits) - 1)
    else:
        slope = (given.numbers("RescaleSlope") or (1.0,))[0]
        intercept = (given.numbers("RescaleIntercept") or (0.0,))[0]
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    found = Dataset()
    found.WindowCenter = f"{(low + high) / 2:.10g}"
    found.WindowWidth = f"{max(high - low, 1.0):.10g}"
    found.VOILUTFunction = "LINEAR_EXACT"
    return found


def _is_of(item: Dataset, uid: str, frame: int) -> bool:
    """Tell whether an item is of a frame; one that names no image is of all."""
    named = item.get("ReferencedImageSequence") or []
    return not named or any(_names(one, uid, frame) for one in named)


def _names(reference: Dataset, uid: str, frame: int) -> bool:
    frames = reference.get("ReferencedFrameNumber")
    if frames is None or frames == "":
        numbers: list[int] = []
    else:
        numbers = [int(one) for one in (frames if isinstance(frames, Iterable) else [frames])]
    named = str(reference.get("ReferencedSOPInstanceUID") or "") == uid
    return named and (not numbers or frame in numbers)
