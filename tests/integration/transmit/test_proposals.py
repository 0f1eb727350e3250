"""Peers that refuse an association, not a context: what they take is found and sent (TRX-05)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.transmit.desk import Desk
from tests.integration.transmit.test_preparation import IMAGE
from tests.support.builders import CT
from tests.support.scripted_peer import ABORT, Script, ScriptedPeer

pytestmark = pytest.mark.req("TRX-05")
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
Offered = list[tuple[str, list[str]]]
Refusal = tuple[int, int, int] | int | None


def unless(suits: Callable[[Offered], bool], refusal: Refusal) -> Callable[[Offered], Refusal]:
    return lambda offered: None if suits(offered) else refusal


@pytest.mark.parametrize("refusal", [(1, 1, 1), (1, 2, 1), (1, 3, 1), ABORT])
@pytest.mark.parametrize(
    "suits",
    [
        lambda offered: any(IMPLICIT in syntaxes for _, syntaxes in offered),
        lambda offered: IMPLICIT in offered[0][1],
        lambda offered: all(IMPLICIT in syntaxes for _, syntaxes in offered),
        lambda offered: len(offered) == 1 and IMPLICIT in offered[0][1],
    ],
    ids=["none", "first", "any", "several"],
)
async def test_it_is_made_over_for_whom_no_context_suits(
    desk: Desk, suits: Callable[[Offered], bool], refusal: Refusal
) -> None:
    study = await desk.study(2, **IMAGE)
    script = Script(refused_syntaxes=frozenset({EXPLICIT}), refuses=unless(suits, refusal))
    with ScriptedPeer(script) as old:
        await desk.destination("OLD", old.port, max_associations=1)
        job = await desk.until(await desk.send("OLD", study), "SENT", "FAILED", "RETRYING")
        assert (job["state"], job["attempts"]) == ("SENT", 1), job
        assert {one.transfer_syntax for one in old.stored} == {IMPLICIT}
        assert sorted(old.uids) == sorted(study.digests)
    assert desk.logged("destination.failed") == []


async def test_the_default_syntax_is_offered_beside_what_is_stored(desk: Desk) -> None:
    study = await desk.study(2)
    seen: list[Offered] = []
    with ScriptedPeer(Script(refuses=seen.append)) as peer:
        await desk.destination("PACS", peer.port, max_associations=1)
        await desk.until(await desk.send("PACS", study), "SENT")
        assert {one.transfer_syntax for one in peer.stored} == {EXPLICIT}
    assert seen == [[(CT, [EXPLICIT]), (CT, [IMPLICIT])]]


async def test_an_unknown_class_among_known_ones_fails_alone(desk: Desk) -> None:
    study = await desk.study(3)
    strange = await desk.add_to(study, 2, SOPClassUID=MR)
    refuses = unless(lambda offered: all(kind == CT for kind, _ in offered), (1, 1, 1))
    with ScriptedPeer(Script(refuses=refuses)) as peer:
        await desk.destination("CT_ONLY", peer.port, max_associations=1)
        job_id = await desk.send("CT_ONLY", study)
        job = await desk.until(job_id, "FAILED", "SENT")
        assert (job["state"], job["sent"], job["failed"]) == ("FAILED", 3, 2), job
        rows = await desk.instances(job_id)
        assert {uid for uid, row in rows.items() if row["state"] == "FAILED"} == strange
        assert {rows[uid]["reason"] for uid in strange} == {"RejectedPermanent"}


@pytest.mark.parametrize(
    ("reject", "reason", "most"),
    [
        ((1, 1, 3), "RejectedPermanent", 1),
        ((1, 1, 7), "RejectedPermanent", 1),
        ((1, 1, 2), "RejectedPermanent", 1),
        ((1, 1, 1), "RejectedPermanent", 2),
    ],
)
async def test_who_rejects_everything_is_not_asked_for_long(
    desk: Desk, reject: tuple[int, int, int], reason: str, most: int
) -> None:
    study = await desk.study(5)
    with ScriptedPeer(Script(reject=reject)) as peer:
        await desk.destination("NEVER", peer.port, max_associations=1)
        job: Any = await desk.until(await desk.send("NEVER", study), "FAILED")
        assert (job["reason"], job["attempts"]) == (reason, 1)
        assert len(peer.connections) <= most
