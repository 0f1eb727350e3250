"""Two sites hold the same after any time apart, by rules that say which change holds."""

import datetime as dt
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_metadata.replication.command import restart
from tests.integration.metadata.sites import Site, Sites, two_sites
from tests.support.builders import a_data_set, new_uid

JANE = {"PatientID": "J-1", "PatientName": "Doe^Jane", "PatientSex": "F"}


@dataclass(frozen=True)
class Later:
    """A clock that is ahead."""

    days: int

    def now(self) -> dt.datetime:
        return SYSTEM_CLOCK.now() + dt.timedelta(days=self.days)

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic() + self.days * 86_400


def a_study(count: int = 2, **more: Any) -> tuple[str, list[Dataset]]:
    uid, series = new_uid(), new_uid()
    ids = {"StudyInstanceUID": uid, "SeriesInstanceUID": series}
    return uid, [a_data_set(**{**ids, **JANE, **more}) for _ in range(count)]


@pytest.fixture
async def sites(postgres_server: Any, tmp_path: Path) -> AsyncIterator[Sites]:
    async with two_sites(postgres_server, tmp_path) as made:
        yield made


async def agree(sites: Sites) -> dict[str, str]:
    """See that both sites have the same objects in force, each once, and nothing waits."""
    await sites.settle()
    ours, theirs = await sites.north.instances(), await sites.south.instances()
    assert ours == theirs
    for site in (sites.north, sites.south):
        lag = await site.rows("SELECT kind, subject, reason FROM index.replication_due")
        assert [tuple(row) for row in lag] == []
        waiting = await site.rows(
            "SELECT kind, state FROM index.replication_told WHERE state IN ('waiting', 'working')"
        )
        assert [tuple(row) for row in waiting] == []
        if not await site.rows("SELECT FROM index.study WHERE status = 'deleted'"):
            await site.house.require_agreement()
    return ours


@pytest.mark.req("STO-07")
async def test_each_site_has_what_either_has_received_once(sites: Sites) -> None:
    uid, sets = a_study(3)
    await sites.north.house.received(*sets)
    _, others = a_study(2, PatientID="O-1", PatientName="Other")
    await sites.south.house.received(*others)
    more = a_data_set(StudyInstanceUID=uid, SeriesInstanceUID=new_uid(), **JANE)
    await sites.south.house.received(more)
    assert len(await agree(sites)) == 6
    for site, taken in ((sites.north, 3), (sites.south, 3)):
        assert len(site.seen) == taken, "each object of the other site once"
        assert all(item.replicated for item in site.seen)
        changes = await site.sending.journal.read(2)
        assert changes is None, "what came from there is not told back"


async def test_edits_merges_moves_and_deletions_are_done_at_the_other_site(sites: Sites) -> None:
    north, south = sites.north, sites.south
    uid, sets = a_study(3)
    other, more = a_study(2, PatientID="J-2", PatientName="Doe^J")
    part, rest = a_study(2, PatientID="K-1", PatientName="Kim")
    beside = a_data_set(
        StudyInstanceUID=part, SeriesInstanceUID=new_uid(), PatientID="K-1", PatientName="Kim"
    )
    await north.house.received(*sets, *more, *rest, beside)
    await agree(sites)

    assert (
        await north.edit(uid, values={"StudyDescription": "Thorax", "PatientName": "Roe^J"})
        == "DONE"
    )
    assert await south.edit(other, values={"AccessionNumber": "A-2"}) == "DONE"
    await agree(sites)
    assert await south.said(uid, "StudyDescription", "PatientName") == ["Thorax", "Roe^J"]
    assert await north.said(other, "AccessionNumber") == ["A-2"]

    source, target = {"patient_id": "J-2"}, {"patient_id": "J-1"}
    assert await south.edit(None, "merge", source=source, target=target) == "DONE"
    await agree(sites)
    assert await north.said(other, "PatientID", "PatientName") == ["J-1", "Roe^J"]
    late, sets = a_study(1, PatientID="J-2", PatientName="Doe^J")
    await north.house.received(*sets)  # a merge holds for what comes later, at both sites
    await agree(sites)
    assert await north.said(late, "PatientID") == await south.said(late, "PatientID") == ["J-1"]

    series = str(beside.SeriesInstanceUID)
    assert await north.remove("delete", part, series_instance_uid=series) == "DONE"
    assert await south.remove("delete", uid) == "DONE"
    objects = await agree(sites)
    assert str(beside.SOPInstanceUID) not in objects
    assert await north.status(uid) == await south.status(uid) == "deleted"
    assert await south.remove("restore", part, series_instance_uid=series) == "DONE"
    assert await north.remove("restore", uid) == "DONE"
    assert str(beside.SOPInstanceUID) in await agree(sites)
    assert "deleted" not in (await north.status(uid), await south.status(uid))
    assert await north.kept() == await south.kept() == []


