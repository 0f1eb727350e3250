"""The console's foundation: signing in, rights, refusals in words, and the worklist."""

import pytest
from playwright.async_api import Page, expect

from tests.integration.api.conftest import running_api
from tests.integration.console.conftest import BROWSERS, a_browser, a_house, serious, walking
from tests.support.services import Services


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
            await walk.open("/account")
            await expect(page.get_by_text("this one")).to_be_visible()
            assert await serious(page) == []
            await walk.picture("account")
            await walk.open("/nowhere-at-all")
            await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        async with walking(browser, api, "dark") as walk:
            await walk.sign_in("viewer")
            await expect(walk.page.get_by_text("26 in all")).to_be_visible()
            await expect(walk.page.get_by_role("button", name="Set status")).to_have_count(0)
            assert await serious(walk.page) == []
            await walk.picture("worklist-dark")
            await walk.page.get_by_role("button", name="Sign out").click()
            await walk.page.wait_for_url("**/sign-in")


@pytest.mark.parametrize("path", ["/worklist/send", "/worklist/status"])
async def test_a_button_needs_the_token_of_the_page(services: Services, path: str) -> None:
    async with running_api(services) as api:
        given = {"username": "admin", "password": services.admin_password, "browser": True}
        signed_in = await api.anonymous.post("/api/v1/auth/login", json=given)
        csrf = {"x-csrftoken": signed_in.json()["csrf_token"]}
        assert (await api.anonymous.post(path, data={})).status_code == 403
        refused = await api.anonymous.post(path, data={}, headers=csrf)
        assert refused.status_code == 422, refused.text
