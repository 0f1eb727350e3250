"""E-mail by a real mail server with STARTTLS and AUTH: what is said, to whom, and how often."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from darkroom_common.messages.base import Event, new_message_id
from darkroom_common.messages.events import JobChanged, PrintJobChanged, TransmitJobChanged
from darkroom_local.engines.ports import free_port
from tests.integration.api.conftest import Api, running_api
from tests.integration.api.people import signed_in
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.mail_server import MailServer, a_mail_server
from tests.support.services import Services
from tests.support.waiting import until

ASSIGN = "/api/v1/studies/bulk/assign-physician"
SMITH = "smith@clinic.example"
DESK = "desk@clinic.example"
OPERATOR = "operator@clinic.example"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    (tmp_path / "mail").mkdir()
    async with a_mail_server(tmp_path / "mail", free_port()) as made:
        yield made


@pytest.fixture
async def clinic(services: Services, server: MailServer) -> AsyncIterator[Api]:
    services.extra |= server.settings | {
        "MAIL_OPERATORS": f'["{OPERATOR}"]',
        "MAIL_PHYSICIANS": DESK,
        "PUBLIC_URL": "https://darkroom.clinic.example",
        "LEASE_SECONDS": "3",
    }
    async with running_api(services) as api:
        await api.seed.add(a_data_set(PatientName="Doe^Jane", AccessionNumber="A1"))
        await api.seed.add(a_data_set(PatientName="Doe^John", AccessionNumber="A2"))
        yield api


async def sql(api: Api, statement: str, *values: object) -> list[Any]:
    return await Prepared(api.services.superuser_url).fetch(statement, *values)


async def assign(api: Api, name: str, *ids: str, notify: bool = True) -> None:
    body = {"exam_ids": ids, "physician_name": name, "notify": notify}
    answer = await api.client.post(ASSIGN, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["assigned"] == len(ids)


async def publish(api: Api, *events: Event) -> None:
    async with await aio_pika.connect(api.services.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("darkroom.events")
        for event in events:
            message = aio_pika.Message(
                event.to_body(), message_id=event.id, type=event.TYPE, delivery_mode=2
            )
            await exchange.publish(message, event.TYPE)


@pytest.mark.req("API-21")
async def test_whom_what_was_assigned_is_told(clinic: Api, server: MailServer) -> None:
    await server.start()
    async with signed_in(clinic, "radiologist", full_name="Dr. Jane Smith", email=SMITH):
        await assign(clinic, "Smith^Jane", "A1", "A2")
        await until(lambda: len(server.taken) == 1)
        await assign(clinic, "Nobody^Known", "A1")
        await until(lambda: len(server.taken) == 2)
        await assign(clinic, "Nobody^Known", "A1")  # which changes nothing
        await assign(clinic, "Smith^Jane", "A1", notify=False)
    own, desk = server.taken
    assert (own["To"], own["From"]) == (SMITH, "Darkroom <darkroom@clinic.example>")
    assert own["Subject"] == "2 examinations assigned"
    assert own["Auto-Submitted"] == "auto-generated"
    assert "https://darkroom.clinic.example" in own.get_content()
    assert (desk["To"], desk["Subject"]) == (DESK, "1 examination assigned")
    assert "Nobody^Known" in desk.get_content()
    said = own.as_string() + desk.as_string()
    assert not [word for word in ("Doe", "A1", "A2", "1.2") if word in said.replace("1.0", "")]
    rows = await sql(clinic, "SELECT count(*) FROM api.mail")
    assert rows[0][0] == 2


@pytest.mark.req("API-21")
async def test_an_export_that_is_ready_is_told_to_its_owner(
    clinic: Api, server: MailServer
) -> None:
    await server.start("greylists")
    await sql(clinic, "UPDATE api.app_user SET email = $1 WHERE username = 'admin'", SMITH)
    answer = await clinic.client.post("/api/v1/studies/export", json={"format": "csv"})
    job = answer.json()["job_id"]
    message = (await until(lambda: server.taken))[0]
    assert (message["To"], message["Subject"]) == (SMITH, "Your export is ready")
    assert f"/api/v1/exports/{job}/download" in message.get_content().replace("=\n", "")
    rows = await sql(clinic, "SELECT id, tries, state FROM api.mail")
    assert [message["Message-ID"]] == [f"<{row['id']}@clinic.example>" for row in rows]


@pytest.mark.req("TRX-16")
async def test_an_export_that_fails_is_told_to_operators(clinic: Api, server: MailServer) -> None:
    await server.start()
    answer = await clinic.client.post("/api/v1/studies/export", json={"format": "csv"})
    broken = new_message_id()
    await sql(
        clinic,
        "INSERT INTO api.export (id, user_id, requested_by, format, columns, filters, shared,"
        " fingerprint) SELECT $2, user_id, requested_by, format, columns, 'broken', shared,"
        " fingerprint FROM api.export WHERE id = $1",
        answer.json()["job_id"],
        broken,
    )
    await publish(
        clinic,
        JobChanged(
            kind="retrieve", job_id="a" * 32, lane="FAR", state="FAILED", reason="NotAuthorised"
        ),
        JobChanged(kind="retrieve", job_id="b" * 32, lane="FAR", state="DONE"),
    )
    await until(lambda: put(clinic, 2))
    await sql(clinic, "UPDATE api.mail SET next_at = now()")
    await until(lambda: len(server.taken) == 2)
    said = {one["Subject"]: one.get_content().replace("=\n", "") for one in server.taken}
    assert {one["To"] for one in server.taken} == {OPERATOR}
    assert f"/api/v1/exports/{broken}/status" in said["1 job failed: csv"]
    assert "cannot be opened with PHI_KEYS" in said["1 job failed: csv"]
    assert f"/api/v1/retrieve/jobs/{'a' * 32}" in said["1 job failed: FAR"]


async def put(api: Api, count: int) -> bool:
    (row,) = await sql(api, "SELECT count(*) FROM api.mail WHERE template = 'job_failed'")
    return bool(row[0] == count)


async def test_one_that_may_have_arrived_comes_again_as_the_same(
    clinic: Api, server: MailServer
) -> None:
    await server.start("silent")
    await assign(clinic, "Smith^Jane", "A1")
    await until(lambda: len(server.taken) == 1)
    assert server.process is not None
    await server.process.wait()
    await server.start()
    await until(lambda: len(server.taken) == 2)
    first, second = server.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()


async def test_an_address_that_is_refused_for_good_is_not_tried_again(
    clinic: Api, server: MailServer
) -> None:
    await server.start("refuses")
    await assign(clinic, "Smith^Jane", "A1")

    async def failed() -> Any:
        return await sql(clinic, "SELECT reason FROM api.mail WHERE state = 'FAILED'")

    rows = await until(failed)
    assert rows[0]["reason"] == "The mail server has answered 550."
    assert "person@" not in (clinic.services.directory / "api.log").read_text()


@pytest.mark.req("API-21")
async def test_failures_are_gathered_and_told_to_operators(clinic: Api, server: MailServer) -> None:
    await server.start()
    jobs = [new_message_id() for _ in range(30)]
    failures = [
        TransmitJobChanged(job_id=job, destination="PACS1", state="FAILED", reason="Refused")
        for job in jobs
    ]
    late = TransmitJobChanged(
        job_id=jobs[0], destination="PACS2", state="FAILED", reason="CommitmentTimeout"
    )
    film = PrintJobChanged(job_id=jobs[1], printer="FILM", state="UNKNOWN")
    well = TransmitJobChanged(job_id=jobs[2], destination="PACS1", state="SENT")
    await publish(clinic, *failures, *failures[:3], late, film, well)

    async def kept() -> Any:
        rows = await sql(clinic, "SELECT count FROM api.mail ORDER BY count")
        return [row["count"] for row in rows] == [1, 1, 30]

    await until(kept)
    assert server.taken == []  # what else fails may come within a minute
    await sql(clinic, "UPDATE api.mail SET next_at = now()")
    await until(lambda: len(server.taken) == 3)
    by_subject = {str(one["Subject"]): one for one in server.taken}
    assert {one["To"] for one in server.taken} == {OPERATOR}
    assert set(by_subject) == {
        "30 jobs failed: PACS1",
        "1 job failed: FILM",
        "PACS2 has not confirmed what it was sent",
    }
    text = by_subject["30 jobs failed: PACS1"].get_content()
    assert "Refused" in text
    assert text.count("/api/v1/transmit/jobs/") == 20
    assert "and 10 more" in text
    await publish(clinic, failures[0].model_copy(update={"id": new_message_id()}))

    async def waits() -> Any:
        rows = await sql(
            clinic,
            "SELECT wait_seconds FROM api.mail WHERE state = 'PENDING'"
            " AND next_at > now() + interval '10 minutes'",
        )
        return len(rows) == 1

    await until(waits)


@pytest.mark.req("API-21")
async def test_no_server_with_a_certificate_of_others_gets_a_word(
    services: Services, server: MailServer
) -> None:
    settings = {**server.settings, "MAIL_PHYSICIANS": DESK}
    del settings["SMTP_CA"]
    services.extra |= settings
    await server.start()
    async with running_api(services) as api:
        await api.seed.add(a_data_set(PatientName="Doe^Jane", AccessionNumber="A1"))
        await assign(api, "Smith^Jane", "A1")

        async def tried() -> Any:
            return await sql(api, "SELECT reason FROM api.mail WHERE state = 'RETRYING'")

        rows = await until(tried)
        assert rows[0]["reason"].startswith("The mail server cannot be reached")
        assert server.taken == []
