"""A running transmit makes over what its destinations cannot take as it is stored."""

from typing import Any

import numpy as np
import pytest

from darkroom_common.pixels.codecs import JPEG_2000_LOSSLESS, JPEG_LOSSLESS_SV1
from tests.integration.transmit.desk import Desk
from tests.support.scripted_peer import Script, ScriptedPeer

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
PIXELS = np.arange(32 * 32, dtype="<u2") % 4096
IMAGE: dict[str, Any] = {
    "Rows": 32,
    "Columns": 32,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelData": PIXELS.tobytes(),
}


@pytest.mark.req("TRX-05")
async def test_what_a_destination_refuses_is_made_over(desk: Desk) -> None:
    study = await desk.study(3, **IMAGE)
    with ScriptedPeer(Script(refused_syntaxes=frozenset({EXPLICIT}))) as old:
        await desk.destination("OLD", old.port)
        await desk.until(await desk.send("OLD", study), "SENT")
        assert {one.transfer_syntax for one in old.stored} == {IMPLICIT}
        assert sorted(old.uids) == sorted(study.digests)
    for name, syntax in (("J2K", JPEG_2000_LOSSLESS), ("SV1", JPEG_LOSSLESS_SV1)):
        with ScriptedPeer() as small:
            await desk.destination(name, small.port, transfer_syntaxes=[syntax, EXPLICIT])
            # Explicit little endian is taken, so nothing is compressed without need.
            await desk.until(await desk.send(name, study), "SENT")
            assert {one.transfer_syntax for one in small.stored} == {EXPLICIT}
        with ScriptedPeer() as small:
            await desk.destination(name, small.port, transfer_syntaxes=[syntax, IMPLICIT])
            await desk.until(await desk.send(name, study), "SENT")
            assert {one.transfer_syntax for one in small.stored} == {syntax}
            assert sorted(small.uids) == sorted(study.digests)
    rows = await desk.prepared.fetch("SELECT DISTINCT state FROM transmit.job_instance")
    assert [row["state"] for row in rows] == ["SENT"]


@pytest.mark.req("TRX-13")
async def test_objects_leave_without_names_and_twice_alike(desk: Desk) -> None:
    study = await desk.study(3, **IMAGE)
    sent: list[dict[str, str]] = []
    with ScriptedPeer() as peer:
        await desk.destination("RESEARCH", peer.port, deidentify="basic")
        for _ in range(2):
            await desk.until(await desk.send("RESEARCH", study), "SENT")
            sent.append({one.sop_instance_uid: one.sha256 for one in peer.stored})
            peer.stored.clear()
    assert sent[0] == sent[1]
    assert len(sent[0]) == 3
    assert not set(sent[0]) & set(study.digests)
    pictures = await desk.study(1, **IMAGE, Modality="US")
    with ScriptedPeer() as peer:
        await desk.destination("RESEARCH", peer.port, deidentify="basic")
        job_id = await desk.send("RESEARCH", pictures)
        await desk.until(job_id, "FAILED")
        (row,) = (await desk.instances(job_id)).values()
        assert "modality US" in row["reason"]
        assert peer.stored == []
    log = desk.services.running["transmit"].log.read_text()
    assert "Planted" not in log
    assert "PLANTED-1" not in log
