"""Which form of frames, objects and images a client gets."""

import pytest

from darkroom_api.dicomweb.accept import parse_accept
from darkroom_api.rendering.negotiation import (
    DECODED,
    MADE_FRAMES,
    MADE_OBJECTS,
    FrameForm,
    frame_forms,
    image_form,
    object_syntaxes,
    stored_form,
)
from darkroom_common.dicom.syntaxes import RLE
from darkroom_common.pixels import codecs

_4 = "1.2.840.10008.1.2.4."
EXPLICIT, IMPLICIT, J2K = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", f"{_4}90"
OCTETS = "application/octet-stream"
RANGE = 'multipart/related; type="{}"'


def test_what_is_offered_can_be_made() -> None:
    assert DECODED == codecs.DECODABLE
    made = {uid for uids in MADE_FRAMES.values() for uid in uids}
    assert made - {EXPLICIT, codecs.JPEG_BASELINE} == codecs.ENCODABLE
    assert set(MADE_OBJECTS) - {EXPLICIT, IMPLICIT} == codecs.ENCODABLE


@pytest.mark.parametrize(
    ("stored", "accept", "form"),
    [
        (RLE, "*/*", FrameForm("image/dicom-rle")),
        (RLE, RANGE.format(OCTETS), FrameForm(OCTETS, (EXPLICIT,))),
        (RLE, RANGE.format(OCTETS) + "; transfer-syntax=*", FrameForm(OCTETS)),
        (RLE, RANGE.format("image/jp2"), FrameForm("image/jp2", (J2K,))),
        (RLE, RANGE.format("image/jxl"), None),
        (EXPLICIT, "*/*", FrameForm(OCTETS)),
        (IMPLICIT, RANGE.format(OCTETS) + f"; transfer-syntax={EXPLICIT}", FrameForm(OCTETS)),
        (EXPLICIT, "image/jpeg", FrameForm("image/jpeg", (f"{_4}70",), single=True)),
        (f"{_4}50", "image/jpeg", FrameForm("image/jpeg", single=True)),
        (f"{_4}110", RANGE.format(OCTETS), FrameForm(OCTETS, (EXPLICIT,))),
        (f"{_4}110", RANGE.format(OCTETS) + "; transfer-syntax=*", FrameForm(OCTETS)),
        ("1.2.3", RANGE.format(OCTETS), None),
        ("1.2.3", "*/*", FrameForm(OCTETS)),
        (RLE, f"{RANGE.format(OCTETS)}; q=0, text/html", None),
    ],
)
def test_frames(stored: str, accept: str, form: FrameForm | None) -> None:
    assert next(frame_forms(parse_accept([accept]), stored, one=True), None) == form


def test_several_frames_are_no_single_part() -> None:
    assert list(frame_forms(parse_accept(["image/jpeg"]), EXPLICIT, one=False)) == []


def test_frames_that_are_liked_better_come_before_stored_ones() -> None:
    octets, jp2 = FrameForm(OCTETS), FrameForm("image/jp2", (J2K,))
    both = [f"{RANGE.format(OCTETS)};q=0.2, {RANGE.format('image/jp2')};q=0.9"]
    assert list(frame_forms(parse_accept(both), EXPLICIT, one=False))[:2] == [jp2, octets]
    alike = [f"{RANGE.format('image/jp2')}, {RANGE.format(OCTETS)}"]
    assert next(frame_forms(parse_accept(alike), EXPLICIT, one=False)) == octets
    but = [f"*/*, {RANGE.format(OCTETS)};q=0.1"]
    assert next(frame_forms(parse_accept(but), EXPLICIT, one=False)).kind == "image/jpeg"
    assert stored_form(parse_accept(both), EXPLICIT) == octets
    assert stored_form(parse_accept([RANGE.format("image/jp2")]), EXPLICIT) is None


def test_objects() -> None:
    def asked(text: str, stored: str) -> tuple[str, ...] | None:
        return object_syntaxes(parse_accept([text]), stored)

    dicom = "application/dicom"
    assert asked(dicom, J2K) == ()
    assert asked(f"{dicom}; transfer-syntax={J2K}", J2K) == ()
    assert asked(f"{dicom}; transfer-syntax={EXPLICIT}", J2K) == (EXPLICIT,)
    both = f"{dicom}; transfer-syntax={RLE};q=0.1, {dicom}; transfer-syntax={EXPLICIT}"
    assert asked(both, J2K) == (EXPLICIT, RLE)
    rather = f"{dicom}; transfer-syntax={J2K};q=0.1, {dicom}; transfer-syntax={RLE}"
    assert asked(rather, J2K) == (RLE, J2K)
    assert asked(rather, RLE) == ()
    assert asked(f"{dicom};q=0.5, {dicom}; transfer-syntax={RLE}", f"{_4}102") == ()
    assert asked(f"{dicom}; transfer-syntax={EXPLICIT}", f"{_4}102") is None
    assert asked(f"{dicom}; transfer-syntax=1.2.3", J2K) is None


def test_images() -> None:
    def asked(text: str, *, one: bool = True) -> tuple[str, bool] | None:
        form = image_form(parse_accept([text]), one=one)
        return None if form is None else (form.kind, form.single)

    assert asked("*/*") == ("image/jpeg", True)
    assert asked("image/png;q=0.2, image/gif;q=0.9") == ("image/gif", True)
    assert asked("image/png", one=False) == ("image/png", False)
    assert asked(RANGE.format("image/png")) == ("image/png", False)
    assert asked("text/html") is None
    assert asked("image/jpeg;q=0") is None
