"""Transcoding: every real object in every target, read back by DCMTK and pydicom."""

import subprocess
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from darkroom_common.dicom.part10 import decode_head
from darkroom_common.dicom.syntaxes import RLE
from darkroom_common.pixels import codecs
from darkroom_common.pixels.codecs import Pixels
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.converted import EXPLICIT, IMPLICIT, Converted
from darkroom_common.transcoding.encoding import swapped
from darkroom_common.transcoding.transcode import TARGETS, convert
from tests.support.builders import a_data_set
from tests.unit.transmit.converting import WHOLE, a_file

EVERY = (*TARGETS, codecs.JPEG_LS_LOSSLESS, codecs.HTJ2K_LOSSLESS, RLE)
J2K, SV1 = codecs.JPEG_2000_LOSSLESS, codecs.JPEG_LOSSLESS_SV1
DCMTK = {
    "50": "dcmdjpeg",
    "51": "dcmdjpeg",
    "57": "dcmdjpeg",
    "70": "dcmdjpeg",
    "80": "dcmdjpls",
    "81": "dcmdjpls",
}
UNREAD = {"SC_rgb_jpeg.dcm"}
"""No reader beside ours reads their pixels."""
CUT = {"JPEG2000-embedded-sequence-delimiter.dcm"}
"""pydicom reads its pixel data up to a delimiter within a frame."""
ODD = {"mlut_18.dcm", "MR_small_padded.dcm", "badVR.dcm"}
"""Bits beyond the stored ones in use, trailing bytes, NumberOfFrames of `1A`."""
IMAGE = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
WIDTHS = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "OF": 4}
CHANGED = {0x00280004, 0x00280006, 0x00282110, 0x7FE00010, 0x7FE00001, 0x7FE00002, 0x7FE00003}
pytestmark = pytest.mark.filterwarnings("ignore")


def canonical(values: Any, dataset: Dataset) -> Any:
    """The values of the stored bits; what lies beyond them means nothing (PS3.5 section 8.1.1)."""
    bits = int(dataset.BitsStored)
    narrow = "i2" if bits <= 8 else "i4" if bits <= 16 else "i8"
    kept: Any = np.asarray(values).astype(narrow) & ((1 << bits) - 1)
    if dataset.get("PixelRepresentation"):
        kept = (kept ^ (1 << (bits - 1))) - (1 << (bits - 1))
    frames = int(dataset.get("NumberOfFrames") or 1)
    return kept.reshape((frames, dataset.Rows, dataset.Columns, -1))


def pixels_of(path: Path, scratch: Path) -> Any:
    """The pixels of a file by a reader that is not ours, colours as they are stored."""
    dataset = dcmread(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    tool = DCMTK.get(syntax.rpartition(".")[2]) if ".4." in syntax else None
    if tool is not None:
        native = scratch / "dcmtk.dcm"
        keep = ["+cn"] if tool == "dcmdjpeg" else []
        subprocess.run([tool, *keep, path, native], check=True, capture_output=True)
        dataset = dcmread(native)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and ".4." in syntax:
        frames = generate_frames(
            dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)
        )
        decode = imagecodecs.htj2k_decode if ".4.20" in syntax else imagecodecs.jpeg2k_decode
        return canonical([decode(frame) for frame in frames], dataset)
    return canonical(pixel_array(dataset, raw=True), dataset)


def same_elsewhere(before: Dataset, after: Dataset, *, swap: bool) -> None:
    """Everything beside the pixel data has the same bytes, at every level."""
    tags = [tag for tag in list(before.keys()) if tag.element and tag not in CHANGED]
    assert tags == [tag for tag in list(after.keys()) if tag not in CHANGED]
    for tag in tags:
        one: Any = before.get_item(tag)
        two: Any = after.get_item(tag)
        if "SQ" in (one.VR, two.VR):
            for first, second in zip(before[tag].value, after[tag].value, strict=True):
                same_elsewhere(first, second, swap=swap)
        elif swap and one.is_raw and two.is_raw:
            assert swapped(one.value or b"", WIDTHS.get(one.VR, 0)) == (two.value or b""), tag
        elif not one.is_raw or not two.is_raw:
            assert (before[tag].value or "") == (after[tag].value or ""), tag
        else:
            assert (one.value or b"") == (two.value or b""), (tag, one.VR, two.VR)


