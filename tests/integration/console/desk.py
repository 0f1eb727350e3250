"""Somebody at the desk: asks the console for pages as a browser does, and presses its buttons."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from tests.integration.api.accounts.people import PASSWORD, add_user
from tests.integration.api.conftest import Api
from tests.support.database import Prepared

ROLES: Final = ("technician", "radiologist", "viewer", "medical_admin")
PARTS: Final = {
    *("/study/{study}/series/{series}", "/study/{study}/marks/preview"),
    *("/study/{study}/retention", "/notifications/count"),
    *("/trouble/count", "/upload/whose"),
}
"""What is asked for as a part of a page alone."""
PART: Final = {"hx-request": "true", "accept": "text/html"}
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_TROUBLE: Final = (
    """
    INSERT INTO transmit.job (id, destination, priority, state, reason, requested_by, finished_at)
    VALUES (md5('a'), 'PACS', 'low', 'FAILED', 'RejectedPermanent', 'x', now())
    """,
    "INSERT INTO ingest.spool (id) VALUES ('7f1b3a52-0000-4000-8000-000000000001')",
    """
    INSERT INTO ingest.quarantined (receipt, spool, reason, status, received_at, size,
        calling_ae_title, sop_class_uid, transfer_syntax_uid)
    SELECT md5('q'), id, 'truncated', 'C000', now(), 10, '<i>CT1', '', '' FROM ingest.spool
    WHERE id = '7f1b3a52-0000-4000-8000-000000000001'
    """,
    """
    INSERT INTO api.dead_letter (queue, message_id, type, reason, attempts, died_at, trace, body,
        fingerprint) SELECT 'print.jobs', 'm', '', 'it <u>names nothing', 1, now(), '{}', '{}',
        decode(md5(n::text), 'hex') FROM generate_series(1, 2) AS n
    """,
    """
    INSERT INTO index.verification_finding (object_key, kind, size)
    VALUES ('ab/cd', 'wrong-size', 5)
    """,
)
_MARK: Final = re.compile(r"<[^>]+>")


@dataclass
class Desk:
    """Who sits there."""

    client: httpx.AsyncClient
    token: str

    async def page(self, path: str, status: int = 200, **query: str) -> str:
        """Return a page as it is written."""
        headers = {"accept": "text/html", **self._signed_in}
        answer = await self.client.get(path, params=query, headers=headers)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[-600:]}"
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    async def words(self, path: str, **query: str) -> str:
        """Return the words of a page."""
        return words(await self.page(path, 200, **query))

    @property
    def _signed_in(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def press(
        self, path: str, fields: Mapping[str, str | list[str]] | None = None, status: int = 204
    ) -> str:
        """Press a button; return the sentence that it says, or what is shown."""
        answer = await self.client.post(
            path, data=dict(fields or {}), headers={**PART, **FORM, **self._signed_in}
        )
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return f"{answer.headers.get('hx-trigger', '')} {words(answer.text)}"


def words(page: str) -> str:
    """Return what a page says, in one line."""
    return " ".join(html.unescape(_MARK.sub(" ", page)).split())


async def sitting(api: Api) -> dict[str, Desk]:
    """Return somebody of each role; `admin` is the system administrator."""
    found = {"admin": Desk(api.anonymous, api.tokens["access_token"])}
    for role in ROLES:
        await add_user(api, role, role)
        token = (await api.sign_in(role, PASSWORD)).json()["access_token"]
        found[role] = Desk(api.anonymous, token)
    return found


async def trouble(database_url: str) -> None:
    """Have one of everything go wrong; needs the schemas of transmit, ingest and the index."""
    database = Prepared(database_url)
    for statement in _TROUBLE:
        await database.fetch(statement)
