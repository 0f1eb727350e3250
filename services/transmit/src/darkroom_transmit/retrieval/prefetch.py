"""Priors by rule: what another node has of the same patient becomes retrieve jobs (TRX-11).

A study that was itself retrieved as a prior wants none, so that nothing goes round in circles.
"""

import datetime as dt
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydantic import ValidationError
from pydicom.dataset import Dataset

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.users.find import STUDY_ROOT_FIND, find_once
from darkroom_common.index.studies import stored_studies, study_known
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases, usual_actions
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import RetrieveFromRemote
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, after_commit
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.resources.identity import NOBODY, identity
from darkroom_common.resources.resource import NotThere, Unreadable
from darkroom_common.specs.remote import MOST_MATCHES, RemoteQuery
from darkroom_common.specs.rules import Prefetch
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
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
from darkroom_transmit.retrieval.repository import RetrieveJobs
from darkroom_transmit.routing.decision import Rule

log = get_logger(__name__)
UNREADABLE_SECONDS: Final = 60.0
AT_ONCE: Final = 2
PHASES: Final = Phases(
    waiting="PENDING",
    working=("ASKING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
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
        "INSERT INTO transmit.prefetch (rule, study_instance_uid, remote, spec, traceparent,"
        " remote_id) VALUES ($1, $2, $3, $4::text::jsonb, $5, $6) ON CONFLICT DO NOTHING",
        rule.name,
        study,
        wanted.remote,
        wanted.model_dump_json(),
        traces.inject().get("traceparent", ""),
        await identity(db, DESTINATIONS, wanted.remote) or NOBODY,
    )


async def _claimed(db: Connection, job: Attempt) -> Ending | None:
    """End a job whose destination is gone."""
    known = await identity(db, DESTINATIONS, job.lane, job.row["remote_id"])
    return None if known else Ending(PHASES.failed, "DestinationRemoved")


def prefetch_kind() -> JobKind[Attempt]:
    """Return the kind of what `want_priors` keeps."""
    return JobKind(
        name="prefetch",
        table="transmit.prefetch",
        lane="remote",
        phases=PHASES,
        attempt=Attempt,
        actions=usual_actions(PHASES),
        change="prefetch",
        claimed=_claimed,
    )


@dataclass
class Prefetcher:
    """Asks nodes for priors and makes retrieve jobs of them."""

    claims: Claims[Attempt]
    remotes: Remotes
    retrieves: RetrieveJobs
    keys: PhiKeys
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.database = self.claims.database
        self.runner = Runner(self.claims, self._attempt, at_once=AT_ONCE)

    async def _attempt(self, job: Attempt) -> Ending | Decide:
        study = job.row["study_instance_uid"]
        try:
            wanted = Prefetch.model_validate_json(job.row["spec"])
            destination = await self.remotes.named(job.lane)
            job.backoff = destination.spec.backoff
            current = await self._current(study)
            if current is None or not can_be_asked_for(current.patient_id):
                return Ending(PHASES.failed, "NoPatientId" if current else "NoStudy")
            chosen = await self._chosen(destination, current, wanted)
        except NotThere:
            return Ending(PHASES.failed, "UnknownDestination")
        except (Unreadable, ValidationError):  # of a later version, which may come back
            return Ending(PHASES.waiting, "UnreadableDestination", wait=UNREADABLE_SECONDS)
        except PeerFault as fault:
            final = Ending(PHASES.failed, fault.reason, counts=True)
            return self._again(job, fault.reason) if fault.transient else final
        except Busy:
            return self._again(job, "Busy")
        return partial(self._order, job, wanted, chosen)

    def _again(self, job: Attempt, reason: str) -> Ending:
        return self.claims.table.kind.again(job, job.backoff, reason, self.chance())

    async def _current(self, study: str) -> Current | None:
        async with self.database.acquire() as db:
            known = await study_known(db, self.keys, study)
        if known is None:
            return None
        parts = (one.text("BodyPartExamined") for one in known.series)
        return Current(
            study_instance_uid=study,
            patient_id=known.text("PatientID"),
            issuer=known.text("IssuerOfPatientID"),
            birth_date=known.text("PatientBirthDate"),
            study_date=known.study_date,
            modalities=frozenset(known.modalities),
            body_parts=frozenset(part.upper() for part in parts if part),
        )

    async def _chosen(
        self, destination: Destination, current: Current, wanted: Prefetch
    ) -> list[str]:
        """Return the study UIDs that are to be retrieved."""
        keys = {"PatientID": current.patient_id}
        found = [_candidate(one) for one in await self._find(destination, "study", keys)]
        async with self.database.acquire() as db:
            here = await stored_studies(db, [one.study_instance_uid for one in found])
        today = self.claims.clock.now().date()
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

    async def _order(
        self, job: Attempt, wanted: Prefetch, chosen: Sequence[str], db: Connection
    ) -> Ending:
        """Make the retrieve jobs, in the transaction that ends this one."""
        rule, study = job.row["rule"], job.row["study_instance_uid"]
        asked = 0
        for uid in chosen:
            order = RetrieveFromRemote(
                job_id=new_message_id(),
                remote=wanted.remote,
                remote_id=job.row["remote_id"],
                study_instance_uid=uid,
                method=wanted.method,
                requested_by=rule,
            )
            asked += await self.retrieves.add(db, order, rule=rule, prior_of=study)
        after_commit(db, partial(metrics.PREFETCHED.labels(rule).inc, asked))
        log.info("prefetch.asked", rule=rule, study_instance_uid=study, priors=asked)
        return Ending("DONE", columns={"asked_for": asked})


def _candidate(found: Dataset) -> Candidate:
    modalities = found.get("ModalitiesInStudy") or []
    date: dt.date | None = None
    with suppress(ValueError):
        date = dt.date.fromisoformat(str(found.get("StudyDate", "")))
    return Candidate(
        study_instance_uid=str(found.get("StudyInstanceUID", "")),
        patient_id=str(found.get("PatientID", "") or ""),
        issuer=str(found.get("IssuerOfPatientID", "") or ""),
        birth_date=str(found.get("PatientBirthDate", "") or ""),
        study_date=date,
        modalities=frozenset([modalities] if isinstance(modalities, str) else modalities),
    )