async def test_of_two_words_on_an_attribute_the_later_holds_at_both_sites(sites: Sites) -> None:
    north, south = sites.north, sites.south
    uid, sets = a_study(2)
    await north.house.received(*sets)
    await agree(sites)
    sites.link.is_cut = True
    assert await north.edit(uid, values={"PatientName": "First^N", "StudyID": "N"}) == "DONE"
    assert (
        await south.edit(uid, values={"PatientName": "Second^S", "AccessionNumber": "S"}) == "DONE"
    )
    assert await north.edit(uid, values={"StudyDescription": "north, last"}) == "DONE"
    await sites.settle()
    assert await north.said(uid, "PatientName") == ["First^N"]
    sites.link.is_cut = False
    await agree(sites)
    keywords = ("PatientName", "StudyID", "AccessionNumber", "StudyDescription")
    expected = ["Second^S", "N", "S", "north, last"]
    assert await north.said(uid, *keywords) == expected
    assert await south.said(uid, *keywords) == expected
    assert await south.kept() == [("edit", "outvoted")], "what was not done is told"
    assert await north.kept() == []


async def _apart(sites: Sites, *, deleting: Site, other: Site) -> tuple[str, Dataset]:
    """Delete a study at one site while the other goes on with it."""
    uid, sets = a_study(2)
    await sites.north.house.received(*sets)
    await agree(sites)
    sites.link.is_cut = True
    assert await deleting.remove("delete", uid) == "DONE"
    assert await other.edit(uid, values={"StudyDescription": "still of use"}) == "DONE"
    more = a_data_set(StudyInstanceUID=uid, SeriesInstanceUID=new_uid(), **JANE)
    await other.house.received(more)
    await sites.settle()
    assert await deleting.status(uid) == "deleted"
    sites.link.is_cut = False
    return uid, more


@pytest.mark.parametrize("deleting", ["north", "south"])
async def test_a_study_that_goes_on_at_one_site_outlives_its_deletion(
    sites: Sites, deleting: str
) -> None:
    first, second = sites.north, sites.south
    one, other = (first, second) if deleting == "north" else (second, first)
    uid, more = await _apart(sites, deleting=one, other=other)
    objects = await agree(sites)
    assert str(more.SOPInstanceUID) in objects
    assert len(objects) == 3
    for site in (one, other):
        assert await site.status(uid) != "deleted"
        assert await site.said(uid, "StudyDescription") == ["still of use"]
    assert await other.kept() == [("removal", "outvoted")]


async def test_the_same_uid_with_other_bytes_is_a_conflict_at_both_sites(sites: Sites) -> None:
    uid, (first, _) = a_study(2)
    other = deepcopy(first)
    other.InstanceNumber = 99
    sites.link.is_cut = True
    await sites.north.house.received(first)
    await sites.south.house.received(other)
    sites.link.is_cut = False
    await sites.settle()
    north, south = await sites.north.instances(), await sites.south.instances()
    assert north.keys() == south.keys()
    assert north != south, "each keeps in force what it has received first"
    (conflict,) = await sites.north.house.conflicts()
    assert [row["kind"] for row in await sites.south.house.conflicts()] == ["instance"]
    state, _ = await sites.north.house.decide(conflict["id"], "promote")
    assert state == "DONE"
    objects = await agree(sites)  # the decision of one holds at both
    assert objects == south
    assert await sites.south.kept() == []
    assert uid


async def test_what_both_delete_is_deleted_and_what_a_site_must_keep_stays_there(
    sites: Sites,
) -> None:
    north, south = sites.north, sites.south
    uid, sets = a_study(2)
    held, more = a_study(1, PatientID="H-1", PatientName="Held")
    await north.house.received(*sets, *more)
    await agree(sites)
    sites.link.is_cut = True
    for site in (north, south):
        assert await site.remove("delete", uid) == "DONE"
    await south.rows("INSERT INTO api.legal_hold VALUES ($1, 'x', now(), '')", held)
    assert await north.remove("delete", held) == "DONE"
    await sites.settle()
    sites.link.is_cut = False
    await sites.settle()
    assert await north.status(uid) == await south.status(uid) == "deleted"
    assert await south.status(held) != "deleted"
    assert await north.status(held) != "deleted", "a hold of one site is one at both"
    assert await north.remove("delete", held) == "FAILED"
    await south.rows("DELETE FROM api.legal_hold RETURNING 1")
    await agree(sites)
    assert await north.remove("delete", held) == "DONE"
    await agree(sites)
    assert await south.status(held) == "deleted"


