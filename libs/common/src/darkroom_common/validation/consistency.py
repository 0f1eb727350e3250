"""Holds attributes against each other: identifiers, geometry, references."""

import math
from collections.abc import Iterator
from typing import Final

from darkroom_common.validation import head
from darkroom_common.validation.content import Item
from darkroom_common.validation.findings import ROOT, At, Findings, Kind, Place

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
FRAME_OF_REFERENCE: Final = 0x00200052
ORIENTATION: Final = 0x00200037
_VECTORS: Final = (0x00189090, 0x00189089)
"""Velocity encoding direction, diffusion gradient orientation: unit vectors."""
_SPACINGS: Final = (0x00280030, 0x00181164, 0x00182010)
_ASPECT: Final = 0x00280034
_REFERENCED_CLASS: Final = 0x00081150
_REFERENCED_INSTANCE: Final = 0x00081155
_REFERENCED_FRAME: Final = 0x00081160
_EVIDENCE: Final = (0x0040A375, 0x0040A385)
_CONTENT: Final = 0x0040A730
_BY_REFERENCE: Final = 0x0040DB73
_WAVEFORMS: Final = 0x54000100
_CHANNELS: Final = 0x003A0005
_SAMPLES: Final = 0x003A0010
_DEFINITIONS: Final = 0x003A0200
_WAVEFORM_BITS: Final = 0x54001004
_WAVEFORM_DATA: Final = 0x54001010
_WINDOW_WIDTH: Final = 0x00281051
_VOI_FUNCTION: Final = 0x00281056
_SLOPE: Final = 0x00281053
_INCREMENT: Final = 0x00280009
_VERIFICATION: Final = 0x0040A493
_COMPLETION: Final = 0x0040A491
_PATIENT_ORIENTATION: Final = 0x00200020
_DIRECTIONS: Final = frozenset("LRAPHF")
DIRECTORY: Final = "1.2.840.10008.1.3.10"
_VALUE_TYPE: Final = 0x0040A040
_REFERENCED: Final = 0x00081199
_ONE_FRAME: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "4", "6.1", "7", "20.1")
    if end != "20.1"
)
"""SOP classes of images of one frame."""
_CLOSE: Final = 0.001
_THREE: Final = 3


