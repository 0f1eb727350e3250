import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.tag import Tag

from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.grayscale import windowed
from darkroom_common.pixels.image import Image
from darkroom_common.pixels.window import InvalidWindow, VoiFunction, Window
from darkroom_print.images.image import read_dataset, render
from darkroom_print.images.picture import Picture
from tests.support.real_files import REAL_FILES
from tests.unit.print.images import an_image, as_file

HERE = Picture(Path("unread"))


def shown(ds: Dataset, *, frame: int = 1, window: Window | None = None) -> np.ndarray[Any, Any]:
    return seen(ds, frame=frame, window=window).pixels


def seen(ds: Dataset, *, frame: int = 1, window: Window | None = None) -> Image:
    return render(as_file(ds), Picture(Path("unread"), frame, window))


def row(*values: int, kind: str = "u2") -> np.ndarray[Any, Any]:
    return np.array([values], kind)


@pytest.mark.parametrize("function", list(VoiFunction))
def test_windows_are_those_of_pydicom(function: VoiFunction) -> None:
    values = np.arange(-2000, 3000, dtype=np.float64)
    for center, width in ((40, 400), (127.5, 1.5), (-600, 1500)):
        ds = Dataset()
        ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, str(function)
        ds.BitsStored, ds.PixelRepresentation = 16, 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        span = 65535.0
        with np.errstate(over="ignore"):
            theirs = (apply_voi_lut(values, ds) + 32768) / span
        ours = windowed(Window(center, width, function))(values)
        assert np.abs(ours - theirs).max() < 1e-9


def test_a_window_of_one_is_a_step() -> None:
    step = windowed(Window(10, 1))(np.array([9.0, 9.5, 9.6, 10.0]))
    assert step.tolist() == [0, 0, 1, 1]
    with pytest.raises(InvalidWindow):
        Window(10, 0.5)
    with pytest.raises(InvalidWindow):
        Window(10, 0, VoiFunction.SIGMOID)
    with pytest.raises(InvalidWindow):
        Window(10, float("nan"))


def test_the_users_window_comes_before_the_headers_and_that_before_the_range() -> None:
    pixels = row(0, 100, 200, 400)
    plain = an_image(pixels)
    assert shown(plain).tolist() == [[0, 0.25, 0.5, 1]]
    plain.WindowCenter, plain.WindowWidth = [100.5, 1000], [201, 2000]
    assert shown(plain)[0] == pytest.approx([0, 0.5, 1, 1])
    asked = Window(200, 400, VoiFunction.LINEAR_EXACT)
    assert shown(plain, window=asked)[0] == pytest.approx([0, 0.25, 0.5, 1])


def test_eight_bits_without_a_window_are_as_they_are() -> None:
    ds = an_image(np.array([[100, 150]], np.uint8), bits=8)
    assert shown(ds)[0] == pytest.approx([100 / 255, 150 / 255])


def test_signed_values_and_bits_beyond_the_stored_ones() -> None:
    stored = np.array([[-100, 0, 100]], np.int16)
    ds = an_image(stored, bits=12)
    assert shown(ds)[0] == pytest.approx([0, 0.5, 1])
    dirty = an_image((stored.view(np.uint16) & 0x0FFF) | 0x7000, bits=12, PixelRepresentation=1)
    assert shown(dirty)[0] == pytest.approx([0, 0.5, 1])


def test_rescale_comes_before_the_window() -> None:
    ds = an_image(row(0, 1024, 2048), RescaleSlope=2, RescaleIntercept=-1024)
    ds.WindowCenter, ds.WindowWidth = 1024.5, 4097
    assert shown(ds)[0] == pytest.approx([0, 0.5, 1])


def test_monochrome1_and_inverse_turn_round_once() -> None:
    pixels = row(0, 100, 400)
    headers: tuple[dict[str, Any], ...] = (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PresentationLUTShape": "INVERSE"},
    )
    for header in headers:
        assert shown(an_image(pixels, **header))[0] == pytest.approx([1, 0.75, 0])


