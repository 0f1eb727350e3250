"""A sign-in link opens the console once, and the guide says what a new house needs."""

import json
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, expect

from darkroom_local.commands.doctor import Finding, keep
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.conftest import a_browser, serious, walking
from tests.support.commands import run_command
from tests.support.services import Services

_OLD: Final = """
for (const name of ['show', 'showModal', 'close']) delete HTMLDialogElement.prototype[name];
delete window.DecompressionStream;
"""


async def link(services: Services, *arguments: str) -> tuple[int, str, str]:
    """Have the api write what opens the console; return its exit code and what it says."""
    environment = services.environment("api", 0)
    code, said, wrong = await run_command(
        "api", "sign-in-link", *arguments, environment=environment
    )
    return code, said.strip(), wrong


async def _without_dialogs(browser: Browser, api: Api) -> None:
    """Add and remove a sender in a browser of before 2022, which knows no `<dialog>`."""
    async with walking(browser, api) as walk:
        page, cell = walk.page, walk.page.get_by_role("cell", name="CT_2", exact=True)
        await page.add_init_script(_OLD)
        await walk.sign_in("admin", api.services.admin_password)
        await walk.open("/senders")
        await page.get_by_role("button", name="Add a sender").click()
        await page.keyboard.type("CT_2")
        await page.get_by_role("button", name="Let it send").click()
        await expect(cell).to_be_visible()
        row = page.get_by_role("row").filter(has=cell)
        await row.get_by_role("button", name="Remove").click()
        await page.keyboard.press("Escape")
        await row.get_by_role("button", name="Remove").click()
        await page.get_by_role("button", name="Yes, go on").click()
        await expect(cell).to_have_count(0)


async def test_the_first_quarter_of_an_hour(services: Services, tmp_path: Path) -> None:
    lacks = Finding("disk space at /", ok=False, detail="1.0 GiB free", remedy="free 5 GiB")
    keep([lacks], tmp_path / "findings.json")
    services.extra |= {"DOCTOR_FINDINGS": str(tmp_path / "findings.json")}
    async with running_api(services) as api, a_browser() as browser:
        await services.start("ingest")
        code, token, wrong = await link(services)
        assert code == 0, wrong
        async with walking(browser, api) as walk:
            page = walk.page
            await walk.open(f"/sign-in#once={token}")
            await page.wait_for_url("**/start")
            await expect(page.get_by_role("heading", name="First steps")).to_be_visible()
            await expect(page.get_by_text("None yet")).to_have_count(4)
            await expect(page.get_by_role("cell", name="free 5 GiB")).to_be_visible()
            assert await serious(page) == []
            await walk.picture("start")
            await page.get_by_role("link", name="Add a sender").click()
            await page.get_by_role("button", name="Add a sender").click()
            await page.get_by_role("dialog").get_by_label("AE title").fill("CT_1")
            await page.get_by_role("button", name="Let it send").click()
            await expect(page.get_by_role("cell", name="CT_1")).to_be_visible()
            await walk.open("/start")
            await expect(page.get_by_text("1 there")).to_be_visible()
            await expect(page.get_by_text("None yet")).to_have_count(3)
        async with walking(browser, api) as walk:
            await walk.open(f"/sign-in#once={token}")
            await expect(walk.page.get_by_role("alert")).to_contain_text("This link was used")
            assert walk.page.url == f"{api.url}/sign-in"
        await _without_dialogs(browser, api)
        again = await api.anonymous.post("/api/v1/auth/refresh", json={"refresh_token": token})
        assert again.status_code == 401
        audited = await api.client.get("/api/v1/audit-logs", params={"action": "AUTH_LOGIN"})
        assert "link" in {row["details"].get("method") for row in audited.json()["data"]}
        assert token not in json.dumps(audited.json())
        assert token not in (services.directory / "api.log").read_text()
        code, said, wrong = await link(services, "--user", "nobody")
        assert (code, said) == (2, "")
        assert "nobody of this name" in wrong
