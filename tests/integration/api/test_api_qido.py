"""What PS3.18 10.6 has beyond keys: parameters, forms, aliases, conditional requests."""

from typing import Any

import asyncpg
import pytest
from pydicom.dataset import Dataset

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid
from tests.support.native_xml import multipart_xml

_XML = 'multipart/related; type="application/dicom+xml"'


def studies(answer: Any) -> list[str]:
    """Return the study UIDs of an answer."""
    assert answer.status_code in (200, 204), answer.text
    return [one["0020000D"]["Value"][0] for one in answer.json()] if answer.content else []


@pytest.mark.req("API-11")
async def test_standard_parameters(api: Api) -> None:
    """Empty and multiple values, character sets, the modality of a study, keys that come back."""
    plain = a_data_set(AccessionNumber="", StudyID="", Modality="CT", Manufacturer="A")
    both = a_data_set(OtherPatientIDs=["X1", "X2"], AccessionNumber="ACC", Modality="CT")
    second = a_data_set(
        StudyInstanceUID=both.StudyInstanceUID, SeriesInstanceUID=new_uid(), Modality="PT"
    )
    await api.seed.add(plain, both, second)
    one, two = str(plain.StudyInstanceUID), str(both.StudyInstanceUID)
    empty, several = {"emptyvaluematching": "true"}, {"multiplevaluematching": "true"}
    for asked, wanted in (
        ({"AccessionNumber": '""', **empty}, {one}),
        ({"AccessionNumber": '""'}, set()),
        ({"AccessionNumber": "", **empty}, {one, two}),
        ({"StudyDate": '""', **empty}, set()),
        ({"SOPClassesInStudy": '""', **empty}, set()),
        ({"ModalitiesInStudy": "CT\\PT"}, {one, two}),
        ({"ModalitiesInStudy": "CT\\PT", **several}, {two}),
        ({"ModalitiesInStudy": "CT,PT", **several}, {two}),
        ({"OtherPatientIDs": "x2\\X1", **several}, {two}),
        ({"OtherPatientIDs": "X1\\X3", **several}, set()),
        ({"OtherPatientIDs": "X1\\X3"}, {two}),
        ({"Modality": "PT"}, {two}),
        ({"00080060": "C?"}, {one, two}),
    ):
        answer = await api.client.get("/dicom-web/studies", params=asked)
        assert set(studies(answer)) == wanted, asked
    for query in ("fuzzymatching=1", "emptyvaluematching=x", "multiplevaluematching="):
        answer = await api.client.get(f"/dicom-web/studies?{query}")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == query.partition("=")[0]
    wild = {"ModalitiesInStudy": "C*\\PT", **several}
    assert (await api.client.get("/dicom-web/studies", params=wild)).status_code == 400
    for charset, warned in (("utf-8", False), ("latin1, *", False), ("ISO-8859-1", True)):
        answer = await api.client.get("/dicom-web/studies", params={"charset": charset})
        assert answer.headers.get("warning", "").startswith("299 ") is warned, charset
    # what was asked for by a key is answered, also where it is not by itself
    answer = await api.client.get(
        f"/dicom-web/studies/{one}/series", params={"Manufacturer": "A", "PatientID": ""}
    )
    (found,) = answer.json()
    assert found["00080070"]["Value"] == ["A"]
    assert found["00100020"]["Value"] == ["PLANTED-1"]
    for fields in ("00080070,BodyPartExamined", "Manufacturer&includefield=00180015", "all"):
        (found,) = (
            await api.client.get(f"/dicom-web/studies/{one}/series?includefield={fields}")
        ).json()
        assert found["00080070"]["Value"] == ["A"]