def test_padding_is_black_and_not_in_the_range() -> None:
    ds = an_image(row(63, 100, 200, 300, 4000, 4095))
    ds.add_new("PixelPaddingValue", "US", 4000)
    ds.add_new("PixelPaddingRangeLimit", "US", 4095)
    assert shown(ds)[0] == pytest.approx([0, 37 / 237, 137 / 237, 1, 0, 0], abs=1e-6)
    ds.PhotometricInterpretation = "MONOCHROME1"
    assert shown(ds)[0][-2:].tolist() == [0, 0]


def a_table(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first & 0xFFFF, bits])
    item.add_new("LUTData", "US", entries)
    return item


def test_tables_clamp_at_their_ends() -> None:
    ds = an_image(row(0, 10, 11, 12, 50))
    ds.ModalityLUTSequence = [a_table(10, 16, [0, 100, 200])]
    assert shown(ds)[0] == pytest.approx([0, 0, 0.5, 1, 1])
    voi = an_image(row(0, 10, 11, 12, 50), WindowCenter=5, WindowWidth=2)
    voi.VOILUTSequence = [a_table(10, 12, [0, 1023, 4095])]
    assert shown(voi)[0] == pytest.approx([0, 0, 1023 / 4095, 1, 1])


def test_a_table_may_begin_below_zero() -> None:
    ds = an_image(row(0, 1, 2), RescaleSlope=1, RescaleIntercept=-1)
    ds.VOILUTSequence = [a_table(-1, 8, [255, 0, 51])]
    assert shown(ds)[0] == pytest.approx([1, 0, 0.2])


def test_a_table_that_is_none_is_told_and_the_range_is_shown() -> None:
    short = a_table(0, 16, [1, 2, 3])
    short.LUTDescriptor = [9, 0, 16]
    wide = a_table(0, 16, [1, 2, 3])
    wide.LUTDescriptor = [3, 0, 99]
    for item in (short, wide, Dataset()):
        found = seen(an_image(row(0, 100, 400), VOILUTSequence=[item]))
        assert found.pixels[0] == pytest.approx([0, 0.25, 1])
        assert any("look-up table" in text for text in found.warnings)
        found = seen(an_image(row(0, 100, 400), ModalityLUTSequence=[item]))
        assert found.pixels[0] == pytest.approx([0, 0.25, 1])
        assert found.warnings
    windowed = an_image(row(0, 100, 400), VOILUTSequence=[short], WindowCenter=50.5)
    windowed.WindowWidth = 101
    assert shown(windowed)[0] == pytest.approx([0, 1, 1])


def of_text(**values: str) -> Dataset:
    """Return an image of 0, 100 and 400 with decimals that are whatever text stands there."""
    ds = an_image(row(0, 100, 400))
    for keyword, text in values.items():
        tag = Tag(tag_for_keyword(keyword) or 0)
        raw = text.encode() + b" " * (len(text) % 2)
        ds[tag] = RawDataElement(
            tag, "DS", len(raw), raw, 0, is_implicit_VR=False, is_little_endian=True
        )
    return ds


NO_WINDOWS = [
    ("\\100.5", "\\201"),
    ("NaN\\100.5", "400\\201"),
    ("100.5\\300", "201"),
    ("100.5", "201\\400\\600"),
    ("100", "0"),
    ("100", "-5"),
    ("100", "-0.0"),
    ("NaN", "NaN"),
    ("1.#QNAN", "1.#QNAN"),
    ("100", "inf"),
    ("-inf", "100"),
    ("1e400", "4"),
    ("AUTO", "AUTO"),
    ("100,5", "200,0"),
    ("100", ""),
    ("", "200"),
    ("100 200", "400"),
    ("1_0", "4"),
    ("\\", "\\"),
    ("100", "1e300"),
    ("1e30", "400"),
    ("0x10", "0x20"),
    ("\u0661", "\u0664"),
]


@pytest.mark.parametrize(("center", "width"), NO_WINDOWS)
def test_a_window_that_is_none_is_told_and_the_range_is_shown(center: str, width: str) -> None:
    found = seen(of_text(WindowCenter=center, WindowWidth=width))
    assert found.pixels[0] == pytest.approx([0, 0.25, 1])
    if f"{center}{width}".strip("\\"):
        assert any("window makes no sense" in text for text in found.warnings)


