"""A site is lost, the other takes its place, and gives it back: with the times that it takes."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from darkroom_common.clock import utc_now
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.postgres.phi import PhiKeys
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.recovery.archive import Archive
from darkroom_local.recovery.backup import Source, fingerprints
from darkroom_local.recovery.fencing import Fenced, begin_sending, may_start
from darkroom_local.recovery.point import Reached, Standby
from darkroom_local.recovery.shipping import Pace, Shipping
from darkroom_local.recovery.wal import WalArchive
from darkroom_local.stack.layout import Layout
from darkroom_local.stack.stack import DATABASE
from tests.integration.local.test_points_in_time import Shipped, house, keys_in
from tests.integration.local.test_recovery import unseen
from tests.support.waiting import until

__all__ = ["house"]
PACE = Pace(seconds=0.2, switch_seconds=0.4)


@asynccontextmanager
async def followed(
    source: Source, archive: Archive, home: Path, standby: Standby
) -> AsyncIterator[None]:
    """Have an installation sent, and followed at another site."""
    wal = WalArchive(archive)
    ships = asyncio.create_task(Shipping(source, wal, home, PACE, lambda _: None).run())
    await until(lambda: bool(wal.bases()), "a base", limit=120)
    said: list[str] = []
    follows = asyncio.create_task(standby.follow(seconds=0.2, tell=said.append))
    try:
        await until(lambda: "follows" in said, "it follows", limit=120)
        yield
        moment = utc_now().timestamp()
        await until(lambda: (wal.mark() or 0) > moment, "sent", limit=60)
    finally:
        for task in (ships, follows):
            task.cancel()
        await asyncio.gather(ships, follows, return_exceptions=True)


@pytest.mark.req("STO-09")
async def test_a_lost_site_is_replaced_and_comes_back(house: Shipped) -> None:
    north, place = house.place / "north", str(house.backups)
    north.mkdir()
    begin_sending(house.archive, north, place, house.key_file)
    keys = PhiKeys.parse((house.secrets / "phi-keys").read_text()).keys
    source = Source(house.superuser_url, house.store, fingerprints(keys))
    south = Standby(house.archive, house.data, house.secrets)
    await house.receive(20)
    async with followed(source, house.archive, house.place / "scratch-north", south):
        await house.receive(20)
    shutil.rmtree(house.bench.directory)  # the site is lost
    would = Standby(house.archive, house.data, house.secrets).would()
    assert re.fullmatch(r"what came in the last \d+ s would be lost; it follows", would)
    may_start(north, print)  # it was only said
    failover = await Standby(house.archive, house.data, house.secrets).take_place(progress=unseen)
    assert failover.compared.agrees
    assert await keys_in(house.data) == set(house.acknowledged)
    with pytest.raises(Fenced):
        may_start(north, print)

    failback = await _back(house, Layout(house.data))
    assert failback.compared.agrees
    assert await keys_in(house.place / "north-again") == set(house.acknowledged)
    print(f"failover: {failover}; failback: {failback}")


async def _back(house: Shipped, south: Layout) -> Reached:
    """Have the site that took the place followed by the one that was lost, which takes it back."""
    back = house.place / "way-back"
    back.mkdir()
    archive = Archive.open(back, house.key_file)
    north = Standby(archive, house.place / "north-again", house.secrets)
    keys = PhiKeys.parse((house.secrets / "phi-keys").read_text()).keys
    async with PrivatePostgres(south.postgres, fsync=False).running() as server:
        url = server.superuser_url(DATABASE)
        source = Source(url, FileSystemStore(south.objects), fingerprints(keys))
        async with followed(source, archive, house.place / "scratch-south", north):
            db = await asyncpg.connect(url)
            await db.execute("CREATE TABLE index.marked_at_south (at timestamptz)")
            await db.close()
    return await Standby(archive, house.place / "north-again", house.secrets).take_place(
        progress=unseen
    )
