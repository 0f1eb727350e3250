"""DICOM over TLS beside the plain port: handshakes, certificates, hostile peers."""

import asyncio
import re
import socket
import ssl
import subprocess
import time
import warnings
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dimse.tls import TlsServer
from darkroom_ingest.senders.admission import HostRule, Roster, Sender
from darkroom_ingest.senders.roster import COPY_NAME, RosterCopy
from darkroom_ingest.settings import IngestSettings
from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.ingest.scp import RunningScp, running_scp
from tests.integration.ingest.tls import CONTEXTS, EXPLICIT, an_object, echo, tls_settings
from tests.support.builders import CT
from tests.support.certificates import Authority, Pair
from tests.support.dicom_peer import Association, Rejected, send
from tests.support.services import Services, declare_index_queue
from tests.support.waiting import LIMIT, until


@pytest.mark.req("ING-06")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_objects_arrive_byte_for_byte_beside_the_plain_port(
    scp: RunningScp, authority: Authority, version: ssl.TLSVersion
) -> None:
    client = authority.client()
    client.minimum_version = client.maximum_version = version
    first, second = [an_object(), an_object(5 << 20)], [an_object(), an_object(1 << 20)]
    answers = await asyncio.gather(
        asyncio.to_thread(send, scp.tls_port, first, tls=client),
        asyncio.to_thread(send, scp.port, second),
    )
    assert [set(one.values()) for one in answers] == [{0}, {0}]
    assert set(scp.ready()) == {data for _, data in (*first, *second)}


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_records_of_any_size(scp: RunningScp, authority: Authority, size: int) -> None:
    uid, data = an_object()

    def store() -> int:
        with Association(scp.tls_port, CONTEXTS, tls=authority.client()) as peer:
            plain = peer._socket

            class Cut:
                def sendall(self, data: bytes) -> None:
                    for at in range(0, len(data), size):
                        plain.sendall(data[at : at + size])

                def __getattr__(self, name: str) -> Any:
                    return getattr(plain, name)

            peer._socket = Cut()  # type: ignore[assignment]
            return peer.store(1, CT, uid, data)

    assert await asyncio.to_thread(store) == 0
    assert scp.ready() == [data]


@pytest.mark.req("ING-06")
async def test_old_versions_and_weak_ciphers_are_refused(
    scp: RunningScp, authority: Authority
) -> None:
    def refused(**changes: Any) -> str:
        client = authority.client()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for name, value in changes.items():
                setattr(client, name, value)
        # The client's own library must offer what is refused here.
        client.set_ciphers(
            "ALL:@SECLEVEL=0" if "minimum_version" in changes else "AES128-GCM-SHA256"
        )
        with pytest.raises(ssl.SSLError) as caught:
            Association(scp.tls_port, CONTEXTS, tls=client)
        return str(caught.value.reason)

    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with capture_logs() as logs:
            told = await asyncio.to_thread(
                lambda v: refused(minimum_version=v, maximum_version=v), version
            )
            await until(lambda: logs)
        assert told == "TLSV1_ALERT_PROTOCOL_VERSION"
        assert [(line["event"], line.get("reason")) for line in logs] == [
            ("tls.refused", "unsupported-protocol")
        ]
    told = await asyncio.to_thread(lambda: refused(maximum_version=ssl.TLSVersion.TLSv1_2))
    assert "HANDSHAKE_FAILURE" in told  # no forward secrecy
    assert await asyncio.to_thread(echo, scp.tls_port, authority.client()) < 1


@pytest.mark.req("ING-06")
async def test_the_minimum_is_a_setting(tmp_path: Path, authority: Authority, ours: Pair) -> None:
    async with running_scp(tmp_path, **tls_settings(ours, dicom_tls_minimum="1.3")) as scp:
        client = authority.client()
        await asyncio.to_thread(echo, scp.tls_port, client)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(echo, scp.tls_port, client)


@pytest.mark.req("ING-06")
async def test_mutual_tls(tmp_path: Path, authority: Authority, ours: Pair) -> None:
    known = authority.client(authority.sign("scanner"))
    other_directory = tmp_path / "other"
    other_directory.mkdir()
    other = Authority(other_directory).sign("stranger")
    settings = tls_settings(ours, dicom_tls_client_ca=authority.file)
    for clients, without_is_fine in (("required", False), ("optional", True), (None, False)):
        more = {} if clients is None else {"dicom_tls_clients": clients}
        async with running_scp(tmp_path / str(clients), **settings, **more) as scp:
            await asyncio.to_thread(echo, scp.tls_port, known)
            if without_is_fine:
                await asyncio.to_thread(echo, scp.tls_port, authority.client())
            refused = [authority.client(other), authority.client(authority.sign("old", -_DAY))]
            for client in refused + [authority.client()] * (not without_is_fine):
                with pytest.raises(OSError):  # noqa: PT011 - an alert, or a reset
                    await asyncio.to_thread(echo, scp.tls_port, client)


