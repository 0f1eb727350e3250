"""Ten daily tasks, each in at most three actions once its page is open."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, Route, expect

from darkroom_common.clock import monotonic
from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.conftest import Walk, a_browser, a_house, walking
from tests.integration.ingest.test_quarantine_rest import refuse
from tests.integration.print.printers import dcmprscp
from tests.integration.transmit.nodes import STORE_SYNTAXES, archive_node
from tests.support.builders import a_data_set, new_uid
from tests.support.services import Services
from tests.support.waiting import until

_MOST: Final = 3
_PACS: Final = {"name": "main-pacs", "host": "127.0.0.1", "port": 1, "ae_title": "PACS"}


@dataclass
class Hands:
    """Somebody's: each key, word, choice and click is an action."""

    page: Page
    actions: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def task(self, name: str) -> Iterator[None]:
        """Count what is done, and keep how long it took until its end is seen."""
        self.actions = 0
        began = monotonic()
        yield
        self.seconds[name] = monotonic() - began
        assert 1 <= self.actions <= _MOST, (name, self.actions)

    async def press(self, key: str) -> None:
        self.actions += 1
        await self.page.keyboard.press(key)

    async def write(self, word: str) -> None:
        self.actions += 1
        await self.page.keyboard.type(word)

    async def fill(self, place: Locator, word: str) -> None:
        self.actions += 1
        await place.fill(word)

    async def click(self, place: Locator) -> None:
        self.actions += 1
        await place.click()

    async def surely(self) -> None:
        """Say that it is meant."""
        await self.click(self.page.locator("#sure").get_by_role("button", name="Yes"))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)


@pytest.mark.req("API-17")
@pytest.mark.timeout(400)
async def test_ten_daily_tasks_take_three_actions_each(services: Services, tmp_path: Path) -> None:
    prior = a_data_set(StudyInstanceUID=new_uid(), PatientID="P1001", PatientName="Okafor^Adaeze")
    services.extra |= {"INGEST_DICOM_PORT": str(services.dicom_port)}
    ours = ("DARKROOM", services.dicom_port)
    async with (
        running_api(services) as api,
        a_browser() as browser,
        dcmprscp(tmp_path / "printer") as printer,
    ):
        await services.start("ingest", "metadata", "print", "transmit")
        studies = await a_house(api)
        with archive_node(tmp_path, [(prior, STORE_SYNTAXES[0])], move_to=ours) as archive:
            await _set_up(api, printer.port, archive)
            failed = await _failed(api, studies[2])
            await refuse(services.dicom_port)
            async with walking(browser, api) as walk:
                await walk.sign_in("medical_admin")
                hands = Hands(walk.page)
                study = await _study(hands)
                await _film(hands, api, study)
                await _trouble(hands, api, failed)
                await _sender(hands, f"{api.url}/senders")
                await _prior(hands, f"{api.url}/others?study={studies[1]}", api)
                await _late(hands, f"{api.url}/where")
            async with walking(browser, api) as walk:
                await _newcomer(walk)
                await _meanwhile(walk.page, api, studies[0])
    assert len(hands.seconds) == 10
    for name, seconds in hands.seconds.items():
        sys.stdout.write(f"{name}: {seconds:.1f} s\n")


async def _newcomer(walk: Walk) -> None:
    """Find one's way by what can be read alone: no address but the first, no id, no class."""
    page = walk.page
    link, button = partial(page.get_by_role, "link"), partial(page.get_by_role, "button")
    await page.goto(walk.api.url)
    await page.get_by_label("User name").fill("medical_admin")
    await page.get_by_label("Password").fill(PASSWORD)
    await button(name="Sign in").click()
    # Send a study.
    await page.get_by_role("searchbox").or_(page.get_by_label("Find")).first.fill("novak")
    await link(name="Novak").first.click()
    await button(name="Send").click()
    dialog = page.get_by_role("dialog", name="Send this study")
    await dialog.get_by_label("Destination").select_option(label="ARCHIVE")
    await dialog.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status").last).to_contain_text("1 study on the way")
    # Print it.
    await link(name="Print").first.click()
    await button(name="All images").click()
    await button(name="Print", exact=True).click()
    row = page.get_by_role("row", name="laser-1").first
    await expect(row.get_by_text("Done")).to_be_visible()
    # Find out why a job has failed.
    await link(name="Trouble").first.click()
    await link(name="Failed jobs").last.click()
    await expect(page.get_by_text("Nobody answers at its address").first).to_be_visible()
    await link(name="Transmission").first.click()
    sent = page.get_by_role("row", name="ARCHIVE").first
    await expect(sent.get_by_text("Sent").or_(sent.get_by_text("Done")).first).to_be_visible()


async def _meanwhile(page: Page, api: Api, study: str) -> None:
    """See what happens after a page is made and before it listens."""
    listens = asyncio.Event()

    async def later(route: Route) -> None:
        await listens.wait()
        await route.continue_()

    await page.route("**/api/v1/events*", later)
    await page.goto(f"{api.url}/film/queue")
    done = page.locator("tr", has_text="laser-1").filter(has_text="Done")
    before = await done.count()
    order = {"printer": "laser-1", "study_instance_uid": study}
    made = await api.client.post("/api/v1/print/jobs", json=order)
    assert made.status_code == 202, made.text

    async def printed() -> bool:
        found = await api.client.get(f"/api/v1/print/jobs/{made.json()['job_id']}")
        return bool(found.json()["state"] == "DONE")

    await until(printed, "it is printed")
    assert await done.count() == before
    listens.set()
    await expect(done).to_have_count(before + 1)


