"""`POST /api/v1/objects/{kind}`: a picture or document of a study or a worklist entry is stored."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydicom.dataset import Dataset

from darkroom_api.worklist.dose_reports import DOSE_REPORT
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.entries import STEP_PURPOSE
from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.accounts.people import PASSWORD, add_user
from tests.integration.api.storing.making import (
    DOSE,
    EVENT,
    PATH,
    RADIOGRAPH,
    a_study,
    conflicts,
    perform,
    post,
    put,
    whole,
)
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.integration.console.desk import Desk
from tests.support import waiting
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.stow import a_file
from tests.support.uploads import COLOUR, GRAY, WORDS, a_pdf, saved
from tests.unit.api.making.test_from_step import a_step

ROOT = "1.2.826.0.1.3680043.10.99999"
JPEG = saved(COLOUR, "JPEG")
ENTRY = {
    "patient_name": "Müller^Jörg",
    "patient_id": "W-77",
    "patient_birth_date": "1971-04-12",
    "patient_sex": "M",
    "accession_number": "ACC-77",
    "requested_procedure_id": "RP-77",
    "requested_procedure_description": "Wound, left hand",
    "scheduled_at": "2026-11-27T12:00:00",
    "modality": "XC",
}
_STEP = """
    INSERT INTO ingest.performed_step (sop_instance_uid, state, calling_ae_title, station_ae_title,
        modality, study_instance_uids, entries, sealed)
    VALUES ($1, $2, 'DX1', 'DX1', 'DX', $3, '{}', $4)
"""
_JOB = "0f5c0000000000000000000000000001"
_PRINTED = """
    INSERT INTO print.job (id, state, printer, layout, copies, sop_instance_uids, requested_by)
    VALUES ($1, 'DONE', 'FILM', 'single', 1, $2, 'technician')
