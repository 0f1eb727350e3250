"""Whose address is whose, by the accounts that are active."""

import uuid
from typing import Final

from darkroom_common.postgres.phi import normalise
from darkroom_common.postgres.pool import Connection

_OF_USER: Final = "SELECT email FROM api.app_user WHERE id = $1 AND active"
_PEOPLE: Final = "SELECT username, full_name, email FROM api.app_user WHERE active AND email <> ''"


async def address_of(db: Connection, user_id: uuid.UUID) -> str:
    """Return the address of somebody; nothing when there is none."""
    found: str | None = await db.fetchval(_OF_USER, user_id)
    return found or ""


async def address_named(db: Connection, name: str) -> str:
    """Return the address of the one user of this full name or user name; nothing of several.

    A DICOM name, `Smith^Jane`, is that of Jane Smith.
    """
    wanted = _words(name)
    found = {
        row["email"]
        for row in await db.fetch(_PEOPLE)
        if wanted and wanted in (_words(row["full_name"]), _words(row["username"]))
    }
    return found.pop() if len(found) == 1 else ""


def _words(name: str) -> list[str]:
    """Return the words of a name, titles left out, in an order of their own."""
    plain = normalise(name.partition("=")[0]).replace("^", " ").replace(",", " ")
    words = (word.rstrip(".") for word in plain.split())
    return sorted(word for word in words if word not in ("dr", "prof", "md"))
