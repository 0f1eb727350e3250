"""Sign in, the own account and API keys, sign out; what does it is REST (accounts/)."""

from typing import Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.accounts.cookies import drop_session
from darkroom_api.accounts.permissions import Permission, has
from darkroom_api.console.page import Page, one_of, some_of
from darkroom_api.console.screen import screen
from darkroom_api.http.parts import parts_of

_SIGN_IN: Final = "/sign-in"
_KEYS: Final = "/api/v1/api-keys"
_SECOND: Final = "/api/v1/auth/totp"


async def show_sign_in(page: Page) -> Response:
    """Show the form; its script posts to `/api/v1/auth/login`, which knows the device."""
    provider = parts_of(page.request.scope).provider is not None
    return page.render("sign_in.html", provider=provider)


async def show_account(page: Page) -> Response:
    """Show who is signed in and where, and the form for another password."""
    who = await page.rest.get("/api/v1/auth/me")
    sessions = []
    if page.principal is not None and page.principal.presence is not None:
        sessions = (await page.rest.get("/api/v1/auth/sessions", page_size=50))["data"]
    return page.render("account.html", who=who, sessions=sessions, begun=None, codes=())


async def change_password(page: Page) -> Response:
    """Change the own password."""
    form = await page.form()
    given = {name: one_of(form, name) for name in ("current_password", "new_password")}
    said = await page.rest.post("/api/v1/auth/password", given)
    return page.done(said["message"])


async def begin_second_factor(page: Page) -> Response:
    """Show the secret that an authenticator is given, and ask for its first code."""
    given = {"password": one_of(await page.form(), "password")}
    begun = await page.rest.post(_SECOND, given)
    return page.render("second_factor.html", begun=begun, codes=())


async def confirm_second_factor(page: Page) -> Response:
    """Put the second factor in force; show the recovery codes, this once."""
    given = {"code": one_of(await page.form(), "code")}
    said = await page.rest.post(f"{_SECOND}/confirm", given)
    return page.render("second_factor.html", begun=None, codes=said["recovery_codes"])


async def remove_second_factor(page: Page) -> Response:
    """Let the password be enough again."""
    form = await page.form()
    given = {name: one_of(form, name) for name in ("password", "code")}
    await page.rest.ask("DELETE", _SECOND, body=given)
    return page.done("The password is enough again.")


async def end_own_session(page: Page) -> Response:
    """End another session of one's own."""
    await page.rest.ask("DELETE", f"/api/v1/auth/sessions/{page.at('session')}")
    return page.go("/account")


async def show_keys(page: Page) -> Response:
    """Show one's own API keys."""
    found = await page.rest.get(_KEYS, page=page.asked.get("page"))
    if page.is_part:
        return page.render("key_rows.html", found=found)
    who = await page.rest.get("/api/v1/auth/me")
    offered = [one for one in Permission if has(one, frozenset(who["permissions"]))]
    return page.render("keys.html", found=found, permissions=offered)


async def add_key(page: Page) -> Response:
    """Make an API key, which is shown this once."""
    form = await page.form()
    body = {"name": one_of(form, "name"), "permissions": some_of(form, "permission")}
    body["expires_at"] = one_of(form, "expires_on") + "T23:59:59Z"
    made = await page.rest.post(_KEYS, body)
    answer = page.render("key_made.html", made=made)
    answer.headers["hx-trigger"] = "changed"
    return answer


async def remove_key(page: Page) -> Response:
    """End an API key."""
    await page.rest.ask("DELETE", f"{_KEYS}/{page.at('key')}")
    return page.done("The key is good for nothing any more.")


async def sign_out(page: Page) -> Response:
    """End the session."""
    await page.rest.post("/api/v1/auth/logout")
    answer = page.go(_SIGN_IN)
    drop_session(page.request, answer)
    return answer


async def show_first(page: Page) -> Response:
    """Go to the page that a day begins with."""
    return page.go("/worklist")


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/", show_first)
    screen(app, _SIGN_IN, show_sign_in)
    screen(app, "/account", show_account)
    screen(app, "/account/password", change_password, "POST")
    second = "/account/second-factor"
    screen(app, second, begin_second_factor, "POST")
    screen(app, f"{second}/confirm", confirm_second_factor, "POST")
    screen(app, f"{second}/remove", remove_second_factor, "POST")
    screen(app, "/account/sessions/{session}/end", end_own_session, "POST")
    screen(app, "/account/keys", show_keys)
    screen(app, "/account/keys", add_key, "POST")
    screen(app, "/account/keys/{key}/remove", remove_key, "POST")
    screen(app, "/sign-out", sign_out, "POST")
