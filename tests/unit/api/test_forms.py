"""Which form and which coding of data sets a client gets, and what they look like as XML."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import brotli
import pytest
import zstandard
from starlette.requests import Request

from darkroom_api.dicomweb.forms import Form, form_of
from darkroom_api.dicomweb.native_model import native_xml
from darkroom_api.edge.codings import Coding, coding_of, pack, packed
from darkroom_api.http.errors import ApiError
from tests.support.native_xml import read_xml

_XML = 'multipart/related; type="application/dicom+xml"'
_NAME = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def a_request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "headers": raw, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", Form.DICOM_JSON),
        ("", Form.DICOM_JSON),
        ("application/json", Form.JSON),
        ("application/dicom+json", Form.DICOM_JSON),
        ("application/json, application/dicom+json", Form.DICOM_JSON),
        (_XML, Form.XML),
        ("multipart/related", Form.XML),
        ("multipart/*", Form.XML),
        (f"{_XML}; q=0.5, application/dicom+json; q=0.4", Form.XML),
        (f"{_XML}; q=0.5, application/dicom+json", Form.DICOM_JSON),
        ("application/dicom+json; q=0, application/json; q=0, */*", Form.XML),
        ("application/dicom+json; q=0, */*; q=0.1", Form.JSON),
        ("text/html", None),
        ('multipart/related; type="application/dicom"', None),
        ("*/*; q=0", None),
        ("application/dicom+json; q=0", None),
    ],
)
def test_the_form_that_is_wanted_most(accept: str, form: Form | None) -> None:
    if form is not None:
        assert form_of(a_request(accept=accept)) is form
        return
    with pytest.raises(ApiError) as caught:
        form_of(a_request(accept=accept))
    assert caught.value.status == 406
    assert "application/dicom+json" in caught.value.detail
    assert "application/dicom+xml" in caught.value.detail


def test_the_parameter_accept_stands_in_for_the_header() -> None:
    asked = a_request("accept=application/dicom%2Bjson", accept=_XML)
    assert form_of(asked) is Form.DICOM_JSON


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, Coding.IDENTITY),
        ("", Coding.IDENTITY),
        ("gzip", Coding.GZIP),
        ("gzip, deflate, br", Coding.BR),
        ("gzip, deflate, br, zstd", Coding.ZSTD),
        ("gzip;q=1.0, br;q=0.5", Coding.GZIP),
        ("zstd;q=0, br; q=0.0, gzip", Coding.GZIP),
        ("*", Coding.ZSTD),
        ("*;q=0.5, zstd;q=0", Coding.BR),
        ("deflate", Coding.IDENTITY),
        ("identity, gzip;q=0.5", Coding.IDENTITY),
        ("gzip;q=x", Coding.IDENTITY),
    ],
)
def test_the_coding_that_is_wanted_most(accept: str | None, coding: Coding) -> None:
    headers = {} if accept is None else {"accept_encoding": accept}
    assert coding_of(a_request(**headers)) is coding


@pytest.mark.parametrize("coding", list(Coding))
def test_a_body_comes_back_from_every_coding(coding: Coding) -> None:
    back = {
        Coding.GZIP: gzip.decompress,
        Coding.BR: brotli.decompress,
        Coding.ZSTD: lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        Coding.IDENTITY: bytes,
    }[coding]
    parts = [b"a" * 5000, b"", b"bc" * 70_000]

    async def whole() -> bytes:
        async def chunks() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        return b"".join([data async for data in packed(chunks(), coding)])

    assert back(pack(b"".join(parts), coding)) == b"".join(parts)
    assert back(asyncio.run(whole())) == b"".join(parts)


def test_the_native_model_says_what_the_json_says() -> None:
    data_set: dict[str, dict[str, Any]] = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00091001": {"vr": "LO", "Value": ["<&\x01>"]},
        "00090010": {"vr": "LO", "Value": ['A "creator"']},
        "00100010": {
            "vr": "PN",
            "Value": [{"Alphabetic": "Doe^Jane^^^Dr", "Ideographic": "山田^太郎"}],
        },
        "00100020": {"vr": "LO"},
        "00281101": {"vr": "OW", "InlineBinary": "AAE="},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}, {}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://a/b?c&d"},
        "00280010": {"vr": "US", "Value": [512]},
    }
    root = read_xml(native_xml(data_set))
    assert root.tag == f"{_NAME}NativeDicomModel"
    found = {one.attrib["tag"]: one for one in root}
    assert list(found) == sorted(data_set)
    assert [(v.attrib["number"], v.text) for v in found["00080008"]] == [
        ("1", "ORIGINAL"),
        ("3", "AXIAL"),
    ]
    assert found["00080005"].attrib == {
        "tag": "00080005",
        "vr": "CS",
        "keyword": "SpecificCharacterSet",
    }
    assert found["00091001"].attrib["privateCreator"] == 'A "creator"'
    assert found["00091001"][0].text == "<&\ufffd>"
    (person,) = found["00100010"]
    assert [(g.tag, [(c.tag, c.text) for c in g]) for g in person] == [
        (
            f"{_NAME}Alphabetic",
            [
                (f"{_NAME}FamilyName", "Doe"),
                (f"{_NAME}GivenName", "Jane"),
                (f"{_NAME}NameSuffix", "Dr"),
            ],
        ),
        (f"{_NAME}Ideographic", [(f"{_NAME}FamilyName", "山田"), (f"{_NAME}GivenName", "太郎")]),
    ]
    assert len(found["00100020"]) == 0
    assert found["00281101"][0].text == "AAE="
    assert [len(item) for item in found["00400275"]] == [1, 0]
    assert found["00400275"][0][0].attrib["keyword"] == "ScheduledProcedureStepID"
    assert found["7FE00010"][0].attrib == {"uri": "http://a/b?c&d"}
    assert found["00280010"][0].text == "512"
