"""The table `ingest.workitem`: unified procedure steps, and what becomes of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.clock import utc_now
from darkroom_common.dicom.identity import derived_uid
from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.answer import element
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.worklist.workitems import (
    CANCEL_REQUESTED,
    STATE_REPORT,
    WORKITEM_PURPOSE,
    Payload,
    UpsStatus,
    entry_of_uid,
)
from darkroom_ingest.workitems import rules
from darkroom_ingest.workitems.reading import NotTaken, read
from darkroom_ingest.workitems.rules import Known, one
from darkroom_ingest.workitems.subscriptions import Report, Subscriptions
from darkroom_ingest.worklist.entries import Entries

_ADD: Final = """
    INSERT INTO ingest.workitem (sop_instance_uid, state, readiness, scheduled_at, patient_key,
        sealed, requested_by)
    SELECT $1, 'SCHEDULED', $2, $3, $4, $5, $6
    WHERE NOT EXISTS (SELECT FROM ingest.workitem_gone WHERE sop_instance_uid = $1)
        AND NOT EXISTS (SELECT FROM ingest.worklist WHERE id = $7)
    ON CONFLICT DO NOTHING RETURNING true
"""
_MADE_BY: Final = "SELECT true FROM ingest.workitem WHERE sop_instance_uid = $1"
_LOCK: Final = (
    "SELECT state, transaction_key, sealed FROM ingest.workitem"
    " WHERE sop_instance_uid = $1 FOR UPDATE"
)
_CHANGE: Final = """
    UPDATE ingest.workitem SET version = version + 1, updated_at = now(), state = $2,
        readiness = $3, scheduled_at = $4, transaction_key = coalesce($5, transaction_key),
        sealed = $6
    WHERE sop_instance_uid = $1
