"""What we have made is valid when it leaves: made over to any syntax, de-identified, edited."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from darkroom_api.objects.exchange import Kind
from darkroom_common.dicom.correction import Text, corrected
from darkroom_common.dicom.part10 import decode_head, encode_head
from darkroom_common.dicom.syntaxes import ENCODABLE, HTJ2K_LOSSLESS
from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.specs.deidentification import parse_profile
from darkroom_common.transcoding.converted import NATIVE_TARGETS
from darkroom_common.transcoding.transcode import convert
from darkroom_common.validation.validate import validate
from darkroom_transmit.conversion.deidentify import Deidentification
from tests.support.dciodvfy import dciodvfy
from tests.unit.api.making.kinds import AnyOf, made

IMAGES = (Kind.SECONDARY_CAPTURE, Kind.DX, Kind.CR)
DOCUMENTS = (Kind.PDF, Kind.CLINICAL_DOCUMENT, Kind.MODEL)
EDITED = {
    "PatientName": "Changed^Änne",
    "PatientID": "",
    "PatientBirthDate": "19800102",
    "PatientSex": "O",
    "AccessionNumber": "",
    "StudyDescription": "Changed",
    "ReferringPhysicianName": "",
}


def faults(path: Path, syntax: str = "") -> list[str]:
    """What our own table has against a file, and dciodvfy, which does not know HTJ2K."""
    with path.open("rb") as file:
        found = validate(file).to_json()
    own = [str(one) for one in found["findings"] if one["severity"] == "error"]
    return own if syntax == HTJ2K_LOSSLESS else [*own, *dciodvfy(path)]


def _hidden(profile: str) -> Callable[[Dataset], None]:
    return Deidentification(parse_profile(profile), b"k" * 32).edit


@pytest.mark.parametrize("kind", list(Kind))
def test_whatever_is_made_of_it_on_its_way(kind: Kind, tmp_path: Path) -> None:
    source, target = tmp_path / "source.dcm", tmp_path / "target.dcm"
    values, body = AnyOf(3).values(kind)
    source.write_bytes(made(kind, values, body))
    assert faults(source) == []
    for syntax in (*NATIVE_TARGETS, *(sorted(ENCODABLE) if kind in IMAGES else ())):
        written = convert(source, target, (syntax,))
        assert written.transfer_syntax_uid == syntax
        assert faults(target, syntax) == [], syntax
    for profile in ("basic+allow-burned-in", "basic+allow-burned-in+retain-uids"):
        if kind in DOCUMENTS:  # whatever it says: it does not leave
            with pytest.raises(Unconvertible):
                convert(source, target, NATIVE_TARGETS[:1], edit=_hidden(profile))
            continue
        convert(source, target, NATIVE_TARGETS[:1], edit=_hidden(profile))
        assert faults(target) == [], profile


@pytest.mark.parametrize("kind", list(Kind))
def test_whatever_is_corrected_in_it(kind: Kind, tmp_path: Path) -> None:
    values, body = AnyOf(5).values(kind)
    whole = made(kind, values, body)
    meta, offset = decode_head(whole)
    changes = {tag_for_keyword(name) or 0: text for name, text in EDITED.items()}
    pieces = corrected(io.BytesIO(whole), offset, meta.transfer_syntax_uid, changes, Text())
    path = tmp_path / "edited.dcm"
    path.write_bytes(encode_head(meta) + b"".join(pieces))
    assert str(dcmread(path).PatientName) == "Changed^Änne"
    assert faults(path) == []
