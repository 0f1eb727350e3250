"""Two sites that take each other's objects and changes, without brokers: each step is called."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
from pydicom import dcmread

from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import EditStudies, RemovePart, RemoveStudy
from darkroom_common.messages.events import InstancesStored, StoredItem
from darkroom_common.objects.store import FileSystemStore, StoreUnavailable
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit
from darkroom_common.specs.retention import Retention
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.editing.editor import Editor
from darkroom_metadata.editing.intake import EditCommands
from darkroom_metadata.editing.repository import Edits
from darkroom_metadata.removal.intake import RemovalCommands
from darkroom_metadata.removal.removing import Remover
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.replication.arriving import Arriving
from darkroom_metadata.replication.carrying_out import CarryingOut
from darkroom_metadata.replication.journal import Journal
from darkroom_metadata.replication.said import Words
from darkroom_metadata.replication.sending import Sending
from darkroom_metadata.replication.taking import Taking
from darkroom_metadata.replication.telling import Telling
from darkroom_metadata.tiering.jobs import TierJobs
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.verification import Brake
from tests.integration.metadata.resolving import House, house
from tests.integration.metadata.test_indexer import KEYS
from tests.support.services import prepare_database


@dataclass
class Link:
    """What is between the sites, and may be cut."""

    is_cut: bool = False


class Linked(FileSystemStore):
    """A store at the other site."""

    def __init__(self, root: Path, link: Link) -> None:
        super().__init__(root)
        self.link = link

    def _require(self) -> None:
        if self.link.is_cut:
            raise StoreUnavailable("cut off")

    def put_now(self, key: str, pieces: Iterable[bytes]) -> None:
        self._require()
        super().put_now(key, pieces)

    def open_now(self, key: str) -> BinaryIO:
        self._require()
        return super().open_now(key)

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self._require()
        return await super().read(key, start=start, length=length)


@dataclass
class Site:
    """One of them."""

    name: str
    house: House
    edits: EditCommands
    removals: RemovalCommands
    sending: Sending
    taking: Taking
    read_to: int = 0
    """Of the outbox."""
    seen: list[StoredItem] = field(default_factory=list)

    async def rows(self, sql: str, *values: object) -> list[Any]:
        return await self.house.bench.prepared.fetch(sql, *values)

    async def edit(self, study: str | None, action: Any = "edit", **edit: Any) -> str:
        """Have an edit carried out here; return its state."""
        command = EditStudies(
            job_id=new_message_id(),
            action=action,
            study_instance_uid=study,
            requested_by=f"olga-of-{self.name}",
            sealed=Seal(KEYS).seal(Edit(**edit).model_dump(), purpose=PURPOSE),
        )
        await self.edits.handle(command)
        await self.work()
        rows = await self.rows("SELECT state FROM index.edit WHERE id = $1", command.job_id)
        return str(rows[0]["state"])

    async def remove(self, action: Any, study: str, **part: Any) -> str:
        """Have a study or a part of it deleted or restored here; return the job's state."""
        given = {"job_id": new_message_id(), "action": action, "study_instance_uid": study}
        kind = RemovePart if part else RemoveStudy
        command = kind.model_validate({**given, **part})
        await self.removals.handle(command)
        await self.work()
        rows = await self.rows("SELECT state FROM index.removal WHERE id = $1", given["job_id"])
        return str(rows[0]["state"])

    async def work(self) -> int:
        """Do the jobs that there are; return how many attempts that took."""
        done = await self.house.work()
        editor, remover = self.edits.editor, self.removals.remover
        for of in (editor, remover):
            while (attempt := await of.claims.claim()) is not None:
                await of.claims.finish(attempt, await of.attempt(attempt))
                done += 1
        return done

    async def index(self) -> int:
        """Index what was told to the indexer; return how many objects."""
        rows = await self.rows(
            "SELECT id, body FROM index.outbox WHERE type = $1 AND id > $2 ORDER BY id",
            InstancesStored.TYPE,
            self.read_to,
        )
        items = [item for row in rows for item in InstancesStored.from_body(row["body"]).items]
        if rows:
            self.read_to = rows[-1]["id"]
            await self.house.bench.index(*items)
        self.seen += items
        return len(items)

    async def step(self) -> int:
        """Do each thing once; return how much was done."""
        done = 0
        try:
            done += await self.sending.slice()
        except StoreUnavailable:
            done += 0  # cut off: it stays due
        self.taking.ask_again_at = float("-inf")
        done += await self.taking.slice()
        done += await self.index()
        return done + await self.work()

    async def instances(self) -> dict[str, str]:
        """Return the digest of each instance in force, by its UID."""
        rows = await self.rows(
            "SELECT i.sop_instance_uid AS uid, encode(i.sha256, 'hex') AS sha256"
            " FROM index.instance i JOIN index.series e ON e.id = i.series_id"
            " JOIN index.study s ON s.id = e.study_id WHERE s.status <> 'deleted'"
        )
        return {row["uid"]: row["sha256"] for row in rows}

    async def said(self, study: str, *keywords: str) -> list[str]:
        """Return what the objects of a study say, all the same."""
        rows = await self.rows(
            "SELECT i.object_key FROM index.instance i JOIN index.series e ON e.id = i.series_id"
            " JOIN index.study s ON s.id = e.study_id WHERE s.study_instance_uid = $1",
            study,
        )
        files = [self.house.bench.directory / row["object_key"] for row in rows]
        said = [[str(dcmread(file, force=True).get(one, "")) for one in keywords] for file in files]
        assert said
        assert all(one == said[0] for one in said), said
        return said[0]

    async def status(self, study: str) -> str:
        rows = await self.rows(
            "SELECT status FROM index.study WHERE study_instance_uid = $1", study
        )
        return str(rows[0]["status"]) if rows else "none"

    async def kept(self) -> list[tuple[str, str]]:
        """Return what could not be done, or was outvoted: kind and state."""
        rows = await self.rows("SELECT kind, state FROM index.replication_told ORDER BY number")
        return [(row["kind"], row["state"]) for row in rows]


