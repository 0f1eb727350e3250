"""Data sets of grayscale softcopy presentation states: plain functions, from values to them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from pydicom.dataset import Dataset

from darkroom_api.objects.exchange import Reference
from darkroom_api.objects.pictures import NoPicture
from darkroom_api.objects.softcopy.spec import (
    Annotation,
    Drawing,
    PresentationStateGiven,
    Rectangle,
    Window,
)
from darkroom_api.objects.writing import decimal, put, written

GRAYSCALE_SOFTCOPY: Final = "1.2.840.10008.5.1.4.1.1.11.1"
_LAYER: Final = "DARKROOM"
_WHITE: Final = 65_535
"""The P-value that lines and words are drawn with."""


def presentation_state(
    attributes: Mapping[str, Any], values: Mapping[str, Any], references: Sequence[Reference]
) -> bytes:
    """Return the DICOM file of a Grayscale Softcopy Presentation State (PS3.3 section A.33.1).

    Raises:
        NoPicture: an image is in colour or has no pixels, or the area is not on it.
    """
    given = PresentationStateGiven.model_validate(values)
    _check(given, references)
    found = Dataset.from_json(dict(attributes))
    found.SOPClassUID = GRAYSCALE_SOFTCOPY
    put(
        found,
        {
            "Manufacturer": "Darkroom",
            "Laterality": None,  # of the images, which say it themselves
            "ContentLabel": given.label,
            "ContentDescription": given.description or None,
            "PresentationCreationDate": found.pop("ContentDate").value,
            "PresentationCreationTime": found.pop("ContentTime").value,
            "ContentCreatorName": given.creator or None,
            "ReferencedSeriesSequence": list(_by_series(given, references)),
            "DisplayedAreaSelectionSequence": list(_areas(given, references)),
            "PresentationLUTShape": "INVERSE" if given.inverted else "IDENTITY",
        },
        empty=("ContentDescription", "ContentCreatorName", "Laterality"),
    )
    if given.rotation or given.flipped:
        found.ImageRotation = given.rotation
        found.ImageHorizontalFlip = "Y" if given.flipped else "N"
    _modality(found, references)
    windows = list(_windows(given, references))
    if windows:
        found.SoftcopyVOILUTSequence = windows
    if given.shutter is not None:
        _shutter(found, given.shutter, given.shutter_value)
    if given.annotations:
        _annotate(found, given.annotations)
    return written(found)


def _check(given: PresentationStateGiven, references: Sequence[Reference]) -> None:
    frames = {one.image: max(one.frames, default=0) for one in given.of_images}
    for one in references:
        if frames.get(one.sop_instance_uid, 0) > one.frames:
            raise NoPicture(f"One of the images has {one.frames} frames.")
        if given.true_size and not one.spacing:
            raise NoPicture("One of the images does not tell the size of a pixel.")
        if not one.rows or not one.columns:
            raise NoPicture("One of the images has no pixels.")
        if one.samples != 1:
            raise NoPicture("One of the images is not of grey values.")
        for place in (given.area, given.shutter):
            if place is not None and (place.right > one.columns or place.lower > one.rows):
                raise NoPicture("The area or the shutter is not within each of the images.")


def _modality(found: Dataset, references: Sequence[Reference]) -> None:
    """Say what stored values mean (section C.11.1): a state does, and its images count for nothing.

    Raises:
        NoPicture: one state cannot say it of all of the images.
    """
    meanings = {one.rescale and one.rescale[:2] for one in references}
    if len(meanings) > 1 or None in meanings:
        raise NoPicture("What pixel values mean differs among the images: make a state of each.")
    ((slope, intercept),) = (one for one in meanings if one is not None)
    if (slope, intercept) != (1.0, 0.0):
        units = next((one.rescale[2] for one in references if one.rescale and one.rescale[2]), "US")
        found.RescaleIntercept, found.RescaleSlope = decimal(intercept), decimal(slope)
        found.RescaleType = units


def _image(one: Reference, frames: Sequence[int] = ()) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = one.sop_class_uid
    item.ReferencedSOPInstanceUID = one.sop_instance_uid
    if frames and one.frames > 1:
        item.ReferencedFrameNumber = sorted(frames)
    return item


def _by_series(given: PresentationStateGiven, references: Sequence[Reference]) -> Iterator[Dataset]:
    """Yield items of the Referenced Series Sequence (section C.11.11)."""
    frames: dict[str, list[int]] = {}
    for of_image in given.of_images:
        frames.setdefault(of_image.image, []).extend(of_image.frames)
    ordered = sorted(references, key=lambda one: one.series_instance_uid)
    for series, images in groupby(ordered, key=lambda one: one.series_instance_uid):
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedImageSequence = [
            _image(one, frames.get(one.sop_instance_uid, ())) for one in images
        ]
        yield item


def _windows(given: PresentationStateGiven, references: Sequence[Reference]) -> Iterator[Dataset]:
    """Yield items of the Softcopy VOI LUT Sequence (section C.11.8), one for each window."""
    known = {one.sop_instance_uid: one for one in references}
    named: dict[tuple[float, float], list[Dataset]] = {}
    common = set(known)

    def show(window: Window | None, *images: Dataset) -> None:
        if window is not None and images:
            named.setdefault((window.center, window.width), []).extend(images)

    for of_image in given.of_images:
        common.discard(of_image.image)
        image = _image(known[of_image.image], of_image.frames)
        show(of_image.window or given.window, image)
    show(given.window, *(_image(one) for one in references if one.sop_instance_uid in common))
    for (center, width), images in named.items():
        item = Dataset()
        if len(named) > 1 or len(images) < len(references):
            item.ReferencedImageSequence = images
        item.WindowCenter, item.WindowWidth = decimal(center), decimal(width)
        yield item


def _areas(given: PresentationStateGiven, references: Sequence[Reference]) -> Iterator[Dataset]:
    """Yield items of the Displayed Area Selection Sequence (section C.10.4), one for each size.

    Images of one size whose pixels are of another form have an item of their own.
    """

    def size(one: Reference) -> tuple[int, int, tuple[int, int], tuple[float, ...]]:
        return one.columns, one.rows, one.aspect, one.spacing if given.true_size else ()

    sizes = {size(one) for one in references}
    for columns, rows, aspect, spacing in sorted(sizes):
        item, area = Dataset(), given.area
        if len(sizes) > 1:
            item.ReferencedImageSequence = [
                _image(one) for one in references if size(one) == (columns, rows, aspect, spacing)
            ]
        if area is None:
            area = Rectangle(left=1, right=columns, upper=1, lower=rows)
        top_left, bottom_right = _corners(given, area)
        item.DisplayedAreaTopLeftHandCorner = top_left
        item.DisplayedAreaBottomRightHandCorner = bottom_right
        if given.true_size:
            item.PresentationSizeMode = "TRUE SIZE"
            item.PresentationPixelSpacing = [decimal(one) for one in spacing]
            yield item
            continue
        if given.magnification is None:
            item.PresentationSizeMode = "SCALE TO FIT"
        else:
            item.PresentationSizeMode = "MAGNIFY"
            item.PresentationPixelMagnificationRatio = given.magnification
        item.PresentationPixelAspectRatio = list(aspect)
        yield item


def _corners(given: PresentationStateGiven, area: Rectangle) -> tuple[list[int], list[int]]:
    """Return the pixels that stand top left and bottom right once it is turned and flipped.

    Both are columns and rows of the image as it is stored (section C.10.4).
    """
    clockwise = [
        [area.left, area.upper],
        [area.right, area.upper],
        [area.right, area.lower],
        [area.left, area.lower],
    ]
    turns = given.rotation // 90
    first, last = (1, 3) if given.flipped else (0, 2)
    return clockwise[(first - turns) % 4], clockwise[(last - turns) % 4]


def _shutter(found: Dataset, shown: Rectangle, value: int) -> None:
    """Cover what is outside (section C.7.6.11): the edges are the first that are covered."""
    found.ShutterShape = "RECTANGULAR"
    found.ShutterLeftVerticalEdge = shown.left - 1
    found.ShutterRightVerticalEdge = shown.right + 1
    found.ShutterUpperHorizontalEdge = shown.upper - 1
    found.ShutterLowerHorizontalEdge = shown.lower + 1
    found.ShutterPresentationValue = value


def _annotate(found: Dataset, annotations: Sequence[Annotation]) -> None:
    """Put words and drawings (section C.10.5) on one layer (section C.10.7)."""
    item = Dataset()
    item.GraphicLayer = _LAYER
    words = [_words(one) for one in annotations if one.text]
    drawn = [_drawn(one.drawing) for one in annotations if one.drawing is not None]
    if words:
        item.TextObjectSequence = words
    if drawn:
        item.GraphicObjectSequence = drawn
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = _LAYER, 1
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = _WHITE
    found.GraphicAnnotationSequence, found.GraphicLayerSequence = [item], [layer]


def _words(one: Annotation) -> Dataset:
    item = Dataset()
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.UnformattedTextValue = one.text
    item.AnchorPoint = list(one.at or ())
    item.AnchorPointVisibility = "N"
    return item


def _drawn(drawing: Drawing) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions = "PIXEL", 2
    item.NumberOfGraphicPoints = len(drawing.points)
    item.GraphicData = [value for point in drawing.points for value in point]
    item.GraphicType = drawing.kind
    if drawing.kind != "POINT":
        item.GraphicFilled = "Y" if drawing.filled else "N"
    return item