def test_a_window_below_one_is_exact() -> None:
    ds = of_text(WindowCenter="0.5", WindowWidth="0.5", RescaleSlope="0.0025")
    found = seen(ds)
    assert found.pixels[0] == pytest.approx([0, 0, 1])
    assert any("narrow" in text for text in found.warnings)


@pytest.mark.parametrize("slope", ["0", "NaN", "inf", "-inf", "1,0", "text", "1e308", "1e400"])
def test_a_rescale_slope_that_is_none_is_told(slope: str) -> None:
    ds = of_text(RescaleSlope=slope, RescaleIntercept="0", WindowCenter="40", WindowWidth="4")
    found = seen(ds)
    assert found.pixels[0] == pytest.approx([0, 0.25, 1])
    assert any("rescale" in text for text in found.warnings)
    asked = seen(ds, window=Window(50.5, 101))
    assert asked.pixels[0] == pytest.approx([0, 1, 1])


def test_an_intercept_that_is_none_is_told() -> None:
    found = seen(of_text(RescaleIntercept="NaN", WindowCenter="40", WindowWidth="4"))
    assert found.pixels[0] == pytest.approx([0, 0.25, 1])
    assert any("rescale" in text for text in found.warnings)


def test_what_is_even_is_told() -> None:
    for pixels in (row(0, 0), row(100, 100), np.array([[9, 9]], np.uint8)):
        found = seen(an_image(pixels, bits=8 if pixels.dtype == np.uint8 else 12))
        assert found.warnings == ("all of its pixels have one value",)
    beside = an_image(row(0, 100), WindowCenter=3000, WindowWidth=200)
    assert seen(beside).pixels.tolist() == [[0, 0]]  # as all the slices beside it are windowed
    assert seen(beside).warnings == ("its window shows nothing of it",)
    asked = seen(an_image(row(0, 100)), window=Window(3000, 200))
    assert asked.warnings == ("its window shows nothing of it",)
    assert not seen(an_image(row(0, 100), WindowCenter=50, WindowWidth=100)).warnings


def test_an_unknown_function_is_linear_and_other_numbers_that_are_none_are_told() -> None:
    ds = an_image(row(0, 100, 200), WindowCenter=100.5, WindowWidth=201, VOILUTFunction="LOG")
    assert shown(ds)[0] == pytest.approx([0, 0.5, 1], abs=0.01)
    assert any("function" in text for text in seen(ds).warnings)
    ds = of_text(PixelSpacing="0.5 mm\\0.5")
    assert seen(ds).spacing is None
    assert any("PixelSpacing" in text for text in seen(ds).warnings)


def test_warnings_hold_no_value() -> None:
    found = seen(of_text(WindowCenter="PLANTED", WindowWidth="PLANTED", RescaleSlope="PLANTED"))
    assert found.warnings
    assert "PLANTED" not in "".join(found.warnings)


def test_frames_of_enhanced_objects_have_their_own_window() -> None:
    def group(slope: float, center: float) -> Dataset:
        item = Dataset()
        item.PixelValueTransformationSequence = [Dataset()]
        item.PixelValueTransformationSequence[0].RescaleSlope = slope
        item.PixelValueTransformationSequence[0].RescaleIntercept = 0
        item.FrameVOILUTSequence = [Dataset()]
        item.FrameVOILUTSequence[0].WindowCenter = center
        item.FrameVOILUTSequence[0].WindowWidth = 101
        return item

    ds = an_image(np.array([[50, 100]], np.uint16))
    ds.PixelData *= 2
    ds.NumberOfFrames = 2
    shared = Dataset()
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.25]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [group(1, 50.5), group(2, 150.5)]
    assert shown(ds)[0] == pytest.approx([0.5, 1])
    assert shown(ds, frame=2)[0] == pytest.approx([0, 1])
    assert seen(ds).spacing == (0.5, 0.25)
    assert seen(ds).aspect == 2


