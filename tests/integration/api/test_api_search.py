"""QIDO-RS against a real index."""

from typing import Any

import pytest

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid


def uids(answer: Any, tag: str = "0020000D") -> list[str]:
    return [one[tag]["Value"][0] for one in answer.json()]


async def test_a_study_is_found_by_each_kind_of_matching(api: Api) -> None:
    mine = a_data_set(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Hans Peter=山田^太郎",
        PatientID="P-17",
        AccessionNumber="ACC1",
        StudyDate="20240131",
        StudyTime="101500",
        PatientBirthDate="19700203",
        StudyDescription="Thorax 100% [a_b]",
    )
    other = a_data_set(
        PatientName="Muster^Erika",
        PatientID="P-18",
        AccessionNumber="ACC2",
        StudyDate="20230101",
        StudyTime="230000",
        PatientBirthDate="19800101",
        Modality="MR",
        StudyDescription="Thorax 1000 [axb]",
    )
    await api.seed.add(mine, other)
    wanted = str(mine.StudyInstanceUID)
    found_by = [
        {"PatientID": "P-17"},
        {"00100020": "P-17"},
        {"PatientName": "müller^hans peter"},
        {"PatientName": "MULLER^HANS PETER"},
        {"PatientName": "山田^太郎"},
        {"PatientName": "Müller^Hans Peter=山田^太郎"},
        {"PatientName": "Mül*"},
        {"PatientName": "*Hans*"},
        {"PatientName": "M?ller^*"},
        {"PatientName": "hans mul", "fuzzymatching": "true"},
        {"PatientName": "Müller^Hans", "fuzzymatching": "true"},
        {"AccessionNumber": "ACC1"},
        {"AccessionNumber": "*C1"},
        {"StudyInstanceUID": wanted},
        {"StudyInstanceUID": f"{wanted},1.2.3"},
        {"StudyInstanceUID": f"1.2.3\\{wanted}"},
        {"StudyDate": "20240131"},
        {"StudyDate": "20240101-"},
        {"StudyDate": "20240101-20241231"},
        {"StudyTime": "1015"},
        {"StudyTime": "10-11"},
        {"StudyDate": "20230601-20240131", "StudyTime": "000000-110000"},
        {"PatientBirthDate": "19700203"},
        {"PatientBirthDate": "19700101-19701231"},
        {"ModalitiesInStudy": "CT"},
        {"ModalitiesInStudy": "CT,XA"},
        {"ModalitiesInStudy": "C?"},
        {"StudyDescription": "Thorax 100% *"},
        {"StudyDescription": "*[a_b]"},
        {"PatientID": "P-17", "PatientName": "*", "StudyDate": ""},
    ]
    for parameters in found_by:
        answer = await api.client.get("/dicom-web/studies", params=parameters)
        assert answer.status_code == 200, (parameters, answer.text)
        assert uids(answer) == [wanted], parameters
        assert answer.headers["x-total-count"] == "1"
    for parameters in (
        {"PatientID": "P-1"},
        {"PatientName": "Müller"},
        {"PatientName": "ller*"},
        {"StudyDate": "-20221231"},
        {"StudyDate": "20230101-20240131", "StudyTime": "235959-100000"},
        {"PatientName": "%"},
        {"AccessionNumber": "ACC_"},
    ):
        answer = await api.client.get("/dicom-web/studies", params=parameters)
        if "StudyTime" in parameters:
            assert answer.status_code == 400
            continue
        assert (answer.status_code, answer.json()) == (200, []), parameters
        assert answer.headers["x-total-count"] == "0"


async def test_a_range_of_moments_combines_date_and_time(api: Api) -> None:
    early = a_data_set(StudyDate="20240101", StudyTime="080000")
    late = a_data_set(StudyDate="20240102", StudyTime="200000")
    await api.seed.add(early, late)
    answer = await api.client.get(
        "/dicom-web/studies", params={"StudyDate": "20240101-20240102", "StudyTime": "09-21"}
    )
    assert uids(answer) == [late.StudyInstanceUID]


async def test_a_study_answer_has_the_required_attributes(api: Api) -> None:
    data_set = a_data_set(StudyID="S1", ReferringPhysicianName="Ref^Doc", PatientSex="O")
    await api.seed.add(
        data_set,
        a_data_set(
            StudyInstanceUID=data_set.StudyInstanceUID, SeriesInstanceUID=new_uid(), Modality="SR"
        ),
    )
    (one,) = (await api.client.get("/dicom-web/studies")).json()
    assert one["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Planted^Name"}]}
    assert one["00080061"]["Value"] == ["CT", "SR"]
    assert one["00201206"]["Value"] == [2]
    assert one["00201208"]["Value"] == [2]
    assert one["00080056"]["Value"] == ["ONLINE"]
    assert one["00080005"]["Value"] == ["ISO_IR 192"]
    assert one["00081190"]["Value"] == [f"{api.url}/dicom-web/studies/{data_set.StudyInstanceUID}"]
    assert {"00080020", "00080030", "00080050", "00080090", "00200010", "00100040"} <= one.keys()
    assert list(one) == sorted(one)