class Consistency:
    """Checks what attributes say of each other."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def check(self, root: Item, meta: Item) -> None:
        """Check an object.

        Args:
            root: its data set.
            meta: elements of its file meta information.
        """
        self._identity(root, meta)
        self._distinct(root)
        self._evidence(root)
        self._aspect(root)
        self._pointers(root)
        self._verified(root)
        self._waveforms(root)
        for item, place in _every(root, ROOT):
            self._geometry(item, place)
            self._values(item, place)
            self._frames(item, place)

    def _identity(self, root: Item, meta: Item) -> None:
        if meta.text_of(head.SOP_CLASS) == DIRECTORY:
            return
        for said, tag in ((head.SOP_CLASS, SOP_CLASS), (head.SOP_INSTANCE, SOP_INSTANCE)):
            if meta.has_value(said) and meta.text_of(said) != root.text_of(tag):
                text = "The file meta information and the data set name different ones."
                self._add(Kind.CONSISTENCY, text, tag, section="PS3.10 7.1")

    def _distinct(self, root: Item) -> None:
        seen: set[str] = set()
        for tag in (SOP_CLASS, STUDY, SERIES, SOP_INSTANCE, FRAME_OF_REFERENCE):
            uid = root.text_of(tag)
            if uid and uid in seen:
                text = "A UID is the same as that of something else."
                self._add(Kind.CONSISTENCY, text, tag, section="PS3.5 9")
            seen.add(uid)

    def _aspect(self, root: Item) -> None:
        """PS3.3 C.7.6.3.1.7."""
        if not root.has(_ASPECT):
            return
        if any(root.has_value(tag) for tag in _SPACINGS):
            text = "Pixel Aspect Ratio is there beside a spacing of pixels."
            self._add(Kind.NOT_ALLOWED, text, _ASPECT, section="PS3.3 C.7.6.3.1.7")
        ratio = root.numbers(_ASPECT)
        if ratio and ratio == ratio[:1] * 2:
            text = "Pixel Aspect Ratio is there though it is 1:1."
            self._add(Kind.NOT_ALLOWED, text, _ASPECT, section="PS3.3 C.7.6.3.1.7")

    def _pointers(self, root: Item) -> None:
        """PS3.3 C.7.6.6.1.2."""
        if not all(root.has(tag) for tag in root.values(_INCREMENT)):
            text = "An attribute is pointed at that is not there."
            self._add(Kind.CONSISTENCY, text, _INCREMENT, section="PS3.3 C.7.6.6.1.2")

    def _waveforms(self, root: Item) -> None:
        """PS3.3 C.10.9."""
        for number, group in enumerate(root.items(_WAVEFORMS), 1):
            place = ROOT.within(_WAVEFORMS, number)
            channels = group.number(_CHANNELS)
            if channels is not None and channels != len(group.items(_DEFINITIONS)):
                text = "There are not as many channels as are defined."
                self._add(Kind.CONSISTENCY, text, _CHANNELS, place=place, section="PS3.3 C.10.9")
            samples, bits = group.number(_SAMPLES), group.number(_WAVEFORM_BITS)
            data = group.elements.get(_WAVEFORM_DATA)
            if None in (channels, samples, bits) or data is None:
                continue
            length = (channels or 0) * (samples or 0) * ((bits or 0) // 8)
            if data.length not in (length, length + length % 2):
                text = "A waveform is not as long as its channels and samples are many."
                self._add(
                    Kind.CONSISTENCY, text, _WAVEFORM_DATA, place=place, section="PS3.3 C.10.9"
                )

    def _verified(self, root: Item) -> None:
        """PS3.3 C.17.2."""
        if root.text_of(_VERIFICATION) == "VERIFIED" and root.text_of(_COMPLETION) != "COMPLETE":
            text = "A document is verified that is not complete."
            self._add(Kind.CONSISTENCY, text, _VERIFICATION, section="PS3.3 C.17.2")

    def _geometry(self, item: Item, place: Place) -> None:
        values = item.numbers(ORIENTATION)
        if len(values) == 2 * _THREE:
            row, column = values[:_THREE], values[_THREE:]
            if not (_is_unit(row) and _is_unit(column)):
                self._vector(ORIENTATION, "An orientation is no unit vector.", place)
            elif abs(sum(x * y for x, y in zip(row, column, strict=True))) > _CLOSE:
                self._vector(ORIENTATION, "Row and column are not orthogonal.", place)
        for tag in _VECTORS:
            values = item.numbers(tag)
            if len(values) == _THREE and not _is_unit(values):
                self._vector(tag, "An orientation is no unit vector.", place)
        for tag in _SPACINGS:
            if any(value <= 0 for value in item.numbers(tag)):
                self._vector(tag, "A spacing is not more than zero.", place)

    def _values(self, item: Item, place: Place) -> None:
        if any(value <= 0 for value in item.numbers(_WINDOW_WIDTH)) or (
            item.text_of(_VOI_FUNCTION) in ("", "LINEAR")
            and any(value < 1 for value in item.numbers(_WINDOW_WIDTH))
        ):
            text = "A window is too narrow."
            self._add(Kind.VALUE, text, _WINDOW_WIDTH, place=place, section="PS3.3 C.11.2.1.2")
        if 0 in item.numbers(_SLOPE):
            text = "A slope is zero."
            self._add(Kind.VALUE, text, _SLOPE, place=place, section="PS3.3 C.11.1")
        for direction in item.values(_PATIENT_ORIENTATION):
            if not set(str(direction)) <= _DIRECTIONS:
                text = "A direction is none of the patient."
                self._add(
                    Kind.VALUE, text, _PATIENT_ORIENTATION, place=place, section="PS3.3 C.7.6.1.1.1"
                )

    def _vector(self, tag: int, text: str, place: Place) -> None:
        self._add(Kind.GEOMETRY, text, tag, place=place, section="PS3.3 C.7.6.2")

    def _frames(self, item: Item, place: Place) -> None:
        if item.has(_REFERENCED_FRAME) and item.text_of(_REFERENCED_CLASS) in _ONE_FRAME:
            text = "A frame is named of an object that has only one."
            self._add(Kind.NOT_ALLOWED, text, _REFERENCED_FRAME, place=place, section="PS3.3 10.3")

    def _evidence(self, root: Item) -> None:
        """PS3.3 C.17.2.3: what a document refers to is listed as evidence."""
        if not root.has(_VALUE_TYPE):
            return
        listed = {
            item.text_of(_REFERENCED_INSTANCE)
            for tag in _EVIDENCE
            for number, one in enumerate(root.items(tag), 1)
            for item, _ in _every(one, ROOT.within(tag, number))
        }
        for number, content in enumerate(root.items(_CONTENT), 1):
            for item, place in _every(content, ROOT.within(_CONTENT, number)):
                self._coordinates(item, place)
                uid = item.text_of(_REFERENCED_INSTANCE)
                if uid and uid not in listed:
                    text = "Something is referred to that is not listed as evidence."
                    self._add(
                        Kind.CONSISTENCY,
                        text,
                        _REFERENCED_INSTANCE,
                        place=place,
                        section="PS3.3 C.17.2.3",
                    )

    def _coordinates(self, item: Item, place: Place) -> None:
        """PS3.3 C.18.6: coordinates are selected from an image."""
        if item.text_of(_VALUE_TYPE) != "SCOORD":
            return
        if not any(
            below.text_of(_VALUE_TYPE) == "IMAGE" or below.has(_BY_REFERENCE)
            for below in item.items(_CONTENT)
        ):
            text = "Coordinates are selected from no image."
            self._add(Kind.MISSING, text, _CONTENT, place=place, section="PS3.3 C.18.6")

    def _add(self, kind: Kind, text: str, tag: int, *, section: str, place: Place = ROOT) -> None:
        self._findings.add(kind, text, At(tag, section, place=place))


def _every(item: Item, place: Place) -> Iterator[tuple[Item, Place]]:
    """Yield an item and all that stand in it."""
    waiting = [(item, place)]
    while waiting:
        here, at = waiting.pop()
        yield here, at
        for tag, element in here.elements.items():
            waiting += [
                (below, at.within(tag, number))
                for number, below in enumerate(element.items or (), 1)
            ]


def _is_unit(vector: list[float]) -> bool:
    return math.isclose(math.hypot(*vector), 1.0, abs_tol=_CLOSE)
