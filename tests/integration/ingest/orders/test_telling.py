"""What the index is told of orders, and when it is not."""

import datetime as dt

from darkroom_common.messages.procedure_steps import StudyOrdered
from darkroom_common.messages.registry import decode
from darkroom_ingest.orders.serving import tell_all, tidy_once
from tests.integration.ingest.orders.house import House
from tests.integration.ingest.test_worklist import an_entry


async def test_what_was_ordered_when_is_told(house: House) -> None:
    database, entries = house.database, house.entries

    async def told() -> list[tuple[str, dt.datetime | None]]:
        async with database.transaction() as db:
            rows = await db.fetch("DELETE FROM ingest.outbox RETURNING id, type, body")
        found = [
            decode(row["type"], row["body"]) for row in sorted(rows, key=lambda row: int(row["id"]))
        ]
        orders = [one for one in found if isinstance(one, StudyOrdered)]
        assert [one.version for one in orders] == sorted({one.version for one in orders})
        return [(one.study_instance_uid, one.ordered_at) for one in orders]

    early, late = (f"2026-11-2{day}T08:00:00" for day in (1, 2))
    first_time, last_time = (dt.datetime.fromisoformat(f"{one}Z") for one in (early, late))
    study = {"study_instance_uid": "1.2.3"}
    first = await entries.add(an_entry(**study, ordered_at=late), by="t")
    assert await told() == [("1.2.3", last_time)]
    second = an_entry(**study, scheduled_procedure_step_id="S2", ordered_at=early)
    second_id = await entries.add(second, by="t")
    assert await told() == [("1.2.3", first_time)]  # the first of its steps
    changed = second.model_copy(update={"modality": "MR"})
    await entries.change(second_id, changed, by="t")
    assert await told() == []
    moved = changed.model_copy(update={"study_instance_uid": "1.2.4"})
    await entries.change(second_id, moved, by="t")
    assert await told() == [("1.2.3", last_time), ("1.2.4", first_time)]
    await entries.remove(second_id)
    assert await told() == [("1.2.4", None)]
    async with database.acquire() as db:  # as a release before this one has kept it
        await db.execute("UPDATE ingest.worklist SET told = false, ordered_at = NULL")
        created = await db.fetchval("SELECT created_at FROM ingest.worklist WHERE id = $1", first)
    assert await tell_all(entries) == 1
    assert await told() == [("1.2.3", created)]
    assert await tell_all(entries) == 0
    async with database.acquire() as db:
        await db.execute(
            "UPDATE ingest.worklist SET scheduled_at = '2020-01-01', updated_at = '2020-01-01'"
        )
    assert await tidy_once(entries, 90) == 1
    assert await told() == []  # the index keeps it