async def _set_up(api: Api, printer: int, archive: int) -> None:
    film = {"name": "laser-1", "host": "127.0.0.1", "port": printer, "ae_title": "LASER"}
    node = {"name": "ARCHIVE", "kind": "dimse", "ae_title": "ARCHIVE", "host": "127.0.0.1"}
    for path, one in (
        ("printers", film | {"profile": "dcmprscp", "dpi": 40}),
        ("destinations", _PACS | {"backoff": {"max_attempts": 1}}),
        ("destinations", node | {"port": archive}),
    ):
        made = await api.client.post(f"/api/v1/{path}", json=one)
        assert made.status_code == 201, made.text


async def _failed(api: Api, study: str) -> str:
    """Send a study where nobody listens; return the job once it is given up."""
    order = {"destination": "main-pacs", "study_instance_uid": study}
    made = await api.client.post("/api/v1/transmit/jobs", json=order)
    assert made.status_code == 202, made.text
    job: str = made.json()["job_id"]

    async def given_up() -> bool:
        found = await api.client.get(f"/api/v1/transmit/jobs/{job}")
        return bool(found.json()["state"] == "FAILED")

    await until(given_up, "the job is given up", limit=60)
    return job


async def _study(hands: Hands) -> str:
    """Find a study, open it, send it; return its UID."""
    page = hands.page
    with hands.task("find a study"):
        await hands.press("/")
        await hands.write("silva")
        await expect(page.get_by_text("5 in all")).to_be_visible()
    with hands.task("open it"):
        await hands.press("ArrowDown")
        await hands.press("Enter")
        await expect(page.get_by_role("heading", name="Silva, Ana Maria")).to_be_visible()
    study = page.url.rpartition("/")[2]
    with hands.task("send it"):
        await hands.click(hands.button("Send"))
        dialog = page.get_by_role("dialog")
        hands.actions += 1
        await dialog.get_by_label("Destination").select_option("main-pacs")
        await hands.click(dialog.get_by_role("button", name="Send"))
        await expect(page.get_by_role("status")).to_contain_text("1 study on the way")
    return study


async def _film(hands: Hands, api: Api, study: str) -> None:
    """Print a study, and print its film again."""
    page = hands.page

    await page.goto(f"{api.url}/film?study={study}")
    with hands.task("print it"):
        await hands.click(hands.button("All images"))
        await hands.click(hands.button("Print"))
        await page.wait_for_url("**/film/queue")
    done = page.locator("tr", has_text="laser-1").filter(has_text="Done")
    await expect(done).to_have_count(1)
    audited = await api.client.get("/api/v1/audit-logs", params={"action": "JOB_CREATE"})
    assert audited.json()["data"][0]["user_agent"].startswith("Darkroom-Console Mozilla")
    await page.goto(f"{api.url}/film/queue")
    with hands.task("reprint a film"):
        await hands.click(hands.button("Print again"))
        await hands.surely()
        await expect(page.locator("tr", has_text="laser-1")).to_have_count(2)
    await expect(done).to_have_count(2)


async def _trouble(hands: Hands, api: Api, failed: str) -> None:
    """Retry what has failed; release what is in quarantine."""
    page = hands.page
    await page.goto(f"{api.url}/trouble/jobs")
    with hands.task("retry what failed"):
        await hands.click(hands.button("Retry").first)
        await expect(page.get_by_role("status")).to_contain_text("tried again")
    found = await api.client.get(f"/api/v1/transmit/jobs/{failed}")
    assert found.json()["attempts"] >= 1
    await page.goto(f"{api.url}/trouble/quarantine")
    with hands.task("release from quarantine"):
        await hands.click(hands.button("Release as it is"))
        await hands.surely()
        await expect(page.get_by_role("status")).to_be_visible()

    async def decided() -> bool:
        rows: list[dict[str, Any]] = (await api.client.get("/api/v1/quarantine")).json()["data"]
        return not rows or rows[0]["state"] != "HELD" or bool(rows[0]["result"])

    await until(decided, "it is decided", limit=60)


async def _sender(hands: Hands, senders: str) -> None:
    """Let a scanner send."""
    page = hands.page
    await page.goto(senders)
    with hands.task("add a sender"):
        await hands.click(hands.button("Add a sender"))
        await hands.fill(page.get_by_role("dialog").get_by_label("AE title"), "CT_7")
        await hands.click(page.get_by_role("dialog").get_by_role("button", name="Let it send"))
        await expect(page.get_by_role("cell", name="CT_7")).to_be_visible()


async def _prior(hands: Hands, others: str, api: Api) -> None:
    """Have a prior of a patient fetched from another archive."""
    page = hands.page
    await page.goto(others)
    with hands.task("fetch priors"):
        hands.actions += 1
        await page.get_by_label("System").select_option("ARCHIVE")
        await hands.click(page.get_by_role("checkbox", name="Select all"))
        await hands.click(hands.button("Fetch"))
        await expect(page.get_by_role("status").last).to_contain_text("is fetched")

    async def fetched() -> bool:
        jobs = (await api.client.get("/api/v1/retrieve/jobs")).json()["data"]
        return bool(jobs and jobs[0]["state"] == "DONE")

    await until(fetched, "the prior is fetched", limit=60)


async def _late(hands: Hands, where: str) -> None:
    """See why a study has not arrived elsewhere."""
    page = hands.page
    await page.goto(where)
    await expect(page.locator("#find")).to_be_focused()
    with hands.task("see why a study is late"):
        await hands.write("silva")
        await hands.click(page.locator("#found a").first)
        await expect(page.get_by_text("To main-pacs").first).to_be_visible()
