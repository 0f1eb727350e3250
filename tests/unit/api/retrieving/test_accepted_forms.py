"""What is answered to Accept headers as clients send them, and to odd ones (PS3.18 section 8.7)."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from darkroom_common.pixels import codecs
from darkroom_common.pixels.codecs import Pixels
from tests.support.builders import a_data_set
from tests.support.shelf import EXPLICIT, Shelf, url_of
from tests.unit.api.retrieving.test_retrieving_objects import parts

IMPLICIT = "1.2.840.10008.1.2"
J50, J70, J90, J80 = (f"1.2.840.10008.1.2.4.{n}" for n in ("50", "70", "90", "80"))
RLE = "1.2.840.10008.1.2.5"
PRIVATE = "1.2.3.4"
DICOM, OCTETS, JPEG, PNG = (
    "application/dicom",
    "application/octet-stream",
    "image/jpeg",
    "image/png",
)
JSON, XML, ZIP = "application/dicom+json", "application/dicom+xml", "application/zip"
M = "multipart/related"
EACH = ("object", "frame", "frames", "metadata", "rendered", "thumbnail")
NONE = dict.fromkeys(EACH, "")


def m(kind: str, syntax: str = "") -> str:
    """A part of a multipart answer."""
    return f"{M} {s(kind, syntax)}"


def s(kind: str, syntax: str = "") -> str:
    """An answer by itself."""
    return f"{kind}; transfer-syntax={syntax}" if syntax else kind


DECODED_DICOM = f'{M};type="{DICOM}";transfer-syntax={EXPLICIT}'
EVERYTHING = {
    "object": m(DICOM, J50),
    "frame": m(JPEG, J50),
    "frames": m(OCTETS, EXPLICIT),
    "metadata": JSON,
    "rendered": JPEG,
    "thumbnail": JPEG,
}
PARTS = EVERYTHING | {"metadata": m(XML), "rendered": m(JPEG), "thumbnail": ""}
OBJECTS = NONE | {"object": m(DICOM, J50)}
OBJECT = NONE | {"object": s(DICOM, J50)}
DECODED = NONE | {"object": m(DICOM, EXPLICIT)}
IMAGES = NONE | {"frame": s(JPEG, J50), "rendered": JPEG, "thumbnail": JPEG}
PICTURES = NONE | {"frame": m(JPEG, J50), "frames": m(JPEG, J70), "rendered": m(JPEG)}
BYTES = NONE | {"frame": m(OCTETS, EXPLICIT), "frames": m(OCTETS, EXPLICIT)}
DATA = NONE | {"metadata": JSON}
WALK: list[tuple[list[str], dict[str, str]]] = [
    # what takes everything, and nothing
    ([], EVERYTHING),
    ([""], EVERYTHING),
    (["*/*"], EVERYTHING),
    (["*"], EVERYTHING),
    (["text/html, application/xhtml+xml, */*;q=0.8"], EVERYTHING),
    (["text/html, image/gif;q=0, *; q=.2, */*; q=.2"], EVERYTHING),
    (["*/*;q=0"], NONE),
    (["*/*; q=0.000"], NONE),
    (["text/html"], NONE),
    (["garbage"], NONE),
    (["a/b/c"], NONE),
    ([";;;"], NONE),
    ([",,,"], NONE),
    # parts of any type
    ([M], PARTS),
    (["multipart/*"], PARTS),
    ([f"{M}; type="], PARTS),
    ([f'{M}; type=""'], PARTS),
    ([f'{M}; type="*/*"'], PARTS),
    # objects
    ([f"{M}; type={DICOM}"], OBJECTS),
    ([f'{M}; type="{DICOM}"'], OBJECTS),
    ([f"{M}; type='{DICOM}'"], OBJECTS),
    ([f'{M}; type="{DICOM}"; transfer-syntax=*'], OBJECTS),
    ([f'{M}; type="{DICOM}"; transfer-syntax="*"'], OBJECTS),
    ([f'{M}; type="{DICOM}; transfer-syntax=*"'], OBJECTS),
    ([f'{M}; type="{DICOM}"; transfer-syntax='], OBJECTS),
    ([f'{M.upper()}; TYPE="{DICOM.upper()}"; Transfer-Syntax=*'], OBJECTS),
    ([f'{M};type="{DICOM}";transfer-syntax={EXPLICIT}'], DECODED),
    ([f'{M}; type="{DICOM}"; transfer-syntax={EXPLICIT}; boundary=abc'], DECODED),
    ([f'{M};type="{DICOM}";transfer-syntax=*;q=0, {DECODED_DICOM}'], DECODED),
    ([DICOM], OBJECT),
    ([f"{DICOM}; transfer-syntax=*"], OBJECT),
    ([f"{DICOM};q=2"], OBJECT),
    ([f"{DICOM}; transfer-syntax={IMPLICIT}"], NONE | {"object": s(DICOM, IMPLICIT)}),
    ([f"{DICOM};transfer-syntax={J50}, {DICOM};transfer-syntax={EXPLICIT}"], OBJECT),
    (
        [f"{DICOM};transfer-syntax={J50};q=0.1, {DICOM};transfer-syntax={EXPLICIT}"],
        NONE | {"object": s(DICOM, EXPLICIT)},
    ),
    ([f"{DICOM}; transfer-syntax=9.9.9"], NONE),
    ([f"{DICOM};q=-1"], NONE),
    ([f"{DICOM};q=abc"], NONE),
    ([f'"{DICOM}"'], NONE),
    ([ZIP], NONE | {"object": ZIP}),
    ([f'{ZIP};q=0.5, {M};type="{DICOM}";q=0.4'], NONE | {"object": ZIP}),
    ([f'{ZIP};q=0.4, {M};type="{DICOM}";q=0.5'], OBJECTS),
    # frames and images
    (["image/*"], IMAGES),
    ([JPEG], IMAGES),
    (["image/*;q=0.9, image/png;q=0"], IMAGES),
    ([PNG], NONE | {"rendered": PNG, "thumbnail": PNG}),
    ([f"{JPEG};q=0.5, {PNG}"], IMAGES | {"rendered": PNG, "thumbnail": PNG}),
    (["image/gif"], NONE | {"rendered": "image/gif", "thumbnail": "image/gif"}),
    (["image/jp2"], NONE | {"frame": s("image/jp2", J90)}),
    (["image/jls"], NONE | {"frame": s("image/jls", J80)}),
    (["image/dicom-rle"], NONE | {"frame": s("image/dicom-rle", RLE)}),
    (["video/mp4"], NONE),
    ([f'{M}; type="{JPEG}"'], PICTURES),
    ([f'{M}; type="image/*"'], PICTURES),
    ([f'{M}; type="{JPEG}"; transfer-syntax=*'], PICTURES),
    ([f'{M}; type="{JPEG}"; transfer-syntax={J50}'], PICTURES | {"frames": m(JPEG, J50)}),
    ([f'{M}; type="{JPEG}"; transfer-syntax={J70}'], PICTURES | {"frame": m(JPEG, J70)}),
    ([OCTETS], NONE | {"frame": s(OCTETS, EXPLICIT)}),
    (["text/html", OCTETS], NONE | {"frame": s(OCTETS, EXPLICIT)}),
    ([f"{OCTETS}; transfer-syntax=*"], NONE | {"frame": s(OCTETS, J50)}),
    ([f'{M}; type="{OCTETS}"'], BYTES),
    ([f'{M}; type="{OCTETS}"; transfer-syntax='], BYTES),
    ([f'{M}; type="{OCTETS}"; transfer-syntax=*'], BYTES | {"frame": m(OCTETS, J50)}),
    ([f'{M}; type="{OCTETS}"; transfer-syntax={J50}'], NONE | {"frame": m(OCTETS, J50)}),
    ([f'{M}; type="{OCTETS}"; transfer-syntax={J90}'], NONE),
    ([f'{M}; type="{OCTETS}"; transfer-syntax={IMPLICIT}'], NONE),
    # data sets
    ([JSON], DATA),
    ([f"{JSON}; charset=utf-8"], DATA),
    ([f'{JSON};charset="ISO-8859-1"'], DATA),
    ([f"{JSON}, {JSON};q=0.5"], DATA),
    (["application/json"], NONE | {"metadata": "application/json"}),
    ([f'{M}; type="{XML}"'], NONE | {"metadata": m(XML)}),
    ([f'{JSON};q=0.1, {M}; type="{XML}"'], NONE | {"metadata": m(XML)}),
    ([JSON, PNG], DATA | {"rendered": PNG, "thumbnail": PNG}),
    # of several kinds at once
    (
        ["application/*"],
        NONE | {"object": s(DICOM, J50), "frame": s(OCTETS, EXPLICIT), "metadata": JSON},
    ),
    (
        [f'{M};type="{DICOM}", {M};type="{OCTETS}";transfer-syntax=*'],
        OBJECTS | BYTES | {"object": m(DICOM, J50), "frame": m(OCTETS, J50)},
    ),
]


def an_image() -> tuple[Dataset, np.ndarray]:
    one = a_data_set(Rows=16, Columns=16, NumberOfFrames=2)
    pixels = np.arange(512, dtype=np.uint8).reshape(2, 16, 16)
    one.PixelData = pixels.tobytes()
    one["PixelData"].VR = "OB"
    return one, pixels


def fragments(one: Dataset, frames: list[bytes]) -> Dataset:
    one.PixelData = encapsulate(frames)
    one["PixelData"].is_undefined_length = True
    return one


async def asked(shelf: Shelf, path: str, accept: list[str]) -> str:
    """Return what an answer says it is; nothing for 406."""
    headers = [("accept", one) for one in accept]
    request = shelf.client.build_request("GET", path, headers=headers)
    if not accept:
        del request.headers["accept"]
    answer = await shelf.client.send(request)
    if answer.status_code == 406:
        assert answer.headers["content-type"] == "application/problem+json"
        return ""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"]
    if not kind.startswith(M):
        return kind
    kinds = {head["content-type"] for head, _ in parts(answer)}
    (kind,) = kinds
    return f"{M} {kind}"


async def test_a_walk_of_accept_headers(shelf: Shelf) -> None:
    native, pixels = an_image()
    shelf.add(native)
    packed, _ = an_image()
    plain = Pixels.of(packed)
    fragments(packed, [codecs.encode_baseline(one, plain, 90) for one in pixels])
    shelf.add(packed, J50)
    paths = {
        "object": url_of(packed),
        "frame": f"{url_of(packed)}/frames/1",
        "frames": f"{url_of(native)}/frames/1,2",
        "metadata": f"{url_of(native)}/metadata",
        "rendered": f"{url_of(native)}/rendered",
        "thumbnail": f"{url_of(native)}/thumbnail",
    }
    for accept, wanted in WALK:
        found = {what: await asked(shelf, path, accept) for what, path in paths.items()}
        assert found == wanted, accept


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("*/*", m(OCTETS, PRIVATE)),
        (M, m(OCTETS, PRIVATE)),
        ("multipart/*", m(OCTETS, PRIVATE)),
        (f'{M}; type="{OCTETS}"; transfer-syntax=*', m(OCTETS, PRIVATE)),
        (f'{M}; type="{OCTETS}"; transfer-syntax={PRIVATE}', m(OCTETS, PRIVATE)),
        (f'{M}; type="{OCTETS}"', ""),
        (OCTETS, ""),
        ("image/*", ""),
    ],
)
async def test_frames_that_nobody_decodes(shelf: Shelf, accept: str, wanted: str) -> None:
    one, _ = an_image()
    shelf.add(fragments(one, [b"1234", b"5678"]), PRIVATE)
    assert await asked(shelf, f"{url_of(one)}/frames/1", [accept]) == wanted