@pytest.mark.req("API-11")
async def test_every_path_of_every_level(api: Api) -> None:
    item = a_data_set().__class__()
    item.ScheduledProcedureStepID = "SPS1"
    item.RequestedProcedureID = "RP1"
    one = a_data_set(RequestAttributesSequence=[item], SeriesDescription="axial", NumberOfFrames=1)
    two = a_data_set(Modality="MR")
    await api.seed.add(one, two)
    study, series = one.StudyInstanceUID, one.SeriesInstanceUID
    base = "/dicom-web"
    for path, count in (
        ("/studies", 2),
        ("/series", 2),
        ("/instances", 2),
        (f"/studies/{study}/series", 1),
        (f"/studies/{study}/instances", 1),
        (f"/studies/{study}/series/{series}/instances", 1),
        ("/studies/1.2.3/series", 0),
    ):
        answer = await api.client.get(base + path)
        assert (answer.status_code, len(answer.json())) == (200, count), path
    (found,) = (
        await api.client.get(
            f"{base}/series", params={"RequestAttributesSequence.ScheduledProcedureStepID": "SPS1"}
        )
    ).json()
    assert found["0020000E"]["Value"] == [series]
    assert found["00100020"]["Value"] == ["PLANTED-1"]  # no study in the path: its attributes too
    assert found["00400275"]["Value"][0]["00400009"]["Value"] == ["SPS1"]
    (found,) = (
        await api.client.get(
            f"{base}/series", params={"00400275.00401001": "RP1", "SeriesDescription": "ax*"}
        )
    ).json()
    assert found["00201209"]["Value"] == [1]
    (found,) = (
        await api.client.get(
            f"{base}/studies/{study}/instances",
            params={
                "SOPClassUID": one.SOPClassUID,
                "InstanceNumber": "7",
                "includefield": "HighBit",
            },
        )
    ).json()
    assert found["00080018"]["Value"] == [one.SOPInstanceUID]
    assert (found["00280010"]["Value"], found["00280100"]["Value"]) == ([2], [8])
    assert found["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    assert found["00280102"]["Value"] == [7]
    assert "00100010" not in found
    (found,) = (
        await api.client.get(
            f"{base}/instances", params={"PatientID": "PLANTED-1", "Modality": "MR", "Rows": "2"}
        )
    ).json()
    assert found["00080018"]["Value"] == [two.SOPInstanceUID]


async def test_pages_link_to_each_other_and_hide_nothing(api: Api) -> None:
    await api.seed.add(*(a_data_set(StudyDate=f"2024010{day}") for day in range(1, 8)))
    for level, tag in (("studies", "0020000D"), ("series", "0020000E"), ("instances", "00080018")):
        seen: list[str] = []
        url = f"/dicom-web/{level}?limit=3&StudyDate=20240101-"
        while url:
            answer = await api.client.get(url)
            assert answer.headers["x-total-count"] == "7"
            seen += uids(answer, tag)
            url = answer.links.get("next", {}).get("url", "")
        assert len(seen) == len(set(seen)) == 7, level
        page = await api.client.get(f"/dicom-web/{level}?limit=3&offset=5&StudyDate=20240101-")
        assert uids(page, tag) == seen[5:], level


async def test_a_cut_answer_says_so(api: Api) -> None:
    await api.services.running["api"].stop()
    api.services.extra["SEARCH_LIMIT"] = "2"
    await api.services.start("api")
    await api.seed.add(a_data_set(), a_data_set(), a_data_set())
    for query, warned in (("", True), ("?limit=1000000000", True), ("?limit=2", False)):
        answer = await api.client.get(f"/dicom-web/studies{query}")
        assert len(answer.json()) == 2
        assert answer.headers.get("warning", "").startswith("299") is warned


BAD_KEYS = [
    ("Nonsense=1", "Nonsense"),
    ("00FF00FE=1", "00FF00FE"),
    ("PixelData=1", "PixelData"),
    ("SeriesDescription=CT", "SeriesDescription"),
    ("StudyDate=yesterday", "StudyDate"),
    ("StudyDate=20240230", "StudyDate"),
    ("StudyTime=9999", "StudyTime"),
    ("limit=-1", "limit"),
    ("limit=x", "limit"),
    ("offset=x", "offset"),
    ("fuzzymatching=maybe", "fuzzymatching"),
    ("includefield=Nonsense", "Nonsense"),
    ("StudyInstanceUID=1.2*", "StudyInstanceUID"),
    ("PatientID=a%00b", "PatientID"),
    ("PatientID=a&00100020=b", "PatientID"),
]


async def test_a_bad_key_is_named_and_its_value_is_not(api: Api) -> None:
    for query, named in BAD_KEYS:
        answer = await api.client.get(f"/dicom-web/studies?{query}")
        assert answer.status_code == 400, query
        error = answer.json()
        assert (error["code"], error["name"]) == (4001, "INVALID_REQUEST")
        assert error["errors"][0]["field"] in (named, "a parameter"), query
        assert error["detail"].startswith(named), query
        assert "yesterday" not in answer.text


async def test_only_what_is_offered_is_answered(api: Api) -> None:
    await api.seed.add(a_data_set())
    for accept in ("application/dicom+json", "application/json", "*/*", "application/*;q=0.1"):
        answer = await api.client.get("/dicom-web/studies", headers={"accept": accept})
        kind = accept if accept == "application/json" else "application/dicom+json"
        assert answer.headers["content-type"] == kind
    answer = await api.client.get("/dicom-web/studies", headers={"accept": "text/html"})
    assert answer.status_code == 406
    assert answer.json()["name"] == "NOT_ACCEPTABLE"


async def test_deleted_studies_are_invisible(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set)
    async with api.seed.database.acquire() as db:
        await db.execute("UPDATE index.study SET status = 'deleted'")
    base = f"/dicom-web/studies/{data_set.StudyInstanceUID}"
    for path in ("patients", "studies", "series", "instances"):
        assert (await api.client.get(f"/dicom-web/{path}")).json() == []
    for path in (base, f"{base}/metadata"):
        assert (await api.client.get(path)).status_code == 404
    answer = await api.client.get(f"/api/v1/studies/{data_set.StudyInstanceUID}")
    assert answer.json()["code"] == 2001
