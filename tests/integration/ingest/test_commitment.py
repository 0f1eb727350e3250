"""Storage commitment as SCP: what other nodes ask, and where they are told; pynetdicom asks."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from darkroom_common.dimse.users.commitment import STORAGE_COMMITMENT, WELL_KNOWN, referenced
from darkroom_common.dimse.wire.data_set import SYNTAXES
from tests.chaos.killing import Killer
from tests.chaos.transmit_rounds import prepare
from tests.integration.ingest.asking import HOST, Asked, answering
from tests.integration.ingest.test_get import MR, a_study
from tests.integration.transmit.desk import QUICK, Desk, open_desk
from tests.support.builders import CT, new_uid
from tests.support.services import Services, own_url
from tests.support.waiting import until

EVERY_POINT = (
    "take-before",
    "take-after-commit",
    "found-before",
    "found-before-commit",
    "told-before",
    "told-after",
)
POINTS = EVERY_POINT if "DARKROOM_CHAOS_ROUNDS" in os.environ else EVERY_POINT[1::2]
Told = tuple[str, int, set[str], dict[str, int]]
"""Transaction UID, event type, what is kept, and why what is not is not."""


@dataclass
class Modality:
    """A node that asks, on an association that it keeps open or not, and takes reports on both."""

    port: int
    title: str = "MODALITY"
    here: list[Told] = field(default_factory=list)
    called: list[Told] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """What the next reports that it is called for are answered with."""
    took: threading.Event = field(default_factory=threading.Event)
    """The answer to a report on the association that has asked has been sent."""
    own_port: int = 0
    roles: list[Any] = field(default_factory=list)

    def _report(self, event: Any, told: list[Told]) -> tuple[int, None]:
        data_set = event.event_information
        kept = {
            str(one.ReferencedSOPInstanceUID) for one in data_set.get("ReferencedSOPSequence", [])
        }
        failed = {
            str(one.ReferencedSOPInstanceUID): int(one.FailureReason)
            for one in data_set.get("FailedSOPSequence", [])
        }
        told.append((str(data_set.TransactionUID), event.event_type, kept, failed))
        return (self.answers.pop(0) if self.answers else 0), None

    @contextmanager
    def listening(self) -> Iterator["Modality"]:
        ae = AE(self.title)
        ae.add_supported_context(STORAGE_COMMITMENT, list(SYNTAXES), scu_role=True, scp_role=True)
        handlers: Any = [(evt.EVT_N_EVENT_REPORT, lambda one: self._report(one, self.called))]
        server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.own_port = server.server_address[1]
        try:
            yield self
        finally:
            server.shutdown()

    @contextmanager
    def open(self, syntax: str = SYNTAXES[0]) -> Iterator[Association]:
        ae = AE(self.title)
        ae.acse_timeout = ae.dimse_timeout = 60
        ae.add_requested_context(STORAGE_COMMITMENT, syntax)
        reported: list[Told] = []

        def take(event: Any) -> tuple[int, None]:
            answer = self._report(event, self.here)
            reported.append(self.here[-1])
            return answer

        def sent(event: Any) -> None:
            if reported and isinstance(event.pdu, P_DATA_TF):
                reported.clear()
                self.took.set()

        handlers: Any = [(evt.EVT_N_EVENT_REPORT, take), (evt.EVT_PDU_SENT, sent)]
        opened = ae.associate(HOST, self.port, ae_title="DARKROOM", evt_handlers=handlers)
        try:
            assert opened.is_established
            yield opened
        finally:
            opened.release()

    @staticmethod
    def ask(
        association: Association,
        transaction: str,
        references: Sequence[tuple[str, str]],
        *,
        instance: str = WELL_KNOWN,
        action: int = 1,
    ) -> int:
        asked = Dataset()
        asked.TransactionUID = transaction
        asked.ReferencedSOPSequence = referenced(references)
        status, _ = association.send_n_action(asked, action, STORAGE_COMMITMENT, instance)
        return int(status.Status)


@dataclass
class House:
    """Transmit as a process, the front door in this one, and a modality that is a destination."""

    desk: Desk
    asked: Asked
    modality: Modality

    async def states(self) -> list[tuple[str, str]]:
        rows = await self.desk.prepared.fetch(
            "SELECT transaction_uid, state FROM transmit.asked_commitment ORDER BY created_at"
        )
        return [tuple(row) for row in rows]

    async def all_told(self) -> bool:
        return {state for _, state in await self.states()} == {"REPORTED"}


@asynccontextmanager
async def a_house(
    services: Services, tmp_path: Path, *, known: bool = True, **changes: Any
) -> AsyncIterator[House]:
    changes = {"amqp_url": own_url(services.amqp_url, "ingest")} | changes
    services.extra["COMMITMENT_SETTLE_SECONDS"] = "2"
    async with open_desk(services) as desk:
        await services.start("transmit")
        async with answering(services, tmp_path, **changes) as asked:
            with Modality(asked.port).listening() as modality:
                if known:
                    await desk.destination("modality", modality.own_port, ae_title="MODALITY")
                yield House(desk, asked, modality)


def named(objects: Sequence[Dataset], sop_class: str = CT) -> list[tuple[str, str]]:
    return [(sop_class, str(one.SOPInstanceUID)) for one in objects]


@pytest.mark.req("ING-12")
async def test_it_is_told_on_the_association_that_has_asked(
    services: Services, tmp_path: Path
) -> None:
    """All kept; some not, each with its reason; the same again; the UID for another request."""
    objects = a_study(6)
    async with a_house(services, tmp_path) as house:
        await house.asked.seed.add(*objects)
        uids = [str(one.SOPInstanceUID) for one in objects]
        async with house.asked.seed.database.acquire() as db:
            rows = await db.fetch("SELECT sop_instance_uid, object_key FROM index.instance")
        keys = {row[0]: row[1] for row in rows}
        modality, store = house.modality, house.asked.seed.store
        first, second, nothing = new_uid(), new_uid(), new_uid()

        def ask() -> None:
            for syntax in SYNTAXES:
                modality.took.clear()
                with modality.open(syntax) as association:
                    assert modality.ask(association, first, named(objects)) == 0
                    assert modality.took.wait(60)
            assert modality.here == [(first, 1, set(uids), {})] * 2  # said again, and told again
            store.joinpath(keys[uids[0]]).unlink()
            damaged = store / keys[uids[1]]
            content = bytearray(damaged.read_bytes())
            content[-1] ^= 1
            damaged.write_bytes(content)
            references = [*named(objects[:4]), (MR, uids[4]), (CT, nothing)]
            modality.took.clear()
            with modality.open() as association:
                assert modality.ask(association, second, references) == 0
                assert modality.took.wait(60)
                reasons = {uids[0]: 0x0112, uids[1]: 0x0110, uids[4]: 0x0119, nothing: 0x0112}
                assert modality.here[2:] == [(second, 2, set(uids[2:4]), reasons)]
                # Nothing that is told once is told otherwise, whatever has happened meanwhile.
                modality.took.clear()
                assert modality.ask(association, first, named(objects)) == 0
                assert modality.took.wait(60)
                assert modality.here[-1] == (first, 1, set(uids), {})
                assert modality.ask(association, first, named(objects[:1])) == 0x0131
                assert modality.ask(association, first, named(objects, MR)) == 0x0131
                for status, changes in ((0x0112, {"instance": "1.2.3"}), (0x0123, {"action": 2})):
                    assert modality.ask(association, new_uid(), named(objects), **changes) == status
                assert modality.ask(association, new_uid(), []) == 0x0121
                assert modality.ask(association, "", named(objects)) == 0x0120

        await asyncio.to_thread(ask)
        await until(house.all_told)
        assert modality.called == []
        assert len(await house.states()) == 2


@pytest.mark.req("ING-12")
async def test_whoever_releases_is_called_until_it_takes_it(
    services: Services, tmp_path: Path
) -> None:
    """What is stored meanwhile counts; a peer that rejects, or refuses, hears it again."""
    objects = a_study(3)
    async with a_house(services, tmp_path, known=False) as house:
        modality, uids = house.modality, {str(one.SOPInstanceUID) for one in objects}
        modality.answers = [0x0110, 0x0213]
        first, second = new_uid(), new_uid()

        def ask(transaction: str) -> None:
            with modality.open() as association:
                assert modality.ask(association, transaction, named(objects)) == 0

        await asyncio.to_thread(ask, first)
        await house.asked.seed.add(*objects)

        async def looked_at() -> bool:
            rows = await house.desk.prepared.fetch(
                "SELECT reasons, reason FROM transmit.asked_commitment"
            )
            return tuple(rows[0]) == ([0, 0, 0], "UnknownDestination")

        await until(looked_at, limit=30)
        # Somebody at that address who takes no association; then the modality itself.
        await house.desk.destination("modality", 1, ae_title="MODALITY", backoff=QUICK)
        await asyncio.to_thread(ask, second)

        async def refused() -> bool:
            rows = await house.desk.prepared.fetch(
                "SELECT reason FROM transmit.asked_commitment WHERE transaction_uid = $1", second
            )
            return tuple(rows[0]) == ("ConnectionRefused",)

        await until(refused, limit=30)
        await house.desk.destination(
            "modality", modality.own_port, ae_title="MODALITY", backoff=QUICK
        )
        await until(lambda: len(modality.called) == 3, limit=30)
        assert modality.called == [(second, 1, uids, {})] * 3
        assert modality.here == []


async def test_it_survives_restarts_and_limits_hold(services: Services, tmp_path: Path) -> None:
    """Transmit killed when it has answered; too many instances; nobody to keep the request."""
    objects = a_study(2)
    async with a_house(services, tmp_path, commitment_instances=2) as house:
        modality, uids = house.modality, {str(one.SOPInstanceUID) for one in objects}
        transaction = new_uid()

        def ask(transaction: str, references: Sequence[tuple[str, str]]) -> int:
            with modality.open() as association:
                return modality.ask(association, transaction, references)

        assert await asyncio.to_thread(ask, transaction, named(objects)) == 0
        await services.running["transmit"].kill()
        many = [(CT, new_uid()) for _ in range(3)]
        assert await asyncio.to_thread(ask, new_uid(), many) == 0x0213
        assert await asyncio.to_thread(ask, new_uid(), named(objects)) == 0x0110
        await house.asked.seed.add(*objects)
        await services.start("transmit")
        await until(lambda: modality.called == [(transaction, 1, uids, {})], limit=30)
        await until(house.all_told)


@pytest.mark.req("ING-12")
async def test_killed_at_a_point_every_transaction_is_told_once_in_one_wording(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` of transmit at named points (F3); whoever was not answered asks again."""
    killer = Killer.prepare(services, monkeypatch)
    prepare(services)
    objects = a_study(3)
    async with a_house(services, tmp_path) as house:
        await house.desk.destination(
            "modality", house.modality.own_port, ae_title="MODALITY", backoff=QUICK
        )
        await house.asked.seed.add(*objects)
        modality, lost = house.modality, new_uid()
        references = [*named(objects), (CT, lost)]
        expected = {str(one.SOPInstanceUID) for one in objects}, {lost: 0x0112}

        def ask(transaction: str) -> int:
            with modality.open() as association:
                return modality.ask(association, transaction, references)

        for point in POINTS:
            transaction = new_uid()
            killer.arrange(point)
            asking = asyncio.create_task(asyncio.to_thread(ask, transaction))
            await killer.died("transmit")
            await services.start("transmit")
            if await asking:
                assert await asyncio.to_thread(ask, transaction) == 0, point
            await until(house.all_told, limit=40)
            told = [one for one in (*modality.here, *modality.called) if one[0] == transaction]
            assert told, point
            assert len(told) <= 2, point
            assert all(one == (transaction, 2, *expected) for one in told), point
