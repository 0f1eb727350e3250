"""How a destination wants it: over TLS, at its hours, at its pace, in its syntaxes."""

import json
import signal
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom_common.amqp.broker import NoReply
from darkroom_common.messages.requests import EchoDestination
from darkroom_common.messages.resources import delete, put
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.transmit.desk import QUICK, Desk
from tests.support.certificates import Authority
from tests.support.scripted_peer import ScriptedPeer
from tests.support.waiting import until


def a_server(authority: Authority, *, clients: bool = False) -> ssl.SSLContext:
    pair = authority.sign("peer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def an_authority(directory: Path, name: str, *, strict: bool = True) -> Authority:
    (directory / name).mkdir()
    return Authority(directory / name, strict=strict)


@pytest.mark.req("TRX-01")
async def test_images_go_over_tls_to_whom_the_authority_knows(desk: Desk, tmp_path: Path) -> None:
    ours, other = an_authority(tmp_path, "ours"), an_authority(tmp_path, "other")
    hospital = an_authority(tmp_path, "hospital", strict=False)
    client = ours.sign("darkroom")
    await desk.services.running["transmit"].stop()
    desk.services.extra |= {
        "DICOM_TLS_CERTIFICATE": str(client.certificate),
        "DICOM_TLS_KEY": str(client.key),
    }
    await desk.services.start("transmit")
    study = await desk.study(10, size=300_000)
    trust = {"enabled": True, "ca": ours.file.read_text(), "server_name": "localhost"}
    with (
        ScriptedPeer(tls=a_server(ours, clients=True)) as mutual,
        ScriptedPeer(tls=a_server(other)) as stranger,
        ScriptedPeer(tls=a_server(hospital)) as lenient,
        ScriptedPeer() as plain,
    ):
        await desk.destination("MUTUAL", mutual.port, tls=trust)
        await desk.until(await desk.send("MUTUAL", study), "SENT")
        assert {one.sop_instance_uid: one.sha256 for one in mutual.stored} == study.digests
        for name, port, changes, reason in (
            ("STRANGER", stranger.port, trust, "CertificateRefused"),
            ("MISNAMED", mutual.port, trust | {"server_name": "elsewhere"}, "CertificateRefused"),
            ("PLAIN", plain.port, trust, "TlsFailed"),
            ("BROKEN", plain.port, trust | {"ca": "no PEM"}, "BadCertificate"),
        ):
            await desk.destination(name, port, tls=changes, answer_seconds=2)
            reply = await desk.ask(EchoDestination(name=name))
            assert reply.body["reason"] == reason, (name, reply)
        known = trust | {"ca": hospital.file.read_text()}
        await desk.destination("LENIENT", lenient.port, tls=known)
        reply = await desk.ask(EchoDestination(name="LENIENT"))
        assert reply.body["reason"] == "CertificateNotStrict"
        await desk.destination("LENIENT", lenient.port, tls=known | {"strict": False})
        assert (await desk.ask(EchoDestination(name="LENIENT"))).body["ok"]
        await desk.destination("ANONYMOUS", mutual.port, tls=trust | {"client_certificate": False})
        assert not (await desk.ask(EchoDestination(name="ANONYMOUS"))).body["ok"]


@pytest.mark.req("TRX-08")
async def test_a_closed_window_and_a_disabled_destination_wait(desk: Desk) -> None:
    study = await desk.study(2)
    now = datetime.now(UTC)
    later = (now + timedelta(hours=3)).strftime("%H:%M")
    end = (now + timedelta(hours=5)).strftime("%H:%M")
    with ScriptedPeer() as peer:
        closed = {"windows": [{"start": later, "end": end}]}
        await desk.destination("NIGHT", peer.port, **closed)
        await desk.destination("OFF", peer.port, enabled=False)
        await desk.destination("OPEN", peer.port)
        jobs = [await desk.send(name, study) for name in ("NIGHT", "OFF", "OPEN")]
        await desk.until(jobs[2], "SENT")
        for job_id in jobs[:2]:
            job = await desk.until(job_id, "PENDING")
            assert job["attempts"] == 0
        assert len(peer.stored) == 2
        await desk.destination("NIGHT", peer.port)
        await desk.destination("OFF", peer.port)
        for job_id in jobs[:2]:
            await desk.until(job_id, "SENT")


@pytest.mark.req("TRX-08")
async def test_a_throttle_is_shared_by_all_associations(desk: Desk) -> None:
    study = await desk.study(40, size=50_000)
    with ScriptedPeer() as peer:
        await desk.destination("THIN", peer.port, throttle_bytes_per_second=1_000_000)
        began = time.monotonic()
        await desk.until(await desk.send("THIN", study), "SENT")
        took = time.monotonic() - began
    assert len(peer.stored) == 40
    assert took > 1.3  # two megabytes, of which a quarter of a second's worth goes at once


async def test_what_nobody_can_make_over_fails_and_the_rest_goes(desk: Desk) -> None:
    study = await desk.study(2)
    study.changes["BurnedInAnnotation"] = "YES"
    named = await desk.add_to(study, 1)
    with ScriptedPeer() as peer:
        await desk.destination("SECRET", peer.port, deidentify="basic")
        job = await desk.until(await desk.send("SECRET", study), "FAILED")
        assert (job["sent"], job["failed"]) == (2, 1)
        rows = await desk.instances(job["id"])
        (failed,) = [uid for uid, row in rows.items() if row["state"] == "FAILED"]
        assert {failed} == named
        assert "burned in" in rows[failed]["reason"]
        assert len(peer.stored) == 2
        assert not {one.sop_instance_uid for one in peer.stored} & set(rows)


async def test_destinations_and_rules_from_a_file(desk: Desk, tmp_path: Path) -> None:
    study = await desk.study(2)
    with ScriptedPeer() as peer:
        file = tmp_path / "destinations.json"
        spec = {"ae_title": "PACS", "host": LOOPBACK, "port": peer.port, "backoff": QUICK}
        rules = {"everything": {"destinations": ["FILED"]}}
        file.write_text(json.dumps({"destinations": {"FILED": spec}, "rules": rules}))
        await desk.services.running["transmit"].stop()
        desk.services.extra["DESTINATIONS_FILE"] = str(file)
        await desk.services.start("transmit")
        await desk.completed(study, revision=1)
        await desk.jobs_are(1, "SENT")
        await desk.services.running["transmit"].stop()
        await desk.services.start("transmit")  # the same file again changes nothing
        rows = await desk.prepared.fetch("SELECT version FROM transmit.destination")
        assert [row["version"] for row in rows] == [1]
    file.write_text('{"destinations": {"FILED": {"port": "x"}}}')
    await desk.services.running["transmit"].stop()
    process = desk.services.running["transmit"]
    await process.start()
    assert process.process is not None
    assert await process.process.wait() == 1
    assert "DESTINATIONS_FILE" in process.log.read_text()


async def test_what_a_process_that_hung_has_not_answered_is_not_carried_out(desk: Desk) -> None:
    """Both were told 503, and it has them in its hands all the while."""
    await desk.destination("OLD", 104)
    process = desk.services.running["transmit"].process
    assert process is not None
    spec = DestinationSpec(ae_title="NEW", host=LOOPBACK, port=104)
    process.send_signal(signal.SIGSTOP)
    try:
        for request in (put(DESTINATIONS, "NEW", spec), delete(DESTINATIONS, "OLD")):
            with pytest.raises(NoReply):
                await desk.broker.request(request, limit=0.5)
    finally:
        process.send_signal(signal.SIGCONT)

    async def dropped() -> bool:
        return len(desk.logged("request.late")) == 2

    await until(dropped)
    rows = await desk.prepared.fetch("SELECT name FROM transmit.destination")
    assert [row["name"] for row in rows] == ["OLD"]
    assert (await desk.ask(EchoDestination(name="OLD"))).outcome == "done"