_DAY = timedelta(days=1)


@pytest.mark.req("ING-06")
async def test_an_authority_without_key_usage_is_a_setting(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    (tmp_path / "hospital").mkdir()
    hospital = Authority(tmp_path / "hospital", strict=False)
    scanner = authority.client(hospital.sign("scanner"))
    settings = tls_settings(ours, dicom_tls_client_ca=hospital.file)
    async with running_scp(tmp_path / "lenient", **settings, dicom_tls_strict=False) as scp:
        await asyncio.to_thread(echo, scp.tls_port, scanner)
    async with running_scp(tmp_path / "strict", **settings) as scp:
        with capture_logs() as logs:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(echo, scp.tls_port, scanner)
            await until(lambda: logs)
    (line,) = logs
    assert line["event"] == "tls.refused"
    assert "key usage" in line["reason"]
    assert "DICOM_TLS_STRICT=false takes it" in line["reason"]


@pytest.mark.req("ING-05", "ING-06")
async def test_a_sender_may_be_bound_to_its_certificate(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    scanner, other = authority.sign("scanner"), authority.sign("other")
    rule = HostRule(ip_network("127.0.0.0/8"), scanner.sha256)
    sender = Sender(
        ae_title="SCANNER",
        enabled=True,
        description="",
        host_rule="listed",
        hosts=(rule,),
        sop_class_rule="any",
        sop_class_uids=(),
        max_associations=None,
    )
    (tmp_path / "spool").mkdir()
    RosterCopy(tmp_path / "spool" / COPY_NAME).put(Roster((), (sender,)))
    settings = tls_settings(ours, dicom_tls_client_ca=authority.file, unknown_ae="reject")
    async with running_scp(tmp_path, **settings) as scp:
        await asyncio.to_thread(echo, scp.tls_port, authority.client(scanner))
        for port, client in ((scp.tls_port, authority.client(other)), (scp.port, None)):
            with pytest.raises(Rejected) as caught:
                await asyncio.to_thread(echo, port, client)
            assert caught.value.answer == (1, 1, 3)


@pytest.mark.req("ING-06")
async def test_another_program_sends_over_tls(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    scanner = authority.sign("scanner")
    file = tmp_path / "one.dcm"
    uid, data = an_object()
    file.write_bytes(encode_head(FileMeta(CT, uid, EXPLICIT, "SCANNER", "DARKROOM")) + data)
    settings = tls_settings(ours, dicom_tls_client_ca=authority.file)

    def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    async with running_scp(tmp_path, **settings) as scp:
        where = ("-aec", "DARKROOM", LOOPBACK, str(scp.tls_port))
        with_key = ("+tls", scanner.key, scanner.certificate, "+cf", authority.file)
        for tool, more in (("echoscu", ()), ("storescu", (file,))):
            done = await asyncio.to_thread(run, tool, *with_key, *where, *more)
            assert done.returncode == 0, done.stderr
        assert [one.identity.sop_instance_uid for one in scp.receipts] == [uid]
        done = await asyncio.to_thread(run, "echoscu", "+tla", "+cf", authority.file, *where)
        assert done.returncode != 0
        done = await asyncio.to_thread(run, "echoscu", *where)
        assert done.returncode != 0


@pytest.mark.req("ING-06")
async def test_a_changed_certificate_is_taken_and_a_bad_one_is_not(
    scp: RunningScp, authority: Authority, ours: Pair
) -> None:
    assert scp.tls is not None

    def serial() -> int:
        client = authority.client()
        with client.wrap_socket(
            socket.create_connection((LOOPBACK, scp.tls_port)), server_hostname="localhost"
        ) as peer:
            return int(peer.getpeercert()["serialNumber"], 16)  # type: ignore[index, arg-type]

    first = await asyncio.to_thread(serial)
    uid, data = an_object()
    with await asyncio.to_thread(
        Association, scp.tls_port, CONTEXTS, tls=authority.client()
    ) as running:
        ours.replace(authority.sign("next"))
        assert scp.tls.look() is False
        second = await asyncio.to_thread(serial)
        assert second != first
        assert running.store(1, CT, uid, data) == 0  # it goes on within the old one
    good = (ours.certificate.read_bytes(), ours.key.read_bytes())
    expired = authority.sign("expired", -_DAY)
    for certificate, key, reason in (
        (b"garbage", good[1], "PEM"),
        (good[0], b"garbage", ""),
        (good[0], authority.sign("other").key.read_bytes(), "key-values-mismatch"),
        (expired.certificate.read_bytes(), expired.key.read_bytes(), "expired on"),
    ):
        ours.certificate.write_bytes(certificate)
        ours.key.write_bytes(key)
        with capture_logs() as logs:
            assert scp.tls.look() is True
            assert scp.tls.look() is False  # told once
        assert [line["event"] for line in logs] == ["certificate.refused"]
        assert reason in scp.tls.trouble
        assert await asyncio.to_thread(serial) == second
    ours.key.unlink()
    assert scp.tls.look() is True
    assert await asyncio.to_thread(serial) == second
    ours.replace(authority.sign("last"))
    assert scp.tls.look() is False
    assert scp.tls.trouble == ""
    assert await asyncio.to_thread(serial) not in {first, second}


@pytest.mark.req("ING-06")
async def test_processes_share_both_ports_and_reload(
    tmp_path: Path, amqp_url: str, authority: Authority, ours: Pair
) -> None:
    await declare_index_queue(amqp_url)
    services = Services(tmp_path, "postgresql://nobody@127.0.0.1:1/none", amqp_url)
    port = free_port()
    services.extra |= {
        "PROCESSES": "2",
        "DICOM_TLS_PORT": str(port),
        "DICOM_TLS_CERTIFICATE": str(ours.certificate),
        "DICOM_TLS_KEY": str(ours.key),
    }
    await services.start("ingest")
    service = services.running["ingest"]
    try:
        client = authority.client()
        loads = [[an_object() for _ in range(5)] for _ in range(8)]
        answers = await asyncio.gather(
            *(asyncio.to_thread(send, port, load, tls=client) for load in loads[:4]),
            *(asyncio.to_thread(send, services.dicom_port, load) for load in loads[4:]),
        )
        assert {status for one in answers for status in one.values()} == {0}

        async def until_metric(pattern: str) -> float:
            async def found() -> re.Match[str] | None:
                _, text = await asyncio.to_thread(service.probe, "/metrics")
                return re.search(pattern, text, re.MULTILINE)

            return float((await until(found))[1])

        expires = r'^darkroom_certificate_expires_timestamp_seconds{listener="dicom-tls"} (\S+)$'
        assert abs(await until_metric(expires) - time.time() - 86400) < 600
        ours.key.write_bytes(b"garbage")
        refused = r'^darkroom_certificate_refused_total{listener="dicom-tls"} (1\.0)$'
        await until_metric(refused)
        code, body = await asyncio.to_thread(service.probe, "/readyz")
        assert (code, "an older certificate is in force" in body) == (200, True)
        for _ in range(4):
            await asyncio.to_thread(echo, port, client)
        ours.replace(authority.sign("next", timedelta(days=9)))

        def seen() -> int:
            with client.wrap_socket(
                socket.create_connection((LOOPBACK, port)), server_hostname="localhost"
            ) as peer:
                return int(peer.getpeercert()["serialNumber"], 16)  # type: ignore[index, arg-type]

        wanted = await asyncio.to_thread(seen)
        async with asyncio.timeout(LIMIT):
            row: list[int] = []
            while row[-10:] != [wanted] * 10:
                row.append(await asyncio.to_thread(seen))
                wanted = row[-1]
        assert await service.stop() == 0
    finally:
        await services.stop()


async def test_half_of_tls_is_a_mistake(tmp_path: Path, authority: Authority, ours: Pair) -> None:
    given: dict[str, Any] = {
        "postgres_url": "x",
        "amqp_url": "amqp://localhost",
        "pseudonym_key": "x",
        "store_url": "x",
        "spool": tmp_path,
    }
    for wrong in (
        {"dicom_tls_key": ours.key},
        {"dicom_tls_certificate": ours.certificate},
        {"dicom_tls_client_ca": authority.file},
        tls_settings(ours, dicom_tls_clients="required"),
    ):
        with pytest.raises(ValueError, match="DICOM_TLS"):
            IngestSettings(**given, **wrong)
    ours.certificate.write_text("garbage")
    settings = IngestSettings(**given, **tls_settings(ours))
    assert settings.tls is not None
    tls = TlsServer(settings.tls)
    assert tls.context is None
    assert str(ours.certificate) in tls.trouble
