"""UPS-RS: create, retrieve, search; what has no place in it is refused by name."""

import json
from typing import Any

import asyncpg
import pytest

from tests.integration.api.conftest import Api
from tests.integration.ingest.test_worklist_rest import ENTRY
from tests.integration.ingest.workitems.asking import BASE, JSON, a_workitem, code
from tests.support.builders import new_uid

XML = """<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel xml:space="preserve">
<DicomAttribute tag="00741200" vr="CS"><Value number="1">HIGH</Value></DicomAttribute>
<DicomAttribute tag="00741204" vr="LO"><Value number="1">Lire la tête</Value></DicomAttribute>
<DicomAttribute tag="00404041" vr="CS"><Value number="1">READY</Value></DicomAttribute>
<DicomAttribute tag="00404005" vr="DT"><Value number="1">20261128080000</Value></DicomAttribute>
<DicomAttribute tag="00741000" vr="CS"><Value number="1">SCHEDULED</Value></DicomAttribute>
<DicomAttribute tag="001021C0" vr="US"><Value number="1">4</Value></DicomAttribute>
</NativeDicomModel>"""


@pytest.mark.req("API-18")
async def test_a_workitem_is_created_retrieved_and_found(house: Api) -> None:
    client, uid = house.client, new_uid()
    made = await client.post(f"{BASE}?workitem={uid}", json=[a_workitem()], headers=JSON)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{house.url}{BASE}/{uid}"
    assert made.headers["content-location"] == made.headers["location"]
    assert made.headers["warning"] == (
        f"299 {house.url}/dicom-web: The Workitem was created with modifications."
    )
    again = await client.post(f"{BASE}?{uid}", json=a_workitem(), headers=JSON)
    assert (again.status_code, again.json()["dicom_status"]) == (409, "0111")

    shown = await client.get(f"{BASE}/{uid}", headers={"accept": "application/dicom+json"})
    assert shown.status_code == 200
    assert shown.headers["content-type"] == "application/dicom+json"
    (found,) = shown.json()
    assert found["00080018"]["Value"] == [uid]
    assert found["00741202"]["Value"] == ["WORKLIST"]
    assert found["00741210"] == {"vr": "SQ"}
    assert "00081195" not in found
    etag = {"if-none-match": shown.headers["etag"]}
    assert (await client.get(f"{BASE}/{uid}", headers=etag)).status_code == 304

    said = {"content-type": "application/dicom+xml"}
    second = await client.post(BASE, content=XML.encode(), headers=said)
    assert second.status_code == 201, second.text
    other = second.headers["location"].rpartition("/")[2]
    plain = await client.get(f"{BASE}/{other}", headers={"accept": "application/dicom+xml"})
    assert plain.headers["content-type"] == "application/dicom+xml"
    assert "Lire la tête" in plain.text
    parts = await client.get(
        f"{BASE}/{other}", headers={"accept": 'multipart/related; type="application/dicom+xml"'}
    )
    assert parts.headers["content-type"].startswith("multipart/related")
    assert (await client.get(f"{BASE}/{other}")).json()[0]["001021C0"]["Value"] == [4]

    scheduled = await seen_as_a_workitem(house)
    await found_by_all_that_it_says(house, [uid, scheduled, other])
    await refused(house)
    await nobody_without_rights(house)
    assert "PLANTED" not in await raw(house)


async def seen_as_a_workitem(house: Api) -> str:
    """Schedule a step, look at it as a workitem, and return the UID that it has as one."""
    client = house.client
    later = {**ENTRY, "scheduled_at": "2026-11-27T10:45:00"}  # listed after the one of 10:30
    entry = (await client.post("/api/v1/worklist", json=later)).json()
    scheduled = f"2.25.{int(entry['id'], 16)}"
    (seen,) = (await client.get(f"{BASE}/{scheduled}")).json()
    assert seen["00741000"]["Value"] == ["SCHEDULED"]
    assert seen["00404025"]["Value"][0]["00080100"]["Value"] == ["CT1"]
    denied = await client.put(f"{BASE}/{scheduled}/state", json={}, headers=JSON)
    assert denied.status_code == 403  # its modality says what becomes of it
    cancel = await client.post(f"{BASE}/{scheduled}/cancelrequest")
    assert cancel.status_code == 403, cancel.text

    return scheduled


