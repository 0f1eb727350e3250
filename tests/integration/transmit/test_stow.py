"""STOW-RS to Orthanc, and to a server that answers as a script says."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from darkroom_common.messages.requests import EchoDestination
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.transmit.desk import Desk
from tests.integration.transmit.stow_server import Server, sequences, serving, stow
from tests.support.certificates import Authority

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


@asynccontextmanager
async def orthanc(directory: Path, **servers: Mapping[str, Any]) -> AsyncIterator[str]:
    """Orthanc with its DICOMweb plugin and a login, and servers that it knows; its address."""
    directory.mkdir()
    port = free_port()
    config = directory / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(directory / "storage"),
                "IndexDirectory": str(directory / "storage"),
                "DicomServerEnabled": False,
                "HttpPort": port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": True,
                "RegisteredUsers": {"darkroom": "open sesame"},
                "Plugins": [str(PLUGIN)],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": servers},
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        "Orthanc", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://{LOOPBACK}:{port}"
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    await client.get(f"{url}/system")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.req("TRX-12")
async def test_orthanc_takes_what_we_send(desk: Desk, tmp_path: Path) -> None:
    study = await desk.study(30, size=60_000)
    async with orthanc(tmp_path / "orthanc") as url:
        login = {"kind": "basic", "username": "darkroom"}
        await stow(desk, "WEB", f"{url}/dicom-web", "wrong", auth=login)
        echo = await desk.ask(EchoDestination(name="WEB"))
        assert (echo.body["ok"], echo.body["reason"]) == (False, "NotAuthenticated")
        refused = await desk.until(await desk.send("WEB", study), "FAILED")
        assert refused["reason"] == "NotAuthenticated"
        await stow(desk, "WEB", f"{url}/dicom-web/", "open sesame", auth=login)
        assert (await desk.ask(EchoDestination(name="WEB"))).body["ok"]
        job_id = await desk.send("WEB", study)
        job = await desk.until(job_id, "SENT")
        assert (job["sent"], job["failed"]) == (30, 0)
        async with httpx.AsyncClient(
            trust_env=False, base_url=url, auth=("darkroom", "open sesame")
        ) as there:
            found = {}
            for key in (await there.get("/instances")).json():
                raw = (await there.get(f"/instances/{key}/file")).content
                (length,) = (int.from_bytes(raw[140:144], "little"),)
                tags = (await there.get(f"/instances/{key}/simplified-tags")).json()
                found[tags["SOPInstanceUID"]] = sha256(raw[144 + length :]).hexdigest()
    assert found == study.digests


@pytest.mark.req("TRX-12")
async def test_each_instance_has_an_outcome_of_its_own(desk: Desk) -> None:
    study = await desk.study(5)
    bad, late, warned, silent, good = sorted(study.digests)

    def script(uids: list[str], number: int) -> tuple[int, Any]:
        if number > 1:
            return 200, sequences(uids)
        return 202, sequences([warned, good], {bad: 0xC000, late: 0xA700}, {warned: 0xB000})

    with serving(Server(script)) as server:
        await stow(desk, "WEB", f"http://{LOOPBACK}:{server.port}/dicom-web")
        job_id = await desk.send("WEB", study)
        job = await desk.until(job_id, "FAILED")
    rows = await desk.instances(job_id)
    assert (job["sent"], job["failed"], job["warned"]) == (4, 1, 1)
    assert (rows[bad]["state"], rows[bad]["status"]) == ("FAILED", 0xC000)
    assert (rows[warned]["state"], rows[warned]["reason"]) == ("SENT", "WarningB000")
    assert sorted(server.requests[1]) == [late, silent]
    assert rows[good]["state"] == rows[late]["state"] == rows[silent]["state"] == "SENT"


async def test_what_a_server_cannot_do_now_is_sent_later(desk: Desk) -> None:
    study = await desk.study(3)
    answers: dict[int, tuple[int, Any]] = {
        1: (503, b"busy"),
        2: (409, sequences([], dict.fromkeys(study.digests, 0x0110))),
        3: (429, b""),
        4: (202, b"not json"),
    }
    server = Server(lambda uids, number: answers.get(number, (200, sequences(uids))))
    with serving(server):
        await stow(desk, "WEB", f"http://{LOOPBACK}:{server.port}/dicom-web")
        job_id = await desk.send("WEB", study)
        job = await desk.until(job_id, "SENT")
    assert job["attempts"] == 5
    reasons = [one["reason"] for one in await desk.attempts(job_id)]
    assert reasons[:4] == ["HttpStatus503", "ProcessingFailure", "HttpStatus429", "NotMentioned"]


async def test_a_refused_syntax_is_converted_and_a_long_request_divided(desk: Desk) -> None:
    study = await desk.study(4, size=4)

    def script(uids: list[str], number: int) -> tuple[int, Any]:
        if number == 1:
            return 415, b""
        if len(uids) > 1:
            return 413, b""
        return 200, sequences(uids)

    with serving(Server(script)) as server:
        await stow(
            desk,
            "WEB",
            f"http://{LOOPBACK}:{server.port}/dicom-web",
            "a token",
            auth={"kind": "bearer"},
        )
        await desk.until(await desk.send("WEB", study), "SENT")
    assert server.authorization == "Bearer a token"
    assert server.syntaxes == {IMPLICIT}
    assert sorted(server.stored) == sorted(study.digests)


async def test_only_the_server_that_is_meant_is_told(desk: Desk, tmp_path: Path) -> None:
    study = await desk.study(1)
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.sign("stow")
    context.load_cert_chain(pair.certificate, pair.key)
    server = Server(lambda uids, _: (200, sequences(uids)))
    with serving(server, context) as one:
        url = f"https://localhost:{one.port}/dicom-web"
        await stow(desk, "WEB", url, tls={"enabled": True})
        failed = await desk.send("WEB", study)
        await desk.until(failed, "RETRYING", where=lambda row: row["attempts"] >= 2)
        assert (await desk.attempts(failed))[0]["reason"] == "CertificateRefused"
        assert server.requests == []
        await stow(desk, "WEB", url, tls={"enabled": True, "ca": authority.file.read_text()})
        await desk.until(failed, "SENT")
    redirecting = Server(lambda *_: (307, b""))
    with serving(redirecting) as one:
        await stow(desk, "WEB", f"http://{LOOPBACK}:{one.port}/dicom-web")
        job = await desk.until(await desk.send("WEB", study), "FAILED")
    assert job["reason"] == "HttpStatus307"


async def test_an_authority_without_key_usage_is_a_setting(desk: Desk, tmp_path: Path) -> None:
    study = await desk.study(1)
    hospital = Authority(tmp_path, strict=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = hospital.sign("stow")
    context.load_cert_chain(pair.certificate, pair.key)
    with serving(Server(lambda uids, _: (200, sequences(uids))), context) as one:
        url = f"https://localhost:{one.port}/dicom-web"
        trust = {"enabled": True, "ca": hospital.file.read_text()}
        await stow(desk, "WEB", url, tls=trust)
        refused = await desk.send("WEB", study)
        await desk.until(refused, "RETRYING")
        assert (await desk.attempts(refused))[0]["reason"] == "CertificateNotStrict"
        await stow(desk, "WEB", url, tls=trust | {"strict": False})
        await desk.until(refused, "SENT")


async def test_a_server_that_is_down_gets_all_when_it_is_up(desk: Desk) -> None:
    study = await desk.study(2)
    await stow(desk, "WEB", f"http://{LOOPBACK}:{free_port()}/dicom-web")
    job_id = await desk.send("WEB", study)
    await desk.until(job_id, "RETRYING", where=lambda row: row["attempts"] >= 2)
    assert (await desk.attempts(job_id))[0]["reason"] == "ConnectionRefused"
    with serving(Server(lambda uids, _: (200, sequences(uids)))) as server:
        await stow(desk, "WEB", f"http://{LOOPBACK}:{server.port}/dicom-web")
        await desk.until(job_id, "SENT")


async def test_a_large_object_is_never_in_memory(desk: Desk) -> None:
    size = 120 << 20
    study = await desk.study(1, size=size)
    process = desk.services.running["transmit"].process
    assert process is not None

    def peak() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    before = peak()
    with serving(Server(lambda *_: (200, sequences(list(study.digests))), discards=True)) as server:
        await stow(desk, "WEB", f"http://{LOOPBACK}:{server.port}/dicom-web")
        await desk.until(await desk.send("WEB", study), "SENT")
    assert server.length >= size
    assert peak() - before < size / 2
