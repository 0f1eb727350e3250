"""Migration from earlier archives: killed, cut off, asked for first, and compared (STO-06)."""

import asyncio
import csv
import datetime as dt
import io
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.transmit.nodes import archive_node, orthanc_node, write_file
from tests.integration.transmit.test_remote_query import add
from tests.integration.transmit.test_rest import Both
from tests.integration.transmit.test_retrieve import EXPLICIT, stack
from tests.integration.transmit.test_stow import PLUGIN
from tests.support.builders import a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.services import Services
from tests.support.waiting import until

MANY = int(os.environ.get("DARKROOM_TEST_MIGRATED", "240"))
"""Objects that are migrated through kills: 10,000 for the figures of docs/migration.md."""
KILLS, CUTS = (10, 2) if MANY > 1000 else (3, 1)
LIMIT = max(120.0, MANY / 10)
OF_A_STUDY = 60 if MANY > 1000 else 6  # DCMTK keeps 200 studies


@dataclass
class Relay:
    """A port that leads to another one, until it is cut."""

    to: int
    port: int = field(default_factory=free_port)
    server: asyncio.Server | None = None
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def mend(self) -> None:
        self.server = await asyncio.start_server(self._pass, LOOPBACK, self.port)

    async def cut(self) -> None:
        assert self.server is not None
        self.server.close()
        for one in list(self.open):
            one.transport.abort()
        self.open.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, self.to)
        self.open |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)
        self.open -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def studies(count: int, **changes: Any) -> list[Dataset]:
    """Some studies of six objects, each of another day."""
    made = []
    for number in range(-(-count // OF_A_STUDY)):
        uids = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
        day = {"StudyDate": f"20{10 + number % 15}{1 + number % 12:02}{1 + number % 28:02}"}
        patient = {"PatientID": f"P{number % 7}"}
        for one in range(min(OF_A_STUDY, count - number * OF_A_STUDY)):
            pixels = {"Rows": 32, "Columns": 32, "PixelData": random.randbytes(1024)}
            given = {**uids, **day, **patient, **pixels, "InstanceNumber": one + 1, **changes}
            made.append(a_data_set(**given))
    return made


@asynccontextmanager
async def migrating(services: Services, tmp_path: Path) -> AsyncIterator[Both]:
    services.extra |= {"MIGRATION_DIRECTORY": str(tmp_path / "old")}
    (tmp_path / "old").mkdir()
    async with stack(services) as both:
        yield both


async def begin(both: Both, **spec: Any) -> str:
    answer = await both.call("POST", "/migrations", 202, json=spec)
    return str(answer["job_id"])


async def state_of(both: Both, job: str) -> dict[str, Any]:
    found: dict[str, Any] = await both.call("GET", f"/migrations/{job}", 200)
    return found


async def over(both: Both, job: str, *states: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def came() -> bool:
        found.update(await state_of(both, job))
        return found["state"] in (states or ("DONE", "FAILED"))

    try:
        await until(came, limit=LIMIT)
    except AssertionError:
        log = both.desk.services.running["transmit"].log.read_text()[-3000:]
        raise AssertionError(f"it never ended: {found}\n{log}") from None
    return found


async def stored(both: Both) -> dict[str, str]:
    """Return what the index has, by UID; an instance that is there twice fails."""
    rows = await both.desk.prepared.fetch(
        "SELECT sop_instance_uid, encode(sha256, 'hex') AS sha256, object_key, size,"
        " data_set_offset FROM index.instance"
    )
    found = {row["sop_instance_uid"]: row["sha256"] for row in rows}
    assert len(found) == len(rows)
    for row in rows:
        content = (both.desk.services.store / row["object_key"]).read_bytes()
        data_set = content[row["data_set_offset"] :]
        assert sha256(data_set).hexdigest() == row["sha256"]
    return found


def digests(given: Sequence[Dataset]) -> dict[str, str]:
    return {str(one.SOPInstanceUID): sha256(encode(one)).hexdigest() for one in given}


async def report(both: Both, job: str, query: str = "") -> list[dict[str, str]]:
    answer = await both.api.client.get(f"/api/v1/migrations/{job}/report.csv{query}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def counts(one: dict[str, Any]) -> tuple[int, ...]:
    return tuple(one[name] for name in ("objects", "there", "missing", "differing", "refused"))


@pytest.mark.req("STO-06")
@pytest.mark.timeout(max(300, MANY // 5))
async def test_a_migration_that_is_killed_and_cut_off_brings_each_object_once(
    services: Services, tmp_path: Path
) -> None:
    there = studies(MANY)
    half = len(there) // 2 // OF_A_STUDY * OF_A_STUDY
    ours = ("DARKROOM", services.dicom_port)
    random.seed(MANY)
    async with migrating(services, tmp_path) as both:
        files = [(one, EXPLICIT) for one in there[half:]]
        with (
            archive_node(tmp_path, files, move_to=ours) as dcmtk,
            orthanc_node(tmp_path, move_to=ours) as (orthanc, _),
        ):
            given = [(str(one.SOPInstanceUID), encode(one)) for one in there[:half]]
            answers = await asyncio.to_thread(send, orthanc, given)
            assert set(answers.values()) == {0}
            relays = [Relay(dcmtk), Relay(orthanc)]
            for relay in relays:
                await relay.mend()
            await add(both, "ARCHIVE", relays[0].port)
            await add(both, "ORTHANC", relays[1].port)
            jobs = [
                await begin(both, way="get", source="ARCHIVE"),
                await begin(both, way="move" if MANY > 1000 else "get", source="ORTHANC"),
            ]
            await _disturbed(both, jobs, relays)
            ended = [await over(both, job) for job in jobs]
            for relay in relays:
                await relay.cut()
        expected = [(n, n, 0, 0, 0) for n in (len(there) - half, half)]
        assert [counts(one) for one in ended] == expected, ended
        assert await stored(both) == digests(there)
        for job, some in zip(jobs, (there[half:], there[:half]), strict=True):
            lines = await report(both, job)
            assert {one["study"] for one in lines} == {str(one.StudyInstanceUID) for one in some}
            assert {one["outcome"] for one in lines} == {"there"}
            assert await report(both, job, "?exceptions=true") == []


async def _disturbed(both: Both, jobs: Sequence[str], relays: Sequence[Relay]) -> None:
    """Kill transmit again and again while it works, and cut the archives off from it."""

    async def done() -> int:
        rows = await both.desk.prepared.fetch("SELECT sum(received)::int FROM transmit.migration")
        return int(rows[0][0] or 0)

    service = both.desk.services.running["transmit"]
    steps = sorted(random.sample(range(1, MANY * 3 // 4), KILLS))
    for number, step in enumerate(steps):

        async def came(step: int = step) -> bool:
            states = [(await state_of(both, job))["state"] for job in jobs]
            return await done() >= step or set(states) == {"DONE"}

        await until(came, limit=LIMIT)
        if number < CUTS:
            await relays[number % 2].cut()
        await service.kill()
        await service.start()
        await service.ready()
        if number < CUTS:
            await relays[number % 2].mend()


@pytest.mark.req("STO-06")
async def test_files_are_brought_and_what_cannot_be_is_told(
    services: Services, tmp_path: Path
) -> None:
    async with migrating(services, tmp_path) as both:
        old = tmp_path / "old" / "tree"
        there = studies(18)
        for number, one in enumerate(there):
            place = old / f"Planted^Name {number % 4}"
            place.mkdir(parents=True, exist_ok=True)
            write_file(place / f"{number}.dcm", one)
        other = a_data_set(SOPInstanceUID=there[0].SOPInstanceUID, StudyDescription="other")
        other.StudyInstanceUID = there[0].StudyInstanceUID
        write_file(old / "zzz.dcm", other)
        (old / "readme.txt").write_text("nothing" * 100)
        cut = (old / "Planted^Name 1" / "1.dcm").read_bytes()
        (old / "Planted^Name 1" / "1.dcm").write_bytes(cut[:-100])
        (old / "away").symlink_to("/etc")
        job = await begin(both, way="directory", directory="tree")
        ended = await over(both, job)
        assert (ended["state"], counts(ended)) == ("DONE", (19, 17, 0, 1, 1)), ended
        assert (ended["passed_over"], ended["studies"]) == (1, 3)
        lines = await report(both, job, "?exceptions=true")
        objects = {(row["object"], row["outcome"]) for row in lines if row["object"]}
        wrong = str(there[1].SOPInstanceUID)
        assert objects == {(str(there[0].SOPInstanceUID), "differing"), (wrong, "refused")}
        expected = digests(there)
        del expected[wrong]
        assert await stored(both) == expected
        (old / "Planted^Name 1" / "1.dcm").write_bytes(cut)
        await both.call("POST", f"/migrations/{job}/retry", 200)
        again = await over(both, job)
        assert counts(again) == (19, 18, 0, 1, 0), again
        printed = await both.api.client.get(f"/api/v1/migrations/{job}/report.pdf")
        assert printed.content.startswith(b"%PDF"), printed.text
        said = "".join(one.log.read_text() for one in services.running.values())
        assert "Planted^Name" not in said
        outside = await begin(both, way="directory", directory="nowhere")
        failed = await over(both, outside)
        assert failed["state"] == "FAILED"
        await both.call("POST", "/migrations", 422, json={"way": "directory", "directory": "../x"})


def make_dicomdir(medium: Path, count: int) -> None:
    command = ["dcmmkdir", "+D", "DICOMDIR", *(f"IM{number:04}" for number in range(count))]
    subprocess.run(command, cwd=medium, check=True, capture_output=True)


@pytest.mark.req("STO-06")
async def test_a_medium_is_brought_by_its_dicomdir(services: Services, tmp_path: Path) -> None:
    async with migrating(services, tmp_path) as both:
        medium = tmp_path / "old"
        there = studies(12, PatientName="Medium^One")
        for number, one in enumerate(there):
            one.PatientBirthDate, one.PatientSex, one.StudyID = "19700101", "O", "1"
            write_file(medium / f"IM{number:04}", one)
        await asyncio.to_thread(make_dicomdir, medium, 12)
        (medium / "IM0003").unlink()
        shutil.copy(medium / "IM0004", medium / "NOT_NAMED")
        job = await begin(both, way="dicomdir", directory=".")
        ended = await over(both, job)
        assert (ended["state"], counts(ended)) == ("DONE", (12, 11, 1, 0, 0)), ended
        (line,) = [row for row in await report(both, job, "?exceptions=true") if row["object"]]
        missing = (str(there[3].SOPInstanceUID), "missing", "NotOnMedium")
        assert (line["object"], line["outcome"], line["reason"]) == missing
        expected = digests(there)
        del expected[missing[0]]
        assert await stored(both) == expected


@asynccontextmanager
async def dicomweb(directory: Path) -> AsyncIterator[str]:
    """Orthanc with its DICOMweb plugin; yields the address."""
    port = free_port()
    config = directory / "web.json"
    storage = str(directory / "web")
    config.write_text(
        f'{{"StorageDirectory": "{storage}", "IndexDirectory": "{storage}", "HttpPort": {port},'
        f' "DicomServerEnabled": false, "RemoteAccessAllowed": false,'
        f' "AuthenticationEnabled": false, "Plugins": ["{PLUGIN}"],'
        ' "DicomWeb": {"Enable": true, "Root": "/dicom-web/"}}'
    )
    process = await asyncio.create_subprocess_exec(
        "Orthanc", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://{LOOPBACK}:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            await until(lambda: client.get(f"{url}/system"), retry=(httpx.TransportError,))
        yield url
    finally:
        process.kill()
        await process.wait()


@pytest.mark.req("STO-06")
async def test_what_somebody_asks_for_comes_first_from_an_archive_that_speaks_dicomweb(
    services: Services, tmp_path: Path
) -> None:
    there = studies(60)
    async with migrating(services, tmp_path) as both, dicomweb(tmp_path) as url:
        async with httpx.AsyncClient(trust_env=False, base_url=url, timeout=20) as client:
            for number, one in enumerate(there):
                write_file(tmp_path / f"{number}.dcm", one)
                body = (tmp_path / f"{number}.dcm").read_bytes()
                assert (await client.post("/instances", content=body)).status_code == 200
        given = {"name": "WEB", "kind": "stow", "url": f"{url}/dicom-web"}
        await both.call("POST", "/destinations", 201, json=given)
        later = (dt.datetime.now(dt.UTC) + dt.timedelta(days=3)).strftime("%a").lower()
        never = [{"days": [later], "start": "03:00:00", "end": "03:00:01"}]
        await both.call("POST", "/migrations", 422, json={"way": "get", "source": "WEB"})
        await both.call("POST", "/migrations", 404, json={"way": "web", "source": "NOBODY"})
        job = await begin(both, way="web", source="WEB", windows=never)

        async def listed() -> bool:
            one = await state_of(both, job)
            return bool(one["listed"] and one["studies"] == 10)

        await until(listed)
        first = await both.call("POST", f"/migrations/{job}/first", 200, json={"patient_id": "P1"})
        assert first == {"studies": 2, "state": "MIGRATING"}
        wanted = {str(one.SOPInstanceUID) for one in there if one.PatientID == "P1"}

        async def came() -> bool:
            return int((await state_of(both, job))["there"]) == len(wanted)

        await until(came)
        assert set(await stored(both)) == wanted
        assert (await state_of(both, job))["studies_done"] == 2
        paused = await both.call("POST", f"/migrations/{job}/pause", 200)
        assert paused["state"] == "PAUSED"
        study = str(there[0].StudyInstanceUID)
        once = {"json": {"studies": [study]}, "headers": {"idempotency-key": "first"}}
        answer = await both.call("POST", f"/migrations/{job}/first", 200, **once)
        assert answer == {"studies": 1, "state": "PAUSED"}
        await both.desk.prepared.fetch(
            "UPDATE transmit.migration SET spec = spec || '{\"windows\": []}' WHERE id = $1", job
        )
        await both.call("POST", f"/migrations/{job}/resume", 200)
        ended = await over(both, job)
        assert counts(ended) == (60, 60, 0, 0, 0), ended
        assert await stored(both) == digests(there)
        await both.call("POST", f"/migrations/{job}/cancel", 409)
        # whoever asks again with the key is answered as before; to ask anew is too late
        assert await both.call("POST", f"/migrations/{job}/first", 200, **once) == answer
        late = {"json": {"studies": [study]}}
        await both.call("POST", f"/migrations/{job}/first", 409, **late)