async def found_by_all_that_it_says(house: Api, three: list[str]) -> None:
    client, (uid, scheduled, other) = house.client, three

    async def uids(**query: Any) -> list[str]:
        answer = await client.get(BASE, params=query)
        assert answer.status_code in (200, 204), answer.text
        results = answer.json() if answer.status_code == 200 else []
        return [one["00080018"]["Value"][0] for one in results]

    assert await uids() == [uid, scheduled, other]
    assert await uids(PatientID="PLANTED-W1") == [uid]
    assert await uids(PatientName="planted^*") == [uid, scheduled]
    assert await uids(PatientName="wan pla", fuzzymatching="true") == [uid]
    assert await uids(PatientName="plan wanda") == []
    assert await uids(ProcedureStepState="SCHEDULED", limit=1) == [uid]
    assert await uids(limit=1, offset=1) == [scheduled]
    assert await uids(ProcedureStepState="COMPLETED") == []
    assert await uids(ScheduledProcedureStepStartDateTime="20261128") == [other]
    assert await uids(ScheduledProcedureStepStartDateTime="-20261127235959") == [uid, scheduled]
    assert await uids(**{"ScheduledWorkitemCodeSequence.CodeValue": "READ"}) == [uid]
    assert await uids(**{"ReferencedRequestSequence.AccessionNumber": "AC1"}) == [scheduled]
    assert await uids(PatientID='""', emptyvaluematching="true") == [other]
    assert await uids(SOPInstanceUID=f"{scheduled},{uid}") == [uid, scheduled]
    first = await client.get(BASE, params={"limit": 1, "includefield": "PregnancyStatus"})
    assert 'rel="next"' in first.headers["link"]
    assert "001021C0" not in first.json()[0]
    late = await client.get(BASE, params={"PregnancyStatus": "4"})
    assert late.json()[0]["001021C0"]["Value"] == [4]
    assert "001021C0" not in (await client.get(f"{BASE}?PatientSex=*")).json()[-1]
    assert late.headers["x-total-count"] == "1"
    xml = await client.get(BASE, headers={"accept": "application/dicom+xml"})
    assert xml.headers["content-type"].startswith("multipart/related")
    for wrong in ({"NoSuch": "1"}, {"PatientBirthDate": "x"}, {"limit": "-1"}):
        assert (await client.get(BASE, params=wrong)).status_code == 400


async def refused(house: Api) -> None:
    client = house.client
    cases: list[tuple[Any, str, str]] = [
        (a_workitem(t00741200={"vr": "CS", "Value": ["URGENT"]}), "0106", "00741200"),
        (a_workitem(t00741204={"vr": "LO"}), "0121", "00741204"),
        (a_workitem(t00741000={"vr": "CS", "Value": ["IN PROGRESS"]}), "C309", "00741000"),
        (a_workitem(t00081195={"vr": "UI", "Value": ["1.2.3"]}), "0106", "00081195"),
        (a_workitem(t00404005={"vr": "DT", "Value": ["20261399"]}), "0106", "00404005"),
        (a_workitem(t00100030={"vr": "DA", "Value": ["19XX"]}), "0106", "00100030"),
        (a_workitem(t00100020={"vr": "SH", "Value": ["x"]}), "0106", "00100020"),
        ({k: v for k, v in a_workitem().items() if k != "00404041"}, "0120", "00404041"),
    ]
    for given, status, tag in cases:
        answer = await client.post(BASE, json=given, headers=JSON)
        assert answer.status_code == 400, answer.text
        problem = answer.json()
        assert (problem["dicom_status"], problem["errors"][0]["field"]) == (status, tag)
        assert "URGENT" not in answer.text
    for content, kind, expected in (
        (b"{", JSON["content-type"], 400),
        (b"[]", JSON["content-type"], 400),
        (b"", JSON["content-type"], 400),
        (b'<?xml version="1.0"?><!DOCTYPE x><x/>', "application/dicom+xml", 400),
        (b"\xff", JSON["content-type"], 400),
        (b"\0", JSON["content-type"], 400),
        (b"<a>\0</a>", "application/dicom+xml", 400),
        (json.dumps(a_workitem()).encode(), "text/plain", 415),
        (b" " * (257 * 1024), JSON["content-type"], 413),
        (b"[" * 100_000, JSON["content-type"], 400),
    ):
        answer = await client.post(BASE, content=content, headers={"content-type": kind})
        assert answer.status_code == expected, answer.text
    large = a_workitem(t00404018={"vr": "SQ", "Value": [code("é" * 8, "m")] * 300})
    assert (await client.post(BASE, json=large, headers=JSON)).status_code == 201
    assert (await client.post(f"{BASE}?workitem=01.2", json={}, headers=JSON)).status_code == 400
    assert (await client.get(f"{BASE}/1.2.3.4")).status_code == 404
    assert (await client.get(f"{BASE}/not-a-uid")).status_code == 404


async def nobody_without_rights(house: Api) -> None:
    assert (await house.anonymous.get(BASE)).status_code == 401
    assert (await house.anonymous.post(BASE, json=a_workitem(), headers=JSON)).status_code == 401


async def raw(house: Api) -> str:
    """Return all that the database keeps of workitems, as text."""
    db = await asyncpg.connect(house.services.superuser_url)
    try:
        rows = await db.fetch("SELECT w::text AS row FROM ingest.workitem w")
    finally:
        await db.close()
    assert rows
    return "".join(row["row"] for row in rows)
