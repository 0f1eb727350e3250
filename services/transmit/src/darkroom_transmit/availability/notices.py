"""Jobs that tell destinations which images of a study are here (PS3.4 annex R), as SCU.

A destination with `availability` is told of each study when it is complete, and again when more of
it has come: one N-CREATE each, tried again by the destination's back-off, durable over restarts. A
notice that comes twice has the same SOP Instance UID: who keeps it keeps it once.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.statuses import DUPLICATE_SOP_INSTANCE
from darkroom_common.dimse.users.find import Refused
from darkroom_common.index.objects import Reference, references_of_study, steps_of_study
from darkroom_common.index.rows import UnreadableRow
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases, usual_actions
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.resources.identity import identity
from darkroom_common.resources.resource import NotThere, Unreadable
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.remote.mpps import tell
from darkroom_transmit.remote.remotes import Busy, Remotes

log = get_logger(__name__)
NOTIFICATION: Final = "1.2.840.10008.5.1.4.33"
UNREADABLE_SECONDS: Final = 60.0
AT_ONCE: Final = 2
PHASES: Final = Phases(
    waiting="PENDING",
    working=("TELLING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
)
_WANT: Final = (
    "INSERT INTO transmit.notice (destination, destination_id, study_instance_uid, revision,"
    " traceparent) SELECT name, id, $1, $2, $3 FROM transmit.destination"
    " WHERE spec->>'availability' = 'true' AND spec->>'enabled' = 'true'"
    " ORDER BY name FOR SHARE ON CONFLICT DO NOTHING"
)


async def want_notices(
    db: Connection, study_instance_uid: str, revision: int, trace: dict[str, str]
) -> None:
    """Keep that destinations are to be told of a study: once of each revision."""
    await db.execute(_WANT, study_instance_uid, revision, trace.get("traceparent", ""))


async def _claimed(db: Connection, job: Attempt) -> Ending | None:
    """End a job whose destination is gone."""
    known = await identity(db, DESTINATIONS, job.lane, job.row["destination_id"])
    return None if known else Ending(PHASES.failed, "DestinationRemoved")


def notice_kind() -> JobKind[Attempt]:
    """Return the kind of what `want_notices` keeps."""
    return JobKind(
        name="notice",
        table="transmit.notice",
        lane="destination",
        phases=PHASES,
        attempt=Attempt,
        actions=usual_actions(PHASES),
        claimed=_claimed,
    )


@dataclass
class Notifier:
    """Tells destinations.

    Attributes:
        ae_title: where the images can be retrieved from: ours.
        keys: of headers, which name the performed procedure steps.
    """

    claims: Claims[Attempt]
    remotes: Remotes
    ae_title: str
    keys: PhiKeys
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self._attempt, at_once=AT_ONCE)

    async def _attempt(self, job: Attempt) -> Ending:
        study = job.row["study_instance_uid"]
        try:
            async with self.claims.database.acquire() as db:
                held = await references_of_study(db, study)
                steps = await steps_of_study(db, study, self.keys)
        except UnreadableRow:  # until PHI_KEYS has its key
            return Ending(PHASES.waiting, "UnreadableRow", wait=UNREADABLE_SECONDS)
        if not held:
            return Ending("DONE", "NoStudy")  # it has gone meanwhile: nothing is available
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, job.id).int}"
        attributes = notice(study, held, self.ae_title, steps)
        work = partial(
            tell,
            sop_instance_uid=uid,
            attributes=attributes,
            create=True,
            sop_class_uid=NOTIFICATION,
        )
        try:
            destination = await self.remotes.named(job.lane)
            job.backoff = destination.spec.backoff
            await self.remotes.ask(destination, "notice", work)
        except NotThere:
            return Ending(PHASES.failed, "UnknownDestination")
        except Unreadable:  # of a later version, which may come back
            return Ending(PHASES.waiting, "UnreadableDestination", wait=UNREADABLE_SECONDS)
        except (Busy, PeerFault) as fault:
            return self._not_told(job, fault)
        log.info("notice.told", destination=job.lane, study_instance_uid=study, images=len(held))
        return Ending("DONE")

    def _not_told(self, job: Attempt, fault: Busy | PeerFault) -> Ending:
        if isinstance(fault, Refused) and fault.status == DUPLICATE_SOP_INSTANCE:
            return Ending("DONE")  # it was told, and we did not hear that
        if isinstance(fault, PeerFault) and not fault.transient:
            return Ending(PHASES.failed, fault.reason, counts=True)
        reason = fault.reason if isinstance(fault, PeerFault) else "Busy"
        return self.claims.table.kind.again(job, job.backoff, reason, self.chance())


def notice(
    study_instance_uid: str,
    held: Sequence[Reference],
    ae_title: str,
    steps: Sequence[tuple[str, str]] = (),
) -> Dataset:
    """Return the attributes of a notification (PS3.4 table R.3.2-1).

    Args:
        study_instance_uid: of the study.
        held: its instances, those of a series one after the other.
        ae_title: where they can be retrieved from.
        steps: SOP class and instance of the performed procedure steps; there may be none.
    """
    found = Dataset()
    found.ReferencedPerformedProcedureStepSequence = []
    for sop_class, uid in steps:
        step = Dataset()
        step.ReferencedSOPClassUID, step.ReferencedSOPInstanceUID = sop_class, uid
        step.PerformedWorkitemCodeSequence = []
        found.ReferencedPerformedProcedureStepSequence.append(step)
    found.StudyInstanceUID = study_instance_uid
    found.ReferencedSeriesSequence = []
    series = ""
    for one in held:
        if one.series_instance_uid != series:
            series = one.series_instance_uid
            item = Dataset()
            item.SeriesInstanceUID = series
            item.ReferencedSOPSequence = []
            found.ReferencedSeriesSequence.append(item)
        image = Dataset()
        image.ReferencedSOPClassUID = one.sop_class_uid
        image.ReferencedSOPInstanceUID = one.sop_instance_uid
        image.InstanceAvailability = "ONLINE"
        image.RetrieveAETitle = ae_title
        found.ReferencedSeriesSequence[-1].ReferencedSOPSequence.append(image)
    return found