@pytest.mark.req("API-11")
async def test_searches_in_xml(api: Api) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID = "SPS1"
    who = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Hans=山田^太郎"}
    data_set = a_data_set(RequestAttributesSequence=[item], **who)
    uids = {name: data_set[name].value for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    other = a_data_set(**uids, **who)
    await api.seed.add(data_set, other)
    base = f"/dicom-web/studies/{data_set.StudyInstanceUID}"
    series = f"{base}/series/{data_set.SeriesInstanceUID}"
    for path, count in (
        ("/dicom-web/patients", 1),
        ("/dicom-web/studies", 1),
        (f"{base}/series", 1),
        (f"{series}/instances", 2),
    ):
        answer = await api.client.get(path, headers={"accept": f"{_XML}, text/html;q=0.5"})
        assert answer.status_code == 200, path
        found = multipart_xml(answer)
        assert len(found) == count, path
        said = (await api.client.get(path)).json()
        for one, same in zip(found, said, strict=True):
            assert [element.attrib["tag"] for element in one] == sorted(same), path
            assert {element.attrib["tag"]: element.attrib["vr"] for element in one} == {
                tag: element["vr"] for tag, element in same.items()
            }
        if path in ("/dicom-web/patients", "/dicom-web/studies"):
            parts = found[0].findall("./*[@tag='00100010']/*/*/*")
            assert [part.text for part in parts] == ["Müller", "Hans", "山田", "太郎"]
        if path.endswith("/series"):
            (step,) = found[0].findall("./*[@tag='00400275']/*/*[@tag='00400009']/*")
            assert step.text == "SPS1"
    nothing = await api.client.get("/dicom-web/studies?PatientID=x", headers={"accept": _XML})
    assert (nothing.status_code, nothing.content) == (204, b"")


@pytest.mark.req("API-11")
async def test_paths_of_other_archives(api: Api) -> None:
    """What can be named by fewer UIDs is served so, and says its whole address."""
    data_set = a_data_set()
    await api.seed.add(data_set, a_data_set(PatientID="PLANTED-2"))
    study, series = data_set.StudyInstanceUID, data_set.SeriesInstanceUID
    uid = data_set.SOPInstanceUID
    whole = f"/dicom-web/studies/{study}/series/{series}/instances/{uid}"
    for short in (f"/instances/{uid}", f"/studies/{study}/instances/{uid}"):
        for rest in ("", "/metadata", "/frames/1", "/bulkdata/7FE00010", "/rendered"):
            answer = await api.client.get(f"/dicom-web{short}{rest}")
            expected = await api.client.get(whole + rest)
            assert answer.status_code == expected.status_code == 200, short + rest
            if rest == "/metadata":
                assert answer.json() == expected.json()
                assert whole in answer.text  # of bulk data
    for rest in ("", "/metadata", "/instances", f"/instances/{uid}", "/thumbnail"):
        answer = await api.client.get(f"/dicom-web/series/{series}{rest}")
        assert answer.status_code == 200, rest
    (found,) = (await api.client.get(f"/dicom-web/series/{series}/instances")).json()
    assert found["00081190"]["Value"] == [f"{api.url}{whole}"]
    for missing in ("/series/1.2.3", "/series/1.2.3/metadata", "/instances/1.2.3/metadata"):
        assert (await api.client.get(f"/dicom-web{missing}")).status_code == 404
    for of in ("patients", "studies"):
        none = await api.client.get(f"/dicom-web/{of}?limit=0")
        assert none.status_code in (200, 204), none.text
    answer = await api.client.get("/dicom-web/patients?limit=1")
    (patient,) = answer.json()
    assert answer.headers["x-total-count"] == "2"
    assert patient["00201200"] == {"vr": "IS", "Value": [1]}
    (other,) = (await api.client.get(answer.links["next"]["url"])).json()
    known = {one["00100020"]["Value"][0] for one in (patient, other)}
    assert known == {"PLANTED-1", "PLANTED-2"}
    answer = await api.client.get("/dicom-web/patients", params={"PatientName": "PLANTED^*"})
    assert len(answer.json()) == 2
    assert (await api.client.get("/dicom-web/patients?StudyDate=2024")).status_code == 400


async def test_what_a_client_has_is_not_sent_again(api: Api) -> None:
    """ETags of searches and metadata change with what they show."""
    data_set = a_data_set()
    await api.seed.add(data_set)
    study = f"/dicom-web/studies/{data_set.StudyInstanceUID}"
    known: dict[str, str] = {}
    for path in ("/dicom-web/studies", f"{study}/series", f"{study}/metadata"):
        answer = await api.client.get(path)
        known[path] = answer.headers["etag"]
        again = await api.client.get(path, headers={"if-none-match": known[path]})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == known[path]
        other = await api.client.get(
            path, headers={"if-none-match": known[path], "host": "other.example"}
        )
        assert other.status_code == 200  # its URLs are others
    more = a_data_set(
        StudyInstanceUID=data_set.StudyInstanceUID, SeriesInstanceUID=data_set.SeriesInstanceUID
    )
    await api.seed.add(more)
    for path, etag in known.items():
        answer = await api.client.get(path, headers={"if-none-match": f'"x", {etag}'})
        assert answer.status_code == 200, path
        assert answer.headers["etag"] != etag
    for coding in ("gzip", "br", "zstd"):
        answer = await api.client.get(f"{study}/metadata", headers={"accept-encoding": coding})
        assert answer.headers["content-encoding"] == coding


async def test_a_search_that_is_made_again_shows_every_change(api: Api) -> None:
    """Answers that are kept in mind hold until any row they are of changes, and are audited."""
    data_set = a_data_set(StudyDescription="PLANTED BEFORE", SeriesDescription="FIRST")
    uid = str(data_set.StudyInstanceUID)
    paths = (f"/dicom-web/studies?StudyInstanceUID={uid}", f"/dicom-web/studies/{uid}/series")

    async def shown() -> list[list[dict[str, Any]]]:
        answers = []
        for path in paths:
            several = [await api.client.get(path) for _ in range(4)]  # kept, in any process
            assert {one.status_code for one in several} == {200}
            assert len({(one.content, one.headers["etag"]) for one in several}) == 1
            again = await api.client.get(
                path, headers={"if-none-match": several[0].headers["etag"]}
            )
            assert again.status_code == 304
            answers.append(several[0].json())
        return answers

    assert await shown() == [[], []]
    await api.seed.add(data_set)
    (study,), (series,) = await shown()
    assert (study["00201208"]["Value"], series["00201209"]["Value"]) == ([1], [1])
    more = a_data_set(StudyInstanceUID=uid, SeriesInstanceUID=data_set.SeriesInstanceUID)
    await api.seed.add(more)
    (study,), (series,) = await shown()
    assert (study["00201208"]["Value"], series["00201209"]["Value"]) == ([2], [2])
    await api.seed.add(a_data_set(StudyInstanceUID=uid, Modality="PT"))
    (study,), found = await shown()
    assert (study["00201206"]["Value"], len(found)) == ([2], 2)
    connection = await asyncpg.connect(api.services.superuser_url)
    try:
        await connection.execute(
            "UPDATE index.series SET modality = 'MR' WHERE modality = 'PT' AND study_id ="
            " (SELECT id FROM index.study WHERE study_instance_uid = $1)",
            uid,
        )
        _, found = await shown()
        assert {one["00080060"]["Value"][0] for one in found} == {"CT", "MR"}
        written = await connection.fetchval(
            "SELECT count(*) FROM api.audit_log WHERE action = $1", "DICOMWEB_SEARCH"
        )
        assert written == 5 * 2 * 5  # a row for each, as it was asked
        await connection.execute(
            "UPDATE index.study SET status = 'deleted' WHERE study_instance_uid = $1", uid
        )
        assert await shown() == [[], []]
    finally:
        await connection.close()
