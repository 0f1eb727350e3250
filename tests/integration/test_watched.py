"""A running stack as operators see it: its metrics, every panel, alerts that become e-mail."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import aio_pika
import httpx
import pytest

from darkroom_common.clock import monotonic
from darkroom_local.engines.ports import free_port
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.monitoring.panels import expressions
from darkroom_local.monitoring.pictures import draw_all
from tests.contract.test_alerts import rules
from tests.support.builders import a_data_set, encode
from tests.support.certificates import Authority
from tests.support.dicom_peer import send
from tests.support.mail_server import MailServer, a_mail_server
from tests.support.scraped import differences, promtool_check
from tests.support.services import Services, prepare_database
from tests.support.waiting import until
from tests.support.watching import MINUTES_A_SECOND, Pager, Watch, a_pager, watching

ALL: Final = ("ingest", "metadata", "transmit", "print", "api", "licensing")
FEW: Final = 6
DRAWN_SECONDS: Final = 45.0
RARE: Final = {
    "darkroom_amqp_publish_failed_total",
    "darkroom_quarantined_total",
    "darkroom_quarantine_refused_total",
    "darkroom_transmit_pool_exhausted_total",
    "darkroom_transmit_breaker",
    "darkroom_print_faults_total",
    "ALERTS",
}
"""Has no series before it has happened: its labels are of what happened."""
SOME_LABELS: Final = {"darkroom_http_requests_total", "darkroom_jobs_total"}
"""Has series, though not those with which something has failed."""
_SELECTOR: Final = re.compile(r"\b(darkroom_[a-z0-9_]+|up|ALERTS)\b(\{[^}]*\})?")


class Stack:
    """The six services, people who work with them, and what goes wrong."""

    def __init__(self, services: Services, client: httpx.AsyncClient) -> None:
        self.services = services
        self.client = client
        self.study = ""

    async def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        answer = await self.client.request(method, path, **given)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer

    async def receive(self) -> None:
        made = [a_data_set() for _ in range(FEW)]
        objects = [(str(one.SOPInstanceUID), encode(one)) for one in made]
        answers = await asyncio.to_thread(send, self.services.dicom_port, objects)
        assert set(answers.values()) == {0}
        self.study = str(made[0].StudyInstanceUID)

    async def work(self) -> None:
        """Receive, search and look, again and again; cancel to stop."""
        while True:
            await self.receive()
            for path in ("/api/v1/studies", "/dicom-web/studies?limit=3", "/api/v1/transmit/jobs"):
                await self.client.get(path)
            wanted = {"format": "csv", "filters": {}}
            await self.client.post("/api/v1/studies/export", json=wanted)
            url = f"/dicom-web/studies/{self.study}/metadata"
            for _ in range(2):
                await self.client.get(url, headers={"accept": "application/dicom+json"})

    async def configure(self) -> None:
        """A destination and a printer that nobody answers for, and work for both."""
        node = {"ae_title": "GONE", "host": "127.0.0.1"}
        for kind, name in (("destinations", "DEAD"), ("printers", "FILM")):
            await self.ask(
                "POST", f"/api/v1/{kind}", json=node | {"name": name, "port": free_port()}
            )
        await self.receive()

        async def indexed() -> bool:
            found = await self.client.get(f"/dicom-web/studies?StudyInstanceUID={self.study}")
            return found.status_code == httpx.codes.OK and bool(found.json())

        await until(indexed, "the study is found")
        job = {"destination": "DEAD", "study_instance_uid": self.study}
        await self.ask("POST", "/api/v1/transmit/jobs", json=job)

    async def bury(self) -> None:
        """A message that its service cannot take."""
        async with await aio_pika.connect(self.services.amqp_url) as connection:
            channel = await connection.channel()
            message = aio_pika.Message(b"{}", type="nothing.known.v9", message_id="odd")
            await channel.default_exchange.publish(message, routing_key="metadata.index")


@asynccontextmanager
async def running(services: Services) -> AsyncIterator[Stack]:
    await prepare_database(services.superuser_url, *ALL)
    await services.start(*ALL)
    url = f"http://127.0.0.1:{services.http_port}"
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        who = {"username": "admin", "password": services.admin_password}
        answer = await client.post("/api/v1/auth/login", json=who)
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        yield Stack(services, client)


async def shows_the_table(stack: Stack) -> None:
    """Each service shows its rows of the table of metrics, in a form that promtool likes."""
    for name in ALL:
        status, text = await asyncio.to_thread(stack.services.running[name].probe, "/metrics")
        assert status == 200
        assert differences(name, text) == []
        assert await asyncio.to_thread(promtool_check, text) == ""


def selectors(expression: str) -> Iterable[tuple[str, str]]:
    for found in _SELECTOR.finditer(expression):
        name, whole = found[1], found[0]
        yield name, name if name in SOME_LABELS else whole


async def everything_answers(watch: Watch, client: httpx.AsyncClient) -> None:
    """Every panel has data, and so has all that alerts look at."""

    async def missing() -> list[str]:
        asked = [(f"{title}: {panel.title}", text) for title, panel, text in expressions()]
        asked += [
            (rule["alert"], selector)
            for rule in rules()
            for name, selector in selectors(rule["expr"])
            if name not in RARE
        ]
        return [what for what, text in asked if not await watch.query(client, text)]

    left: list[str] = []

    async def none_is_missing() -> bool:
        left[:] = await missing()
        return not left

    with suppress(TimeoutError):
        await until(none_is_missing, poll=1.0)
    assert left == []


def text_of(one: EmailMessage) -> str:
    body = one.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def mails_to(mail: MailServer, person: str, about: str) -> list[EmailMessage]:
    return [
        one for one in mail.taken if str(one["To"]).startswith(person) and about in text_of(one)
    ]


async def told(mail: MailServer, person: str, about: str) -> EmailMessage:
    """The first e-mail to somebody about something."""
    try:
        await until(lambda: mails_to(mail, person, about), about, limit=40, poll=0.2)
    except TimeoutError:
        heads = [(one["To"], one["Subject"]) for one in mail.taken]
        raise AssertionError(f"no mail to {person} about {about}: {heads}") from None
    return mails_to(mail, person, about)[0]


async def paged(pager: Pager, path: str, alert: str) -> dict[str, Any]:
    def call() -> dict[str, Any] | None:
        for where, body in pager.calls:
            if where == path and any(one["labels"]["alertname"] == alert for one in body["alerts"]):
                return body
        return None

    return await until(call, f"{path}: {alert}", limit=40, poll=0.2)


@pytest.mark.timeout(300)
@pytest.mark.req("OBS-01", "OBS-04", "OBS-05")
async def test_operators_see_all_and_are_told_in_time(
    tmp_path: Path, own_postgres: PrivatePostgres, amqp_url: str
) -> None:
    services = Services(tmp_path, own_postgres.superuser_url("postgres"), amqp_url)
    node = Authority(tmp_path).sign("node", timedelta(days=2))
    services.extra = {
        "ECHO_SECONDS": "1",
        "DICOM_TLS_PORT": str(free_port()),
        "DICOM_TLS_CERTIFICATE": str(node.certificate),
        "DICOM_TLS_KEY": str(node.key),
    }
    (tmp_path / "mail").mkdir()
    try:
        async with (
            running(services) as stack,
            a_mail_server(tmp_path / "mail", free_port()) as mail,
            a_pager() as pager,
        ):
            await mail.start()
            targets = {name: one.health_port for name, one in services.running.items()}
            async with watching(tmp_path / "watch", targets, mail, pager.url) as watch:
                await stack.configure()
                load = asyncio.create_task(stack.work())
                await stack.bury()
                async with httpx.AsyncClient(timeout=20) as client:
                    await everything_answers(watch, client)
                    await draw(watch)
                await shows_the_table(stack)
                load.cancel()
                await asyncio.wait({load})
                assert load.cancelled(), load
                await what_goes_wrong_is_told(stack, own_postgres, mail, pager)
    finally:
        await services.stop()


async def draw(watch: Watch) -> None:
    """Pictures of the dashboards of a minute of load, where they are asked for."""
    folder = os.environ.get("DARKROOM_DASHBOARD_PICTURES")
    if folder is not None:
        began = monotonic()
        await until(lambda: monotonic() - began > DRAWN_SECONDS, limit=2 * DRAWN_SECONDS)
        await asyncio.to_thread(draw_all, watch.url, Path(folder), DRAWN_SECONDS)


async def what_goes_wrong_is_told(
    stack: Stack, postgres: PrivatePostgres, mail: MailServer, pager: Pager
) -> None:
    dead = await told(mail, "administrators", "metadata.index were given up")
    assert "docs/runbooks/DarkroomDeadLetters.md" in text_of(dead)
    await told(mail, "administrators", "The destination DEAD does not answer")
    await told(mail, "on-call", "The certificate of dicom-tls expires within three days")

    # A full store: what is free is less than what must stay free, and objects are refused.
    ingest = stack.services.running["ingest"]
    await ingest.stop()
    ingest.environment["DARKROOM_RESERVE_BYTES"] = str(1 << 60)
    await ingest.start()

    def refused() -> bool:
        image = a_data_set()
        answers = send(stack.services.dicom_port, [(str(image.SOPInstanceUID), encode(image))])
        return set(answers.values()) == {0xA700}

    await until(lambda: asyncio.to_thread(refused), "0xA700", retry=(OSError,), poll=0.5)
    await told(mail, "on-call", "Objects were refused with 0xA700")

    await postgres.stop()
    first = await told(mail, "on-call", "does not reach PostgreSQL")
    await paged(pager, "/darkroom/on-call", "DarkroomDatabaseAway")
    last = await told(mail, "it-operations-manager", "DarkroomDatabaseAway has been firing")
    body = await paged(pager, "/darkroom/operations-manager", "DarkroomUnattended")
    assert body["status"] == "firing"
    between = parsedate_to_datetime(last["Date"]) - parsedate_to_datetime(first["Date"])
    minutes = between.total_seconds() * MINUTES_A_SECOND
    assert minutes > 11, f"the escalation came after {minutes} minutes"  # dates are whole seconds