def test_32_bits_and_floating_point() -> None:
    ds = an_image(np.array([[0, 1 << 20, 1 << 21]], np.uint32), bits=32)
    assert shown(ds)[0] == pytest.approx([0, 0.5, 1])
    ds = an_image(row(0, 0, 0))
    del ds.PixelData
    ds.BitsAllocated = 32
    ds.FloatPixelData = np.array([-1.5, 0, 1.5], "<f4").tobytes()
    assert shown(ds)[0] == pytest.approx([0, 0.5, 1])


def test_overlays_are_white_at_their_origin() -> None:
    ds = an_image(np.array([[1, 2, 3]] * 3 + [[0, 9, 9]], np.uint16))
    plane = np.zeros(8, np.uint8)
    plane[:4] = 1  # two by two
    ds.add_new(0x60000010, "US", 2)
    ds.add_new(0x60000011, "US", 2)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [0, 1])
    ds.add_new(0x60000100, "US", 1)
    ds.add_new(0x60000102, "US", 0)
    ds.add_new(0x60003000, "OB", np.packbits(plane, bitorder="little").tobytes() + b"\0")
    drawn = shown(ds)
    assert drawn[0, :2].tolist() == [1, 1]  # its first row is above the image
    assert drawn[1].tolist() == pytest.approx([1 / 9, 2 / 9, 3 / 9])
    plain = render(as_file(ds), HERE, overlays=False)
    assert plain.pixels[0, 0] == pytest.approx(1 / 9)


def test_what_is_asked_for_and_not_there_is_told() -> None:
    ds = an_image(row(1, 2))
    with pytest.raises(Unrenderable, match="1 frames"):
        shown(ds, frame=2)
    ds.PixelData = b"\0"
    with pytest.raises(Unrenderable, match="decoded"):
        shown(ds)
    del ds.PixelData
    with pytest.raises(Unrenderable, match="no pixels"):
        shown(ds)
    with pytest.raises(Unrenderable, match="too large"):
        shown(an_image(row(1), Rows=65535, Columns=65535))
    with pytest.raises(Unrenderable, match="photometric"):
        shown(an_image(row(1), PhotometricInterpretation="CMYK"))


def test_spacing_of_projections_is_the_detectors_unless_magnification_is_known() -> None:
    ds = an_image(row(1, 2), ImagerPixelSpacing=[0.2, 0.2])
    assert (seen(ds).spacing, seen(ds).detector) == ((0.2, 0.2), True)
    ds.EstimatedRadiographicMagnificationFactor = 2
    assert (seen(ds).spacing, seen(ds).detector) == ((0.1, 0.1), False)
    assert seen(an_image(row(1, 2), PixelAspectRatio=[3, 2])).aspect == 1.5


def grey_files() -> list[Path]:
    found = []
    for path in REAL_FILES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = read_dataset(Picture(path))
                header = FrameHeader(ds, 1)
                fits = header.get("WindowWidth") and "PixelPaddingValue" not in ds
                if ds.PhotometricInterpretation == "MONOCHROME2" and fits:
                    found.append(path)
            except (AttributeError, Unrenderable):
                continue
    return found


def test_windows_of_real_files_are_shown_as_pydicom_shows_them() -> None:
    compared = 0
    for path in grey_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(path)
            native = not ds.file_meta.TransferSyntaxUID.is_compressed
            if not native or "WindowWidth" not in ds or "VOILUTSequence" in ds:
                continue
            try:
                stored = ds.pixel_array
            except ValueError:
                continue
            stored = stored[0] if stored.ndim == 3 else stored
            values = apply_modality_lut(stored, ds).astype(np.float64)
            theirs = apply_voi_lut(values, ds)
            low, high = _range(ds)
            ours = render(ds, Picture(path), overlays=False).pixels
        assert np.abs(ours - (theirs - low) / (high - low)).max() < 1e-5, path.name
        compared += 1
    assert compared >= 15


def _range(ds: Dataset) -> tuple[float, float]:
    bits = int(ds.BitsStored)
    low = -(1 << (bits - 1)) if ds.PixelRepresentation else 0
    high = low + (1 << bits) - 1
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept
