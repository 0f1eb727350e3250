"""Holds pixel data against what is said of it (PS3.3 C.7.6.3, PS3.5 section 8)."""

from typing import Final

from darkroom_common.dicom.heads import UNDEFINED
from darkroom_common.dicom.syntaxes import NATIVE, RLE, VIDEO
from darkroom_common.validation.content import Item
from darkroom_common.validation.findings import At, Findings, Kind
from darkroom_common.validation.table import Iod

SAMPLES: Final = 0x00280002
PHOTOMETRIC: Final = 0x00280004
PLANAR: Final = 0x00280006
FRAMES: Final = 0x00280008
SHAPE: Final = 0x20500020
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
ALLOCATED: Final = 0x00280100
STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
PIXEL_DATA: Final = 0x7FE00010
FLOATS: Final = {0x7FE00008: 32, 0x7FE00009: 64}
_MODULE: Final = "Image Pixel"
_SECTION: Final = "PS3.3 C.7.6.3"
_ENCODING: Final = "PS3.5 8"
_ONE: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_THREE: Final = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"}
_PLAIN: Final = frozenset({"RGB", "YBR_FULL"})
_BASELINE: Final = frozenset({"RGB", "YBR_FULL_422"})
_COLORS: Final = {
    **dict.fromkeys(NATIVE, _PLAIN),
    RLE: _PLAIN,
    **{f"1.2.840.10008.1.2.4.{n}": _BASELINE for n in ("50", "51")},
    **{f"1.2.840.10008.1.2.4.{n}": _PLAIN for n in ("57", "70", "80", "81")},
    **{f"1.2.840.10008.1.2.4.{n}": _PLAIN | {"YBR_RCT"} for n in ("90", "92")},
    **{f"1.2.840.10008.1.2.4.{n}": _PLAIN | {"YBR_RCT", "YBR_ICT"} for n in ("91", "93")},
    **dict.fromkeys(VIDEO, frozenset({"YBR_PARTIAL_420"})),
}
"""Transfer syntax to the color spaces of three samples that it has (PS3.5 section 8.2)."""
_LUTS: Final = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))
_SEGMENTED: Final = (0x00281221, 0x00281222, 0x00281223)
_OF_FRAMES: Final = frozenset({"multi-frame", "sparse-multi-frame-functional-groups"})
_SAMPLES: Final = 3
_SHAPES: Final = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
_BYTE: Final = 8


class Pixels:
    """Checks the pixel data of an object."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def check(self, root: Item, transfer_syntax_uid: str, iod: Iod | None) -> None:
        """Check it, if there is some; that of icons is not looked at."""
        self._bits(root)
        self._photometric(root, transfer_syntax_uid)
        self._luts(root)
        if iod is not None:
            self._frames(root, iod)
        for tag, bits in ((PIXEL_DATA, root.number(ALLOCATED)), *FLOATS.items()):
            if root.has(tag):
                self._length(root, tag, bits, transfer_syntax_uid)

    def _frames(self, root: Item, iod: Iod) -> None:
        """An IOD that has no frames has one."""
        keys = {one.key for one in iod.modules}
        has_frames = any(key.endswith("multi-frame-functional-groups") for key in keys)
        if not has_frames and not keys & _OF_FRAMES and root.number(FRAMES) not in (None, 1):
            self._add("There are more frames than this IOD has.", FRAMES, kind=Kind.VALUE)

    def _bits(self, root: Item) -> None:
        allocated, stored = root.number(ALLOCATED), root.number(STORED)
        high = root.number(HIGH_BIT)
        if allocated is not None and allocated != 1 and (allocated <= 0 or allocated % _BYTE):
            self._add("Bits Allocated is neither 1 nor a multiple of 8.", ALLOCATED)
        if allocated is not None and stored is not None and not 0 < stored <= allocated:
            self._add("Bits Stored is not between 1 and Bits Allocated.", STORED)
        if stored is not None and high is not None and high != stored - 1:
            self._add("High Bit is not one less than Bits Stored.", HIGH_BIT)
        for tag in (ROWS, COLUMNS):
            if root.number(tag) == 0:
                self._add("An image has no rows or columns.", tag)

    def _photometric(self, root: Item, syntax: str) -> None:
        said, samples = root.text_of(PHOTOMETRIC), root.number(SAMPLES)
        if not said:
            return
        if said not in _ONE | _THREE:
            text = "A value is none of the enumerated ones."
            self._add(text, PHOTOMETRIC, kind=Kind.VALUE, section="PS3.3 C.7.6.3.1.2")
        elif samples is not None and samples != (1 if said in _ONE else _SAMPLES):
            for tag in (SAMPLES, PHOTOMETRIC):
                self._add("Samples per Pixel does not suit Photometric Interpretation.", tag)
        elif said in _THREE and said not in _COLORS.get(syntax, _THREE):
            text = "Photometric Interpretation does not suit the transfer syntax."
            self._add(text, PHOTOMETRIC, kind=Kind.VALUE, section="PS3.5 8.2")

        if said in _SHAPES and root.text_of(SHAPE) not in ("", _SHAPES[said]):
            text = "Presentation LUT Shape does not suit Photometric Interpretation."
            self._add(text, SHAPE, kind=Kind.VALUE, section="PS3.3 C.11.6")
        if syntax not in NATIVE and syntax != RLE and root.number(PLANAR) == 1:
            text = "Planar Configuration does not suit the transfer syntax."
            self._add(text, PLANAR, kind=Kind.VALUE, section="PS3.5 8.2")

    def _luts(self, root: Item) -> None:
        for (descriptor, data), segmented in zip(_LUTS, _SEGMENTED, strict=True):
            values = root.numbers(descriptor)
            element = root.elements.get(data)
            if len(values) != _SAMPLES or element is None or root.has(segmented):
                continue
            entries = (root.number(descriptor) or 0) & 0xFFFF or 0x10000
            size = 1 if values[2] == _BYTE else 2
            length = UNDEFINED if element.raw is None else len(element.raw)
            if length != UNDEFINED and length not in (
                entries * size + entries * size % 2,
                entries * 2,
            ):
                self._add("A lookup table is not as long as its descriptor says.", data)

    def _length(self, root: Item, tag: int, bits: int | None, syntax: str) -> None:
        element = root.elements[tag]
        native = syntax in NATIVE
        if (element.length == UNDEFINED) == native:
            text = "Pixel data is not encapsulated as its transfer syntax wants."
            self._add(text, tag, section=_ENCODING)
            return
        if tag == PIXEL_DATA and bits is not None and element.written:
            allowed = "OB" if not native else "OW" if bits > _BYTE else ""
            if allowed and element.written != allowed:
                self._add("Pixel data has a wrong VR.", tag, kind=Kind.VR, section=_ENCODING)
        rows, columns = root.number(ROWS), root.number(COLUMNS)
        if not native or bits is None or rows is None or columns is None:
            return
        samples = root.number(SAMPLES) or 1
        frames = root.number(FRAMES) if root.has_value(FRAMES) else 1
        if frames is None or frames < 0:
            return
        pixels = rows * columns * frames
        length = -(-pixels * samples * bits // _BYTE)
        if element.length not in (length, length + length % 2):
            self._add("Pixel data is not as long as the image is large.", tag, section=_ENCODING)

    def _add(
        self, text: str, tag: int, *, kind: Kind = Kind.PIXELS, section: str = _SECTION
    ) -> None:
        self._findings.add(kind, text, At(tag, section, _MODULE))
