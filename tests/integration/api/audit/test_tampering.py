"""What a superuser of the database does to the audit log is found, and the row is named."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from darkroom_api.audit.actions import Action
from darkroom_api.audit.chain import Chain, Witness
from darkroom_api.audit.entries import Entry
from darkroom_common.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from tests.integration.api.audit.conftest import Desk, Superuser

NAMES = [f"user-{n:02}" for n in range(30)]


@pytest.fixture
async def written(desk: "Desk") -> "Desk":
    """Thirty rows in fifteen links."""
    for first, second in zip(NAMES[::2], NAMES[1::2], strict=True):
        await desk.write(first, second)
    assert await desk.found() == []
    return desk


COLUMNS = {
    "username": "'user-13x'",
    "details": "'{\"a\": 1}'",
    "ip_address": "'10.0.0.1'",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "privileged": "NOT privileged",
    "outcome": "'failure'",
    "resource_id": "'1.3'",
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.req("API-05")
async def test_a_changed_row_is_named(column: str, written: "Desk", superuser: "Superuser") -> None:
    await superuser.execute(
        f"UPDATE api.audit_log SET {column} = {COLUMNS[column]} WHERE username = 'user-13'"
    )
    name = "user-13x" if column == "username" else "user-13"
    assert await written.found() == [("changed", name, 7)]


@pytest.mark.parametrize(
    ("name", "link"), [("user-00", 1), ("user-15", 8), ("user-28", 15), ("user-29", 15)]
)
@pytest.mark.req("API-05")
async def test_a_removed_row_is_named(
    name: str, link: int, written: "Desk", superuser: "Superuser"
) -> None:
    log_id = await written.id_of(name)
    await superuser.execute("DELETE FROM api.audit_log WHERE username = $1", name)
    assert await written.found() == [("removed", log_id, link)]


async def test_a_row_that_is_removed_before_it_is_joined_is_named(
    written: "Desk", superuser: "Superuser"
) -> None:
    witness = Witness(written.database, written.audit)
    assert await witness.look() == []
    async with written.database.transaction() as db:
        await written.audit.add(db, [Entry(Action.STUDY_READ, username=n) for n in ("eve", "ada")])
    eve = await written.id_of("eve")
    assert await witness.look() == []  # both wait
    await superuser.execute("DELETE FROM api.audit_pending WHERE log_id = $1::uuid", eve)
    await superuser.execute("DELETE FROM api.audit_log WHERE username = 'eve'")
    assert [str(one) for one in await witness.look()] == [eve]
    assert await written.chain.join() == 2
    assert await written.found() == [("removed", eve, 16)]
    assert await witness.look() == []


async def test_swapped_rows_are_named(written: "Desk", superuser: "Superuser") -> None:
    one, other = await written.id_of("user-04"), await written.id_of("user-21")
    await superuser.execute(
        "UPDATE api.audit_log SET username = CASE username WHEN 'user-04' THEN 'user-21'"
        " ELSE 'user-04' END WHERE log_id IN ($1, $2)",
        one,
        other,
    )
    assert sorted(await written.found()) == [("changed", "user-04", 11), ("changed", "user-21", 3)]


COPY = (
    "INSERT INTO api.audit_log SELECT gen_random_uuid(), recorded_at, user_id, 'forged', action,"
    " resource_type, resource_id, ip_address, user_agent, privileged, outcome, details, phi,"
    " key_id, mac FROM api.audit_log WHERE username = 'user-05' RETURNING log_id"
)


@pytest.mark.req("API-05")
async def test_an_inserted_row_is_named(written: "Desk", superuser: "Superuser") -> None:
    await superuser.execute(COPY)
    assert await written.found() == [("inserted", "forged", None)]


async def test_an_inserted_row_is_named_also_when_it_was_let_into_the_chain(
    written: "Desk", superuser: "Superuser"
) -> None:
    log_id = await superuser.fetchval(COPY)
    await superuser.execute("INSERT INTO api.audit_pending VALUES ($1)", log_id)
    assert await written.found() == [("changed", "forged", None)]
    assert await written.chain.join() == 1
    assert await written.found() == [("changed", "forged", 16)]


async def test_the_end_of_the_chain_cannot_be_cut_off(
    written: "Desk", superuser: "Superuser"
) -> None:
    log_ids = {await written.id_of(name) for name in ("user-28", "user-29")}
    await superuser.execute("DELETE FROM api.audit_log WHERE username IN ('user-28', 'user-29')")
    await superuser.execute("DELETE FROM api.audit_link WHERE number = 15")
    found = await written.found()
    assert found[0] == ("end_removed", "", 15)
    assert {name for kind, name, _ in found[1:] if kind == "removed"} == log_ids
    # What is written after that does not cover it up, in the same process or in another.
    await written.write("later")
    again = Chain(written.database, written.keys, SYSTEM_CLOCK, written.file)
    async with written.database.transaction() as db:
        await written.audit.add(db, [Entry(Action.AUTH_LOGIN)])
    await again.join()
    kinds = [kind for kind, _, _ in await written.found()]
    assert "links_removed" in kinds
    assert "end_removed" in kinds


async def test_everything_removed_is_seen(written: "Desk", superuser: "Superuser") -> None:
    await superuser.execute(
        "TRUNCATE api.audit_log, api.audit_link, api.audit_pending, api.audit_checkpoint"
    )
    found = await written.found()
    assert found[0] == ("end_removed", "", 15)
    await written.write("anew")
    assert ("beginning_removed", "", 1) in await written.found()


@pytest.mark.parametrize("number", [1, 7])
async def test_a_removed_link_is_named(
    number: int, written: "Desk", superuser: "Superuser"
) -> None:
    rows = NAMES[2 * number - 2 : 2 * number]
    await superuser.execute("DELETE FROM api.audit_link WHERE number = $1", number)
    kind = "beginning_removed" if number == 1 else "links_removed"
    assert sorted(await written.found()) == sorted(
        [(kind, "", number), *(("inserted", name, None) for name in rows)]
    )


async def test_a_beginning_cannot_be_made_up(written: "Desk", superuser: "Superuser") -> None:
    await superuser.execute("DELETE FROM api.audit_log WHERE username < 'user-08'")
    await superuser.execute(
        "INSERT INTO api.audit_checkpoint SELECT number, mac, 8, now(), key_id, mac"
        " FROM api.audit_link WHERE number = 4"
    )
    await superuser.execute("DELETE FROM api.audit_link WHERE number <= 4")
    assert await written.found() == [("links_removed", "", 1)]


async def test_a_link_that_was_changed_or_put_in_is_named(
    written: "Desk", superuser: "Superuser"
) -> None:
    await superuser.execute(
        "UPDATE api.audit_link SET log_ids = log_ids[1:1], macs = substr(macs, 1, 32)"
        " WHERE number = 3"
    )
    assert sorted(await written.found()) == [("inserted", "user-05", None), ("link_changed", "", 3)]
    await superuser.execute(
        "INSERT INTO api.audit_link SELECT 16, now(), mac, '{}', '', 1, mac FROM api.audit_link"
        " WHERE number = 15"
    )
    assert ("link_changed", "", 16) in await written.found()


async def test_a_row_of_a_key_that_is_not_there_is_told_apart(
    written: "Desk", superuser: "Superuser"
) -> None:
    await superuser.execute("UPDATE api.audit_log SET key_id = 9 WHERE username = 'user-02'")
    assert await written.found() == [("unreadable", "user-02", 2)]


async def test_many_at_once_and_some_rolled_back_leave_a_whole_chain(desk: "Desk") -> None:
    """Writers do not wait for each other; links are made meanwhile by two processes."""
    other = Chain(desk.database, desk.keys, SYSTEM_CLOCK)
    done = asyncio.Event()

    async def write(number: int) -> None:
        for turn in range(10):
            async with desk.database.acquire() as db:
                transaction = db.transaction()
                await transaction.start()
                await desk.audit.add(db, [Entry(Action.STUDY_READ, username=f"{number}")] * 3)
                await db.execute("SELECT pg_sleep(random() * 0.01)")
                await (transaction.rollback() if turn % 3 == 2 else transaction.commit())

    async def join(chain: Chain) -> None:
        while not done.is_set():
            await chain.join()

    async with asyncio.TaskGroup() as joining:
        joining.create_task(join(desk.chain))
        joining.create_task(join(other))
        async with asyncio.TaskGroup() as writing:
            for number in range(6):
                writing.create_task(write(number))
        done.set()
    while await desk.chain.join():
        pass
    async with desk.database.acquire() as db:
        assert await db.fetchval("SELECT count(*) FROM api.audit_log") == 6 * 7 * 3
        assert await db.fetchval("SELECT sum(cardinality(log_ids)) FROM api.audit_link") == 126
        assert await db.fetchval("SELECT count(*) FROM api.audit_pending") == 0
    assert await desk.found() == []


async def test_an_open_transaction_holds_nobody_up(desk: "Desk") -> None:
    async with desk.database.transaction() as db:
        await desk.audit.add(db, [Entry(Action.BULK_UPDATE, username="long")])
        await desk.write("short")
    assert await desk.found() == []
    assert await desk.chain.join() == 1
    assert await desk.found() == []
