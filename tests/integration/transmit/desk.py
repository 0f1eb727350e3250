"""Transmit as a process, an index and store to send from, and whom to ask."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
from pydicom.dataset import Dataset

from darkroom_common.amqp.broker import NoReply, Unroutable
from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.messages.base import Message, Reply, Request, new_message_id
from darkroom_common.messages.commands import SendObjects
from darkroom_common.messages.events import StudyCompleted
from darkroom_common.messages.requests import ActOnJob
from darkroom_common.messages.resources import put
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.api.seed import Seed
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import succeeds, until

LIMIT = 60.0
QUICK = {"initial_seconds": 0.2, "multiplier": 1.5, "ceiling_seconds": 2.0, "max_attempts": 100}
SETTINGS = {"LEASE_SECONDS": "2", "ECHO_SECONDS": "0"}


@dataclass
class Study:
    """A stored study: its UID, and the digest of each instance's data set."""

    uid: str
    series: str
    changes: dict[str, Any]
    digests: dict[str, str] = field(default_factory=dict)


@dataclass
class Desk:
    """What tests work with."""

    services: Services
    prepared: Prepared
    broker: RabbitBroker
    seed: Seed

    async def study(
        self, count: int, *, size: int = 2000, transfer_syntax: str | None = None, **changes: Any
    ) -> Study:
        made = Study(new_uid(), new_uid(), changes)
        await self.add_to(made, count, size=size, transfer_syntax=transfer_syntax)
        return made

    async def add_to(
        self,
        made: Study,
        count: int,
        *,
        size: int = 2000,
        transfer_syntax: str | None = None,
        **changes: Any,
    ) -> set[str]:
        data_sets: list[Dataset] = [
            a_data_set(
                StudyInstanceUID=made.uid,
                SeriesInstanceUID=made.series,
                InstanceNumber=number + 1,
                **{"PixelData": bytes([number % 256]) * size, **made.changes, **changes},
            )
            for number in range(count)
        ]
        given: dict[str, Any] = (
            {} if transfer_syntax is None else {"transfer_syntax": transfer_syntax}
        )
        bodies = await self.seed.add(*data_sets, **given)
        for data_set, body in zip(data_sets, bodies, strict=True):
            made.digests[str(data_set.SOPInstanceUID)] = sha256(body).hexdigest()
        return {str(data_set.SOPInstanceUID) for data_set in data_sets}

    async def completed(self, study: Study, *, revision: int, times: int = 1) -> None:
        event = StudyCompleted(
            study_instance_uid=study.uid,
            revision=revision,
            series=1,
            instances=len(study.digests),
            modalities=("CT",),
            calling_ae_titles=("SCANNER",),
        )
        for _ in range(times):
            await self.publish(event)

    async def jobs_are(self, count: int, state: str) -> None:
        async def came() -> bool:
            rows = await self.prepared.fetch("SELECT state FROM transmit.job")
            return [row["state"] for row in rows] == [state] * count

        await until(came, limit=LIMIT)

    async def ask(self, request: Request) -> Reply:
        asked = partial(self.broker.request, request, limit=20)
        return await succeeds(asked, Unroutable, NoReply, limit=LIMIT)

    async def destination(self, name: str, port: int, **changes: Any) -> None:
        given = {
            "ae_title": "PACS",
            "host": LOOPBACK,
            "port": port,
            "backoff": QUICK,
            "connect_seconds": 2.0,
            "answer_seconds": 5.0,
        }
        spec = DestinationSpec.model_validate(given | changes)
        reply = await self.ask(put(DESTINATIONS, name, spec, requested_by="test"))
        assert reply.outcome in ("created", "done"), reply

    async def publish(self, message: Message) -> None:
        await succeeds(partial(self.broker.publish, message), Unroutable, limit=LIMIT)

    async def send(self, destination: str, study: Study, **changes: Any) -> str:
        job_id = new_message_id()
        given = {"job_id": job_id, "destination": destination, "study_instance_uid": study.uid}
        await self.publish(SendObjects(**(given | changes)))
        return job_id

    async def act(self, job_id: str, action: str) -> Reply:
        request = ActOnJob.model_validate({"job_id": job_id, "action": action})
        return await self.ask(request)

    async def job(self, job_id: str) -> asyncpg.Record | None:
        rows = await self.prepared.fetch("SELECT * FROM transmit.job WHERE id = $1", job_id)
        return rows[0] if rows else None

    async def until(
        self, job_id: str, *states: str, where: Callable[[asyncpg.Record], bool] = lambda _: True
    ) -> asyncpg.Record:
        found: list[asyncpg.Record | None] = []

        async def came() -> asyncpg.Record | None:
            found[:] = [row := await self.job(job_id)]
            return row if row is not None and row["state"] in states and where(row) else None

        try:
            return await until(came, limit=LIMIT)
        except AssertionError:
            log = self.services.running["transmit"].log.read_text()[-3000:]
            raise AssertionError(f"{states} never came: {found}\n{log}") from None

    async def instances(self, job_id: str) -> dict[str, asyncpg.Record]:
        rows = await self.prepared.fetch(
            "SELECT * FROM transmit.job_instance WHERE job_id = $1", job_id
        )
        return {row["sop_instance_uid"]: row for row in rows}

    async def attempts(self, job_id: str) -> list[asyncpg.Record]:
        return await self.prepared.fetch(
            "SELECT * FROM transmit.attempt WHERE job_id = $1 ORDER BY number", job_id
        )

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = self.services.running["transmit"].log.read_text().splitlines()
        found = (json.loads(line) for line in lines if line.startswith("{"))
        return [line for line in found if line.get("event") == event]


@asynccontextmanager
async def open_desk(services: Services) -> AsyncIterator[Desk]:
    """Prepare the database; the test starts transmit."""
    prepared = await Prepared.make(services.superuser_url, "metadata", "transmit")
    services.extra |= SETTINGS
    services.store.mkdir(exist_ok=True)
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="test"))
    broker = RabbitBroker(services.amqp_url, service="test")
    try:
        async with prepared.login("metadata") as database, prepared.looking():
            yield Desk(services, prepared, broker, Seed(database, services.store, keys, blind))
    finally:
        await broker.close()


def received(directory: Path) -> dict[str, str]:
    """Return SOP instance UID to digest of the data set of files that DCMTK has written."""
    found = {}
    for path in directory.iterdir():
        content = path.read_bytes()
        (length,) = (int.from_bytes(content[140:144], "little"),)
        found[path.name.partition(".")[2]] = sha256(content[144 + length :]).hexdigest()
    return found
