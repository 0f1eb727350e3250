"""A destination or printer that is removed just when something is asked of it: one of both wins."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import PrintFilm, RetrieveFromRemote, SendObjects
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database, open_database
from darkroom_common.resources.declared import DESTINATIONS, PRINT_RULES, PRINTERS, RULES
from darkroom_common.resources.identity import identity
from darkroom_common.resources.resource import InUse
from darkroom_common.resources.spec_table import SpecTable
from darkroom_print.printing.repository import PrintJobs
from darkroom_transmit.retrieval.repository import RetrieveJobs
from darkroom_transmit.sending.repository import SendJobs
from tests.support.database import Prepared

pytestmark = pytest.mark.req("TRX-02", "PRN-05")
Add = Callable[[Connection, str, str], Awaitable[bool]]


def send(db: Connection, name: str, bound: str) -> Awaitable[bool]:
    asked = SendObjects(
        job_id=new_message_id(), destination=name, destination_id=bound, study_instance_uid="1.2"
    )
    return SendJobs(Outbox("transmit")).add(db, asked)


def retrieve(db: Connection, name: str, bound: str) -> Awaitable[bool]:
    asked = RetrieveFromRemote(
        job_id=new_message_id(), remote=name, remote_id=bound, study_instance_uid="1.2"
    )
    return RetrieveJobs(Outbox("transmit")).add(db, asked)


def print_(db: Connection, name: str, bound: str) -> Awaitable[bool]:
    asked = PrintFilm(
        job_id=new_message_id(),
        printer=name,
        printer_id=bound,
        layout="single",
        sop_instance_uids=("1.2",),
    )
    return PrintJobs(Outbox("print")).add(db, asked)


@dataclass
class Case:
    """What is asked for, of what, and where the job is."""

    database: Database
    resource: Any
    add: Add
    job: str
    column: str

    @property
    def table(self) -> SpecTable[Any]:
        return SpecTable(self.resource, self.database)

    async def there(self, name: str) -> str:
        address = {"ae_title": "PEER", "host": "127.0.0.1", "port": 104}
        await self.table.put(name, self.resource.spec.model_validate(address), by="test")
        async with self.database.transaction() as db:
            return str(await identity(db, self.resource, name))

    async def jobs(self) -> list[tuple[str, str]]:
        async with self.database.acquire() as db:
            rows = await db.fetch(f"SELECT state, {self.column} AS bound FROM {self.job}")
        return [(row["state"], row["bound"]) for row in rows]


@pytest.fixture(params=["send", "retrieve", "print"])
async def case(request: pytest.FixtureRequest, superuser_url: str) -> AsyncIterator[Case]:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit", "print")
    role, make = {
        "send": ("transmit", partial(Case, resource=DESTINATIONS, add=send)),
        "retrieve": ("transmit", partial(Case, resource=DESTINATIONS, add=retrieve)),
        "print": ("print", partial(Case, resource=PRINTERS, add=print_)),
    }[request.param]
    job, column = {
        "send": ("transmit.job", "destination_id"),
        "retrieve": ("transmit.retrieve", "remote_id"),
        "print": ("print.job", "printer_id"),
    }[request.param]
    async with open_database(prepared.url(role), service=role) as database:
        yield make(database, job=job, column=column)


async def test_who_asks_first_keeps_it_from_being_removed(case: Case) -> None:
    if case.job == "transmit.job":
        pytest.skip("without an index it has nothing to send, and waits for nothing")
    bound = await case.there("PEER")
    async with case.database.transaction() as db:
        assert await case.add(db, "PEER", bound)
        removing = asyncio.create_task(case.table.delete("PEER", by="test"))
        done, _ = await asyncio.wait({removing}, timeout=0.5)
        assert not done  # it waits for what is just being asked
    with pytest.raises(InUse):
        await removing
    ((state, kept),) = await case.jobs()
    assert (state, kept) == ("QUEUED" if case.resource is PRINTERS else "PENDING", bound)


async def test_who_removes_first_is_not_asked(case: Case) -> None:
    bound = await case.there("PEER")
    begun, committing = asyncio.Event(), asyncio.Event()

    async def remove() -> None:
        async with case.database.transaction() as db:
            await db.execute(f"DELETE FROM {case.resource.table} WHERE name = 'PEER'")
            begun.set()
            await asyncio.wait({adding}, timeout=0.5)
            assert not adding.done()
            committing.set()

    async def add() -> None:
        await begun.wait()
        async with case.database.transaction() as db:
            assert await case.add(db, "PEER", bound)
            assert committing.is_set()

    adding = asyncio.create_task(add())
    await asyncio.gather(remove(), adding)
    assert await case.jobs() == [("FAILED", bound)]


async def test_another_one_of_the_name_is_not_meant(case: Case) -> None:
    bound = await case.there("PEER")
    await case.table.delete("PEER", by="test")
    assert await case.there("PEER") != bound
    async with case.database.transaction() as db:
        assert await case.add(db, "PEER", bound)
    assert await case.jobs() == [("FAILED", bound)]


async def test_a_change_keeps_the_identity(case: Case) -> None:
    assert await case.there("PEER") == await case.there("PEER")


@pytest.mark.parametrize("kind", ["transmit", "print"])
async def test_rules_stay_while_jobs_are_made_of_them(superuser_url: str, kind: str) -> None:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit", "print")
    resource: Any = RULES if kind == "transmit" else PRINT_RULES
    async with open_database(prepared.url(kind), service=kind) as database:
        table = SpecTable(resource, database)
        async with database.acquire() as db:
            await db.execute(
                f"INSERT INTO {resource.table} (name, spec"
                + (
                    ", position) VALUES ('all', '{}', 1)"
                    if kind == "transmit"
                    else ") VALUES ('all', '{}')"
                )
            )
        async with database.transaction() as db:
            assert [one.name for one in await table.all(db, share=True)] == ["all"]
            removing = asyncio.create_task(table.delete("all", by="test"))
            done, _ = await asyncio.wait({removing}, timeout=0.5)
            assert not done
        await removing
