"""WAL and objects are sent on all the while: a point in time, a standby, and its turn."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from darkroom_common.clock import utc_now
from darkroom_common.postgres.phi import PhiKeys
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.recovery.archive import RecoveryError
from darkroom_local.recovery.backup import Source, fingerprints
from darkroom_local.recovery.drill import Drill, drill_shipped, is_shipped
from darkroom_local.recovery.fencing import Fenced, Sent, require_unfenced
from darkroom_local.recovery.point import Reached, Standby, restore_at
from darkroom_local.recovery.shipping import Pace, Shipping
from darkroom_local.recovery.wal import WalArchive, is_segment
from darkroom_local.stack.keyring import Keyring
from darkroom_local.stack.layout import Layout
from darkroom_local.stack.stack import DATABASE
from tests.integration.local.test_recovery import House, unseen
from tests.integration.metadata.test_indexer import indexing
from tests.support.database import Prepared
from tests.support.shown import require_shown
from tests.support.waiting import until


@dataclass
class Shipped(House):
    """A house whose WAL and objects are sent on."""

    said: list[str] = field(default_factory=list)

    @property
    def wal(self) -> WalArchive:
        return WalArchive(self.archive)

    @asynccontextmanager
    async def shipping(self) -> AsyncIterator[Shipping]:
        keys = PhiKeys.parse((self.secrets / "phi-keys").read_text()).keys
        source = Source(self.superuser_url, self.store, fingerprints(keys))
        pace = Pace(seconds=0.5, switch_seconds=1.0)
        ships = Shipping(source, self.wal, self.place / "scratch", pace, self.said.append)
        running = asyncio.create_task(ships.run())

        async def has_base() -> bool:
            if running.done():
                running.result()
            return bool(ships.shipped.bases or self.wal.bases())

        await until(has_base, "a base", limit=120)
        yield ships
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def sent_until(self, moment: datetime) -> None:
        """Wait until all that was committed before a moment is in the archive."""

        async def sent() -> bool:
            return (self.wal.mark() or 0) > moment.timestamp()

        await until(sent, "sent", limit=60)

    async def restore_at(self, moment: datetime | None) -> Reached:
        return await asyncio.to_thread(
            restore_at, self.archive, moment, self.data, self.secrets, progress=unseen
        )


async def keys_in(data: Path) -> set[str]:
    """What rows of a restored installation name, all of whose objects have to be there."""
    layout = Layout(data)
    async with PrivatePostgres(layout.postgres).running() as server:
        password = Keyring(layout).role_password("darkroom_metadata")
        db = await asyncpg.connect(server.url("darkroom_metadata", password, DATABASE))
        try:
            rows = await db.fetch("SELECT object_key FROM index.instance")
        finally:
            await db.close()
    keys = {row["object_key"] for row in rows}
    assert all((layout.objects / key).exists() for key in keys)
    return keys


@pytest.fixture
async def house(engine_directory: Path, tmp_path: Path) -> AsyncIterator[Shipped]:
    """A server of its own: what is sent is a server as a whole."""
    server = PrivatePostgres(engine_directory / "server", fsync=False)
    async with server.running():
        db = await asyncpg.connect(server.superuser_url())
        await db.execute(f'CREATE DATABASE "{DATABASE}"')
        await db.close()
        url = server.superuser_url(DATABASE)
        prepared = await Prepared.make(url, "metadata")
        async with indexing(prepared, tmp_path) as bench:
            yield Shipped(bench, engine_directory, url)


@pytest.mark.req("STO-05")
async def test_a_point_in_time_between_backups_is_restored(house: Shipped) -> None:
    await house.receive(3)
    async with house.shipping() as ships:
        await house.receive(4)
        early = set(house.acknowledged)
        between = utc_now()
        await house.receive(5)
        await house.sent_until(utc_now())
        assert ships.shipped.objects == 12
    shutil.rmtree(house.bench.directory)

    reached = await house.restore_at(between)
    assert reached.compared.agrees
    assert reached.compared.objects == len(early)
    assert await keys_in(house.data) == early

    shutil.rmtree(house.data)
    newest = await house.restore_at(None)
    assert newest.compared.agrees
    assert newest.lost_seconds < 60
    assert "RPO" in str(newest)
    assert await keys_in(house.data) == set(house.acknowledged)

    shutil.rmtree(house.data)
    with pytest.raises(RecoveryError, match="no such time"):
        await house.restore_at(datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(RecoveryError, match="reaches to"):
        await house.restore_at(datetime(2100, 1, 1, tzinfo=UTC))
    assert not house.data.exists()


async def test_sending_goes_on_where_it_ended_and_begins_anew_after_a_gap(house: Shipped) -> None:
    await house.receive(2)
    async with house.shipping():
        await house.sent_until(utc_now())
    await house.receive(3)
    async with house.shipping() as ships:  # what was committed meanwhile was kept by the slot
        await house.sent_until(utc_now())
        assert (ships.shipped.bases, ships.shipped.objects) == (0, 3)
        db = await asyncpg.connect(house.superuser_url)
        for _ in range(3):
            await house.receive(1)
            await db.execute("SELECT pg_switch_wal()")
        await db.close()
        await until(lambda: ships.shipped.segments >= 3, "whole segments", limit=60)
        await house.receive(1)
        await house.sent_until(utc_now())
    bases = house.wal.bases()
    needed = [name for name in house.wal.names() if is_segment(name) and name > bases[-1].first]
    house.archive.remove(f"wal/{needed[0]}")
    async with house.shipping() as ships:
        await until(lambda: ships.shipped.bases == 1, "another base", limit=60)
        await house.sent_until(utc_now())
    assert any("is lacking" in line for line in house.said)
    assert len(house.wal.bases()) == len(bases) + 1
    assert (await house.restore_at(None)).compared.agrees
    assert await keys_in(house.data) == set(house.acknowledged)


@pytest.mark.req("STO-09")
async def test_a_standby_follows_and_takes_the_place(house: Shipped) -> None:
    await house.receive(3)
    said: list[str] = []
    async with house.shipping():
        await house.sent_until(utc_now())
        standby = Standby(house.archive, house.data, house.secrets)
        following = asyncio.create_task(standby.follow(seconds=0.5, tell=said.append))
        await house.receive(4)

        def has_all() -> bool:
            if following.done():
                following.result()
            return all((Layout(house.data).objects / key).exists() for key in house.acknowledged)

        await until(has_all, "follows", limit=120)
        await house.receive(2)
        await house.sent_until(utc_now())
    # The site is lost: its database, and its objects.
    shutil.rmtree(house.bench.directory)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    taking = Standby(house.archive, house.data, house.secrets)
    require_shown(taking.would(), "failover.md", "darkroom failover")
    reached = await taking.take_place(progress=unseen)
    assert reached.compared.agrees
    assert reached.lost_seconds < 60
    assert reached.seconds > 0
    assert await keys_in(house.data) == set(house.acknowledged)
    assert said[0] == "follows"
    with pytest.raises(Fenced):  # what had sent until then does so no more, and does not start
        require_unfenced(house.archive, Sent(str(house.backups), str(house.key_file), 0))
    with pytest.raises(RecoveryError, match="an installation of its own"):
        await Standby(house.archive, house.data, house.secrets).take_place(progress=unseen)


@pytest.mark.req("STO-05")
async def test_a_drill_restores_what_was_sent_where_that_is_newer(house: Shipped) -> None:
    await house.receive(2)
    await house.back_up()
    assert not is_shipped(house.archive)
    async with house.shipping():
        await house.receive(1)
        await house.sent_until(utc_now())
    assert is_shipped(house.archive)
    kept = house.secrets.parent
    result, _ = await asyncio.to_thread(
        drill_shipped, house.archive, kept, house.secrets, house.place, progress=unseen
    )
    assert (result.agrees, result.objects) == (True, 3)
    assert result.rpo_seconds < 24 * 3600
    assert result.rto_seconds < 4 * 3600
    assert Drill.read(kept) == result
    assert not list(house.place.glob(".*restoring"))

    # Keys that rows need are asked for before anything is done.
    other = Layout(house.place / "other")
    other.make()
    Keyring(other).make()
    with pytest.raises(RecoveryError, match="lacks the keys"):
        await asyncio.to_thread(
            restore_at, house.archive, None, house.data, other.secrets, progress=unseen
        )
    assert not house.data.exists()
