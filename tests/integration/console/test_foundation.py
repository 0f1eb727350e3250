"""The console's foundation: signing in, rights, refusals in words, and the worklist."""

import asyncio
import datetime as dt
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.integration.api.accounts.people import PASSWORD, add_user
from tests.integration.api.accounts.test_second_factor import code_of
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.conftest import (
    BROWSERS,
    ZONE,
    Walk,
    a_browser,
    a_house,
    serious,
    walking,
)
from tests.support.services import Services
from tests.support.waiting import until


async def _thumbnails(page: Page) -> bool:
    return bool(await page.evaluate(_SEEN))


async def asks_for_a_code(page: Page) -> bool:
    return bool(await page.get_by_text("Code of your authenticator").is_visible())


@pytest.mark.parametrize("with_browser", BROWSERS)
async def test_a_day_at_the_worklist(services: Services, with_browser: str) -> None:
    services.extra |= {"ENVIRONMENT": "training"}
    async with running_api(services) as api, a_browser(with_browser) as browser:
        await a_house(api)
        async with walking(browser, api) as walk:
            page = walk.page
            await walk.open("/worklist?modality=CT")
            assert page.url == f"{api.url}/sign-in?next=%2Fworklist%3Fmodality%3DCT"
            assert (await serious(page), await asks_for_a_code(page)) == ([], False)
            await walk.picture("sign-in")
            await page.get_by_label("User name").fill("medical_admin")
            await page.get_by_label("Password").fill("wrong")
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.get_by_role("alert")).to_contain_text("is not right")
            await page.get_by_label("Password").fill("Correct-Horse-7")
            await page.keyboard.press("Enter")
            await page.wait_for_url("**/worklist?modality=CT")
            await expect(page.get_by_text("13 in all")).to_be_visible()
            await page.get_by_label("Modality").select_option("")
            await expect(page.get_by_text("26 in all")).to_be_visible()
            assert await page.locator("img[src=x]").count() == 0
            await page.keyboard.press("Escape")
            await page.locator("h1").click()
            await page.keyboard.press("/")
            await page.keyboard.type("tana")
            await expect(page.get_by_text("5 in all")).to_be_visible()
            await until(partial(_thumbnails, page), "a thumbnail a study", limit=60)
            await walk.picture("worklist")
            assert await serious(page) == []
            await page.locator("h1").click()
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("x")
            await expect(page.get_by_text("1 selected")).to_be_visible()
            await page.get_by_role("button", name="Set status").click()
            await page.get_by_role("dialog").get_by_label("Work status").select_option("completed")
            await page.get_by_role("button", name="Set it").click()
            await expect(page.get_by_role("status")).to_contain_text("1 study changed.")
            await expect(page.locator("tr .state", has_text="Completed")).to_have_count(1)
            await _account(walk)
            await walk.open("/nowhere-at-all")
            await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        await _what_happens(browser, api)
        await _at_the_door(browser, api)
        async with walking(browser, api, "dark") as walk:
            await walk.sign_in("viewer")
            await expect(walk.page.get_by_text("26 in all")).to_be_visible()
            await expect(walk.page.get_by_role("button", name="Set status")).to_have_count(0)
            assert await serious(walk.page) == []
            await walk.picture("worklist-dark")
            await walk.page.get_by_role("button", name="Sign out").click()
            await walk.page.wait_for_url("**/sign-in")


_SEEN = """() => {
  const all = [...document.querySelectorAll('img.thumb')];
  return all.length === 5 && all.every((one) => one.complete && one.naturalWidth > 1);
}"""
_STREAM = """
window.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    Object.assign(this, {url, readyState: 1});
    window.streams = [...(window.streams || []), this];
  }
  close() { this.readyState = 2; }
};
window.EventSource.CLOSED = 2;
"""
"""In the place of the browser's own: a test says when something comes."""
_SAY = """(type) => window.streams[window.streams.length - 1].dispatchEvent(
  new MessageEvent(type))"""
_LOSE = (
    "() => { const last = streams.at(-1); last.close(); last.dispatchEvent(new Event('error')); }"
)


async def _account(walk: Walk) -> None:
    """Times are those of the browser's zone; the name of the environment stands on the page."""
    page = walk.page
    await walk.open("/account")
    await expect(page.get_by_text("this one")).to_be_visible()
    await expect(page.get_by_role("note")).to_have_text("training")
    shown = page.locator("time[datetime]").first
    at = dt.datetime.fromisoformat(str(await shown.get_attribute("datetime")))
    there = at.astimezone(ZoneInfo(ZONE))
    await expect(shown).to_have_text(f"{there:%Y-%m-%d %H:%M}")
    assert await serious(page) == []
    await walk.picture("account")