def readable_pixels(dataset: FileDataset) -> bool:
    return (
        "PixelData" in dataset
        and "Rows" in dataset
        and "1A" not in str(dataset.get("NumberOfFrames"))
    )


@pytest.mark.req("TRX-05")
@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_a_real_object_in_every_target(path: Path, tmp_path: Path) -> None:
    source = dcmread(path)
    stored = str(source.file_meta.TransferSyntaxUID)
    lossy = source.get("LossyImageCompression") == "01" or stored in codecs.PERHAPS_LOSSY
    lossless = (
        readable_pixels(source)
        and not lossy
        and source.BitsAllocated in (8, 16)
        and path.name not in ODD
    )
    theirs = None
    if path.name not in UNREAD | CUT and readable_pixels(source):
        theirs = pixels_of(path, tmp_path)
    readable = []
    for syntax in EVERY:
        possible = (lossless or syntax in (EXPLICIT, IMPLICIT)) and path.name not in CUT
        target = tmp_path / f"{syntax}.dcm"
        if not possible and syntax != stored:
            with pytest.raises(Unconvertible):
                convert(path, target, [syntax])
            assert not target.exists()
            continue
        made = convert(path, target, [syntax])
        check(made, path, theirs, lossy=lossy, scratch=tmp_path)
        if made.transfer_syntax_uid != IMPLICIT:
            readable.append(made.path)
    if readable:  # at once: most of what it takes is to start
        subprocess.run(["dcmdump", "-q", *readable], capture_output=True, check=True)


def check(made: Converted, path: Path, theirs: Any, *, lossy: bool, scratch: Path) -> None:
    """Hold a result to its source, whose pixels others have read before, if anybody can."""
    meta, offset = decode_head(made.path.read_bytes())
    before, after = dcmread(path), dcmread(made.path)
    assert (meta.transfer_syntax_uid, offset) == (made.transfer_syntax_uid, made.offset)
    assert made.path.stat().st_size == made.size
    assert meta.sop_instance_uid == made.sop_instance_uid == before.SOPInstanceUID
    same_elsewhere(before, after, swap=before.file_meta.TransferSyntaxUID.endswith("1.2.2"))
    before = dcmread(path)
    if lossy and before.file_meta.TransferSyntaxUID in codecs.ALWAYS_LOSSY:
        assert dcmread(made.path).LossyImageCompression == "01"
    if theirs is None:
        return
    ours = pixels_of(made.path, scratch)
    assert theirs.shape == ours.shape
    if before.file_meta.TransferSyntaxUID in codecs.ALWAYS_LOSSY:
        # Decoders of lossy JPEG may round and interpolate in their own way (ISO 10918-2).
        assert np.abs(theirs - ours).mean() < 2
    else:
        assert np.array_equal(theirs, ours)


