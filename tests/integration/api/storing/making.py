"""What is said of objects that are made of values alone, and of a radiograph; how they are made."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pydicom
from pydicom.uid import UID
from pynetdicom import build_context

from tests.e2e.stated_objects import a_step, the_end
from tests.e2e.stating import asked
from tests.integration.api.storing.stowing import Stowing
from tests.support.builders import a_data_set
from tests.support.dciodvfy import dciodvfy
from tests.support.stow import a_file

PATH = "/api/v1/objects"
MPPS = UID("1.2.840.10008.3.1.2.3.3")

EVENT: dict[str, Any] = {
    "started": "2026-11-27T10:00:00+00:00",
    "body_part": "CHEST",
    "dose_area_product": 1.1e-5,
    "dose": 0.0012,
    "kvp": 121.5,
}
DOSE: dict[str, Any] = {
    "device": {"manufacturer": "Acme", "model": "X1", "serial": "77"},
    "administered_by": "Müller^Jörg",
    "events": [EVENT],
}
RADIOGRAPH: dict[str, Any] = {
    "body_part": "CHEST",
    "view_position": "PA",
    "patient_orientation": ["L", "F"],
    "imager_pixel_spacing": [0.139, 0.139],
    "bits_stored": 16,
    "compression": "jpeg2000",
}


async def post(
    stow: Stowing, kind: str, values: dict[str, Any], body: bytes, **more: Any
) -> httpx.Response:
    part = "document" if kind == "pdf" else "pixels"
    files = {
        "values": (None, json.dumps(values).encode(), "application/json"),
        part: ("Müller hand.jpg", body, "application/octet-stream"),
    }
    return await stow.api.client.post(f"{PATH}/{kind}", files=files, **more)


async def a_study(stow: Stowing, **attributes: Any) -> pydicom.Dataset:
    data_set = a_data_set(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Yamada^Tarou=山田^太郎",
        PatientBirthDate="19800101",
        PatientSex="M",
        StudyDescription="CT hand",
        SeriesNumber=4,
        **attributes,
    )
    assert (await stow.store([a_file(data_set)])).status_code == 200
    await stow.kept(str(data_set.SOPInstanceUID))
    return data_set


async def whole(stow: Stowing, made: dict[str, str], path: Path) -> pydicom.Dataset:
    """The object as it is stored, held against dciodvfy."""
    found = await stow.fetch(
        "SELECT object_key FROM index.instance WHERE sop_instance_uid = $1",
        made["sop_instance_uid"],
    )
    path.write_bytes((stow.services.store / found[0]["object_key"]).read_bytes())
    assert await asyncio.to_thread(dciodvfy, path) == []
    return pydicom.dcmread(path)


async def conflicts(stow: Stowing) -> list[Any]:
    data: list[Any] = (await stow.api.client.get("/api/v1/conflicts")).json()["data"]
    return data


async def put(stow: Stowing, kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Make an object of values alone."""
    answer = await stow.api.client.post(f"{PATH}/{kind}", json=values)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def perform(port: int, study: str, series: str, uid: str, **dose: Any) -> list[int]:
    """Tell of a step from its beginning to its end, as a modality does; return the statuses."""
    begun, ended = a_step(), the_end("COMPLETED")
    begun.ScheduledStepAttributesSequence[0].StudyInstanceUID = study
    ended.PerformedSeriesSequence[0].SeriesInstanceUID = series
    for keyword, value in dose.items():
        setattr(ended, keyword, value)
    association = asked(port, [build_context(MPPS)])
    answers = [
        association.send_n_create(begun, MPPS, UID(uid)),
        association.send_n_set(ended, MPPS, UID(uid)),
    ]
    association.release()
    return [int(status.Status) for status, _ in answers]
