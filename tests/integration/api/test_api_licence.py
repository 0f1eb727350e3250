"""The licence at the API: what it refuses, what it never does, and who hears of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from darkroom_api.accounts.access import ACCESS
from darkroom_api.licence.decision import NEW_WORK
from darkroom_common.messages.events import LicenceChecked
from darkroom_local.engines.ports import free_port
from tests.integration.api.conftest import Api, running_api
from tests.integration.api.people import asked
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.mail_server import MailServer, a_mail_server
from tests.support.services import Services
from tests.support.waiting import until

LICENCE = "/api/v1/licence"
OPERATOR = "operator@clinic.example"
REASON = "The licence has not been confirmed since Monday: no connection."
USER = {"email": "a@clinic.example", "full_name": "A", "password": "Correct-horse-1"}
_SPARED = ("/api/v1/auth/", "/metrics", "/openapi.json", "/docs", "/sign-out")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    (tmp_path / "mail").mkdir()
    async with a_mail_server(tmp_path / "mail", free_port()) as made:
        yield made


async def tell(api: Api, **fields: Any) -> None:
    """Publish what licensing would, and wait until it is known."""
    event = LicenceChecked(**fields)
    async with await aio_pika.connect(api.services.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("darkroom.events")
        message = aio_pika.Message(
            event.to_body(), message_id=event.id, type=event.TYPE, delivery_mode=2
        )
        await exchange.publish(message, event.TYPE)

    async def known() -> bool:
        seen = "SELECT EXISTS (SELECT FROM api.inbox WHERE message_id = $1)"
        return bool((await Prepared(api.services.superuser_url).fetch(seen, event.id))[0][0])

    await until(known)


@pytest.mark.req("LIC-03", "API-21")
async def test_read_only_is_for_new_administrative_work_alone(
    services: Services, server: MailServer
) -> None:
    services.extra |= server.settings | {
        "MAIL_OPERATORS": f'["{OPERATOR}"]',
        "LIMIT_DEFAULT": "100000/hour",
    }
    await server.start()
    async with running_api(services) as api:
        found = (await api.client.get(LICENCE)).json()
        assert (found["edition"], found["read_only"]) == ("unknown", False)
        await api.seed.add(a_data_set(PatientName="Doe^Jane", AccessionNumber="A1"))
        at = datetime.now(UTC) + timedelta(hours=10)
        await tell(api, state="grace", reason="Soon.", stage="soon", read_only_from=at, number=1)
        soon = (await api.client.get(LICENCE)).json()
        assert (soon["read_only"], soon["hours_left"]) == (False, 10.0)
        await until(lambda: len(server.taken) == 1)
        await tell(api, state="expired", reason=REASON, read_only=True, stage="read-only", number=2)
        await tell(api, state="valid", number=1)  # what comes late does not count
        await until(lambda: len(server.taken) == 2)
        assert "administration is read-only" in server.taken[1]["Subject"]
        assert server.taken[1]["To"] == OPERATOR
        shown = (await api.client.get(LICENCE)).json()
        assert (shown["read_only"], shown["reason"]) == (True, REASON)
        for method, path in ACCESS:
            if path.startswith(_SPARED):
                continue
            url = path.replace("{", "").replace("}", "")
            answer = await asked(api.client, method, url)
            assert (answer.status_code == 402) is ((method, path) in NEW_WORK), (method, path)
            if answer.status_code == 402:
                problem = answer.json()
                assert (problem["code"], problem["detail"]) == (4010, REASON)
        assert (await api.client.get("/api/v1/studies")).json()["total"] == 1
        assert len((await api.client.get("/dicom-web/studies")).json()) == 1
        await tell(api, state="valid", number=3)
        await until(lambda: len(server.taken) == 3)
        assert "all is well again" in server.taken[2]["Subject"]
        added = await api.client.post("/api/v1/users", json={**USER, "username": "a"})
        assert added.status_code == 201


@pytest.mark.req("LIC-04")
async def test_a_limit_counts_who_is_active_and_says_how_many_there_are(api: Api) -> None:
    limits = {"users": 2, "destinations": 0, "printers": 0}
    await tell(api, state="valid", entitlements=limits, features=("rules",), number=1)
    for noun in ("destinations", "printers"):
        none = await api.client.post(f"/api/v1/{noun}", json={})
        assert none.json()["detail"] == f"The licence is for 0 {noun}, and there are 0."
    added = await api.client.post("/api/v1/users", json={**USER, "username": "a"})
    assert added.status_code == 201
    one = f"/api/v1/users/{added.json()['user_id']}"
    another = {**USER, "username": "b", "email": "b@clinic.example"}
    refused = await api.client.post("/api/v1/users", json=another)
    assert refused.status_code == 402
    assert refused.json()["detail"] == "The licence is for 2 users, and there are 2."
    assert (await api.client.patch(one, json={"full_name": "Other"})).status_code == 200
    assert (await api.client.delete(one)).status_code == 204
    assert (await api.client.post("/api/v1/users", json=another)).status_code == 201
    assert (await api.client.patch(one, json={"is_active": True})).status_code == 402
    key = await api.client.post("/api/v1/api-keys", json={})
    assert key.json()["detail"] == "The licence does not include API keys."