@dataclass
class Sites:
    """Both of them."""

    north: Site
    south: Site
    link: Link

    async def settle(self) -> None:
        """Go on until there is nothing more to do anywhere."""
        idle = 0
        async with asyncio.timeout(120):
            while idle < 3:
                done = await self.north.step() + await self.south.step()
                idle = 0 if done else idle + 1
                if not done:
                    for site in (self.north, self.south):  # what waits a second for a job
                        await site.rows(
                            "UPDATE index.replication_told SET next_at = now()"
                            " WHERE state = 'waiting' RETURNING 1"
                        )


@asynccontextmanager
async def two_sites(server: Any, directory: Path) -> AsyncIterator[Sites]:
    """Make them, each with a database and a store of its own, and a second store at the other."""
    link = Link()
    async with AsyncExitStack() as stack:
        made: list[Site] = []
        for name, peer in (("north", "south"), ("south", "north")):
            url = await stack.enter_async_context(_database(server))
            home = directory / name
            home.mkdir()
            for one in (name, peer):
                (directory / f"second-of-{one}").mkdir(exist_ok=True)
            await prepare_database(url, "metadata")
            made_house = await stack.enter_async_context(house(url, home))
            await prepare_database(url, "api")
            made.append(_site(name, peer, made_house, directory, link))
        north, south = made
        for site in made:
            await site.sending.slice()
        yield Sites(north, south, link)


def _site(name: str, peer: str, made: House, directory: Path, link: Link) -> Site:
    indexer, outbox = made.bench.indexer, made.bench.indexer.outbox
    database, seal, brake = indexer.database, Seal(KEYS), Brake(Pace(0))
    store = FileSystemStore(made.bench.directory)
    edits, removals = Edits(outbox), Removals(outbox)
    owner = new_message_id()
    editor = Editor(
        Claims(edits.table, database, owner, 20.0), made.resolver.desk, KEYS, seal, outbox
    )
    remover = Remover(
        Claims(removals.table, database, owner, 20.0),
        store,
        outbox,
        Retention(0),
        timedelta(days=30),
        KEYS,
    )
    second = Linked(directory / f"second-of-{name}", link)
    there = FileSystemStore(directory / f"second-of-{peer}")  # which is here
    words = Words(KEYS, seal, name)
    return Site(
        name,
        made,
        EditCommands(editor, edits),
        RemovalCommands(remover, removals, TierJobs(outbox)),
        Sending(database, store, Journal(second, seal, name), Telling(seal), brake),
        Taking(
            database,
            Journal(there, seal, peer),
            Arriving(there, store, brake),
            CarryingOut(words, seal, edits, removals, Resolutions(outbox)),
            seal,
            outbox,
        ),
    )


@asynccontextmanager
async def _database(server: Any) -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    connection = await asyncpg.connect(server.maintenance_url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        yield server.superuser_url(name)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()