async def test_a_part_that_one_site_deletes_is_deleted_whatever_the_other_has_changed(
    sites: Sites,
) -> None:
    north, south = sites.north, sites.south
    uid, sets = a_study(2)
    beside = a_data_set(StudyInstanceUID=uid, SeriesInstanceUID=new_uid(), **JANE)
    await north.house.received(*sets, beside)
    await agree(sites)
    sites.link.is_cut = True
    series = str(beside.SeriesInstanceUID)
    assert await north.remove("delete", uid, series_instance_uid=series) == "DONE"
    assert await south.edit(uid, values={"StudyDescription": "changed there"}) == "DONE"
    sites.link.is_cut = False
    objects = await agree(sites)
    assert objects.keys() == {str(one.SOPInstanceUID) for one in sets}
    for site in (north, south):
        assert await site.said(uid, "StudyDescription") == ["changed there"]
        assert await site.kept() == []


async def test_a_hold_of_each_site_holds_at_both_until_that_site_ends_it(sites: Sites) -> None:
    north, south = sites.north, sites.south
    uid, sets = a_study(1)
    await north.house.received(*sets)
    await agree(sites)
    sites.link.is_cut = True
    for site in (north, south):
        await site.rows("INSERT INTO api.legal_hold VALUES ($1, 'x', now(), '')", uid)
    await sites.settle()
    sites.link.is_cut = False
    await agree(sites)
    await south.rows("DELETE FROM api.legal_hold RETURNING 1")
    await agree(sites)
    for site in (north, south):
        assert await site.remove("delete", uid) == "FAILED", "the hold of north is one at both"
    await north.rows("DELETE FROM api.legal_hold RETURNING 1")
    await agree(sites)
    assert await south.remove("delete", uid) == "DONE"
    await agree(sites)
    assert await north.status(uid) == "deleted"


async def test_two_decisions_of_one_conflict_stand_where_they_were_made_and_are_told(
    sites: Sites,
) -> None:
    north, south = sites.north, sites.south
    _, (first,) = a_study(1)
    other = deepcopy(first)
    other.InstanceNumber = 99
    await north.house.received(first)
    await agree(sites)
    before = await north.instances()
    await north.house.received(other)
    await sites.settle()
    (conflict,), (same,) = [await site.house.conflicts() for site in (north, south)]
    sites.link.is_cut = True
    assert (await north.house.decide(conflict["id"], "promote"))[0] == "DONE"
    assert (await south.house.decide(same["id"], "discard"))[0] == "DONE"
    await sites.settle()
    sites.link.is_cut = False
    await sites.settle()
    assert await south.instances() == before
    assert await north.instances() != before
    for site in (north, south):
        assert await site.kept() == [("resolution", "refused")]
        assert await site.house.conflicts() == []


async def test_files_that_the_other_site_has_read_go_after_a_while(sites: Sites) -> None:
    north, south = sites.north, sites.south
    for _ in range(3):
        await north.house.received(*a_study(1)[1])
        await agree(sites)
    journal, keeping = north.sending.journal, north.sending.keeping
    keeping.days = 1
    async with north.sending.database.session() as db:
        keeping.clock = Later(days=2)
        assert await keeping.prune(db) == 0, "nobody has said that they are read"
    await south.house.received(*a_study(1)[1])  # what south tells, says how far it has read
    await agree(sites)
    async with north.sending.database.session() as db:
        keeping.look_at = float("-inf")
        assert await keeping.prune(db) == 2, "all but the last"
        keeping.look_at = float("-inf")
        assert await keeping.prune(db) == 0
    assert [await journal.file(number) is None for number in (1, 2, 3)] == [True, True, False]
    await north.house.received(*a_study(1)[1])
    await agree(sites)
    # A site that has read less cannot go on by itself, and says why.
    await south.rows("UPDATE index.replication_peer SET taken = 1 RETURNING 1")
    south.taking.look_at = float("-inf")
    await south.step()
    (peer,) = await south.rows("SELECT taken, reason FROM index.replication_peer")
    assert (peer["taken"], "restart" in peer["reason"]) == (1, True)
    async with north.sending.database.session() as db:
        assert await restart(db) == 0
    south.taking.look_at = float("-inf")
    await agree(sites)
    (peer,) = await south.rows("SELECT taken, reason FROM index.replication_peer")
    assert (peer["taken"] > 4, peer["reason"]) == (True, "")


async def test_a_site_that_has_lost_all_gets_its_own_objects_back_too(sites: Sites) -> None:
    north, south = sites.north, sites.south
    await north.house.received(*a_study(2)[1])
    await south.house.received(*a_study(2, PatientID="O-1", PatientName="Other")[1])
    before = await agree(sites)
    for table in ("instance", "series", "study", "patient"):
        await south.rows(f"DELETE FROM index.{table} RETURNING 1")
    for file in south.house.bench.directory.rglob("*.dcm"):
        file.unlink()
    for sql in (
        "DELETE FROM index.inbox RETURNING 1",
        "DELETE FROM index.replication_peer RETURNING 1",
        "DELETE FROM index.replication_due RETURNING 1",
        "DELETE FROM index.replication_taken RETURNING 1",
    ):
        await south.rows(sql)
    async with north.sending.database.session() as db:
        assert await restart(db) == 0
    south.taking.look_at = float("-inf")
    await sites.settle()
    assert await south.instances() == before
