"""The last word on each attribute of a study, whichever site has said it.

Of what two sites say of one attribute while they do not hear of each other, the later holds, by the
clocks of the sites; when both are the same, that of the site whose name comes later. Each site
finds the same by it, in whatever order it hears of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit
from darkroom_metadata.editing.standing import IDENTITY, find_standing

SAID: Final = "replication said"
"""Purpose of what is sealed."""
_UNSAID: Final = (  # replication_unsaid_pkey, edit_pkey, replication_step_pkey
    "SELECT u.job, e.study_instance_uid, e.sealed,"
    " coalesce(s.at, e.finished_at, e.updated_at) AS at, coalesce(s.site, $1) AS site"
    " FROM index.replication_unsaid u LEFT JOIN index.edit e ON e.id = u.job"
    " LEFT JOIN index.replication_step s ON s.job = u.job"
    " ORDER BY at LIMIT 100 FOR UPDATE OF u"
)
_STUDIES: Final = "SELECT DISTINCT study_instance_uid FROM index.study_change WHERE edit_id = $1"
_STUDY: Final = (  # study_study_instance_uid_key, study_beside_uid
    "SELECT id FROM index.study WHERE study_instance_uid = $1 AND status <> 'deleted'"
    " ORDER BY id LIMIT 1"
)
_SAY: Final = (  # replication_said_study_instance_uid_keyword_key
    "INSERT INTO index.replication_said AS s (study_instance_uid, keyword, at, site, sealed)"
    " VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (study_instance_uid, keyword) DO UPDATE SET at = excluded.at,"
    " site = excluded.site, sealed = excluded.sealed"
    " WHERE (excluded.at, excluded.site) > (s.at, s.site)"
)
_LAST: Final = (
    "SELECT keyword, at, site, sealed FROM index.replication_said WHERE study_instance_uid = $1"
)


@dataclass(frozen=True)
class Word:
    """What was said last of an attribute: its text, when, and where."""

    at: datetime
    site: str
    text: str | None


@dataclass(frozen=True)
class Words:
    """Writes down and finds them.

    Args:
        keys: of the index.
        seal: of what is kept of them.
        here: the name of this site.
    """

    keys: PhiKeys
    seal: Seal
    here: str

    async def write_down(self, db: Connection) -> None:
        """Write down what edits have said that are done, wherever they were asked for."""
        while True:
            async with db.transaction():
                rows = await db.fetch(_UNSAID, self.here)
                for row in rows:
                    await self._write_down(db, row)
                await db.execute(
                    "DELETE FROM index.replication_unsaid WHERE job = ANY($1::text[])",
                    [row["job"] for row in rows],
                )
            if not rows:
                return

    async def _write_down(self, db: Connection, row: asyncpg.Record) -> None:
        if row["sealed"] is None:  # the job was removed
            return
        edit = Edit.model_validate(self.seal.open(row["sealed"], purpose=PURPOSE))
        for uid in await studies_of(db, row["job"], row["study_instance_uid"]):
            study = await db.fetchval(_STUDY, uid)
            if study is None:
                continue
            standing = await find_standing(db, self.keys, study)
            for keyword in keywords(edit):
                if keyword in standing.values:
                    await self.say(
                        db, uid, keyword, Word(row["at"], row["site"], standing.values[keyword])
                    )

    async def say(self, db: Connection, study: str, keyword: str, word: Word) -> None:
        """Write down one, unless something later is known."""
        sealed = self.seal.seal(word.text, purpose=SAID)
        await db.execute(_SAY, study, keyword, word.at, word.site, sealed)

    async def last(self, db: Connection, study: str) -> dict[str, Word]:
        """Return what was said last of a study, keyword by keyword."""
        rows = await db.fetch(_LAST, study)
        return {
            row["keyword"]: Word(
                row["at"], row["site"], self.seal.open(row["sealed"], purpose=SAID)
            )
            for row in rows
        }


async def studies_of(db: Connection, job: str, study: str | None) -> list[str]:
    """Return the studies that an edit has changed."""
    if study is not None:
        return [study]
    return [row[0] for row in await db.fetch(_STUDIES, job)]


def keywords(edit: Edit) -> list[str]:
    """Return the keywords of what an edit says."""
    said: Iterable[Any] = (*edit.values, *(IDENTITY if edit.target is not None else ()))
    return sorted({str(keyword) for keyword in said})


def later(words: dict[str, Word], said: Iterable[str], at: datetime, site: str) -> list[str]:
    """Return those keywords of which something later is known than was said then and there."""
    return [
        keyword
        for keyword in said
        if (word := words.get(keyword)) is not None and (word.at, word.site) > (at, site)
    ]
