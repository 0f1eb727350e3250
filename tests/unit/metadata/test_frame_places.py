"""Where compressed frames are: what the index keeps of it is what a walk would find."""

import io
from collections.abc import Sequence

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, itemize_frame

from darkroom_api.dicomweb.retrieving.fragments import NoPixels
from darkroom_api.dicomweb.retrieving.pixels import find_frames
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.stored import stored_file
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.objects.frame_places import unpacked
from darkroom_common.postgres.phi import BlindIndex
from tests.support.builders import CT, a_data_set, a_stored_item, encode
from tests.support.headers import read_one
from tests.support.real_files import REAL_FILES

BLIND = BlindIndex(b"k" * 32)
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.70"
MPEG = "1.2.840.10008.1.2.4.102"
BODIES = [bytes([n]) * (20 + 2 * n) for n in range(5)]


def compressed(value: bytes, frames: int | None, **more: object) -> Dataset:
    one = a_data_set(PixelData=value, **more)
    if frames is not None:
        one.NumberOfFrames = frames
    one["PixelData"].VR = "OB"
    one["PixelData"].is_undefined_length = True
    return one


def kept(content: bytes) -> bytes | None:
    """What the indexer keeps of a file."""
    with stored_file(io.BytesIO(content)) as (stored, meta):
        event = a_stored_item(
            transfer_syntax_uid=meta.transfer_syntax_uid,
            data_set_offset=len(content) - stored.size if not stored.inflated else 0,
            size=stored.size,
        )
    return read_one(event, content, BLIND).frame_places


def walked(content: bytes) -> list[Sequence[tuple[int, int]]]:
    with stored_file(io.BytesIO(content)) as (stored, _):
        return list(find_frames(stored, None).places or ())


def a_content(one: Dataset, syntax: str) -> bytes:
    return encode_head(FileMeta(CT, str(one.SOPInstanceUID), syntax)) + encode(one, syntax)


@pytest.mark.parametrize("syntax", [RLE, JPEG])
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("long_header", [False, True])
def test_a_fragment_a_frame(syntax: str, *, table: bool, long_header: bool) -> None:
    items = [a_data_set(PixelData=b"") for _ in range(400 if long_header else 0)]
    more = {"ReferencedImageSequence": items} if items else {}
    one = compressed(encapsulate(BODIES, has_bot=table), len(BODIES), **more)
    content = a_content(one, syntax)
    places = kept(content)
    assert places is not None
    found = unpacked(places)
    assert [content[start : start + length] for start, length in found] == BODIES
    assert [[one] for one in found] == walked(content)


def test_one_frame_whether_it_is_counted_or_not() -> None:
    for frames in (None, 1):
        content = a_content(compressed(encapsulate(BODIES[:1]), frames), JPEG)
        places = kept(content)
        assert places is not None
        ((start, length),) = unpacked(places)
        assert content[start : start + length] == BODIES[0]


def test_a_video_is_one_stream_whatever_its_number_of_frames() -> None:
    content = a_content(compressed(encapsulate(BODIES[4:]), 300), MPEG)
    places = kept(content)
    assert places is not None
    assert [list(one) for one in walked(content)] == [unpacked(places)]


def test_what_is_in_no_simple_order_is_left_to_a_walk() -> None:
    pieces = b"".join(itemize_frame(BODIES[4], 3))
    several = b"\xfe\xff\x00\xe0\0\0\0\0" + pieces
    for value, frames in (
        (several, 1),
        (encapsulate(BODIES), 4),
        (encapsulate(BODIES), 6),
        (encapsulate(BODIES), None),
    ):
        assert kept(a_content(compressed(value, frames), JPEG)) is None
    assert kept(a_content(a_data_set(), "1.2.840.10008.1.2.1")) is None


@pytest.mark.parametrize("long_header", [False, True])
@pytest.mark.parametrize("end", [b"", b"\xfe\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"])
def test_pixels_without_an_end_cost_no_header(end: bytes, *, long_header: bool) -> None:
    items = [a_data_set(PixelData=b"") for _ in range(400 if long_header else 0)]
    more = {"ReferencedImageSequence": items} if items else {}
    content = a_content(compressed(encapsulate(BODIES), len(BODIES), **more), JPEG)
    assert content.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    cut = content[:-8] + end
    with stored_file(io.BytesIO(cut)) as (stored, meta):
        event = a_stored_item(
            transfer_syntax_uid=meta.transfer_syntax_uid,
            data_set_offset=len(cut) - stored.size,
            size=stored.size,
        )
    found = read_one(event, cut, BLIND)
    assert (found.rows, found.columns) == (2, 2)
    assert (
        found.frame_places is None
        or [cut[start : start + length] for start, length in unpacked(found.frame_places)] == BODIES
    )


def test_of_real_files_it_is_what_a_walk_finds() -> None:
    tried = 0
    for path in REAL_FILES:
        content = path.read_bytes()
        try:
            with stored_file(io.BytesIO(content)):
                pass
            places = kept(content)
            found = walked(content) if places else []
        except (Unreadable, NoPixels, ValueError, AttributeError, KeyError, NotImplementedError):
            continue
        if places is not None:
            assert [[one] for one in unpacked(places)] == [list(one) for one in found], path.name
            tried += 1
    assert tried > 20
