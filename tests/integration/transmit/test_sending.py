"""Jobs of transmit as a process: what arrives, what is kept of what does not, what a kill costs."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.messages.requests import EchoDestination
from darkroom_local.engines.ports import free_port
from tests.bench.receivers import environment
from tests.integration.transmit.desk import QUICK, Desk, received
from tests.support.scripted_peer import ABORT, Script, ScriptedPeer
from tests.support.waiting import LIMIT


def arrived(peer: ScriptedPeer) -> dict[str, str]:
    return {one.sop_instance_uid: one.sha256 for one in peer.stored}


def _has_sent(enough: int, row: Mapping[str, Any]) -> bool:
    return bool(row["sent"] >= enough)


@pytest.mark.req("TRX-01")
async def test_a_study_arrives_bit_for_bit_and_once(desk: Desk) -> None:
    study = await desk.study(40)
    with ScriptedPeer() as peer:
        await desk.destination("PACS", peer.port)
        reply = await desk.ask(EchoDestination(name="PACS"))
        assert reply.body["ok"], reply
        job_id = await desk.send("PACS", study)
        job = await desk.until(job_id, "SENT")
        assert arrived(peer) == study.digests
        assert len(peer.stored) == 40
        assert peer.most_open <= 4
    assert (job["total"], job["sent"], job["failed"], job["attempts"]) == (40, 40, 0, 1)
    assert {row["state"] for row in (await desk.instances(job_id)).values()} == {"SENT"}
    again = await desk.ask(EchoDestination(name="PACS"))
    assert again.body["reason"] == "ConnectionRefused"
    assert (await desk.ask(EchoDestination(name="NOBODY"))).outcome == "not-found"
    assert await desk.services.running["transmit"].stop() == 0


@pytest.mark.req("TRX-01")
async def test_dcmtk_takes_what_we_send(desk: Desk, tmp_path: Path) -> None:
    directory = tmp_path / "dcmtk"
    directory.mkdir()
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "storescp",
        "--fork",
        "+xa",
        "+B",
        "-od",
        str(directory),
        str(port),
        env=environment(best=False),
    )
    try:
        study = await desk.study(30, size=60_000)
        # Not yet there, or not yet ready: the job waits for it.
        await desk.destination("DCMTK", port)
        job_id = await desk.send("DCMTK", study)
        await desk.until(job_id, "SENT")
    finally:
        process.terminate()
        await process.wait()
    assert received(directory) == study.digests


@pytest.mark.req("TRX-02", "TRX-03")
async def test_a_destination_that_is_down_gets_all_when_it_is_up(desk: Desk) -> None:
    study = await desk.study(5)
    port = free_port()
    await desk.destination("PACS", port)
    job_id = await desk.send("PACS", study)
    await desk.until(job_id, "RETRYING", where=lambda row: row["attempts"] >= 5)
    attempts = (await desk.attempts(job_id))[:5]
    assert {one["reason"] for one in attempts[:4]} == {"ConnectionRefused"}
    for number, (one, later) in enumerate(pairwise(attempts)):
        planned = (one["next_at"] - one["ended_at"]).total_seconds()
        plain = min(
            QUICK["ceiling_seconds"], QUICK["initial_seconds"] * QUICK["multiplier"] ** number
        )
        assert plain * 0.9 - 0.01 <= planned <= plain * 1.1 + 0.01
        assert (later["began_at"] - one["ended_at"]).total_seconds() >= plain * 0.9 - 0.01
    with ScriptedPeer(port=port) as peer:
        await desk.until(job_id, "SENT")
    assert arrived(peer) == study.digests
    assert len(peer.stored) == 5
    breaker = await desk.prepared.fetch("SELECT breaker FROM transmit.destination")
    assert breaker[0]["breaker"] == "closed"


@pytest.mark.req("TRX-02")
async def test_what_fails_for_good_is_kept_until_an_operator_acts(desk: Desk) -> None:
    study = await desk.study(4)
    bad, warned, late, good = sorted(study.digests)
    answers = {bad: 0xC000, warned: 0xB000}
    script = Script(status=lambda uid, n: 0xA700 if uid == late and n == 1 else answers.get(uid, 0))
    with ScriptedPeer(script) as peer:
        await desk.destination("PACS", peer.port)
        job_id = await desk.send("PACS", study)
        job = await desk.until(job_id, "FAILED")
        assert (job["sent"], job["failed"], job["warned"]) == (3, 1, 1)
        assert job["reason"] == "CannotUnderstand"
        rows = await desk.instances(job_id)
        assert (rows[bad]["state"], rows[bad]["status"]) == ("FAILED", 0xC000)
        assert (rows[warned]["state"], rows[warned]["reason"]) == ("SENT", "WarningB000")
        assert rows[late]["state"] == rows[good]["state"] == "SENT"
        await desk.services.running["transmit"].kill()
        await desk.services.start("transmit")
        assert (await desk.job(job_id))["state"] == "FAILED"  # type: ignore[index]
        script.status = lambda *_: 0
        assert (await desk.act(job_id, "retry")).outcome == "done"
        await desk.until(job_id, "SENT")
        assert sorted(peer.uids) == sorted([bad, bad, warned, late, late, good])
        assert (await desk.act(job_id, "retry")).outcome == "conflict"
        assert (await desk.act("0" * 32, "retry")).outcome == "not-found"


async def test_a_permanent_rejection_fails_at_once_and_a_transient_one_waits(desk: Desk) -> None:
    study = await desk.study(1)
    with (
        ScriptedPeer(Script(reject=(1, 1, 7))) as wrong,
        ScriptedPeer(Script(reject=(2, 3, 2))) as full,
    ):
        await desk.destination("WRONG", wrong.port)
        await desk.destination("FULL", full.port)
        first, second = await desk.send("WRONG", study), await desk.send("FULL", study)
        job = await desk.until(first, "FAILED")
        assert (job["reason"], job["attempts"]) == ("RejectedPermanent", 1)
        await desk.until(second, "RETRYING", where=lambda row: row["attempts"] >= 2)
        full.script.reject = None
        await desk.until(second, "SENT")
        assert arrived(full) == study.digests


async def test_attempts_come_to_an_end(desk: Desk) -> None:
    study = await desk.study(2)
    with ScriptedPeer(Script(status=lambda *_: ABORT)) as peer:
        await desk.destination("PACS", peer.port, backoff=QUICK | {"max_attempts": 3})
        job = await desk.until(await desk.send("PACS", study), "FAILED")
    assert (job["reason"], job["attempts"], job["failed"]) == ("Aborted", 3, 2)


async def test_unknown_destinations_and_objects_are_told(desk: Desk) -> None:
    study = await desk.study(1)
    job = await desk.until(await desk.send("NOBODY", study), "FAILED")
    assert job["reason"] == "UnknownDestination"
    with ScriptedPeer() as peer:
        await desk.destination("PACS", peer.port)
        gone = await desk.send("PACS", study, study_instance_uid="1.2.3.4")
        assert (await desk.until(gone, "FAILED"))["reason"] == "ObjectsNotFound"
        assert (await desk.act(gone, "retry")).outcome == "done"  # there is still nothing to send
        await desk.until(gone, "FAILED", where=lambda row: row["attempts"] == 1)


async def test_a_job_is_cancelled_and_sends_no_more(desk: Desk) -> None:
    study = await desk.study(60)
    with ScriptedPeer(Script(delay=0.1)) as peer:
        await desk.destination("PACS", peer.port, max_associations=1)
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "SENDING", where=lambda row: row["sent"] >= 1)
        assert (await desk.act(job_id, "cancel")).outcome == "done"
        job = await desk.until(job_id, "CANCELLED")
        assert job["sent"] < 60
        assert (await desk.act(job_id, "cancel")).outcome == "conflict"
        assert (await desk.act(job_id, "retry")).outcome == "done"
        await desk.until(job_id, "SENT")
        assert set(arrived(peer)) == set(study.digests)


@pytest.mark.req("TRX-02")
async def test_killed_in_the_middle_it_goes_on_with_what_has_no_success(desk: Desk) -> None:
    """F3: killed while objects are under way; what was answered and kept is not sent again."""
    study = await desk.study(60, size=40_000)
    with ScriptedPeer(Script(delay=0.02)) as peer:
        await desk.destination("PACS", peer.port)
        job_id = await desk.send("PACS", study)
        for sent in (5, 25):
            await desk.until(job_id, "SENDING", where=partial(_has_sent, sent))
            await desk.services.running["transmit"].kill()
            before = {
                u for u, row in (await desk.instances(job_id)).items() if row["state"] == "SENT"
            }
            had = len(peer.stored)
            await desk.services.start("transmit")
            await desk.until(job_id, "SENDING", "SENT", where=partial(_has_sent, len(before) + 1))
            assert not before & set(peer.uids[had:])
        await desk.until(job_id, "SENT")
    assert arrived(peer) == study.digests
    # Only what was under way at a kill may have come twice: one object an association.
    assert len(peer.stored) <= 60 + 2 * 4 * 2


@pytest.mark.req("TRX-02")
async def test_the_same_replica_is_back_and_goes_on_at_once(desk: Desk) -> None:
    """Its leases are a minute long, and none of it is waited for."""
    await desk.services.running["transmit"].stop()
    desk.services.extra["LEASE_SECONDS"] = "60"
    await desk.services.start("transmit")
    study = await desk.study(40)
    with ScriptedPeer(Script(delay=0.02)) as peer:
        await desk.destination("PACS", peer.port)
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "SENDING", where=partial(_has_sent, 5))
        await desk.services.running["transmit"].kill()
        await desk.services.start("transmit")
        async with asyncio.timeout(LIMIT):
            await desk.until(job_id, "SENT")
    assert arrived(peer) == study.digests


async def test_sigterm_finishes_the_objects_under_way(desk: Desk) -> None:
    study = await desk.study(80)
    with ScriptedPeer(Script(delay=0.05)) as peer:
        await desk.destination("PACS", peer.port, max_associations=2)
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "SENDING", where=lambda row: row["sent"] >= 5)
        assert await desk.services.running["transmit"].stop() == 0
        job = await desk.job(job_id)
        assert job is not None
        assert job["state"] == "PENDING"
        assert job["sent"] == len(peer.stored) < 80
        await desk.services.start("transmit")
        await desk.until(job_id, "SENT")
        assert len(peer.stored) == 80


@pytest.mark.req("TRX-08")
async def test_a_slow_job_of_low_priority_lets_others_go_first(desk: Desk) -> None:
    many, urgent = await desk.study(150), await desk.study(2)
    with ScriptedPeer(Script(delay=0.03)) as peer:
        await desk.destination("PACS", peer.port, max_associations=1)
        low = await desk.send("PACS", many, priority="low")
        await desk.until(low, "SENDING", where=lambda row: row["sent"] >= 1)
        high = await desk.send("PACS", urgent, priority="high")
        await desk.until(high, "SENT")
        assert len(peer.stored) < 100
        await desk.until(low, "SENT")
        assert len(peer.stored) == 152


@pytest.mark.req("TRX-04")
async def test_an_exhausted_pool_is_told_and_no_job_is_lost(desk: Desk) -> None:
    """Two destinations that are one peer share its four associations."""
    await desk.services.running["transmit"].stop()
    desk.services.extra["POOL_ACQUIRE_SECONDS"] = "0.3"
    await desk.services.start("transmit")
    studies = [await desk.study(64), await desk.study(20)]
    with ScriptedPeer(Script(delay=0.15)) as peer:
        await desk.destination("FIRST", peer.port)
        await desk.destination("SECOND", peer.port)
        first = await desk.send("FIRST", studies[0])
        await desk.until(first, "SENDING", where=lambda row: row["sent"] >= 4)
        second = await desk.send("SECOND", studies[1])
        await desk.until(second, "RETRYING", where=lambda row: row["reason"] == "PoolExhausted")
        for job_id in (first, second):
            await desk.until(job_id, "SENT")
        assert peer.most_open <= 4
        assert len(peer.stored) == 84
        job = await desk.job(second)
        assert job is not None
        assert job["tries"] == 0  # it says nothing about the destination


async def test_a_peer_that_serves_one_association_at_a_time(desk: Desk, tmp_path: Path) -> None:
    """What is idle in the pool must not keep out those who wait: it would for 30 seconds."""
    directory = tmp_path / "dcmtk"
    directory.mkdir()
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "storescp", "+xa", "+B", "-od", str(directory), str(port), env=environment(best=True)
    )
    try:
        study = await desk.study(64)
        await desk.destination("OLD", port)
        async with asyncio.timeout(LIMIT):
            job = await desk.until(await desk.send("OLD", study), "SENT")
            reply = await desk.ask(EchoDestination(name="OLD"))
        assert reply.body["ok"], reply
        assert job["attempts"] == 1
    finally:
        process.terminate()
        await process.wait()
    assert received(directory) == study.digests


@pytest.mark.req("TRX-03")
async def test_a_clock_that_was_set_back_holds_up_no_job(desk: Desk) -> None:
    """F12: what waits until an hour from now was to wait a second at most."""
    study = await desk.study(1)
    with ScriptedPeer(Script(reject=(2, 3, 2))) as peer:
        await desk.destination("PACS", peer.port)
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "RETRYING")
        await desk.services.running["transmit"].kill()  # it would know by its monotonic clock
        await desk.prepared.fetch(
            "UPDATE transmit.job SET next_at = now() + interval '1 hour', state = 'RETRYING'"
            " WHERE id = $1",
            job_id,
        )
        peer.script.reject = None
        await desk.services.start("transmit")
        await desk.until(job_id, "SENT")


@pytest.mark.req("TRX-14")
async def test_50_mb_are_sent_within_10_s(
    desk: Desk, record_property: Callable[[str, object], None]
) -> None:
    took: dict[int, float] = {}
    with ScriptedPeer() as peer:
        await desk.destination("PACS", peer.port)
        for size in (5_000_000, 50_000_000):
            study = await desk.study(1, size=size)
            job = await desk.until(await desk.send("PACS", study), "SENT")
            took[size] = (job["finished_at"] - job["created_at"]).total_seconds()
            record_property(f"seconds of {size} bytes", took[size])
            assert arrived(peer).items() >= study.digests.items()
    assert took[50_000_000] < 10
