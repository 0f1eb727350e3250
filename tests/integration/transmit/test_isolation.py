"""Instances that a destination does not stand: they fail, and nothing else does (TRX-02)."""

from collections.abc import Sequence

import pytest

from darkroom_common.messages.requests import EchoDestination
from tests.integration.transmit.desk import QUICK, Desk
from tests.support.scripted_peer import (
    ABORT,
    ANSWER_AND_ABORT,
    ANSWER_AND_RELEASE,
    CLOSE,
    RELEASE,
    RESET,
    SILENT,
    Script,
    ScriptedPeer,
)

pytestmark = pytest.mark.req("TRX-02")
ONCE = {"initial_seconds": 0.2, "multiplier": 1, "ceiling_seconds": 0.2, "max_attempts": 20}


def culprits(uids: Sequence[str], places: Sequence[int]) -> set[str]:
    return {uids[place] for place in places}  # in the order in which they are sent


@pytest.mark.parametrize(
    ("places", "at_once"),
    [((0,), 1), ((3,), 4), ((6,), 1), ((0, 1), 1), ((2, 5), 4), ((0, 1, 2, 3, 4, 5), 1)],
)
@pytest.mark.parametrize("within", [True, False])
async def test_the_culprits_fail_and_the_others_are_sent(
    desk: Desk, places: tuple[int, ...], at_once: int, within: bool
) -> None:
    study = await desk.study(7, size=40_000)
    bad = culprits(list(study.digests), places)
    script = Script(
        status=lambda uid, _: ABORT if uid in bad else 0,
        within=lambda uid: ABORT if uid in bad and within else None,
    )
    with ScriptedPeer(script) as peer:
        await desk.destination("PACS", peer.port, backoff=ONCE, max_associations=at_once)
        job_id = await desk.send("PACS", study)
        job = await desk.until(job_id, "FAILED")
        rows = await desk.instances(job_id)
        assert {uid for uid, row in rows.items() if row["state"] == "FAILED"} == bad
        assert {rows[uid]["reason"] for uid in bad} == {"Aborted"}
        assert {row["state"] for uid, row in rows.items() if uid not in bad} == {"SENT"}
        assert (job["reason"], job["sent"], job["failed"]) == ("Aborted", 7 - len(bad), len(bad))
        good = [uid for uid in peer.uids if uid not in bad]
        assert len(good) == len(set(good)) == 7 - len(bad)
        (breaker,) = await desk.prepared.fetch("SELECT breaker FROM transmit.destination")
        assert breaker["breaker"] == "closed"
        script.status, script.within = lambda *_: 0, lambda _: None
        assert (await desk.act(job_id, "retry")).outcome == "done"
        await desk.until(job_id, "SENT")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (CLOSE, "ConnectionLost"),
        (RESET, "ConnectionLost"),
        (RELEASE, "Released"),
        (SILENT, "AnswerTimeout"),
    ],
)
async def test_whatever_way_the_association_ends(desk: Desk, end: int, reason: str) -> None:
    study = await desk.study(6, size=40_000)
    (bad,) = culprits(list(study.digests), [2])
    script = Script(within=lambda uid: end if uid == bad else None)
    with ScriptedPeer(script) as peer:
        await desk.destination("PACS", peer.port, backoff=ONCE, answer_seconds=1.0)
        job_id = await desk.send("PACS", study)
        job = await desk.until(job_id, "FAILED")
        assert (job["reason"], job["sent"], job["failed"]) == (reason, 5, 1)
        assert set(peer.uids) == set(study.digests) - {bad}


async def test_the_only_one_fails_while_the_destination_answers(desk: Desk) -> None:
    study, other = await desk.study(1), await desk.study(3)
    (bad,) = study.digests
    with ScriptedPeer(Script(within=lambda uid: ABORT if uid == bad else None)) as peer:
        await desk.destination("PACS", peer.port, backoff=ONCE)
        job = await desk.until(await desk.send("PACS", study), "FAILED")
        assert (job["reason"], job["failed"]) == ("Aborted", 1)
        assert job["attempts"] < 5
        assert desk.logged("destination.failed") == []
        await desk.until(await desk.send("PACS", other), "SENT")


