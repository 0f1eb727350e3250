"""Routing by events that come in batches, in another order, again, or in the form of before."""

from typing import Any

import pytest

from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.events import IndexedItem, InstancesIndexed, InstancesReplaced
from darkroom_common.messages.resources import put
from darkroom_common.resources.declared import RULES
from darkroom_common.specs.rules import RuleSpec
from tests.integration.transmit.desk import Desk, Study
from tests.support.builders import CT
from tests.support.scripted_peer import ScriptedPeer
from tests.support.waiting import until


def indexed(study: Study) -> InstancesIndexed:
    """Return the event of all instances of a study."""
    items = tuple(
        IndexedItem(
            receipt=new_message_id(),
            study_instance_uid=study.uid,
            series_instance_uid=study.series,
            sop_instance_uid=uid,
            sop_class_uid=CT,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            object_key="some/key",
            sha256=digest,
            size=1,
            calling_ae_title="SCANNER",
            called_ae_title="DARKROOM",
        )
        for uid, digest in study.digests.items()
    )
    return InstancesIndexed(items=items)


async def add_rule(desk: Desk, peer: ScriptedPeer, when: Any) -> None:
    await desk.destination("PACS", peer.port)
    conditions: Any = {"calling_ae_titles": ["SCANNER"]}
    spec = RuleSpec(when=when, destinations=("PACS",), conditions=conditions)
    assert (await desk.ask(put(RULES, "by-sender", spec, requested_by="test"))).outcome == "created"


@pytest.mark.req("TRX-07")
async def test_items_that_come_again_in_other_company_are_sent_once(desk: Desk) -> None:
    study = await desk.study(6)
    with ScriptedPeer() as peer:
        await add_rule(desk, peer, "instance")
        whole = indexed(study)
        left, right = whole.halves()
        for event in (
            left,
            InstancesIndexed(items=(left.items[-1], *right.items)),
            *whole.singles(),
        ):
            await desk.publish(event)
        way = "SELECT count(*)::int FROM transmit.inbox WHERE consumer = 'transmit.route'"
        await until(lambda: desk.prepared.fetch(f"SELECT FROM ({way}) c WHERE count = 6"), "all")
        await desk.until(await desk.send("PACS", study), "SENT")  # behind all that was routed
        assert len(peer.stored) == 12
        totals = "SELECT total FROM transmit.job WHERE rule = 'by-sender'"
        assert sum(row["total"] for row in await desk.prepared.fetch(totals)) == 6


@pytest.mark.req("TRX-07")
async def test_a_study_that_is_complete_before_it_is_indexed_is_sent(desk: Desk) -> None:
    study = await desk.study(2)
    with ScriptedPeer() as peer:
        await add_rule(desk, peer, "study-complete")
        await desk.completed(study, revision=1)
        log = desk.services.running["transmit"].log
        await until(lambda: "WayUnknown" in log.read_text(), "the event in its tier")
        await desk.publish(indexed(study))
        await desk.jobs_are(1, "SENT")
        assert len(peer.stored) == 2


@pytest.mark.req("TRX-07")
async def test_a_study_of_which_no_event_told_the_way_is_sent_by_who_the_index_says(
    desk: Desk,
) -> None:
    """What was indexed while transmit was not yet bound to that, as in an upgrade."""
    study = await desk.study(2)
    with ScriptedPeer() as peer:
        await add_rule(desk, peer, "study-complete")
        await desk.completed(study, revision=1)
        await desk.jobs_are(1, "SENT")
        assert len(peer.stored) == 2


async def test_no_rule_for_instances_costs_no_row_of_the_inbox(desk: Desk) -> None:
    study = await desk.study(3)
    await desk.publish(indexed(study))
    way = "SELECT calling_ae_title FROM transmit.arrival WHERE study_instance_uid = $1"
    rows = await until(lambda: desk.prepared.fetch(way, study.uid), "the way of the study")
    assert [row[0] for row in rows] == ["SCANNER"]
    inbox = "SELECT FROM transmit.inbox WHERE consumer = 'transmit.route'"
    assert await desk.prepared.fetch(inbox) == []
    another = await desk.study(1)
    await desk.publish(indexed(another))  # is looked at when the first is done with
    await until(lambda: desk.prepared.fetch(way, another.uid), "the way of the other study")
    log = desk.services.running["transmit"].log.read_text()
    assert "event.routed" not in log, "nor a span and a line"


@pytest.mark.req("TRX-07", "MET-06")
@pytest.mark.parametrize("when", ["instance", "study-complete"])
async def test_an_instance_that_has_other_bytes_is_sent_again_to_whom_it_was_sent(
    desk: Desk, when: str
) -> None:
    study, never_sent = await desk.study(3), await desk.study(1)
    with ScriptedPeer() as peer:
        await add_rule(desk, peer, when)
        await desk.publish(indexed(study))
        if when == "study-complete":
            await desk.completed(study, revision=1)
        await desk.jobs_are(1, "SENT")
        first = indexed(study).items[0]
        event = InstancesReplaced(items=(first, *indexed(never_sent).items))
        for _ in range(3):  # delivered again and again
            await desk.publish(event)
        await desk.jobs_are(2, "SENT")
        await desk.until(await desk.send("PACS", never_sent), "SENT")  # behind all of that
        assert len(peer.stored) == 3 + 1 + 1
