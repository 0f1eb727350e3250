"""Print as a process, an index and store to print from, and whom to ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
from pydicom.dataset import Dataset

from darkroom_common.amqp.broker import NoReply, Unroutable
from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.messages.base import Message, Reply, Request, new_message_id
from darkroom_common.messages.commands import PrintFilm
from darkroom_common.messages.requests import ActOnPrintJob, DrawFilm
from darkroom_common.messages.resources import put
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.resources.declared import PRINTERS
from darkroom_common.seal import Seal
from darkroom_common.specs.films import FilmImage, FilmOrder
from darkroom_common.specs.printers import PrinterSpec
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.api.seed import Seed
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import succeeds, until

LIMIT = 60.0
QUICK = {"initial_seconds": 0.2, "multiplier": 1.5, "ceiling_seconds": 2.0, "max_attempts": 3}


@dataclass
class PrintDesk:
    """What tests work with."""

    services: Services
    prepared: Prepared
    broker: RabbitBroker
    seed: Seed
    seal: Seal

    async def store(self, *data_sets: Dataset, **given: Any) -> list[FilmImage]:
        """Store and index; return what to print."""
        await self.seed.add(*data_sets, **given)
        return [FilmImage(sop_instance_uid=str(one.SOPInstanceUID)) for one in data_sets]

    async def ask(self, request: Request) -> Reply:
        asked = partial(self.broker.request, request, limit=30)
        return await succeeds(asked, Unroutable, NoReply, limit=LIMIT)

    async def publish(self, message: Message) -> None:
        await succeeds(partial(self.broker.publish, message), Unroutable, limit=LIMIT)

    async def printer(self, port: int, **changes: Any) -> None:
        given = {
            "host": LOOPBACK,
            "port": port,
            "ae_title": "FILM",
            "backoff": QUICK,
            "dpi": 50,
            "connect_seconds": 2,
            "answer_seconds": 5,
            "done_seconds": 5,
        }
        spec = PrinterSpec.model_validate(given | changes)
        reply = await self.ask(put(PRINTERS, "FILM", spec, requested_by="test"))
        assert reply.outcome in ("created", "done"), reply

    async def print(self, images: list[FilmImage], **changes: Any) -> str:
        order = FilmOrder.model_validate({"images": images} | changes)
        job_id = new_message_id()
        await self.publish(
            PrintFilm(
                job_id=job_id,
                printer="FILM",
                layout=order.layout,
                sop_instance_uids=tuple(one.sop_instance_uid for one in images),
                copies=order.copies,
                sealed=self.seal.seal(order.model_dump(mode="json"), purpose=PrintFilm.TYPE),
            )
        )
        return job_id

    async def act(self, job_id: str, action: str) -> Reply:
        return await self.ask(ActOnPrintJob.model_validate({"job_id": job_id, "action": action}))

    async def draw(self, **given: Any) -> tuple[bytes, dict[str, Any]]:
        """Return a picture of a film, and what was said of it."""
        reply = await self.ask(DrawFilm.model_validate(given))
        assert reply.outcome == "done", reply
        rows = await self.prepared.fetch(
            "SELECT sealed FROM print.picture WHERE id = $1", reply.body["picture"]
        )
        return self.seal.open_bytes(rows[0]["sealed"], purpose=DrawFilm.TYPE), reply.body

    async def until(self, job_id: str, *states: str) -> asyncpg.Record:
        found: list[asyncpg.Record] = []

        async def came() -> asyncpg.Record | None:
            found[:] = await self.prepared.fetch("SELECT * FROM print.job WHERE id = $1", job_id)
            return found[0] if found and found[0]["state"] in states else None

        try:
            return await until(came, limit=LIMIT)
        except AssertionError:
            log = self.services.running["print"].log.read_text()[-3000:]
            raise AssertionError(f"{states} never came: {found}\n{log}") from None

    async def films(self, job_id: str) -> list[asyncpg.Record]:
        return await self.prepared.fetch(
            "SELECT * FROM print.film WHERE job_id = $1 ORDER BY number", job_id
        )


@asynccontextmanager
async def open_desk(services: Services) -> AsyncIterator[PrintDesk]:
    """Prepare the database; the test starts print."""
    prepared = await Prepared.make(services.superuser_url, "metadata", "print")
    services.extra |= {"LEASE_SECONDS": "2", "ECHO_SECONDS": "0"}
    services.store.mkdir(exist_ok=True)
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="test"))
    broker = RabbitBroker(services.amqp_url, service="test")
    try:
        async with prepared.login("metadata") as database, prepared.looking():
            seed = Seed(database, services.store, keys, blind)
            yield PrintDesk(services, prepared, broker, seed, Seal(keys))
    finally:
        await broker.close()
