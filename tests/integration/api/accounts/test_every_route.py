"""Every route of the table, asked by everybody: each role, one of our own, keys, and nobody."""

from dataclasses import dataclass

import pytest

from darkroom_api.accounts.access import ACCESS
from darkroom_api.accounts.permissions import ROLES, Access, Open, Permission, allows
from tests.integration.api.accounts.people import a_key, a_person, add_role, bearer
from tests.integration.api.conftest import Api
from tests.integration.api.people import asked
from tests.support.builders import a_data_set

OF_OUR_OWN = ("studies:*", "users:read", "bulk:update")
OF_A_KEY = ("studies:read", "users:write", "destinations:*")
ENDS_THE_SESSION = {"/api/v1/auth/logout", "/sign-out"}


@dataclass(frozen=True)
class Asker:
    """Somebody who asks, and what they may do; None: nobody."""

    token: str
    permissions: frozenset[str] | None
    is_key: bool = False

    def refusal(self, access: Access) -> tuple[int, str] | None:
        """The status and the sentence of the answer to a route they may not ask."""
        if access is Open.PUBLIC:
            return None
        if self.permissions is None:
            return 401, "A valid access token is needed."
        if access is Open.IN_PERSON and self.is_key:
            return 403, "An API key cannot do this; sign in."
        if allows(access, self.permissions):
            return None
        return 403, f"Missing permission: {access.value}"


async def the_askers(api: Api) -> dict[str, Asker]:
    await add_role(api, "registrar", *OF_OUR_OWN)
    askers = {"nobody": Asker("", None)}
    for role, permissions in {**ROLES, "registrar": frozenset(OF_OUR_OWN)}.items():
        person = await a_person(api, f"user-{role}", role)
        askers[role] = Asker(person.tokens["access_token"], frozenset(map(str, permissions)))
        if role == "system_admin":
            for kind, asked in (("key", OF_A_KEY), ("key of everything", ("*",))):
                made = await a_key(person, *asked)
                askers[kind] = Asker(made["api_key"], frozenset(asked), is_key=True)
        if role == "viewer":
            made = await a_key(person, "studies:read")
            askers["key of a viewer"] = Asker(
                made["api_key"], frozenset({"studies:read"}), is_key=True
            )
    return askers


@pytest.mark.req("API-02")
@pytest.mark.timeout(600)  # some 2,000 requests, one after the other
async def test_every_route_for_everybody(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set)
    values = {
        "{study}": data_set.StudyInstanceUID,
        "{series}": data_set.SeriesInstanceUID,
        "{instance}": data_set.SOPInstanceUID,
        "{exam_id}": data_set.StudyInstanceUID,
        "{frames}": "1",
        "{path:path}": "7FE00010",
        "{service}": "api",
        "{asset}": "docs.js",
    }
    askers = await the_askers(api)
    questions = 0
    for (method, path), access in ACCESS.items():
        url = path
        for name, value in values.items():
            url = url.replace(name, value)
        for who, asker in askers.items():
            if path in ENDS_THE_SESSION and asker.permissions is not None and not asker.is_key:
                continue
            answer = await asked(
                api.anonymous,
                method,
                url,
                headers=bearer(asker.token) if asker.token else {},
                json=None if method == "GET" else {},
            )
            where, refusal = (method, path, who, answer.text), asker.refusal(access)
            questions += 1
            if refusal is not None:
                assert (answer.status_code, answer.json()["detail"]) == refusal, where
                assert answer.json()["code"] == (1003 if refusal[0] == 401 else 1004), where
            else:
                # What needs a body, a name or another service gets past the table, and no further.
                assert answer.status_code not in (401, 403, 405, 429), where
                assert answer.status_code < 500 or answer.status_code == 503, where
    assert questions > len(ACCESS) * (len(ROLES) + 4)


@pytest.mark.req("API-02")
def test_each_permission_opens_a_route() -> None:
    """A permission that opens nothing would be one that somebody grants in vain."""
    opened = {access for access in ACCESS.values() if isinstance(access, Permission)}
    waiting = {
        Permission.STUDIES_WRITE,
        Permission.STUDIES_DELETE,
        Permission.EXPORTS_CREATE,
        Permission.EXPORTS_DOWNLOAD,
        Permission.BULK_UPDATE,
        Permission.BULK_ASSIGN,
        Permission.AUDIT_READ,
        Permission.QUARANTINE_READ,
        Permission.QUARANTINE_WRITE,
        Permission.DEAD_LETTERS_READ,
        Permission.DEAD_LETTERS_WRITE,
        Permission.VERIFICATION_READ,
        Permission.SETTINGS_READ,
    }
    assert set(Permission) - opened <= waiting
