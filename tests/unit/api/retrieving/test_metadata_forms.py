"""Metadata in JSON and XML, packed, kept as it was sent, and not sent to who has it."""

from dataclasses import replace

import pytest

from tests.support.builders import a_data_set, new_uid
from tests.support.native_xml import multipart_xml
from tests.support.shelf import BASE, Shelf, url_of

_XML = 'multipart/related; type="application/dicom+xml"'


async def test_every_level_in_both_forms(shelf: Shelf) -> None:
    one = a_data_set(PatientName="Müller^Hans=山田^太郎", SpecificCharacterSet="ISO_IR 192")
    other = a_data_set(
        StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=one.SeriesInstanceUID
    )
    far = a_data_set(StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=new_uid())
    for data_set in (one, other, far):
        shelf.add(data_set)
    for level, count in (("study", 3), ("series", 2), ("instance", 1)):
        path = url_of(one, level) + "/metadata"
        answer = await shelf.client.get(path)
        assert answer.headers["content-type"] == "application/dicom+json"
        assert [found["0020000D"]["Value"] for found in answer.json()] == [
            [one.StudyInstanceUID]
        ] * count
        documents = multipart_xml(
            await shelf.client.get(path, headers={"accept": f"{_XML}, text/html;q=0.5"})
        )
        assert len(documents) == count
        for found, document in zip(answer.json(), documents, strict=True):
            assert [element.attrib["tag"] for element in document] == sorted(found)
        pixels = documents[0].find(".//*[@tag='7FE00010']/*")
        assert pixels is not None
        assert pixels.attrib["uri"] == f"{BASE}{url_of(one)}/bulkdata/7FE00010"
    family = documents[0].findall(".//*[@tag='00100010']/*/*/*")
    assert [part.text for part in family] == ["Müller", "Hans", "山田", "太郎"]
    refused = await shelf.client.get(path, headers={"accept": "application/dicom+xml"})
    assert refused.status_code == 406
    chosen = await shelf.client.get(
        path, params={"accept": "application/json"}, headers={"accept": _XML}
    )
    assert chosen.headers["content-type"] == "application/json"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity"])
async def test_what_was_sent_is_kept_until_a_row_changes(shelf: Shelf, coding: str) -> None:
    one = a_data_set()
    shelf.add(one)
    path, wanted = url_of(one, "series") + "/metadata", {"accept-encoding": coding}
    first = await shelf.client.get(path, headers=wanted)
    assert first.headers.get("content-encoding", "identity") == coding
    again = await shelf.client.get(path, headers=wanted)
    assert again.json() == first.json()
    assert again.headers["etag"] == first.headers["etag"]
    assert shelf.read == 1
    known = {**wanted, "if-none-match": f'"x", {first.headers["etag"]}'}
    answer = await shelf.client.get(path, headers=known)
    assert (answer.status_code, answer.content) == (304, b"")
    shelf.rows[0] = replace(shelf.rows[0], written=shelf.rows[0].written + 1)
    changed = await shelf.client.get(path, headers=known)
    assert (changed.status_code, shelf.read) == (200, 2)
    assert changed.headers["etag"] != first.headers["etag"]
    del shelf.rows[0]
    assert (await shelf.client.get(path, headers=known)).status_code == 404
