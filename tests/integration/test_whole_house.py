"""All six services at work: while Odoo is away for 73 hours, and while names are looked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.topology import LICENSING_REQUESTS
from darkroom_licensing.checks import Checks
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.api.conftest import Api, running_api
from tests.integration.print.pictures import a_series
from tests.integration.print.printers import ScriptedPrinter, scripted
from tests.support.builders import encode
from tests.support.database import Prepared
from tests.support.dicom_peer import send
from tests.support.licences import Clinic, SimulatedClock
from tests.support.scripted_peer import ScriptedPeer
from tests.support.services import Services, prepare_database
from tests.support.waiting import until
from tests.unit.licensing.test_licence import HOUR, MINUTE

FIVE = ("metadata", "ingest", "transmit", "print")


@dataclass
class House:
    """The services, and whom they work with."""

    api: Api
    peer: ScriptedPeer
    printer: ScriptedPrinter

    async def call(self, method: str, path: str, expected: int, **given: Any) -> Any:
        answer = await self.api.client.request(method, f"/api/v1{path}", **given)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def works(self) -> None:
        """Send an image as a modality does: it is received, found, sent on and printed."""
        (image,) = a_series(1)
        uid, films = str(image.SOPInstanceUID), len(self.printer.films)
        port = self.api.services.dicom_port
        assert await asyncio.to_thread(send, port, [(uid, encode(image))]) == {uid: 0}
        await until(lambda: uid in self.peer.uids, limit=40)
        await until(lambda: len(self.printer.films) == films + 1, limit=40)
        found = await self.api.client.get(f"/dicom-web/studies/{image.StudyInstanceUID}/metadata")
        assert found.status_code == 200


def a_destination(port: int, name: str) -> dict[str, Any]:
    return {"name": name, "ae_title": "PACS", "host": LOOPBACK, "port": port}


@asynccontextmanager
async def at_work(services: Services) -> AsyncIterator[House]:
    names = ("ingest", "metadata", "transmit", "print", "api", "licensing")
    await prepare_database(services.superuser_url, *names)
    await services.start(*FIVE)
    async with running_api(services) as api:
        with ScriptedPeer() as peer, scripted() as printer:
            house = House(api, peer, printer)
            pacs = a_destination(peer.port, "PACS")
            await house.call("POST", "/destinations", 201, json=pacs)
            film = {"name": "FILM", "host": LOOPBACK, "port": printer.port, "ae_title": "FILM"}
            await house.call("POST", "/printers", 201, json=film | {"dpi": 40})
            rule = {"name": "all", "destinations": ["PACS"], "position": 1}
            await house.call("POST", "/rules", 201, json=rule)
            by_itself = {"name": "all", "printer": "FILM", "film": {}}
            await house.call("POST", "/print/rules", 201, json=by_itself)
            yield house


@asynccontextmanager
async def licensing(services: Services, clinic: Clinic) -> AsyncIterator[Checks]:
    """Run licensing in this process, on the clinic's clock; the others have the machine's."""
    outbox, broker = Outbox("licensing"), RabbitBroker(services.amqp_url, service="licensing")
    async with Prepared(services.superuser_url).login("licensing") as database:
        publishing = asyncio.create_task(outbox.run(database, broker))
        try:
            inbox = Inbox("licensing", LICENSING_REQUESTS.name)
            yield Checks(clinic.licence, database, inbox, outbox)
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await broker.close()


@pytest.mark.req("LIC-02", "LIC-03")
async def test_73_hours_without_odoo_hold_up_no_image_and_are_over_within_a_minute(
    services: Services,
) -> None:
    clinic = Clinic(clock=SimulatedClock(datetime(2026, 11, 30, 16, 30, tzinfo=UTC)))
    async with at_work(services) as house, licensing(services, clinic) as checks:

        async def shows(state: str, *, read_only: bool) -> bool:
            found = await house.call("GET", "/licence", 200)
            return (found["state"], found["read_only"]) == (state, read_only)

        await checks.look()
        await until(lambda: shows("valid", read_only=False))
        await house.works()
        clinic.away = "connect"
        for _ in range(72):
            clinic.clock.advance(HOUR)
            assert not (await checks.look()).read_only
        await until(lambda: shows("grace", read_only=False))
        await house.works()
        clinic.clock.advance(HOUR)
        await checks.look()
        await until(lambda: shows("expired", read_only=True))
        another = a_destination(house.peer.port, "ANOTHER")
        why = (await house.call("POST", "/destinations", 402, json=another))["detail"]
        assert "not been confirmed since 2026-11-30 16:30 UTC: no connection" in why
        assert "read-only since 2026-12-03 18:00 (Europe/Berlin); patient data goes on" in why
        assert (await house.call("GET", "/licence", 200))["reason"] == why
        await house.works()
        clinic.away = ""
        clinic.clock.advance(MINUTE)
        await checks.look()
        await until(lambda: shows("valid", read_only=False))
        await house.call("POST", "/destinations", 201, json=another)
        await house.works()
