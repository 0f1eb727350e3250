"""Priors by rule: what another node has of the same patient becomes retrieve jobs (TRX-11).

A study that was itself retrieved as a prior wants none, so that nothing goes round in circles.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
import orjson
from pydicom.dataset import Dataset

from darkroom_common.backoff import delay
from darkroom_common.dicom.json_model import texts
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.users.find import STUDY_ROOT_FIND, find_once
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.remote import RetrieveFromRemote
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.specs.remote import MOST_MATCHES, RemoteQuery
from darkroom_common.specs.rules import Prefetch
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.destinations.configuration import NotThere
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.remote.query_keys import study_root_identifier
from darkroom_transmit.remote.remotes import ANSWER_SECONDS, Busy, Remotes
from darkroom_transmit.retrieval.priors import (
    Candidate,
    Current,
    can_be_asked_for,
    priors,
    series_fit,
    series_matter,
)
from darkroom_transmit.retrieval.repository import RetrieveRepository
from darkroom_transmit.routing.decision import Rule

log = get_logger(__name__)
LOOK_SECONDS: Final = 1.0
CLAIM_SECONDS: Final = 300.0
"""After which another process takes over; longer than a node may take to answer."""
_CLAIM: Final = (
    "UPDATE transmit.prefetch SET tries = tries + 1, updated_at = now(),"
    " next_at = now() + make_interval(secs => $1)"
    " WHERE (rule, study_instance_uid) = (SELECT rule, study_instance_uid FROM transmit.prefetch"
    "   WHERE state = 'PENDING' AND next_at <= now() ORDER BY next_at LIMIT 1"
    "   FOR UPDATE SKIP LOCKED)"
    " RETURNING rule, study_instance_uid, remote, spec::text, tries"
)
_STUDY: Final = (
    "SELECT s.study_date, s.modalities,"
    " pgp_sym_decrypt_bytea(s.phi, ($1::text[])[s.phi_key]) AS phi,"
    " ARRAY(SELECT pgp_sym_decrypt_bytea(e.phi, ($1::text[])[e.phi_key]) FROM index.series e"
    "   WHERE e.study_id = s.id) AS series"
    " FROM index.study s WHERE s.study_instance_uid = $2 AND s.status <> 'deleted'"
)


async def is_prior(db: Connection, study: str) -> bool:
    """Tell whether a rule has had a study retrieved."""
    found = await db.fetchval(
        "SELECT EXISTS (SELECT FROM transmit.retrieve"
        " WHERE study_instance_uid = $1 AND rule <> '')",
        study,
    )
    return bool(found)


async def want_priors(db: Connection, rule: Rule, study: str) -> None:
    """Keep that a rule wants the priors of a study: once, and never those of a prior."""
    wanted = rule.spec.prefetch
    if wanted is None or await is_prior(db, study):
        return
    await db.execute(
        "INSERT INTO transmit.prefetch (rule, study_instance_uid, remote, spec)"
        " VALUES ($1, $2, $3, $4::text::jsonb) ON CONFLICT DO NOTHING",
        rule.name,
        study,
        wanted.remote,
        wanted.model_dump_json(),
    )


@dataclass(frozen=True)
class Prefetcher:
    """Asks nodes for priors and makes retrieve jobs of them."""

    database: Database
    remotes: Remotes
    retrieves: RetrieveRepository
    keys: PhiKeys
    wake: Callable[[], None]

    async def run(self) -> None:
        """Look for what is wanted, until cancelled."""
        while True:
            try:
                while await self._one():
                    pass
            except DependencyUnavailable as error:
                log.warning("prefetch.waits", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _one(self) -> bool:
        async with self.database.acquire() as db:
            row = await db.fetchrow(_CLAIM, CLAIM_SECONDS)
        if row is None:
            return False
        rule, study = row["rule"], row["study_instance_uid"]
        wanted = Prefetch.model_validate_json(row["spec"])
        try:
            destination = await self.remotes.named(row["remote"])
        except NotThere:
            await self._keep(rule, study, "FAILED", "UnknownDestination")
            return True
        try:
            current = await self._current(study)
            if current is None or not can_be_asked_for(current.patient_id):
                await self._keep(rule, study, "FAILED", "NoPatientId" if current else "NoStudy")
                return True
            chosen = await self._chosen(destination, current, wanted)
        except PeerFault as fault:
            await self._again(row, destination, fault.reason, final=not fault.transient)
            return True
        except Busy:
            await self._again(row, destination, "Busy", final=False)
            return True
        await self._order(rule, study, wanted, chosen)
        return True

    async def _current(self, study: str) -> Current | None:
        async with self.database.acquire() as db:
            row = await db.fetchrow(_STUDY, self.keys.by_id(), study)
        if row is None:
            return None
        known = _attributes(row["phi"])
        parts = (_text(_attributes(one), "BodyPartExamined") for one in row["series"])
        return Current(
            study_instance_uid=study,
            patient_id=_text(known, "PatientID"),
            issuer=_text(known, "IssuerOfPatientID"),
            birth_date=_text(known, "PatientBirthDate"),
            study_date=row["study_date"],
            modalities=frozenset(row["modalities"]),
            body_parts=frozenset(part.upper() for part in parts if part),
        )

    async def _chosen(
        self, destination: Destination, current: Current, wanted: Prefetch
    ) -> list[str]:
        """Return the study UIDs that are to be retrieved."""
        keys = {"PatientID": current.patient_id}
        found = [_candidate(one) for one in await self._find(destination, "study", keys)]
        async with self.database.acquire() as db:
            rows = await db.fetch(
                "SELECT study_instance_uid FROM index.study WHERE status <> 'deleted'"
                " AND study_instance_uid = ANY($1::text[])",
                [one.study_instance_uid for one in found],
            )
        here = {row["study_instance_uid"] for row in rows}
        today = dt.datetime.now(dt.UTC).date()
        chosen: list[str] = []
        for one in priors(current, found, wanted, here=here, today=today):
            if len(chosen) == wanted.max_studies:
                break
            uid = one.study_instance_uid
            if series_matter(one, wanted):
                series = await self._find(destination, "series", {"StudyInstanceUID": uid})
                modalities = {str(item.get("Modality", "") or "") for item in series}
                parts = {str(item.get("BodyPartExamined", "") or "").upper() for item in series}
                if not series_fit(current, wanted, modalities=modalities, body_parts=parts):
                    continue
            chosen.append(uid)
        return chosen

    async def _find(
        self, destination: Destination, level: Any, keys: dict[str, str]
    ) -> Sequence[Dataset]:
        identifier = study_root_identifier(RemoteQuery(level=level, keys=keys))
        (found,) = await self.remotes.ask(
            destination,
            level,
            partial(
                find_once,
                sop_class_uid=STUDY_ROOT_FIND,
                identifiers=[identifier],
                limit=MOST_MATCHES,
                seconds=ANSWER_SECONDS,
            ),
        )
        return found.data_sets

    async def _order(self, rule: str, study: str, wanted: Prefetch, chosen: Sequence[str]) -> None:
        asked = 0
        async with self.database.transaction() as db:
            for uid in chosen:
                order = RetrieveFromRemote(
                    job_id=new_message_id(),
                    remote=wanted.remote,
                    study_instance_uid=uid,
                    method=wanted.method,
                    requested_by=rule,
                )
                asked += await self.retrieves.add(db, order, rule=rule, prior_of=study)
            await db.execute(
                "UPDATE transmit.prefetch SET state = 'DONE', reason = '', asked_for = $3,"
                " updated_at = now() WHERE rule = $1 AND study_instance_uid = $2",
                rule,
                study,
                asked,
            )
        metrics.PREFETCHED.labels(rule).inc(asked)
        log.info("prefetch.asked", rule=rule, study_instance_uid=study, priors=asked)
        if asked:
            self.wake()

    async def _again(
        self, row: asyncpg.Record, destination: Destination, reason: str, *, final: bool
    ) -> None:
        backoff = destination.spec.backoff
        if final or row["tries"] >= backoff.max_attempts:
            await self._keep(row["rule"], row["study_instance_uid"], "FAILED", reason)
            return
        async with self.database.acquire() as db:
            await db.execute(
                "UPDATE transmit.prefetch SET reason = $3,"
                " next_at = now() + make_interval(secs => $4), updated_at = now()"
                " WHERE rule = $1 AND study_instance_uid = $2",
                row["rule"],
                row["study_instance_uid"],
                reason,
                delay(backoff, row["tries"] - 1, 0.5),
            )

    async def _keep(self, rule: str, study: str, state: str, reason: str) -> None:
        async with self.database.acquire() as db:
            await db.execute(
                "UPDATE transmit.prefetch SET state = $3, reason = $4, updated_at = now()"
                " WHERE rule = $1 AND study_instance_uid = $2",
                rule,
                study,
                state,
                reason,
            )
        log.info("prefetch.ended", rule=rule, study_instance_uid=study, state=state, reason=reason)


def _attributes(decrypted: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(decrypted or b"{}").get("j", {})
    return found


def _text(attributes: dict[str, Any], keyword: str) -> str:
    return next(iter(texts(attributes.get(BY_KEYWORD[keyword].tag))), "")


def _candidate(found: Dataset) -> Candidate:
    modalities = found.get("ModalitiesInStudy") or []
    date: dt.date | None = None
    with suppress(ValueError):
        date = dt.datetime.strptime(str(found.get("StudyDate", "")), "%Y%m%d").date()  # noqa: DTZ007 - a date
    return Candidate(
        study_instance_uid=str(found.get("StudyInstanceUID", "")),
        patient_id=str(found.get("PatientID", "") or ""),
        issuer=str(found.get("IssuerOfPatientID", "") or ""),
        birth_date=str(found.get("PatientBirthDate", "") or ""),
        study_date=date,
        modalities=frozenset([modalities] if isinstance(modalities, str) else modalities),
    )
