"""Echoes on a schedule (TRX-14): by one of several replicas, within limits, shown and told."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from darkroom_common.echoes.places import Places
from darkroom_common.echoes.rounds import AT_ONCE, Rounds
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.seal import Seal
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from tests.integration.transmit.test_rest import a_destination, both_of
from tests.support.database import Prepared
from tests.support.scripted_peer import ScriptedPeer
from tests.support.services import Services
from tests.support.waiting import until

KEYS = PhiKeys.parse(json.dumps({"current": 1, "keys": {"1": "A" * 43 + "="}}))
LONG = 3600.0


class Asked:
    """Answers echoes, and counts them."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.under_way = self.most = 0
        self.go_on = asyncio.Event()

    async def __call__(self, one: Destination) -> str:
        self.times[one.name] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go_on.wait()
        self.under_way -= 1
        return self.reasons.get(one.name, "")


class Board:
    """A database with destinations, and replicas that ask them."""

    def __init__(self, prepared: Prepared, database: Database) -> None:
        self.prepared = prepared
        self.database = database
        self.configuration = Configuration(database, Seal(KEYS))

    async def add(self, name: str, **changes: object) -> None:
        given = {"ae_title": "PACS", "host": LOOPBACK, "port": free_port(), **changes}
        spec = DestinationSpec.model_validate(given)
        await self.configuration.destination_table.put(name, spec, by="test")

    def rounds(
        self, asked: Asked, *, every: float = LONG, places: Places | None = None
    ) -> Rounds[Destination]:
        return Rounds(
            self.database,
            DESTINATIONS,
            Outbox("transmit"),
            self.configuration.destinations,
            asked,
            places or Places(),
            lambda one: one.spec.max_associations,
            every,
            patience=0.2,
        )

    async def states(self) -> dict[str, asyncpg.Record]:
        rows = await self.prepared.fetch("SELECT * FROM transmit.destination")
        return {row["name"]: row for row in rows}

    async def told(self) -> list[tuple[str, str, str]]:
        rows = await self.prepared.fetch(
            "SELECT body FROM transmit.outbox WHERE type = 'node.state.changed.v1' ORDER BY id"
        )
        bodies = [json.loads(row["body"]) for row in rows]
        return [(one["name"], one["state"], one["reason"]) for one in bodies]


@pytest.fixture
async def board(superuser_url: str) -> AsyncIterator[Board]:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    async with prepared.login("transmit") as database:
        yield Board(prepared, database)


@asynccontextmanager
async def running(*all_rounds: Rounds[Destination]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in all_rounds]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_replicas_ask_each_destination_once_and_few_at_a_time(board: Board) -> None:
    for number in range(20):
        await board.add(f"PACS{number:02}")
    await board.add("OFF", enabled=False)
    await board.add("LEFT-OUT", echo=False)
    first, second = Asked(), Asked()
    async with running(board.rounds(first, every=LONG), board.rounds(second, every=LONG)):
        await until(lambda: first.under_way == AT_ONCE == second.under_way)
        first.go_on.set()
        second.go_on.set()

        async def all_are_up() -> bool:
            shown = [row["echo_state"] for row in (await board.states()).values()]
            return shown.count("UP") == 20

        await until(all_are_up)
    assert set((first.times + second.times).values()) == {1}
    assert len(first.times) + len(second.times) == 20
    assert (first.most, second.most) == (AT_ONCE, AT_ONCE)
    assert {state for _, state, _ in await board.told()} == {"UP"}


async def test_a_state_is_told_when_it_changes_and_forgotten_when_nobody_asks(board: Board) -> None:
    await board.add("PACS")
    asked = Asked()
    asked.go_on.set()
    rounds = board.rounds(asked, every=0.05)
    async with running(rounds):

        async def is_(state: str) -> bool:
            return bool((await board.states())["PACS"]["echo_state"] == state)

        await until(lambda: is_("UP"))
        asked.reasons["PACS"] = "ConnectionRefused"
        await until(lambda: is_("DOWN"))
        row = (await board.states())["PACS"]
        assert row["echo_reason"] == "ConnectionRefused"
        assert row["echo_failures"] >= 2
        since = row["echo_since"]
        before = asked.times["PACS"]
        await until(lambda: asked.times["PACS"] > before + 1)
        assert (await board.states())["PACS"]["echo_since"] == since
        del asked.reasons["PACS"]
        await until(lambda: is_("UP"))
        assert await board.told() == [
            ("PACS", "UP", ""),
            ("PACS", "DOWN", "ConnectionRefused"),
            ("PACS", "UP", ""),
        ]
        await board.add("PACS", echo=False)
        await until(lambda: is_(""))


async def test_an_echo_takes_a_place_of_the_destination_or_is_put_off(board: Board) -> None:
    await board.add("BUSY", max_associations=2)
    asked, places = Asked(), Places()
    asked.go_on.set()
    for _ in range(2):  # two batches are under way
        await places.of("BUSY", 2).acquire()
    async with running(board.rounds(asked, every=0.3, places=places)):

        async def put_off() -> bool:
            return bool((await board.states())["BUSY"]["echo_due_at"])

        await until(put_off)
        assert not asked.times
        places.of("BUSY", 2).release()
        await until(lambda: asked.times["BUSY"])
    assert not places.of("BUSY", 2).locked()  # it was given back


async def test_what_is_asked_of_another_row_by_now_is_not_kept(board: Board) -> None:
    await board.add("PACS")
    asked = Asked()
    async with running(board.rounds(asked)):
        await until(lambda: asked.under_way)
        (old,) = await board.configuration.destinations()
        await board.add("PACS", description="moved")
        asked.go_on.set()
        await until(lambda: not asked.under_way)
    assert (await board.states())["PACS"]["echo_at"] is None
    (new,) = await board.configuration.destinations()
    assert new.version == old.version + 1


@pytest.mark.req("TRX-14")
async def test_a_destination_that_dies_and_comes_back_is_seen_in_the_list(
    services: Services,
) -> None:
    async with both_of(services) as both:
        services.extra |= {"ECHO_SECONDS": "0.3"}
        await services.start("transmit")

        async def shows(state: str, reason: str) -> bool:
            (one,) = (await both.call("GET", "/destinations", 200))["data"]
            return (one["echo_state"], one["echo_reason"]) == (state, reason)

        def metric(line: str) -> bool:
            _, text = services.running["transmit"].probe("/metrics")
            return line in text

        with ScriptedPeer() as peer:
            given = a_destination(peer.port, name="PACS")
            await both.call("POST", "/destinations", 201, json=given)
            await until(lambda: shows("UP", ""))
            assert peer.most_open == 1
        await until(lambda: shows("DOWN", "ConnectionRefused"))
        name = 'darkroom_echo_up{kind="destination",name="PACS"}'
        await until(lambda: asyncio.to_thread(metric, f"{name} 0.0"))
        with ScriptedPeer(port=peer.port):
            await until(lambda: shows("UP", ""))
            await until(lambda: asyncio.to_thread(metric, f"{name} 1.0"))
        assert [line["reason"] for line in both.desk.logged("node.changed")][:2] == [
            "",
            "ConnectionRefused",
        ]
