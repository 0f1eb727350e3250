"""What an object says goes out as it came: private elements, character sets, every byte."""

import io
from base64 import b64decode
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.support.builders import a_data_set
from tests.support.shelf import EXPLICIT, Shelf, url_of

IMPLICIT = "1.2.840.10008.1.2"
DICOM = "application/dicom"
NAMES = {
    "ISO 2022 IR 6\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 6\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "ISO_IR 100": "Buc^Jérôme",
    "ISO_IR 166": "นามสกุล^ชื่อต้น",
    "GB18030": "Wang^XiaoDong=王^小东",
    "ISO_IR 192": "Müller^Jörg=缪^约克",
}
PARTS = ("Alphabetic", "Ideographic", "Phonetic")


def an_object(charset: str) -> Dataset:
    one = a_data_set(SpecificCharacterSet=charset.split("\\"), PatientName=NAMES[charset])
    one.StudyDescription = NAMES[charset].split("=")[0]
    block = one.private_block(0x0009, "MADE UP", create=True)
    block.add_new(0x02, "LO", "kept as it is")
    block.add_new(0x03, "UN", bytes(range(6)))
    block.add_new(0x04, "US", 4711)
    item = Dataset()
    item.private_block(0x0011, "WITHIN", create=True).add_new(0x01, "DS", "1.50")
    block.add_new(0x05, "SQ", [item])
    return one


async def test_all_of_it_comes_back(shelf: Shelf) -> None:
    """One shelf for all: that of each case would start workers of its own."""
    for charset in NAMES:
        for syntax, other in ((EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)):
            one = an_object(charset)
            whole = shelf.add(one, syntax)
            as_stored = {"accept": f"{DICOM}; transfer-syntax=*"}
            assert (await shelf.client.get(url_of(one), headers=as_stored)).content == whole
            (said,) = (await shelf.client.get(f"{url_of(one)}/metadata")).json()
            check_metadata(said, charset, has_vrs=syntax == EXPLICIT)
            wanted = {"accept": f"{DICOM}; transfer-syntax={other}"}
            answer = await shelf.client.get(url_of(one), headers=wanted)
            assert answer.status_code == 200, answer.text
            made = dcmread(io.BytesIO(answer.content))
            assert made.file_meta.TransferSyntaxUID == other
            check_object(made, one)


def check_metadata(said: Any, charset: str, *, has_vrs: bool) -> None:
    named = dict(zip(PARTS, NAMES[charset].split("="), strict=False))
    assert said["00100010"]["Value"] == [named]
    assert said["00081030"]["Value"] == [NAMES[charset].split("=")[0]]
    assert said["00080005"]["Value"] == ["ISO_IR 192"]  # of the answer
    assert said["00090010"]["Value"] == ["MADE UP"]
    if has_vrs:
        assert said["00091002"] == {"vr": "LO", "Value": ["kept as it is"]}
        assert said["00091004"] == {"vr": "US", "Value": [4711]}
        assert said["00091005"]["Value"][0]["00111001"]["Value"] == [1.5]
    else:  # of what nobody knows there are the bytes
        assert b64decode(said["00091002"]["InlineBinary"]) == b"kept as it is "
        assert b64decode(said["00091004"]["InlineBinary"]) == (4711).to_bytes(2, "little")


def check_object(made: Dataset, one: Dataset) -> None:
    for keyword in ("PatientName", "StudyDescription", "SpecificCharacterSet", "PixelData"):
        assert made[keyword].value == one[keyword].value, keyword
    text, raw, number = (made[0x00091002 + n].value for n in range(3))
    assert text in ("kept as it is", b"kept as it is ")
    assert raw == bytes(range(6))
    assert number in (4711, (4711).to_bytes(2, "little"))
    assert 0x00091005 in made
