"""Every screen by every role: nothing breaks, nothing is offered in vain, names stay text."""

import asyncio

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from darkroom_api.accounts.permissions import ROLES, allows
from darkroom_api.console.paths import SCREENS
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.conftest import (
    BROWSERS,
    PICTURES,
    Walk,
    a_browser,
    a_house,
    serious,
    walking,
)
from tests.integration.console.desk import trouble
from tests.support.services import Services

SIZES: dict[str, ViewportSize] = {
    "": {"width": 1280, "height": 720},
    "-wide": {"width": 1920, "height": 1080},
    "-tablet": {"width": 820, "height": 1180},
}
PRINTER = {"name": "laser-1", "host": "127.0.0.1", "port": 1, "ae_title": "LASER", "echo": False}
PACS = {"name": "main-pacs", "host": "127.0.0.1", "port": 1, "ae_title": "PACS", "echo": False}
DESK = (
    *("/transmission", "/transmission/destinations", "/transmission/rules"),
    *("/trouble", "/trouble/quarantine", "/trouble/dead-letters", "/trouble/conflicts"),
    *("/trouble/findings", "/trouble/jobs"),
    *("/film/printers", "/others", "/others/retrieves", "/others/worklist", "/others/steps"),
    *("/people", "/people/roles", "/account/keys", "/people/audit"),
    *("/system", "/system/queues", "/system/settings", "/notifications"),
)
PEOPLE = ("medical_admin", "radiologist", "technician", "viewer")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("with_browser", BROWSERS)
async def test_every_screen_by_every_role(services: Services, with_browser: str) -> None:
    async with running_api(services) as api, a_browser(with_browser) as browser:
        studies = await a_house(api)
        await services.start("transmit")
        await trouble(services.superuser_url)
        paths = await _paths(api, studies[0])
        async with asyncio.TaskGroup() as walks:
            # What a role may is the server's decision: one browser asks it for each of them.
            for person in PEOPLE if with_browser == "chromium" else PEOPLE[:2]:
                walks.create_task(_as(person, browser, api, paths))


async def _paths(api: Api, study: str) -> dict[str, str]:
    """The screens, and where each is opened."""
    series = (await api.client.get(f"/api/v1/studies/{study}")).json()["series"][0]
    found = await api.client.get(series["instances_url"])
    instance = found.json()[0]["00080018"]["Value"][0]
    image = f"/study/{study}/series/{series['series_instance_uid']}/instances/{instance}"
    return {
        "/account": "/account",
        "/start": "/start",
        "/worklist": "/worklist",
        "/study/{study}": f"/study/{study}",
        "/study/{study}/series/{series}/instances/{instance}": image,
        "/where": "/where?q=tanaka",
        "/where/{study}": f"/where/{study}",
        "/film": f"/film?study={study}",
        "/film/queue": "/film/queue",
        "/upload": f"/upload?study={study}",
        **{path: path for path in DESK},
    }


async def _as(person: str, browser: Browser, api: Api, paths: dict[str, str]) -> None:
    dark = person == "radiologist"
    looked_at = browser.browser_type.name == "chromium" and (dark or person == "medical_admin")
    async with walking(browser, api, "dark" if dark else "light") as walk:
        await walk.sign_in(person)
        heading = walk.page.get_by_role("heading", level=1)
        for path, shown in paths.items():
            await walk.page.goto(
                api.url + shown, wait_until="load" if looked_at else "domcontentloaded"
            )
            may = allows(SCREENS["GET", path], frozenset(map(str, ROLES[person])))
            refused = (await heading.inner_text()) == "You may not see this"
            assert refused is not may, (person, shown)
            assert await walk.page.locator("img[src=x]").count() == 0, (person, shown)
            if looked_at:
                assert await serious(walk.page) == [], (person, shown)
                await _pictures(walk, shown, dark=dark)
            if looked_at and not dark:
                await _dialogs(walk.page, shown)