"""
_GONE: Final = "SELECT true FROM ingest.workitem_gone WHERE sop_instance_uid = $1"
_ENTRY: Final = "SELECT true FROM ingest.worklist WHERE id = $1"
_FIELD: Final = "TransactionUID"


@dataclass(frozen=True)
class Done:
    """What came of a request.

    Attributes:
        uid: of the workitem.
        state: that it is in.
    """

    uid: str
    status: UpsStatus
    state: str = ""


@dataclass(frozen=True)
class Workitems:
    """Reads and writes workitems, and has their subscribers told."""

    entries: Entries
    subscriptions: Subscriptions

    async def create(self, uid: str | None, payload: Payload, *, by: str, request: str) -> Done:
        """Keep a new workitem (PS3.4 section CC.2.5).

        Args:
            uid: of the address; None: the payload's, or a new one.
            payload: its data set.
            by: who makes it.
            request: id of the message: the same makes no second one.

        Raises:
            NotTaken: there is one of this UID, or it is none to begin with.
        """
        given = read(payload)
        named = uid or one(given, rules.SOP_INSTANCE)
        uid, whole, modified = rules.created(given, named or derived_uid(request), utc_now())
        patient = one(whole, rules.PATIENT_ID)
        async with self.entries.database.transaction() as db:
            await self.subscriptions.hold(db)
            added = await db.fetchval(
                _ADD,
                uid,
                one(whole, rules.READINESS),
                rules.start_of(whole),
                self.entries.blind.exact("PatientID", patient) if patient else None,
                self._sealed(whole),
                by,
                entry_of_uid(uid) or "",
            )
            if not added and not (not named and await db.fetchval(_MADE_BY, uid)):
                raise NotTaken(UpsStatus.DUPLICATE_SOP_INSTANCE, "there is such a workitem")
            if added:
                await self.subscriptions.follow(db, uid, whole)
                await self._tell(db, uid, [(STATE_REPORT, {})], whole)
        status = UpsStatus.MODIFIED if modified else UpsStatus.SUCCESS
        return Done(uid, status, "SCHEDULED")

    async def update(self, uid: str, payload: Payload) -> Done:
        """Set attributes of a workitem (PS3.4 section CC.2.6).

        Raises:
            NotTaken: it is not there, or may not be updated so.
        """
        given = read(payload)
        transaction = payload.transaction_uid or one(given, rules.TRANSACTION)
        async with self.entries.database.transaction() as db:
            known = await self._known(db, uid, transaction)
            whole = rules.updated(known, given, transaction, utc_now())
            await self._change(db, known, whole)
        return Done(uid, UpsStatus.SUCCESS, known.state)

    async def change_state(self, uid: str, payload: Payload) -> Done:
        """Claim, complete or cancel a workitem (PS3.4 section CC.2.1).

        Raises:
            NotTaken: it is not there, or may not be in this state.
        """
        given = read(payload)
        transaction = one(given, rules.TRANSACTION) or payload.transaction_uid
        given[rules.TRANSACTION] = element("UI", *([transaction] if transaction else []))
        async with self.entries.database.transaction() as db:
            known = await self._known(db, uid, transaction)
            state, whole, status = rules.changed(known, given, utc_now())
            if status is UpsStatus.SUCCESS:
                claims = transaction if state == "IN PROGRESS" else ""
                await self._change(db, known, whole, claims=claims)
        return Done(uid, status, state)

    async def request_cancel(self, uid: str, payload: Payload, *, requester: str) -> Done:
        """Cancel what nobody has claimed, else tell its owner of the wish (PS3.4 section CC.2.2).

        Raises:
            NotTaken: it is not there, or has been completed.
        """
        why = read(payload) if payload.content.strip() else {}
        async with self.entries.database.transaction() as db:
            known = await self._known(db, uid, "")
            if known.state == "COMPLETED":
                raise NotTaken(UpsStatus.COMPLETED, "it is COMPLETED")
            if known.state == "CANCELED":
                return Done(uid, UpsStatus.ALREADY_CANCELED, known.state)
            if known.state == "IN PROGRESS":
                told = {tag: why[tag] for tag in _WISH if tag in why}
                told["00741236"] = element("AE", *([requester] if requester else []))
                await self._tell(db, uid, [(CANCEL_REQUESTED, told)], known.attributes)
                return Done(uid, UpsStatus.SUCCESS, known.state)
            between = known.attributes | {rules.STATE: element("CS", "IN PROGRESS")}
            await self._tell(db, uid, [(STATE_REPORT, {})], between)
            began = Known("IN PROGRESS", between, claimed_by=True)
            whole = rules.canceled(between, why, utc_now())
            await self._change(db, began, whole)
        return Done(uid, UpsStatus.SUCCESS, "CANCELED")

    async def _known(self, db: Connection, uid: str, transaction: str) -> Known:
        row = await db.fetchrow(_LOCK, uid)
        if row is None:
            gone = await db.fetchval(_GONE, uid)
            is_entry = await db.fetchval(_ENTRY, entry_of_uid(uid) or "")
            raise _not_there(entry=bool(is_entry), gone=bool(gone))
        claimed = bool(transaction) and row["transaction_key"] == self._key(uid, transaction)
        attributes = self.entries.seal.open(row["sealed"], purpose=WORKITEM_PURPOSE)
        return Known(row["state"], attributes, claimed)

    async def _change(
        self, db: Connection, known: Known, whole: JsonDataset, *, claims: str = ""
    ) -> None:
        uid = one(whole, rules.SOP_INSTANCE)
        key = self._key(uid, claims) if claims else None
        state, readiness = one(whole, rules.STATE), one(whole, rules.READINESS)
        start, sealed = rules.start_of(whole), self._sealed(whole)
        await db.execute(_CHANGE, uid, state, readiness, start, key, sealed)
        await self._tell(db, uid, rules.reports_of(known.attributes, whole), whole)

    async def _tell(
        self, db: Connection, uid: str, reports: Iterable[tuple[int, Any]], whole: JsonDataset
    ) -> None:
        for kind, said in reports:
            state, readiness = one(whole, rules.STATE), one(whole, rules.READINESS)
            await self.subscriptions.tell(db, uid, Report(kind, state, readiness, said))

    def _sealed(self, attributes: JsonDataset) -> str:
        return self.entries.seal.seal(attributes, purpose=WORKITEM_PURPOSE)

    def _key(self, uid: str, transaction: str) -> bytes:
        return self.entries.blind.exact(_FIELD, f"{uid}\\{transaction}")


_WISH: Final = (rules.REASON, rules.REASON_CODE, rules.CONTACT_NAME, rules.CONTACT_URI)


def _not_there(*, entry: bool, gone: bool) -> NotTaken:
    if entry:
        text = "it is of the modality worklist: its modality says what becomes of it"
        return NotTaken(UpsStatus.NOT_AUTHORISED, text)
    status = UpsStatus.GONE if gone else UpsStatus.NOT_THERE
    return NotTaken(status, "it was removed" if gone else "there is no such workitem")