@pytest.mark.parametrize("end", [ANSWER_AND_ABORT, ANSWER_AND_RELEASE])
@pytest.mark.parametrize("at_once", [1, 4])
async def test_a_peer_that_ends_after_each_object_gets_all(
    desk: Desk, end: int, at_once: int
) -> None:
    study = await desk.study(30)
    with ScriptedPeer(Script(status=lambda *_: end)) as peer:
        await desk.destination(
            "PACS", peer.port, backoff=ONCE | {"max_attempts": 2}, max_associations=at_once
        )
        job = await desk.until(await desk.send("PACS", study), "SENT")
        assert (job["sent"], job["failed"]) == (30, 0)
        assert sorted(peer.uids) == sorted(study.digests)


async def test_a_link_that_is_cut_again_and_again_uses_up_no_attempts(desk: Desk) -> None:
    study = await desk.study(20, size=40_000)
    with ScriptedPeer(Script(abort_after_bytes=100_000)) as peer:
        await desk.destination(
            "PACS", peer.port, backoff=ONCE | {"max_attempts": 2}, max_associations=1
        )
        job = await desk.until(await desk.send("PACS", study), "SENT", "FAILED")
    assert (job["state"], job["sent"]) == ("SENT", 20)


@pytest.mark.parametrize("count", [2, 40])
async def test_a_destination_that_takes_nothing_is_away_itself(desk: Desk, count: int) -> None:
    study = await desk.study(count)
    with ScriptedPeer(Script(within=lambda _: ABORT)) as peer:
        await desk.destination("PACS", peer.port, max_associations=1)
        job_id = await desk.send("PACS", study)
        job = await desk.until(
            job_id, "RETRYING", where=lambda row: row["attempts"] >= 4 and row["tries"] >= 4
        )
        assert (job["reason"], job["sent"], job["failed"]) == ("Aborted", 0, 0)
        assert len(peer.connections) <= 4 * job["attempts"]
        (breaker,) = await desk.prepared.fetch("SELECT breaker FROM transmit.destination")
        assert breaker["breaker"] != "closed"
        peer.script.within = lambda _: None
        await desk.until(job_id, "SENT")
    assert set(peer.uids) == set(study.digests)


async def test_many_jobs_of_one_instance_each_do_not_hide_that_it_takes_nothing(desk: Desk) -> None:
    studies = [await desk.study(1) for _ in range(4)]
    with ScriptedPeer(Script(within=lambda _: ABORT)) as peer:
        slow = QUICK | {"initial_seconds": 2.0}
        await desk.destination("PACS", peer.port, backoff=slow, max_associations=1)
        jobs = [await desk.send("PACS", study) for study in studies]
        await desk.until(jobs[0], "RETRYING", where=lambda row: row["attempts"] >= 6)
        (breaker,) = await desk.prepared.fetch("SELECT breaker FROM transmit.destination")
        assert breaker["breaker"] != "closed"
        peer.script.within = lambda _: None
        assert (await desk.ask(EchoDestination(name="PACS"))).body["ok"]
        for job_id in jobs:
            await desk.until(job_id, "SENT")


async def test_killed_after_the_first_fault_it_remembers_whom_it_suspects(desk: Desk) -> None:
    study = await desk.study(8, size=40_000)
    (bad,) = culprits(list(study.digests), [0])
    with ScriptedPeer(Script(within=lambda uid: CLOSE if uid == bad else None, delay=0.1)) as peer:
        await desk.destination("PACS", peer.port, backoff=ONCE, max_associations=1)
        job_id = await desk.send("PACS", study)
        await desk.until(job_id, "SENDING", where=lambda row: row["sent"] >= 2)
        await desk.services.running["transmit"].kill()
        await desk.services.start("transmit")
        job = await desk.until(job_id, "FAILED")
        assert (job["sent"], job["failed"]) == (7, 1)
        assert set(peer.uids) == set(study.digests) - {bad}
