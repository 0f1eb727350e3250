"""People: users and roles; and what was done, as the audit log has it."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.console.page import Page, one_of, some_of
from darkroom_api.console.screen import screen

_USERS: Final = "/api/v1/users"
_ROLES: Final = "/api/v1/roles"
_AUDIT: Final = "/api/v1/audit-logs"
_MOST: Final = 200
_FILTERS: Final = ("action", "user_id", "resource_type", "resource_id", "start_date", "end_date")


async def show_users(page: Page) -> Response:
    """Show users."""
    found = await page.rest.get(_USERS, page=page.asked.get("page"), page_size=50)
    listed = await page.rest.get(_ROLES, page_size=_MOST)
    roles = [one["role_name"] for one in listed["data"]]
    part = "people_rows.html" if page.is_part else "people.html"
    return page.render(part, found=found, roles=roles)


async def add_user(page: Page) -> Response:
    """Add a user."""
    form = await page.form()
    names = ("username", "email", "full_name", "password")
    body = {name: one_of(form, name) for name in names}
    await page.rest.post(_USERS, {**body, "roles": some_of(form, "role")})
    return page.done("The user may sign in now.")


async def change_user(page: Page) -> Response:
    """Change a user: name, address, roles, and whether they may sign in."""
    form = await page.form()
    body: dict[str, Any] = {name: one_of(form, name) for name in ("email", "full_name")}
    body |= {"roles": some_of(form, "role"), "is_active": "is_active" in form}
    if form.get("password", [""])[0]:
        body["password"] = form["password"][0]
    match = {"if-match": f'"{one_of(form, "version")}"'}
    await page.rest.ask("PATCH", f"{_USERS}/{page.at('user')}", body=body, more=match)
    return page.done("The user is changed.")


async def end_sessions(page: Page) -> Response:
    """End all sessions of a user."""
    await page.rest.ask("DELETE", f"{_USERS}/{page.at('user')}/sessions")
    return page.done("All sessions of the user have ended.")


async def show_sessions(page: Page) -> Response:
    """Show where a user is signed in."""
    path = f"{_USERS}/{page.at('user')}"
    found = await page.rest.get(f"{path}/sessions", page=page.asked.get("page"))
    user = await page.rest.get(path)
    part = "session_rows.html" if page.is_part else "user_sessions.html"
    return page.render(part, found=found, user=user)


async def end_session(page: Page) -> Response:
    """End one session of a user."""
    path = f"{_USERS}/{page.at('user')}/sessions/{page.at('session')}"
    await page.rest.ask("DELETE", path)
    return page.done("The session has ended.")


async def show_roles(page: Page) -> Response:
    """Show roles and what they may do."""
    found = await page.rest.get(_ROLES, page=page.asked.get("page"), page_size=50)
    if page.is_part:
        return page.render("role_rows.html", found=found)
    known = await page.rest.get("/api/v1/permissions", page_size=_MOST)
    permissions = [one["permission"] for one in known["data"]]
    return page.render("roles.html", found=found, permissions=permissions)


async def add_role(page: Page) -> Response:
    """Add a role."""
    form = await page.form()
    body = {
        "role_name": one_of(form, "role_name"),
        "description": form.get("description", [""])[0],
        "permissions": some_of(form, "permission"),
    }
    await page.rest.post(_ROLES, body)
    return page.done("The role can be given to users now.")


async def remove_role(page: Page) -> Response:
    """Remove a role that nobody has."""
    await page.rest.ask("DELETE", f"{_ROLES}/{page.at('role')}")
    return page.done("The role is removed.")


async def show_audit(page: Page) -> Response:
    """Show what was done, the newest first."""
    asked = {name: page.asked.get(name, "") for name in _FILTERS}
    found = await page.rest.get(_AUDIT, **asked, page=page.asked.get("page"))
    data: dict[str, Any] = {"found": found, "asked": asked}
    if page.is_part:
        return page.render("audit_rows.html", **data)
    return page.render("audit.html", **data, actions=sorted(Action))


async def verify_audit(page: Page) -> Response:
    """Verify the chain of the audit log, as far as one request goes."""
    form = await page.form()
    after = form.get("after", [""])[0]
    said = await page.rest.post(f"{_AUDIT}/verify", {"after": after} if after else {})
    return page.render("audit_verified.html", said=said)


def add(app: FastAPI) -> None:
    """Add the routes."""
    screen(app, "/people", show_users)
    screen(app, "/people", add_user, "POST")
    screen(app, "/people/users/{user}", change_user, "POST")
    screen(app, "/people/users/{user}/end-sessions", end_sessions, "POST")
    screen(app, "/people/users/{user}/sessions", show_sessions)
    screen(app, "/people/users/{user}/sessions/{session}/end", end_session, "POST")
    screen(app, "/people/roles", show_roles)
    screen(app, "/people/roles", add_role, "POST")
    screen(app, "/people/roles/{role}/remove", remove_role, "POST")
    screen(app, "/people/audit", show_audit)
    screen(app, "/people/audit/verify", verify_audit, "POST")