def noise(dtype: str, low: int, high: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(7).integers(low, high, shape, dtype=np.int64).astype(dtype)


@pytest.mark.parametrize("syntax", sorted(codecs.ENCODABLE))
@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("signed", [0, 1])
def test_every_depth_comes_back(tmp_path: Path, syntax: str, bits: int, signed: int) -> None:
    allocated = 8 if bits <= 8 else 16
    low = -(1 << (bits - 1)) if signed else 0
    values = noise(f"<i{allocated // 8}", low, low + (1 << bits), (3, 32, 18))
    dataset = a_data_set(
        Rows=32,
        Columns=18,
        NumberOfFrames=3,
        BitsAllocated=allocated,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=signed,
        PixelData=values.tobytes(),
    )
    made = convert(a_file(dataset, tmp_path), tmp_path / "made.dcm", [syntax])
    assert made.transfer_syntax_uid == syntax
    after = dcmread(made.path)
    assert np.array_equal(pixels_of(made.path, tmp_path), canonical(values, after))
    back = convert(made.path, tmp_path / "back.dcm", [EXPLICIT])
    assert dcmread(back.path).PixelData == dataset.PixelData


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_are_described_as_they_are(tmp_path: Path, planar: int, photometric: str) -> None:
    values = noise("u1", 0, 256, (2, 3, 16, 10) if planar else (2, 16, 10, 3))
    dataset = a_data_set(
        Rows=16,
        Columns=10,
        NumberOfFrames=2,
        SamplesPerPixel=3,
        PlanarConfiguration=planar,
        PhotometricInterpretation=photometric,
        PixelData=values.tobytes(),
    )
    by_pixel = values.transpose(0, 2, 3, 1) if planar else values
    for syntax in (J2K, SV1):
        made = convert(a_file(dataset, tmp_path), tmp_path / "made.dcm", [syntax])
        after = dcmread(made.path)
        told = "YBR_RCT" if (syntax, photometric) == (J2K, "RGB") else photometric
        assert (after.PhotometricInterpretation, after.PlanarConfiguration) == (told, 0)
        assert np.array_equal(pixels_of(made.path, tmp_path), by_pixel)
        back = dcmread(convert(made.path, tmp_path / "back.dcm", [IMPLICIT]).path)
        assert back.PhotometricInterpretation == photometric
        assert back.PixelData == by_pixel.tobytes()


def test_the_first_that_can_be_made_is_taken(tmp_path: Path) -> None:
    values = np.full((4, 4), 0x1FFF, "<u2")  # a bit beyond the twelve that are stored
    dataset = a_data_set(
        Rows=4, Columns=4, BitsAllocated=16, BitsStored=12, HighBit=11, PixelData=values.tobytes()
    )
    path = a_file(dataset, tmp_path)
    made = convert(path, tmp_path / "made.dcm", [J2K, SV1, EXPLICIT])
    assert made.transfer_syntax_uid == EXPLICIT
    assert dcmread(made.path).PixelData == values.tobytes()
    with pytest.raises(Unconvertible, match="beyond"):
        convert(path, tmp_path / "none.dcm", [J2K, SV1])


def test_a_compression_that_loses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = noise("u1", 0, 256, (16, 16))
    pixels = Pixels(16, 16, 1, 8, 8, 7, signed=False, photometric="MONOCHROME2", planar=0, frames=1)
    assert codecs.encode_frame(frame, J2K, pixels)
    monkeypatch.setattr(
        codecs, "_encode", lambda frame, *_: imagecodecs.jpeg2k_encode(frame, level=30)
    )
    with pytest.raises(Unconvertible, match="not the same"):
        codecs.encode_frame(frame, J2K, pixels)


def test_a_compressed_icon_is_decoded_with_its_image(tmp_path: Path) -> None:
    values = noise("u1", 0, 256, (16, 16))
    image = a_data_set(Rows=16, Columns=16, PixelData=values.tobytes())
    first = convert(a_file(image, tmp_path), tmp_path / "j2k.dcm", [J2K])
    dataset = dcmread(first.path)
    icon = Dataset()
    for keyword in IMAGE:
        setattr(icon, keyword, getattr(dataset, keyword))
    icon.PixelData = dataset.PixelData
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    dataset.IconImageSequence = [icon]
    dataset.save_as(tmp_path / "icon.dcm")
    for syntax in (EXPLICIT, IMPLICIT, SV1):
        made = dcmread(convert(tmp_path / "icon.dcm", tmp_path / "made.dcm", [syntax]).path)
        assert made.IconImageSequence[0].PixelData == values.tobytes()


def test_odd_bytes_at_the_end_are_left_by_a_swap() -> None:
    assert swapped(b"\1\2\3\4\5", 2) == b"\2\1\4\3\5"
    assert swapped(b"\1\2\3\4\5", 4) == b"\4\3\2\1\5"
    assert swapped(b"\1\2", 0) == b"\1\2"
