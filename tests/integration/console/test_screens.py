"""Every screen by every role: nothing breaks, nothing is offered in vain, names stay text."""

import asyncio

import httpx
import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from darkroom_api.accounts.permissions import ROLES, allows
from darkroom_api.console.paths import SCREENS
from tests.integration.api.accounts.people import PASSWORD
from tests.integration.api.conftest import Api, running_api
from tests.integration.console.conftest import (
    BROWSERS,
    MARKUP,
    PICTURES,
    Walk,
    a_browser,
    a_house,
    serious,
    walking,
)
from tests.integration.console.desk import PARTS, trouble
from tests.integration.console.planted import PLAIN, Planted, plant, scene
from tests.integration.console.reading import Seen
from tests.support.services import Services

SIZES: dict[str, ViewportSize] = {
    "": {"width": 1280, "height": 720},
    "-wide": {"width": 1920, "height": 1080},
    "-tablet": {"width": 820, "height": 1180},
}
PRINTER = {"name": "laser-1", "host": "127.0.0.1", "port": 1, "ae_title": "LASER", "echo": False}
PACS = {
    "name": "main-pacs",
    "host": "127.0.0.1",
    "port": 1,
    "ae_title": "PACS",
    "echo": False,
    "backoff": {"max_attempts": 1},
}
READERS = ("radiologist", "technician", "viewer")
RIGHTS = {
    "admin": frozenset({"*"}),
    **{role: frozenset(map(str, ROLES[role])) for role in ("medical_admin", *READERS)},
}
PEOPLE = tuple(RIGHTS)
REFUSED = "You may not see this"
COLOURS = ("color-contrast", "link-in-text-block")
"""Rules of axe-core that ask how something is painted."""
SAYS_IT = (
    *("/study/{study}", "/schedule", "/schedule/workitems", "/transmission", "/film/queue"),
    *("/transmission/jobs/{job}", "/others/retrieves", "/others/steps", "/trouble/quarantine"),
    *("/trouble/dead-letters", "/trouble/conflicts/{one}", "/trouble/jobs", "/people"),
    *("/people/roles", "/people/users/{user}/sessions", "/account/keys", "/notifications"),
)
"""Where what was planted is read by who may see all."""
LOOK = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const turned = [];
  while (texts.nextNode()) {
    const {data, parentElement} = texts.currentNode;
    if (data.includes('\\u202e') && !parentElement.closest('bdi, option, textarea')) {
      turned.push(parentElement.outerHTML.slice(0, 160));
    }
  }
  return {
    turned,
    heading: (document.querySelector('h1') || document.body).innerText.trim(),
    strange: document.querySelectorAll('img[src=x]').length,
    text: document.querySelector('main').innerText,
    wider: document.documentElement.scrollWidth > innerWidth,
  };
}"""
"""Of a page: its heading and text, elements that only markup in a name can have made, those whose
text turns what follows without an end of it, and whether it is wider than the window."""
FOCUSED = """() => {
  const one = document.activeElement;
  const label = one.labels && one.labels[0] && one.labels[0].firstElementChild;
  return one.getAttribute('aria-label') || (label ? label.innerText : one.innerText) || '';
}"""
WIDER = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.mark.req("API-17")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("with_browser", BROWSERS)
async def test_every_screen_by_every_role(services: Services, with_browser: str) -> None:
    async with running_api(services) as api, a_browser(with_browser) as browser:
        studies = await a_house(api)
        await services.start("ingest", "transmit", "print")
        await trouble(services.superuser_url)
        paths = await _paths(api, studies[0], await plant(api, studies))
        async with asyncio.TaskGroup() as walks:
            walks.create_task(_as("admin", browser, api, paths))
            walks.create_task(_others(browser, api, paths))
            if with_browser == "chromium":
                walks.create_task(_reads(api, paths))


@pytest.mark.skipif(not PICTURES, reason="pictures of a house without strange names, when wanted")
@pytest.mark.timeout(600)
async def test_pictures_of_every_screen(services: Services) -> None:
    async with running_api(services) as api, a_browser() as browser:
        studies = await a_house(api, PLAIN.person, PLAIN.words)
        await services.start("ingest", "transmit", "print")
        await trouble(services.superuser_url)
        paths = await _paths(api, studies[0], await plant(api, studies, PLAIN))
        for path, one in (("printers", PRINTER), ("destinations", PACS)):
            assert (await api.client.post(f"/api/v1/{path}", json=one)).status_code == 201
        await scene(services.superuser_url, studies)
        async with walking(browser, api) as walk:
            await walk.sign_in("medical_admin")
            for path, shown in paths.items():
                await walk.page.goto(api.url + shown, wait_until="networkidle")
                for scheme in ("dark", "light"):
                    await walk.page.emulate_media(color_scheme=scheme)
                    await walk.picture(f"{_stem(path)}{'-dark' if scheme == 'dark' else ''}")
                await walk.page.set_viewport_size(SIZES["-tablet"])
                await walk.picture(f"{_stem(path)}-tablet")
                await walk.page.set_viewport_size(SIZES[""])


async def _others(browser: Browser, api: Api, paths: dict[str, str]) -> None:
    for person in PEOPLE[1:]:
        await _as(person, browser, api, paths)


async def _paths(api: Api, study: str, planted: Planted) -> dict[str, str]:
    """The screens, all of them, and where each is opened."""
    series = (await api.client.get(f"/api/v1/studies/{study}")).json()["series"][0]
    found = await api.client.get(series["instances_url"])
    given = {
        "study": study,
        "series": series["series_instance_uid"],
        "instance": found.json()[0]["00080018"]["Value"][0],
        "job": planted.job,
        "one": planted.conflict,
        "user": planted.user,
    }
    more = {"/where": "?q=tanaka", "/film": f"?study={study}", "/upload": f"?study={study}"}
    screens = [path for method, path in SCREENS if method == "GET" and path not in PARTS]
    return {path: path.format(**given) + more.get(path, "") for path in screens}


async def _reads(api: Api, paths: dict[str, str]) -> None:
    """Ask for every screen as somebody of each role: what is refused, said and offered."""
    for person in PEOPLE:
        async with httpx.AsyncClient(
            base_url=api.url, timeout=60, follow_redirects=True, headers={"accept": "text/html"}
        ) as client:
            given = {"username": person, "password": _password(api, person), "browser": True}
            signed_in = await client.post("/api/v1/auth/login", json=given)
            assert signed_in.status_code == 200, signed_in.text
            for path, shown in paths.items():
                answer = await client.get(shown)
                _policy(answer.headers["content-security-policy"], shown)
                may, seen = _may(person, path), Seen(answer.text)
                assert answer.status_code == (200 if may else 403), (person, shown)
                assert (seen.heading.strip() == REFUSED) is not may, (person, shown, seen.heading)
                assert (seen.strange, seen.turned) == ([], []), (person, shown)
                assert seen.offered_in_vain(RIGHTS[person]) == [], (person, shown)


def _may(person: str, path: str) -> bool:
    return allows(SCREENS["GET", path], RIGHTS[person])


def _password(api: Api, person: str) -> str:
    return api.services.admin_password if person == "admin" else PASSWORD


def _policy(policy: str, shown: str) -> None:
    assert "script-src 'self';" in policy, shown
    assert "unsafe" not in policy, shown


async def _as(person: str, browser: Browser, api: Api, paths: dict[str, str]) -> None:
    """Open every screen that somebody may open, and one that they may not."""
    thorough = person == "admin" and browser.browser_type.name == "chromium"
    refused = next((path for path in paths if not _may(person, path)), None)
    async with walking(browser, api) as walk:
        await walk.sign_in(person, _password(api, person))
        for path, shown in paths.items():
            may = _may(person, path)
            if not may and path != refused:
                continue
            await walk.page.goto(
                api.url + shown, wait_until="load" if thorough else "domcontentloaded"
            )
            seen = await walk.page.evaluate(LOOK)
            assert (seen["heading"] == REFUSED) is not may, (person, shown, seen)
            assert seen["heading"], (person, shown)
            assert (seen["strange"], seen["turned"], seen["wider"]) == (0, [], False), (
                *(person, shown),
                seen,
            )
            if person == "admin" and path in SAYS_IT:
                assert MARKUP in seen["text"], shown
            if not may:
                assert await serious(walk.page) == [], (person, shown)
            if thorough:
                await _thoroughly(walk, path)


async def _thoroughly(walk: Walk, path: str) -> None:
    """Look for faults in the light and in the dark, in each size, and in what can be opened."""
    page = walk.page
    assert await serious(page) == [], path
    for size, viewport in SIZES.items():
        await page.set_viewport_size(viewport)
        assert await page.evaluate(WIDER) <= 0, (path, size)
    await page.set_viewport_size(SIZES[""])
    await page.emulate_media(color_scheme="dark")
    assert await serious(page, only=COLOURS) == [], (path, "dark")
    await _dialogs(page, path, COLOURS)
    await page.emulate_media(color_scheme="light")
    await _dialogs(page, path)


async def _dialogs(page: Page, shown: str, only: tuple[str, ...] = ()) -> None:
    """Open what a page can open, and look at it; the page behind it was looked at.

    Of those that the rows of a list have alike, the first is opened.
    """
    ids = await page.locator("[data-opens]:visible").evaluate_all(
        "all => [...new Set(all.filter((one) => !one.disabled).map((one) => one.dataset.opens))]"
    )
    kinds = {name.rstrip("0123456789"): name for name in reversed(ids)}
    for name in kinds.values():
        await page.locator(f"[data-opens='{name}']:visible").first.click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await serious(page, "dialog[open]", only) == [], (shown, name)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)


def _stem(path: str) -> str:
    """Return what pictures of a screen are called."""
    *before, last = path.strip("/").replace("{instance}", "attributes").split("/")
    return "-".join([*(one for one in before if "{" not in one), "one" if "{" in last else last])


@pytest.mark.req("API-17")
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
            await send_print_and_retry(walk, study)


async def reach(page: Page, name: str) -> None:
    """Move the focus by the keyboard until it is on what says something, if it is not there yet.

    What is behind the last one is the browser's own: WebDriver does not lead Firefox back from it.
    """
    for _ in range(120):
        if str(await page.evaluate(FOCUSED)).split("\n")[0].strip() == name:
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {name} of {page.url}")


async def choose(page: Page, value: str) -> None:
    """Choose from the list that has the focus, with the arrow keys: typing differs by browser."""
    for key in ["Home", *["ArrowDown"] * 20]:
        await page.keyboard.press(key)
        if await page.evaluate("document.activeElement.value") == value:
            return
    raise AssertionError(f"the keyboard does not choose {value}")


async def send_print_and_retry(walk: Walk, study: str) -> None:
    """Send a study from its page, see its way, print it and retry what failed: by keys alone."""
    page, press = walk.page, walk.page.keyboard.press
    await reach(page, "Send")
    await press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await reach(page, "Destination")
    await choose(page, "main-pacs")
    await reach(page, "Send")
    await press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("1 study on the way")
    await reach(page, "Where is it?")
    await press("Enter")
    await page.wait_for_url(f"**/where/{study}")
    await expect(page.get_by_text("To main-pacs")).to_be_visible()
    await expect(page.get_by_text("Nobody answers at its address")).to_be_visible()
    await walk.picture("where-study")
    await reach(page, "Open the study")
    await press("Enter")
    await page.wait_for_url(f"**/study/{study}")
    await reach(page, "Print")
    await press("Enter")
    await page.wait_for_url("**/film?study=*")
    await reach(page, "All images")
    await press("Enter")
    await reach(page, "Look")
    await press("Enter")
    await expect(page.get_by_alt_text("The film as it is printed")).to_be_visible()
    await walk.picture("film-laid-out")
    assert await serious(page) == []
    await reach(page, "Print")
    await press("Enter")
    await page.wait_for_url("**/film/queue")
    await expect(page.get_by_role("cell", name="laser-1")).to_be_visible()
    await walk.picture("film-jobs")
    await reach(page, "Trouble")
    await press("Enter")
    await page.wait_for_url("**/trouble")
    await reach(page, "Failed jobs")
    await press("Enter")
    await page.wait_for_url("**/trouble/jobs")
    await walk.picture("failed-jobs")
    await reach(page, "Retry")
    await press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("It is tried again.")