async def _dialogs(page: Page, shown: str) -> None:
    """Open what a page can open, and look at it; the page behind it was looked at."""
    ids = await page.locator("[data-opens]:visible").evaluate_all(
        "all => [...new Set(all.filter((one) => !one.disabled).map((one) => one.dataset.opens))]"
    )
    for name in ids:
        await page.locator(f"[data-opens='{name}']:visible").first.click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await serious(page, "dialog[open]") == [], (shown, name)
        await page.keyboard.press("Escape")


async def _pictures(walk: Walk, shown: str, *, dark: bool) -> None:
    if not PICTURES:
        return
    name = shown.split("?", maxsplit=1)[0].strip("/").split("/")
    stem = "-".join(one for one in name if not one[0].isdigit()) or "first"
    for size, viewport in SIZES.items() if not dark else [("-dark", SIZES[""])]:
        await walk.page.set_viewport_size(viewport)
        await walk.picture(f"{stem}{size}")
    await walk.page.set_viewport_size(SIZES[""])


@pytest.mark.parametrize("with_browser", BROWSERS)
async def test_ways_by_keyboard_and_button(services: Services, with_browser: str) -> None:
    async with running_api(services) as api, a_browser(with_browser) as browser:
        await services.start("print")
        await services.start("transmit")
        await a_house(api)
        for path, one in (("printers", PRINTER), ("destinations", PACS)):
            made = await api.client.post(f"/api/v1/{path}", json=one)
            assert made.status_code == 201, made.text
        async with walking(browser, api) as walk:
            await walk.sign_in("medical_admin")
            page = walk.page
            await page.keyboard.press("/")
            await page.keyboard.type("silva")
            await expect(page.get_by_text("5 in all")).to_be_visible()
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("Enter")
            await page.wait_for_url("**/study/*")
            await expect(page.get_by_role("heading", name="Silva, Ana Maria")).to_be_visible()
            await page.get_by_text("Images", exact=True).click()
            await expect(page.locator(".instances img")).to_have_count(3)
            study = page.url.rpartition("/")[2]
            await page.get_by_role("button", name="Edit").click()
            form = page.get_by_role("dialog")
            await form.get_by_label("Assigned to").fill("Dr. Okoye")
            other = await api.client.get(f"/api/v1/studies/{study}")
            changed = await api.client.patch(
                f"/api/v1/studies/{study}",
                json={"exam_status": "in_progress"},
                headers={"if-match": other.headers["etag"]},
            )
            assert changed.status_code == 200, changed.text
            await form.get_by_role("button", name="Change it").click()
            await expect(page.get_by_role("alert")).to_contain_text(
                "admin has changed the exam status meanwhile"
            )
            await page.reload()
            await page.get_by_role("button", name="Edit").click()
            await form.get_by_label("Assigned to").fill("Dr. Okoye")
            await form.get_by_role("button", name="Change it").click()
            await expect(
                page.get_by_role("definition").filter(has_text="Dr. Okoye")
            ).to_be_visible()
            await send_and_print(walk, study)


async def send_and_print(walk: Walk, study: str) -> None:
    """Send a study from its page, see its way, lay out a film, look at it and print it."""
    page = walk.page
    await page.get_by_role("button", name="Send").click()
    await page.get_by_role("dialog").get_by_label("Destination").select_option("main-pacs")
    await page.get_by_role("dialog").get_by_role("button", name="Send").click()
    await expect(page.get_by_role("status")).to_contain_text("1 study on the way")
    await walk.open(f"/where/{study}")
    await expect(page.get_by_text("To main-pacs")).to_be_visible()
    await walk.picture("where-study")
    await walk.open(f"/film?study={study}")
    await page.get_by_role("button", name="All images").click()
    await page.get_by_role("button", name="Look").click()
    await expect(page.get_by_alt_text("The film as it is printed")).to_be_visible()
    await walk.picture("film-laid-out")
    assert await serious(page) == []
    await page.get_by_role("button", name="Print", exact=True).click()
    await page.wait_for_url("**/film/queue")
    await expect(page.get_by_role("cell", name="laser-1")).to_be_visible()
    await walk.picture("film-queue")
    assert await serious(page) == []