"""
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    async with stowing(
        postgres_server, rabbitmq_server, UID_ROOT=ROOT, DOSE_REPORT_MINUTES="0"
    ) as made:
        yield made


@pytest.mark.req("IOD-07")
async def test_pages_of_a_study(stow: Stowing, tmp_path: Path) -> None:
    study = await a_study(stow, AccessionNumber="ACC-1", PatientID="U1")
    values: dict[str, Any] = {"study": "ACC-1", "modality": "XC", "series_description": "Wound"}
    first = await post(stow, "secondary-capture", values, JPEG)
    assert first.status_code == 201, first.text
    one = first.json()
    assert one["study_instance_uid"] == study.StudyInstanceUID
    assert one["sop_instance_uid"].startswith(f"{ROOT}.")
    values |= {"series_instance_uid": one["series_instance_uid"], "instance_number": 2}
    second = await post(stow, "secondary-capture", values, saved(GRAY, "PNG"))
    assert second.json()["series_instance_uid"] == one["series_instance_uid"]
    document = await post(stow, "pdf", {"study": "ACC-1", "title": "Findings"}, a_pdf())
    assert document.status_code == 201, document.text
    found = [
        await whole(stow, made, tmp_path / f"{number}.dcm")
        for number, made in enumerate((one, second.json(), document.json()))
    ]
    for each in found:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID"):
            assert each[keyword].value == study[keyword].value, keyword
        assert (each.AccessionNumber, each.StudyDescription) == ("ACC-1", "CT hand")
    assert [(each.SeriesNumber, each.InstanceNumber) for each in found] == [(5, 1), (5, 2), (6, 1)]
    assert await conflicts(stow) == []
    shown = await stow.api.client.get(
        f"{first.headers['location']}/rendered", headers={"accept": "image/png"}
    )
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    audited = await stow.api.client.get("/api/v1/audit-logs", params={"action": "OBJECT_CREATE"})
    assert one["sop_instance_uid"] in {row["resource_id"] for row in audited.json()["data"]}
    assert "hand" not in audited.text


async def test_the_same_request_twice_makes_one_object(stow: Stowing) -> None:
    study = await a_study(stow, AccessionNumber="ACC-KEY", PatientID="U2")
    values: dict[str, Any] = {"study": "ACC-KEY", "modality": "XC"}
    key = {"headers": {"idempotency-key": "one of a series"}}
    refused = await post(stow, "secondary-capture", values, JPEG[:300], **key)
    assert refused.status_code == 422, "nothing was made: the key is free"
    both = [post(stow, "secondary-capture", values, JPEG, **key) for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert {first.status_code, second.status_code} <= {201, 202}, (first.text, second.text)
    again = await post(stow, "secondary-capture", values, JPEG, **key)
    assert again.status_code == 201, again.text
    assert first.json() == second.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    found = await stow.api.client.get(f"/dicom-web/studies/{study.StudyInstanceUID}/instances")
    assert len(found.json()) == 2
    assert await conflicts(stow) == []
    for other, body in (({**values, "instance_number": 2}, JPEG), (values, saved(GRAY, "PNG"))):
        answer = await post(stow, "secondary-capture", other, body, **key)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    another = {"headers": {"idempotency-key": "another"}}
    made = await post(stow, "secondary-capture", values, JPEG, **another)
    assert made.json()["sop_instance_uid"] != first.json()["sop_instance_uid"]


@pytest.mark.req("IOD-07")
async def test_an_entry_of_the_worklist(stow: Stowing, tmp_path: Path) -> None:
    entry = (await stow.api.client.post("/api/v1/worklist", json=ENTRY)).json()
    values = {"worklist_entry": entry["id"], "modality": "XC"}
    for expected in ("20", "20"):  # of the second one the study is there already
        answer = await post(stow, "secondary-capture", values, JPEG)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["study_instance_uid"] == entry["study_instance_uid"]
        found = await whole(stow, made, tmp_path / "made.dcm")
        assert (str(found.PatientName), found.PatientID) == ("Müller^Jörg", "W-77")
        assert (found.PatientBirthDate, found.PatientSex) == ("19710412", "M")
        assert (found.AccessionNumber, found.StudyID) == ("ACC-77", "RP-77")
        assert found.StudyDate.startswith(expected)
        (asked,) = found.RequestAttributesSequence
        assert asked.RequestedProcedureID == "RP-77"
    over = (
        await stow.api.client.post("/api/v1/worklist", json=ENTRY | {"state": "CANCELLED"})
    ).json()
    refused = await post(stow, "pdf", {"worklist_entry": over["id"]}, a_pdf())
    assert (refused.status_code, refused.json()["code"]) == (409, 4008)
    assert await conflicts(stow) == []


@pytest.mark.req("IOD-02", "IOD-03", "IOD-04", "IOD-05")
async def test_a_day_in_radiography(stow: Stowing, tmp_path: Path) -> None:
    """A radiograph, how it is shown, which one matters, what is said of it, and its dose."""
    await a_study(stow, AccessionNumber="ACC-5", PatientID="U5", Modality="CT")
    of_it, path = {"study": "ACC-5"}, tmp_path / "made.dcm"
    answer = await post(stow, "dx", {**of_it, **RADIOGRAPH}, saved(WORDS, "PNG"))
    assert answer.status_code == 201, answer.text
    image = answer.json()["sop_instance_uid"]
    found = await whole(stow, answer.json(), path)
    assert (found.Modality, found.PresentationIntentType) == ("DX", "FOR PRESENTATION")
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.90"
    plain = await post(stow, "cr", {**of_it, "body_part": "HAND"}, saved(GRAY, "PNG"))
    assert (await whole(stow, plain.json(), path)).Modality == "CR"

    shown = {**of_it, "images": [image], "inverted": True, "window": {"center": 9, "width": 99}}
    state = await put(stow, "presentation-state", shown)
    made = await whole(stow, state, path)
    (series,) = made.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == image
    client = stow.api.client
    study = state["study_instance_uid"]
    pictures = [
        await client.get(
            f"/dicom-web/studies/{study}/instances/{uid}/rendered", headers={"accept": "image/png"}
        )
        for uid in (image, state["sop_instance_uid"])
    ]
    assert [one.status_code for one in pictures] == [200, 200]
    assert pictures[0].content != pictures[1].content

    selection = await put(stow, "key-objects", {**of_it, "images": [image]})
    assert (await whole(stow, selection, path)).Modality == "KO"
    words = {"heading": "findings", "text": "Kein Befund", "images": [image]}
    report = await put(stow, "text-report", {**of_it, "sections": [words]})
    assert (await whole(stow, report, path)).CompletionFlag == "COMPLETE"
    event = {**EVENT, "image": image}
    dose = await whole(
        stow, await put(stow, "dose-report", {**of_it, **DOSE, "events": [event]}), path
    )
    assert dose.TimezoneOffsetFromUTC
    (evidence,) = dose.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == study
    assert {dose.PatientID, made.PatientID} == {"U5"}
    assert await conflicts(stow) == []


async def test_marks_of_the_console_and_the_dose_of_a_step(stow: Stowing, tmp_path: Path) -> None:
    one = await a_study(
        stow, AccessionNumber="ACC-8", PatientID="U8", BodyPartExamined="CHEST", Manufacturer="Acme"
    )
    study, client = str(one.StudyInstanceUID), stow.api.client
    desk = Desk(stow.api.anonymous, stow.api.tokens["access_token"])
    marks, chosen = f"/study/{study}/marks", f"{one.SeriesInstanceUID}:{one.SOPInstanceUID}"
    assert chosen in await desk.page(marks)
    window = {"center": "2", "width": "4"}
    shown = await desk.page(
        f"{marks}/preview", image=chosen, rotation="90", inverted="yes", center="2", width="4"
    )
    assert 'class="turned turned-90 inverted"' in shown
    source = re.search(r'src="([^"]+)"', shown)
    assert source is not None
    assert (await client.get(html.unescape(source[1]))).status_code == 200
    await desk.page(f"{marks}/preview", 422, image=chosen, center="2")
    await desk.press(f"{marks}/key-images", {"image": chosen, "title": "for-teaching"})
    await desk.press(f"{marks}/state", {"image": chosen, "text": "Look", **window})
    found = await client.get("/dicom-web/series", params={"StudyInstanceUID": study})
    assert {row["00080060"]["Value"][0] for row in found.json()} == {"CT", "KO", "PR"}

    database = Prepared(stow.api.services.superuser_url)
    await database.fetch(_PRINTED, _JOB, [str(one.SOPInstanceUID)])
    film = await whole(
        stow, await put(stow, "presentation-state", {"print_job": _JOB}), tmp_path / "film.dcm"
    )
    assert (film.ContentLabel, film.PatientID, film.StudyInstanceUID) == ("FILM", "U8", study)
    gone = await client.post(f"{PATH}/presentation-state", json={"print_job": _JOB[:-1] + "2"})
    assert gone.status_code == 404, gone.text

    step, uid = a_step(), "2.25.881"
    step.ScheduledStepAttributesSequence[0].StudyInstanceUID = study
    step.PerformedSeriesSequence[0].SeriesInstanceUID = one.SeriesInstanceUID
    seal = Seal(PhiKeys.parse(stow.api.services.secrets["PHI_KEYS"]))
    sealed = seal.seal(step.to_json_dict(), purpose=STEP_PURPOSE)
    for number, state in ((uid, "COMPLETED"), (f"{uid}.1", "IN PROGRESS")):
        await database.fetch(_STEP, number, state, [study], sealed)
    made = await put(stow, "dose-report", {"mpps": uid})
    report = await whole(stow, made, tmp_path / "made.dcm")
    assert (report.PatientID, report.StudyInstanceUID, report.Manufacturer) == ("U8", study, "Acme")
    for number, status in ((f"{uid}.1", 409), (f"{uid}.2", 404)):
        answer = await client.post(f"{PATH}/dose-report", json={"mpps": number})
        assert answer.status_code == status, answer.text


async def test_a_step_that_has_ended_is_reported_of_its_own_accord(
    stow: Stowing, tmp_path: Path
) -> None:
    of = {"BodyPartExamined": "CHEST", "Manufacturer": "Acme"}
    one = await a_study(stow, AccessionNumber="ACC-9", PatientID="U9", **of)
    other = await a_study(stow, AccessionNumber="ACC-10", PatientID="U10", **of)
    report_of_the_device = a_data_set(
        StudyInstanceUID=other.StudyInstanceUID, SOPClassUID=DOSE_REPORT, Modality="SR"
    )
    assert (await stow.store([a_file(report_of_the_device)])).status_code == 200
    await stow.kept(str(report_of_the_device.SOPInstanceUID))
    dose = {"ImageAndFluoroscopyAreaDoseProduct": "1.25", "EntranceDoseInmGy": "0.4"}
    told: list[tuple[Dataset, dict[str, str]]] = [(one, dose), (one, {}), (other, dose)]
    for number, (image, values) in enumerate(told, 1):
        named = (str(image.StudyInstanceUID), str(image.SeriesInstanceUID), f"2.25.99{number}")
        port = stow.services.dicom_port
        assert await asyncio.to_thread(perform, port, *named, **values) == [0, 0]

    async def over() -> dict[str, Any]:
        rows = await stow.fetch("SELECT * FROM api.dose_report WHERE state <> 'WAITING'")
        found = {row["step"]: row for row in rows}
        return found if len(found) == len(told) else {}

    rows = await waiting.until(over, "each step is over")
    became = [(rows[f"2.25.99{n}"]["state"], rows[f"2.25.99{n}"]["reason"]) for n in (1, 2, 3)]
    assert became == [
        ("MADE", ""),
        ("NONE", "The step tells of no dose-area product (0018,115E)."),
        ("NONE", "The study has a dose report."),
    ]
    uid = rows["2.25.991"]["sop_instance_uid"]
    assert uid.startswith(f"{ROOT}.")
    await stow.kept(uid)
    report = await whole(stow, {"sop_instance_uid": uid}, tmp_path / "made.dcm")
    assert (report.PatientID, report.StudyInstanceUID) == ("U9", one.StudyInstanceUID)
    assert report.SOPClassUID == DOSE_REPORT
    assert "1.25e-05" in str(report)
    assert "MPPS Content" in str(report)
    audited = await stow.api.client.get("/api/v1/audit-logs", params={"action": "OBJECT_CREATE"})
    (row,) = [row for row in audited.json()["data"] if row["resource_id"] == uid]
    assert row["details"]["mpps"] == "2.25.991"


async def test_values_that_make_no_object(stow: Stowing) -> None:
    study = await a_study(stow, AccessionNumber="ACC-6", PatientID="U6")
    other = await a_study(stow, AccessionNumber="ACC-7", PatientID="U7")
    before = await stow.fetch("SELECT count(*) FROM index.instance")
    own, foreign = str(study.SOPInstanceUID), str(other.SOPInstanceUID)
    of_it, client = {"study": "ACC-6"}, stow.api.client
    edges = dict.fromkeys(("left", "upper", "right", "lower"), 900)
    without = {**EVENT, "started": "2026-11-27T10:00:00"}
    for kind, values, word in (
        ("key-objects", {"images": [foreign]}, "no instance"),
        ("key-objects", {"images": ["1.2.3"]}, "no instance"),
        ("key-objects", {"images": []}, "images"),
        ("key-objects", {"images": [own], "title": "SECRET"}, "title"),
        ("presentation-state", {"images": [own, own]}, "twice"),
        ("presentation-state", {"images": [own], "rotation": 45}, "rotation"),
        ("presentation-state", {"images": [own], "shutter": edges}, "not within"),
        ("text-report", {"sections": []}, "sections"),
        ("dose-report", {**DOSE, "events": [{**EVENT, "kvp": -1}]}, "kvp"),
        ("dose-report", {**DOSE, "events": [EVENT, without]}, "offset"),
    ):
        answer = await client.post(f"{PATH}/{kind}", json={**of_it, **values})
        assert (answer.status_code, word in answer.text) == (422, True), (kind, answer.text)
        assert "SECRET" not in answer.text
    for content, media, status in (
        (b"{}", "multipart/form-data; boundary=x", 415),
        (b"{", "application/json", 422),
        (b" " * (1 << 20) + b"{}", "application/json", 422),
    ):
        there = f"{PATH}/key-objects"
        answer = await client.post(there, content=content, headers={"content-type": media})
        assert answer.status_code == status, answer.text
    assert await stow.fetch("SELECT count(*) FROM index.instance") == before


async def test_what_is_refused_leaves_nothing(stow: Stowing) -> None:
    study = await a_study(stow, AccessionNumber="ACC-2", PatientID="U2", Modality="CT")
    before = await stow.fetch("SELECT count(*) FROM index.instance")
    of_it = {"study": "ACC-2"}
    series = str(study.SeriesInstanceUID)
    for kind, values, body, status, word in (
        ("secondary-capture", {"study": "nowhere"}, JPEG, 404, "no such study"),
        ("secondary-capture", {"worklist_entry": "0" * 32}, JPEG, 404, "no such entry"),
        ("secondary-capture", {}, JPEG, 422, "either study or worklist_entry"),
        ("secondary-capture", {**of_it, "worklist_entry": "0" * 32}, JPEG, 422, "either"),
        ("secondary-capture", {**of_it, "more": 1}, JPEG, 422, "more"),
        ("secondary-capture", {**of_it, "series_instance_uid": series}, JPEG, 422, "modality"),
        ("secondary-capture", {**of_it, "series_description": "a\\b"}, JPEG, 422, "description"),
        ("secondary-capture", of_it, b"Dear SECRET", 422, "no picture"),
        ("secondary-capture", of_it, b"", 422, "pixels is missing or empty"),
        ("secondary-capture", of_it, JPEG[:200], 422, "damaged"),
        ("pdf", of_it, JPEG, 422, "no PDF"),
        ("stl", of_it, JPEG, 422, "kind"),
    ):
        answer = await post(stow, kind, values, body)
        assert answer.status_code == status, (kind, values, answer.text)
        assert word in answer.text, (word, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "SECRET" not in answer.text
    client, there = stow.api.client, f"{PATH}/pdf"
    for body, media, status in (
        (b"{}", "application/json", 415),
        (b"--x--", "multipart/form-data", 415),
        (b"--x\r\n\r\nabc", "multipart/form-data; boundary=x", 422),
        (b"--x\r\n" * 1000, "multipart/form-data; boundary=x", 422),
        (bytes(64 << 20) + b"x", "multipart/form-data; boundary=x", 413),
    ):
        answer = await client.post(there, content=body, headers={"content-type": media})
        assert answer.status_code == status, answer.text
    assert await stow.fetch("SELECT count(*) FROM index.instance") == before


async def test_who_may(stow: Stowing) -> None:
    await a_study(stow, AccessionNumber="ACC-3", PatientID="U3")
    for role, status in (("viewer", 403), ("technician", 201)):
        await add_user(stow.api, role, role)
        token = (await stow.api.sign_in(role, PASSWORD)).json()["access_token"]
        as_them = {"authorization": f"Bearer {token}"}
        answer = await post(stow, "pdf", {"study": "ACC-3"}, a_pdf(), headers=as_them)
        assert answer.status_code == status, answer.text


async def test_pages_of_a_film_are_frames(stow: Stowing, tmp_path: Path) -> None:
    await a_study(stow, AccessionNumber="ACC-4", PatientID="U4")
    body = saved(COLOUR, "TIFF", save_all=True, append_images=[COLOUR, COLOUR])
    made = (await post(stow, "secondary-capture", {"study": "ACC-4"}, body)).json()
    assert made["sop_class_uid"] == "1.2.840.10008.5.1.4.1.1.7.4"
    assert (await whole(stow, made, tmp_path / "made.dcm")).NumberOfFrames == 3
