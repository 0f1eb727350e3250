"""Pictures and documents become valid objects: each kind held against our table and dciodvfy."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pypdf
import pytest
from PIL import Image as Pillow

from darkroom_api.objects import pictures
from darkroom_api.objects.building import (
    ENCAPSULATED_PDF,
    GRAYSCALE_BYTE,
    GRAYSCALE_WORD,
    SECONDARY_CAPTURE,
    TRUE_COLOR,
)
from darkroom_api.objects.exchange import Kind, MakeTask
from darkroom_api.objects.identity import said
from darkroom_api.objects.making import make
from darkroom_api.objects.once import Meant
from darkroom_api.objects.pictures import NoPicture, decode
from darkroom_common.dicom.identity import is_conformant
from tests.support.dciodvfy import dciodvfy
from tests.support.uploads import COLOUR, COLUMNS, GRAY, ROWS, WORDS, a_pdf, saved
from tests.unit.api.making.kinds import STUDY

ATTRIBUTES = said(
    {**STUDY, "StudyID": "", "Modality": "OT", "ConversionType": "WSD", "BurnedInAnnotation": "YES"}
)
PAGES: dict[str, Any] = {"save_all": True, "append_images": [COLOUR, COLOUR]}


def locked() -> bytes:
    writer, file = pypdf.PdfWriter(clone_from=io.BytesIO(a_pdf())), io.BytesIO()
    writer.encrypt("a-word", algorithm="RC4-128")
    writer.write(file)
    return file.getvalue()


def made(kind: Kind, body: bytes, **other: Any) -> bytes:
    own = {"Laterality": ""} if kind is Kind.SECONDARY_CAPTURE else {"DocumentTitle": "Findings"}
    return make(MakeTask(kind, {**ATTRIBUTES, **said({**own, **other})}, len(body)), body)


@pytest.mark.parametrize(
    ("body", "sop_class", "shape"),
    [
        (saved(COLOUR, "JPEG"), SECONDARY_CAPTURE, (ROWS, COLUMNS, 3)),
        (saved(COLOUR, "PNG"), SECONDARY_CAPTURE, (ROWS, COLUMNS, 3)),
        (saved(COLOUR, "BMP"), SECONDARY_CAPTURE, (ROWS, COLUMNS, 3)),
        (saved(COLOUR.convert("P"), "PNG"), SECONDARY_CAPTURE, (ROWS, COLUMNS, 3)),
        (saved(COLOUR.convert("RGBA"), "PNG"), SECONDARY_CAPTURE, (ROWS, COLUMNS, 3)),
        (saved(COLOUR.convert("CMYK"), "JPEG"), SECONDARY_CAPTURE, (ROWS, COLUMNS, 3)),
        (saved(GRAY, "JPEG"), SECONDARY_CAPTURE, (ROWS, COLUMNS)),
        (saved(GRAY.convert("1"), "TIFF", compression="group4"), SECONDARY_CAPTURE, (31, 33)),
        (saved(WORDS, "PNG"), SECONDARY_CAPTURE, (ROWS, COLUMNS)),
        (saved(COLOUR, "TIFF", **PAGES), TRUE_COLOR, (3, ROWS, COLUMNS, 3)),
        (
            saved(GRAY, "TIFF", save_all=True, append_images=[GRAY]),
            GRAYSCALE_BYTE,
            (2, ROWS, COLUMNS),
        ),
        (
            saved(WORDS, "TIFF", save_all=True, append_images=[WORDS]),
            GRAYSCALE_WORD,
            (2, ROWS, COLUMNS),
        ),
    ],
    ids=[
        "jpeg",
        "png",
        "bmp",
        "palette",
        "clear",
        "cmyk",
        "gray",
        "fax",
        "words",
        "3c",
        "2g",
        "2w",
    ],
)
def test_a_picture_of_each_kind(
    tmp_path: Path, body: bytes, sop_class: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "made.dcm"
    path.write_bytes(made(Kind.SECONDARY_CAPTURE, body))
    assert dciodvfy(path) == []
    found = pydicom.dcmread(path)
    assert (found.SOPClassUID, found.pixel_array.shape) == (sop_class, shape)
    assert found.LossyImageCompression == ("01" if body[:2] == b"\xff\xd8" else "00")
    assert str(found.PatientName) == "Yamada^Tarou=山田^太郎"


def test_pixels_stay_what_they_are() -> None:
    found = pydicom.dcmread(io.BytesIO(made(Kind.SECONDARY_CAPTURE, saved(WORDS, "PNG"))))
    assert np.array_equal(found.pixel_array, np.asarray(WORDS))
    assert np.array_equal(decode(saved(COLOUR, "PNG")).frames[0], np.asarray(COLOUR))
    white_is_zero = Pillow.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    turned = decode(saved(white_is_zero, "TIFF", tiffinfo={262: 0})).frames[0]
    assert turned.tolist() == [[65535, 0]]


def test_a_photograph_stands_upright() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # it is to be turned by 90 degrees
    exif[0x010E] = "Jane Doe, ward 7"
    body = saved(COLOUR, "JPEG", exif=exif)
    assert decode(body).frames.shape == (1, COLUMNS, ROWS, 3)
    assert b"ward 7" in body
    assert b"ward 7" not in made(Kind.SECONDARY_CAPTURE, body)


def test_what_is_clear_is_white() -> None:
    nothing = Pillow.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert decode(saved(nothing, "PNG")).frames.tolist() == [[[[255] * 3] * 2] * 2]


@pytest.mark.parametrize("pages", [1, 3])
def test_a_document(tmp_path: Path, pages: int) -> None:
    body = a_pdf(pages)
    path = tmp_path / "made.dcm"
    path.write_bytes(made(Kind.PDF, body, Modality="DOC"))
    assert dciodvfy(path) == []
    found = pydicom.dcmread(path)
    assert (found.SOPClassUID, found.DocumentTitle) == (ENCAPSULATED_PDF, "Findings")
    assert found.EncapsulatedDocument[: found.EncapsulatedDocumentLength] == body


@pytest.mark.parametrize(
    ("kind", "body", "word"),
    [
        (Kind.SECONDARY_CAPTURE, b"Dear colleague", "no picture"),
        (Kind.SECONDARY_CAPTURE, saved(COLOUR, "GIF"), "no picture"),
        (Kind.SECONDARY_CAPTURE, saved(COLOUR, "PNG")[:900], "damaged"),
        (Kind.SECONDARY_CAPTURE, saved(COLOUR, "JPEG")[:300], "damaged"),
        (Kind.SECONDARY_CAPTURE, saved(Pillow.new("F", (2, 2)), "TIFF"), "no whole numbers"),
        (Kind.SECONDARY_CAPTURE, saved(Pillow.new("1", (11000, 11000)), "PNG"), "more pixels"),
        (Kind.SECONDARY_CAPTURE, saved(Pillow.new("1", (66000, 1)), "PNG"), "more pixels"),
        (
            Kind.SECONDARY_CAPTURE,
            saved(GRAY, "TIFF", save_all=True, append_images=[COLOUR]),
            "one by one",
        ),
        (Kind.PDF, b"Dear colleague", "no PDF"),
        (Kind.PDF, b"%PDF-1.7\nnothing", "damaged"),
        (Kind.PDF, locked(), "password"),
    ],
)
def test_what_makes_no_object(kind: Kind, body: bytes, word: str) -> None:
    with pytest.raises(NoPicture, match=word):
        made(kind, body)


def test_too_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_FRAMES", 2)
    with pytest.raises(NoPicture, match="3 pages; 2 are taken"):
        decode(saved(COLOUR, "TIFF", **PAGES))


def test_what_would_be_no_valid_object_is_refused_by_its_attribute() -> None:
    with pytest.raises(NoPicture, match="no valid object: PatientSex"):
        made(Kind.SECONDARY_CAPTURE, saved(COLOUR, "PNG"), PatientSex="SECRET")


@pytest.mark.parametrize("own", ["2.25.7", f"1.2.3.{'4' * 53}.9", f"1.2.3.{'4' * 56}.9"])
def test_uids_within_an_object_are_valid_and_stay(own: str) -> None:
    made = Meant(own, "2.25.8", datetime(2026, 11, 27, tzinfo=UTC))
    found = made.more_uids(502)
    assert len(set(found)) == 502
    assert all(is_conformant(one) for one in found)
    assert found == made.more_uids(502)
