"""Series and instances are deleted, restored and purged, while their study stays."""

from typing import Any

import asyncpg
import pytest

from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import RemovePart
from darkroom_common.messages.events import InstancesStored, StoredItem
from tests.integration.metadata.test_removal import NEW, OLD, Archive, archive
from tests.support.builders import a_data_set, new_uid

__all__ = ["archive"]


async def ask(archive: Archive, action: Any, *uids: str) -> tuple[str, str]:
    """Delete or restore a part; return the job's state and reason."""
    study, series, *instance = map(str, uids)
    asked = RemovePart(
        job_id=new_message_id(),
        action=action,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance[0] if instance else None,
    )
    await archive.commands.handle(asked)
    claims = archive.remover.claims
    while (attempt := await claims.claim()) is not None:
        await claims.finish(attempt, await archive.remover.attempt(attempt))
    (row,) = await archive.rows("SELECT * FROM index.removal WHERE id = $1", asked.job_id)
    return row["state"], row["reason"]


async def index_again(archive: Archive) -> None:
    """Index what the outbox tells."""
    for body in await archive.house.events(InstancesStored):
        items = [StoredItem.model_validate(one) for one in body["items"]]
        await archive.house.bench.index(*items)


def a_study(*series: int, **more: str) -> list[list[Any]]:
    """Series of so many instances."""
    study = new_uid()
    found = []
    for count in series:
        uid = new_uid()
        given = {"StudyInstanceUID": study, "SeriesInstanceUID": uid, "StudyDate": OLD, **more}
        found.append([a_data_set(**given) for _ in range(count)])
    return found


async def found(archive: Archive) -> set[str]:
    return {one.instance.sop_instance_uid for one in await archive.house.found() if one.instance}


async def test_an_instance_is_deleted_restored_and_purged(archive: Archive) -> None:
    ((one, other), (third,)) = a_study(2, 1)
    await archive.house.received(one, other, third)
    path = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    assert await ask(archive, "delete", *path) == ("DONE", "")
    assert await found(archive) == {other.SOPInstanceUID, third.SOPInstanceUID}
    await archive.house.require_agreement()
    assert archive.objects() == 3

    assert await ask(archive, "restore", *path) == ("DONE", "")
    await index_again(archive)
    assert len(await found(archive)) == 3
    await archive.house.require_agreement()
    await archive.purge()
    assert archive.objects() == 3

    assert await ask(archive, "delete", *path) == ("DONE", "")
    await archive.purge()
    assert archive.objects() == 2
    assert (await ask(archive, "restore", *path))[0] == "FAILED"
    assert (await ask(archive, "delete", *path))[0] == "FAILED"
    await archive.house.require_agreement()


async def test_a_series_goes_as_a_whole_and_the_last_one_takes_the_study(archive: Archive) -> None:
    (first, (third,)) = a_study(2, 1)
    await archive.house.received(*first, third)
    study = third.StudyInstanceUID
    assert await ask(archive, "delete", study, first[0].SeriesInstanceUID) == ("DONE", "")
    assert await found(archive) == {third.SOPInstanceUID}
    (row,) = await archive.rows("SELECT series_count, instance_count FROM index.study")
    assert tuple(row) == (1, 1)
    assert await ask(archive, "delete", study, third.SeriesInstanceUID) == ("DONE", "")
    assert await found(archive) == set()
    (row,) = await archive.rows("SELECT status FROM index.study")
    assert row["status"] == "deleted"
    assert await archive.ask("restore", study) == ("DONE", "")
    assert await found(archive) == {third.SOPInstanceUID}
    await archive.purge()
    assert archive.objects() == 1


@pytest.mark.req("STO-04")
async def test_retention_hold_and_disputes_stand_in_the_way(archive: Archive) -> None:
    ((new, _),) = a_study(2, StudyDate=NEW)
    ((held, _),) = held_study = a_study(2)
    ((disputed, kept),) = a_study(2)
    await archive.house.received(new, *held_study[0], disputed, kept)
    disputed.InstanceNumber = 1000
    await archive.house.received(disputed)
    await archive.hold(held.StudyInstanceUID)
    for one, why in ((new, "until 2033"), (held, "legal hold"), (disputed, "conflict")):
        path = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        state, reason = await ask(archive, "delete", *path)
        assert (state, why in reason) == ("FAILED", True), reason
    for missing in ((kept.StudyInstanceUID, "1.2"), ("1.2", "1.3")):
        assert (await ask(archive, "delete", *missing))[0] == "FAILED"


async def test_what_is_held_or_comes_again_is_not_purged(archive: Archive) -> None:
    ((one, two, three),) = a_study(3)
    await archive.house.received(one, two, three)
    for gone in (one, two):
        path = (gone.StudyInstanceUID, gone.SeriesInstanceUID, gone.SOPInstanceUID)
        assert await ask(archive, "delete", *path) == ("DONE", "")
    await archive.house.received(one)
    await archive.hold(one.StudyInstanceUID)
    await archive.purge()
    assert archive.objects() == 3
    await archive.rows("DELETE FROM api.legal_hold")
    await archive.purge()
    assert archive.objects() == 2
    assert await found(archive) == {one.SOPInstanceUID, three.SOPInstanceUID}
    await archive.house.require_agreement()


async def test_holds_that_may_not_be_read_let_nothing_go(archive: Archive) -> None:
    ((one, two),) = a_study(2)
    await archive.house.received(one, two)
    gone = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    assert await ask(archive, "delete", *gone) == ("DONE", "")
    await archive.rows("REVOKE SELECT ON api.legal_hold FROM darkroom_metadata")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await archive.purge()
    assert archive.objects() == 2
    await archive.rows("GRANT SELECT ON api.legal_hold TO darkroom_metadata")
    await archive.purge()
    assert archive.objects() == 1