async def _at_the_door(browser: Browser, api: Api) -> None:
    """Sign in with a second factor; whoever guesses is told how long to wait."""
    await add_user(api, "radia", "viewer")
    async with walking(browser, api) as walk:
        page = walk.page
        await walk.sign_in("radia")
        await walk.open("/account")
        await page.get_by_label("Password, for the second factor").fill(PASSWORD)
        await page.get_by_role("button", name="Set it up").click()
        secret = await page.locator("#second-factor code").inner_text()
        await page.get_by_label("Code of your authenticator", exact=True).fill(code_of(secret, -1))
        await page.get_by_role("button", name="Put it in force").click()
        await expect(page.locator("#second-factor li")).to_have_count(10)
        assert await serious(page) == []
    async with walking(browser, api) as walk:
        page = walk.page
        button, alert = page.get_by_role("button", name="Sign in"), page.get_by_role("alert")
        await walk.open("/sign-in")
        await page.get_by_label("User name").fill("radia")
        await page.get_by_label("Password").fill(PASSWORD)
        await button.click()
        code = page.get_by_label("Code of your authenticator")
        await code.fill("000000")
        assert await serious(page) == []
        await button.click()
        await expect(alert).to_contain_text("is not")
        await page.get_by_label("Password").fill(PASSWORD)
        await code.fill(code_of(secret))
        await button.click()
        await page.wait_for_url("**/worklist")
    async with walking(browser, api) as walk:
        page = walk.page
        await walk.open("/sign-in")
        await page.get_by_label("User name").fill("radiologist")
        for _ in range(6):
            await page.get_by_label("Password").fill("a guess")
            async with page.expect_response("**/api/v1/auth/login"):
                await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("Too many attempts. Try again in")
        await expect(page.get_by_role("button", name="Sign in")).to_be_disabled()


def _is_part(request: Request) -> bool:
    return "/worklist" in request.url and "hx-request" in request.headers


async def _what_happens(browser: Browser, api: Api) -> None:
    """Hear of what happens from when the page was begun, behind a dialog, and without events."""
    async with walking(browser, api) as walk:
        page = walk.page
        await page.add_init_script(_STREAM)
        await page.clock.install()
        await walk.sign_in("medical_admin")
        assert "/api/v1/events?after=" in await page.evaluate("streams.at(-1).url")
        asked = partial(page.expect_request, _is_part)
        async with asked():
            await page.evaluate(_SAY, "study.completed")
            await page.clock.fast_forward(1000)
        await page.locator("[data-select]").first.check()
        await page.get_by_role("button", name="Set status").click()
        await page.evaluate(_SAY, "study.completed")
        await page.clock.fast_forward(1000)
        async with asked():
            await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
            await page.clock.fast_forward(1000)
        async with asked():
            await page.evaluate(_LOSE)
            await page.clock.fast_forward(5000)
            await page.clock.fast_forward(1000)
        assert await page.evaluate("streams.length") == 2
        # What takes long shows that it is worked on.
        held = asyncio.Event()

        async def hold(route: Route) -> None:
            await held.wait()
            await route.continue_()

        bar = page.get_by_role("progressbar", name="It is worked on")
        await expect(bar).to_be_hidden()
        await page.route("**/worklist?*", hold)
        await page.get_by_label("Modality").select_option("CT")
        await page.clock.fast_forward(400)
        await expect(bar).to_be_visible()
        held.set()
        await expect(page.get_by_text("13 in all")).to_be_visible()
        await expect(bar).to_be_hidden()


@pytest.mark.parametrize("path", ["/worklist/send", "/worklist/status"])
async def test_a_button_needs_the_token_of_the_page(services: Services, path: str) -> None:
    async with running_api(services) as api:
        given = {"username": "admin", "password": services.admin_password, "browser": True}
        signed_in = await api.anonymous.post("/api/v1/auth/login", json=given)
        csrf = {"x-csrftoken": signed_in.json()["csrf_token"]}
        assert (await api.anonymous.post(path, data={})).status_code == 403
        refused = await api.anonymous.post(path, data={}, headers=csrf)
        assert refused.status_code == 422, refused.text
