"""Carries out here what was done at another site, by the same jobs, and in favour of what stays.

The rules, for a study that both sites have changed before they heard of each other
(docs/replication.md has them for people):

- objects: all of them are kept; the same UID with other bytes is a conflict, at both sites
- edits, merges, moves and splits: of each attribute the later word holds (`said.py`)
- a deletion of a study: outvoted, the study stays; where it was deleted already, it is restored
- legal holds: each site's own, and both hold everywhere
- decisions of conflicts: the first that is carried out at a site; another one is refused, and told
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, get_args

import orjson

from darkroom_common.errors import PermanentError
from darkroom_common.index.retention.holds import begin_holding
from darkroom_common.messages.commands import EditStudies, RemovePart, RemoveStudy, ResolveConflict
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import Edit, Keyword
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.editing.repository import Edits
from darkroom_metadata.editing.standing import IDENTITY
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.replication import inbound
from darkroom_metadata.replication.inbound import Told
from darkroom_metadata.replication.said import Word, Words, keywords, later, studies_of
from darkroom_metadata.replication.telling import PURPOSES

log = get_logger(__name__)
_SOON: Final = timedelta(seconds=0.25)
_BUSY: Final = (  # edit_due, removal_due: of people here, for the study
    "SELECT EXISTS (SELECT FROM index.edit e WHERE e.study_instance_uid = $1 AND e.state IN"
    "  ('PENDING', 'EDITING', 'RETRYING') AND e.action <> 'follow') OR EXISTS (SELECT FROM"
    "  index.removal r WHERE r.study_instance_uid = $1 AND r.state IN"
    "  ('PENDING', 'REMOVING', 'RETRYING'))"
)
_COUNTED: Final = (  # replication_vector_pkey
    "SELECT coalesce((counts ->> (SELECT name FROM index.replication_site))::bigint, 0)"
    " FROM index.replication_vector WHERE study_instance_uid = $1"
)
_HERE: Final = "SELECT name FROM index.replication_site"
_DELETED: Final = (  # removal_study, replication_deletion_pkey
    "SELECT EXISTS (SELECT FROM index.removal r JOIN index.replication_deletion d ON d.job = r.id"
    " WHERE r.study_instance_uid = $1 AND d.counted > $2 AND r.restored_at IS NULL"
    " AND r.purged_at IS NULL) AND EXISTS (SELECT FROM index.study"
    " WHERE study_instance_uid = $1 AND status = 'deleted')"
)
_ALIVE: Final = (  # study_study_instance_uid_key, study_beside_uid
    "SELECT EXISTS (SELECT FROM index.study WHERE study_instance_uid = $1 AND status <> 'deleted')"
)
_STEP: Final = (
    "INSERT INTO index.replication_step (job, site, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
)
_CONFLICT: Final = (  # conflict_bytes, conflict_study
    "SELECT c.id FROM index.conflict c JOIN index.instance i ON i.id = c.instance_id"
    " WHERE i.sop_instance_uid = $1 AND c.kind = $2 AND encode(c.sha256, 'hex') = $3"
    " ORDER BY c.state = 'open' DESC, c.id DESC LIMIT 1"
)
_OPEN: Final = (  # conflict_bytes
    "SELECT c.id FROM index.conflict c JOIN index.instance i ON i.id = c.instance_id"
    " WHERE i.sop_instance_uid = $1 AND c.kind = 'instance' AND c.state = 'open'"
    " ORDER BY c.id LIMIT 1"
)
_IN_FORCE: Final = "SELECT encode(sha256, 'hex') FROM index.instance WHERE sop_instance_uid = $1"


@dataclass(frozen=True)
class CarryingOut:
    """Makes jobs of what another site has told.

    Args:
        words: the last word on each attribute.
        seal: of the jobs.
        edits, removals, resolutions: what makes the jobs.
    """

    words: Words
    seal: Seal
    edits: Edits
    removals: Removals
    resolutions: Resolutions

    async def begin(self, db: Connection, told: Told) -> str:
        """Begin one change, or do it; return what became of it, for the count.

        Raises:
            PermanentError: it can never be done here; the text says why.
        """
        if told.study is not None:
            if await db.fetchval(_BUSY, told.study):
                await inbound.again(db, told, _SOON)
                return ""
            if told.kind != "removal" and await self._restored(db, told, told.study):
                return ""
        match told.kind:
            case "edit":
                return await self._edit(db, told)
            case "removal":
                return await self._remove(db, told, told.study or "")
            case "resolution":
                return await self._resolve(db, told)
            case _:
                return await self._hold(db, told)

    async def _unheard(self, db: Connection, told: Told, study: str) -> int | None:
        """Return how far the other site had heard of us; None: of all that was done here."""
        here = await db.fetchval(_HERE)
        knew = told.vector.get(here, 0)
        counted = await db.fetchval(_COUNTED, study) or 0
        return knew if counted > knew else None

    async def _restored(self, db: Connection, told: Told, study: str) -> bool:
        """Have a study restored that was deleted here while it was changed there."""
        knew = await self._unheard(db, told, study)
        if knew is None or not await db.fetchval(_DELETED, study, knew):
            return False
        job = told.id("restore")
        await self._job(db, told, job)
        given = {"job_id": job, "study_instance_uid": study, "requested_by": by(told)}
        await self.removals.add(db, RemoveStudy.model_validate({**given, "action": "restore"}))
        await inbound.working(db, told, job, told.reason)
        log.warning("replication.restored", study_instance_uid=study, site=told.site)
        return True

    async def _edit(self, db: Connection, told: Told) -> str:
        edit = Edit.model_validate(told.change["asked"])
        reason = ""
        if told.study is not None:
            words = await self.words.last(db, told.study)
            edit, lost = _left(edit, later(words, keywords(edit), told.done, told.site))
            if lost:
                reason = f"something later was said of {', '.join(lost)}"
            if not edit.values and edit.target is None:
                await self._outvoted(db, told, reason)
                return "outvoted"
        job = told.id("edit")
        await self._job(db, told, job)
        await self.edits.add(
            db,
            EditStudies(
                job_id=job,
                action=told.change["action"],
                study_instance_uid=told.study,
                requested_by=by(told),
                sealed=self.seal.seal(edit.model_dump(), purpose=PURPOSES["edit"]),
            ),
        )
        await inbound.working(db, told, job, reason)
        return ""

    async def settle(self, db: Connection, told: Told) -> None:
        """After an edit: where something later was said meanwhile, have it said once more."""
        edit = Edit.model_validate(told.change["asked"])
        for study in await studies_of(db, told.job, told.study):
            words = await self.words.last(db, study)
            lost = later(words, keywords(edit), told.done, told.site)
            if lost:
                await self._say_again(db, told, study, {one: words[one] for one in lost})

    async def _say_again(
        self, db: Connection, told: Told, study: str, words: dict[str, Word]
    ) -> None:
        newest = max(words.values(), key=lambda word: (word.at, word.site))
        values: Any = {name: word.text or "" for name, word in words.items() if name in EDITABLE}
        if not values:
            return
        job = told.id(f"again {study}")
        await db.execute(_STEP, job, newest.site, newest.at)
        edit = Edit(values=values, reason="said later than what another site has told")
        await self.edits.add(
            db,
            EditStudies(
                job_id=job,
                action="edit",
                study_instance_uid=study,
                requested_by=by(told),
                sealed=self.seal.seal(edit.model_dump(), purpose=PURPOSES["edit"]),
            ),
        )

    async def _remove(self, db: Connection, told: Told, study: str) -> str:
        change = told.change
        is_whole, action = change.get("series") is None, change["action"]
        is_alive = await db.fetchval(_ALIVE, study)
        if is_whole and is_alive == (action == "restore"):
            await self._done(db, told)  # it is as it was to be
            return "change"
        if is_whole and action == "delete" and await self._unheard(db, told, study) is not None:
            await self._outvoted(db, told, "the study was changed here meanwhile: it stays")
            return "outvoted"
        job = told.id("removal")
        await self._job(db, told, job)
        given: dict[str, Any] = {
            "job_id": job,
            "action": action,
            "study_instance_uid": study,
            "requested_by": by(told),
        }
        if change["asked"]:
            given["sealed"] = self.seal.seal(change["asked"], purpose=PURPOSES["removal"])
        if is_whole:
            await self.removals.add(db, RemoveStudy(**given))
        else:
            given["series_instance_uid"] = change["series"]
            await self.removals.add(db, RemovePart(**given, sop_instance_uid=change["instance"]))
        await inbound.working(db, told, job)
        return ""

    async def _resolve(self, db: Connection, told: Told) -> str:
        change, named = told.change, told.change["conflict"]
        action, kind, sha256 = change["action"], named["kind"], named["sha256"]
        number = await db.fetchval(_CONFLICT, named["instance"], kind, sha256)
        in_force = await db.fetchval(_IN_FORCE, named["instance"])
        if number is None and action == "promote" and in_force == sha256:
            # What came first here is what was decided for there: the other is settled as well.
            number, action = await db.fetchval(_OPEN, named["instance"]), "keep"
            if number is None:
                await self._done(db, told)
                return "change"
        if number is None:
            raise PermanentError(f"{action}: there is no such conflict here")
        job = told.id("resolution")
        await self._job(db, told, job)
        asked = change["asked"]
        sealed = self.seal.seal(asked, purpose=PURPOSES["resolution"]) if asked else ""
        await self.resolutions.add(
            db,
            ResolveConflict(
                job_id=job,
                conflict_id=str(number),
                action=action,
                requested_by=by(told),
                sealed=sealed,
            ),
        )
        await inbound.working(db, told, job)
        return ""

    async def _hold(self, db: Connection, told: Told) -> str:
        subject = told.change["subject"]
        await begin_holding(db, [subject])  # what deletes or purges it is waited for
        if told.change["held"]:
            await db.execute(
                "INSERT INTO index.replication_hold VALUES ($1, $2) ON CONFLICT DO NOTHING",
                told.site,
                subject,
            )
        else:
            await db.execute(
                "DELETE FROM index.replication_hold WHERE site = $1 AND subject = $2",
                told.site,
                subject,
            )
        await self._done(db, told)
        return "change"

    @staticmethod
    async def _job(db: Connection, told: Told, job: str) -> None:
        """Keep whose doing a job is, before it is there: it is not told back."""
        await db.execute(_STEP, job, told.site, told.done)

    @staticmethod
    async def _done(db: Connection, told: Told) -> None:
        await heard(db, told)
        await inbound.ended(db, told)

    @staticmethod
    async def _outvoted(db: Connection, told: Told, reason: str) -> None:
        await heard(db, told)
        await inbound.told_of(db, told, "outvoted", reason)
        log.warning(
            "replication.outvoted", kind=told.kind, study_instance_uid=told.study, reason=reason
        )


EDITABLE: Final = frozenset(get_args(Keyword))


async def heard(db: Connection, *told: Told) -> None:
    """Keep that this site has heard of changes."""
    vectors: dict[str, dict[str, int]] = {}
    for one in told:
        if one.study is not None and one.vector:
            vector = vectors.setdefault(one.study, {})
            for site, count in one.vector.items():
                vector[site] = max(count, vector.get(site, 0))
    for study in sorted(vectors):  # always in this order: others lock some of them as well
        await inbound.merge(db, study, orjson.dumps(vectors[study]).decode())


def by(told: Told) -> str:
    """Return who has asked for it."""
    return str(told.change.get("by") or "")[:64]


def _left(edit: Edit, lost: Sequence[str]) -> tuple[Edit, list[str]]:
    """Return what of an edit holds, and what does not: who a patient is is one word."""
    gone = set(lost)
    if edit.target is not None:
        if "PatientID" in gone:
            return edit.model_copy(update={"target": None, "values": {}}), sorted(gone)
        gone -= set(IDENTITY)
    values = {name: text for name, text in edit.values.items() if name not in gone}
    return edit.model_copy(update={"values": values}), sorted(gone)
