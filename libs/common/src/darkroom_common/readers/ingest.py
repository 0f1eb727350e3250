"""Reads schema `ingest`: what is listed of senders that concerns what they have sent."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.ae_titles import fits, precision
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_CHARACTER_SETS: Final = (
    "SELECT ae_title, coalesce(character_set, '') AS character_set,"
    " character_set_rule = 'always' AS always FROM ingest.calling_ae"
)


class CharacterSets:
    """What is assumed of the text of each sender."""

    def __init__(self, listed: Mapping[str, Assumed]) -> None:
        self._listed = listed

    def of(self, ae_title: str) -> Assumed:
        """Return what is assumed of what an AE has sent: as its own entry or a pattern says."""
        found = (one for one in self._listed if fits(one, ae_title))
        chosen = max(found, key=precision, default=None)
        return NOTHING_ASSUMED if chosen is None else self._listed[chosen]


async def read_character_sets(db: Connection) -> CharacterSets:
    """Return what is listed now; nothing while ingest has not made its tables."""
    try:
        async with db.transaction():  # what fails here leaves the caller's as it is
            rows = await db.fetch(_CHARACTER_SETS)
    except (
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        log.warning("senders.not_read", reason=type(error).__name__)
        rows = []
    return CharacterSets(
        {row["ae_title"]: Assumed(row["character_set"], row["always"]) for row in rows}
    )
