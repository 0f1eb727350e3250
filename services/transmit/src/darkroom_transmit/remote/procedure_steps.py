"""Performed procedure steps: kept before and after another node is told of them (TRX-10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydicom.dataset import Dataset

from darkroom_common.clock import utc_now
from darkroom_common.dicom.json_model import to_json
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.dimse.statuses import DUPLICATE_SOP_INSTANCE
from darkroom_common.dimse.users.find import Refused
from darkroom_common.index.objects import references
from darkroom_common.messages.base import Reply
from darkroom_common.messages.requests import CreateProcedureStep, SetProcedureStep
from darkroom_common.postgres.pool import Database
from darkroom_common.resources.resource import NotThere
from darkroom_common.seal import Seal
from darkroom_common.specs.remote import NewProcedureStep, ProcedureStepChange, Reference
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.remote.mpps import tell
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.remote.step_attributes import FINAL, changed, created, local

log = get_logger(__name__)
PURPOSE: Final = "procedure step"
"""What the attributes in the table are sealed for."""
_CHANGE: Final = (
    "INSERT INTO transmit.change (by, action, kind, name) VALUES ($1, $2, 'procedure-step', $3)"
)


@dataclass(frozen=True)
class ProcedureSteps:
    """Writes the table `procedure_step`."""

    database: Database
    seal: Seal
    remotes: Remotes

    async def create(self, asked: CreateProcedureStep, step: NewProcedureStep) -> Reply:
        """Tell that a step has begun; asking twice tells once.

        Raises:
            NotThere: there is no such destination.
            PeerFault: the node refuses, or it is not known whether it has taken it.
        """
        destination = await self.remotes.named(asked.remote)
        self.remotes.peer(destination)
        uid = asked.sop_instance_uid
        spec = destination.spec
        started = local(step.started_at, spec.time_zone, utc_now())
        attributes = created(step, station=spec.calling_ae_title, started=started)
        before = await self._begin(asked, attributes)
        if before is not None and before != "CREATING":
            if before == "IN PROGRESS":
                return Reply(outcome="done", body={"sop_instance_uid": uid, "state": before})
            return Reply(outcome="conflict", reason=f"there is such a step, {before}")
        try:
            status = await self.remotes.ask(
                destination,
                "create",
                partial(tell, sop_instance_uid=uid, attributes=attributes, create=True),
            )
        except Refused as fault:
            # The answer to an earlier attempt may have been lost; the step is there.
            if not (before == "CREATING" and fault.status == DUPLICATE_SOP_INSTANCE):
                await self._keep(uid, "REFUSED", fault.reason, fault.status)
                raise
            status = fault.status
        except PeerFault as fault:
            await self._keep(uid, "CREATING", fault.reason, None)
            raise
        await self._keep(uid, "IN PROGRESS", "", status)
        log.info(
            "procedure_step.created",
            sop_instance_uid=uid,
            destination=asked.remote,
            by=asked.requested_by,
        )
        return Reply(outcome="created", body={"sop_instance_uid": uid, "state": "IN PROGRESS"})

    async def _begin(self, asked: CreateProcedureStep, attributes: Dataset) -> str | None:
        """Keep a step that is to be told of; return the state of one that is there already."""
        sealed = self.seal.seal(to_json(attributes), purpose=PURPOSE)
        async with self.database.transaction() as db:
            row = await db.fetchrow(
                "SELECT state, remote FROM transmit.procedure_step WHERE sop_instance_uid = $1"
                " FOR UPDATE",
                asked.sop_instance_uid,
            )
            if row is not None and row["remote"] != asked.remote:
                return "at another destination"
            if row is not None and row["state"] not in ("CREATING", "REFUSED"):
                return str(row["state"])
            await db.execute(
                "INSERT INTO transmit.procedure_step"
                " (sop_instance_uid, remote, sealed, requested_by) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (sop_instance_uid) DO UPDATE SET state = 'CREATING',"
                " sealed = excluded.sealed, requested_by = excluded.requested_by,"
                " updated_at = now()",
                asked.sop_instance_uid,
                asked.remote,
                sealed,
                asked.requested_by,
            )
            await db.execute(_CHANGE, asked.requested_by, "added", asked.sop_instance_uid)
        return "CREATING" if row is not None and row["state"] == "CREATING" else None

    async def _keep(self, uid: str, state: str, reason: str, status: int | None) -> None:
        async with self.database.acquire() as db:
            await db.execute(
                "UPDATE transmit.procedure_step SET state = $2, reason = $3, status = $4,"
                " updated_at = now() WHERE sop_instance_uid = $1",
                uid,
                state,
                reason,
                status,
            )

    async def set(self, asked: SetProcedureStep, change: ProcedureStepChange) -> Reply:
        """Tell what has become of a step; a final state stays.

        Raises:
            NotThere: there is no such step.
            PeerFault: the node refuses, or it is not known whether it has taken it.
        """
        uid = asked.sop_instance_uid
        async with self.database.acquire() as db:
            row = await db.fetchrow(
                "SELECT remote, state FROM transmit.procedure_step WHERE sop_instance_uid = $1", uid
            )
        if row is None:
            raise NotThere("there is no such procedure step")
        if row["state"] != "IN PROGRESS":
            if row["state"] == change.status:
                return Reply(outcome="conflict", reason="the step has ended like this before")
            return Reply(outcome="conflict", reason=f"the step is {row['state']}")
        destination = await self.remotes.named(row["remote"])
        now = utc_now()
        wanted = [one.series_instance_uid for one in change.series if one.images is None]
        attributes = changed(
            change,
            ended=local(change.ended_at, destination.spec.time_zone, now),
            stored=await self._stored(wanted),
        )
        try:
            status = await self.remotes.ask(
                destination,
                "set",
                partial(tell, sop_instance_uid=uid, attributes=attributes, create=False),
            )
        except PeerFault as fault:
            number = fault.status if isinstance(fault, Refused) else None
            await self._keep(uid, "IN PROGRESS", fault.reason, number)
            raise
        await self._merge(asked, change.status, to_json(attributes), status)
        log.info(
            "procedure_step.changed",
            sop_instance_uid=uid,
            state=change.status,
            by=asked.requested_by,
        )
        return Reply(outcome="done", body={"sop_instance_uid": uid, "state": change.status})

    async def _stored(self, series: Sequence[str]) -> dict[str, list[Reference]]:
        found: dict[str, list[Reference]] = {}
        if not series:
            return found
        async with self.database.acquire() as db:
            stored = await references(db, series)
        for one in stored:
            found.setdefault(one.series_instance_uid, []).append(
                Reference.model_construct(
                    sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid
                )
            )
        return found

    async def _merge(
        self, asked: SetProcedureStep, state: str, attributes: dict[str, Any], status: int
    ) -> None:
        async with self.database.transaction() as db:
            sealed = await db.fetchval(
                "SELECT sealed FROM transmit.procedure_step WHERE sop_instance_uid = $1 FOR UPDATE",
                asked.sop_instance_uid,
            )
            known: dict[str, Any] = self.seal.open(sealed, purpose=PURPOSE)
            merged = self.seal.seal(known | attributes, purpose=PURPOSE)
            await db.execute(
                "UPDATE transmit.procedure_step SET state = $2, sealed = $3, reason = '',"
                " status = $4, updated_at = now() WHERE sop_instance_uid = $1"
                " AND NOT state = ANY($5::text[])",
                asked.sop_instance_uid,
                state,
                merged,
                status,
                sorted(FINAL),
            )
            await db.execute(_CHANGE, asked.requested_by, "changed", asked.sop_instance_uid)
