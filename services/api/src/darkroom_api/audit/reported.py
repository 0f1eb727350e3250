"""What other services report for the audit log: associations, orders, removals, repairs."""

from typing import Any, Final

import orjson

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry, address_in
from darkroom_api.audit.log import AuditLog
from darkroom_common.index.retention.judged import is_stored
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import (
    AssociationItem,
    AssociationsEnded,
    SettingsInForce,
    StudyRemoved,
)
from darkroom_common.messages.procedure_steps import WorklistChanged
from darkroom_common.messages.repairs import InstanceRepaired
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.topology import API_AUDIT

INBOX: Final = Inbox("api", API_AUDIT.name)
NODE: Final = "ae:"
"""Before the AE title of another node, where a user's id would stand."""
_REMOVED: Final = {"deleted": Action.STUDY_DELETE, "purged": Action.STUDY_PURGE}
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('api.service_setting'))"
_BEFORE: Final = "SELECT name, value, at FROM api.service_setting WHERE service = $1"
_FORGET: Final = "DELETE FROM api.service_setting WHERE service = $1"
_KEEP: Final = (
    "INSERT INTO api.service_setting (service, name, value, is_default, description, at)"
    " VALUES ($1, $2, $3::text::jsonb, $4, $5, $6)"
)
_FORGOTTEN: Final = (  # examination_change_study, examination_pkey
    "DELETE FROM api.examination_change WHERE study_instance_uid = $1",
    "DELETE FROM api.examination WHERE study_instance_uid = $1",
)
_STATED: Final = (
    "INSERT INTO api.stated (service, lines, at) VALUES ($1, $2::text::jsonb, $3)"
    " ON CONFLICT (service) DO UPDATE SET lines = excluded.lines, at = excluded.at"
)


class Reported:
    """Takes it, each message once.

    Args:
        database: of the api.
        audit: takes the rows.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def take(self, message: Message) -> None:
        """Write the rows of what has not come before."""
        async with self._database.transaction() as db:
            match message:
                case AssociationsEnded():
                    by_id = {item.receipt: item for item in message.items}
                    fresh = await INBOX.first_times(db, list(by_id))
                    entries = [_association(item) for key, item in by_id.items() if key in fresh]
                case StudyRemoved():
                    new = await INBOX.first_time(db, message.id)
                    entries = [_removed(message)] if new else []
                    if new and message.how == "purged" and message.part is None:
                        await _forget(db, message.study_instance_uid)
                case InstanceRepaired():
                    new = await INBOX.first_time(db, message.id)
                    entries = [_repaired(message)] if new else []
                case SettingsInForce():
                    new = await INBOX.first_time(db, message.id)
                    entries = await _settings(db, message) if new else []
                case WorklistChanged():
                    new = await INBOX.first_time(db, message.id)
                    entries = [_ordered(message)] if new else []
                case _:
                    raise TypeError(f"{API_AUDIT.name} got {message.TYPE}")
            if entries:
                await self._audit.add(db, entries)


def _association(item: AssociationItem) -> Entry:
    """Return what is kept of an association."""
    other = item.calling_ae_title if item.direction == "in" else item.called_ae_title
    details = item.model_dump(
        mode="json", exclude={"receipt", "traceparent", "ended_at"}, exclude_defaults=True
    )
    return Entry(
        Action.DICOM_ASSOCIATION,
        "association",
        item.receipt,
        user_id=f"{NODE}{other}" if other else "",
        username=other,
        address=address_in(item.peer),
        outcome="success" if item.result == "released" and not item.failures else "failure",
        details=details,
        at=item.ended_at,
    )


async def _forget(db: Connection, study: str) -> None:
    """Let what people said of an examination go with its study, unless it has come again."""
    if not await is_stored(db, study):
        for sql in _FORGOTTEN:
            await db.execute(sql, study)


def _removed(message: StudyRemoved) -> Entry:
    details = {"removal": message.removal_id, "requested_by": message.requested_by}
    if message.part is not None:
        details["part"] = message.part
    elif message.how == "purged":
        details["objects"] = str(message.objects)
    if message.rule:
        details["rule"] = message.rule
    return Entry(
        _REMOVED[message.how],
        "study",
        message.study_instance_uid,
        privileged=True,
        details=details,
        at=message.occurred_at,
    )


def _repaired(message: InstanceRepaired) -> Entry:
    return Entry(
        Action.OBJECT_REPAIR,
        "instance",
        message.sop_instance_uid,
        details={"kind": message.kind, "study": message.study_instance_uid},
        at=message.occurred_at,
    )


def _ordered(message: WorklistChanged) -> Entry:
    return Entry(
        Action.WORKLIST_UPDATE,
        "worklist",
        message.entries[0] if len(message.entries) == 1 else "",
        username=message.by,
        address=address_in(message.peer),
        details={"kind": message.kind, "entries": list(message.entries[:100])},
        at=message.occurred_at,
    )


async def _settings(db: Connection, message: SettingsInForce) -> list[Entry]:
    """Keep what a service works with from now on; return what is to be said of a change."""
    await db.execute(_LOCK)
    rows = await db.fetch(_BEFORE, message.service)
    if any(row["at"] > message.occurred_at for row in rows):
        return []  # it has started again since
    before: dict[str, Any] = {row["name"]: orjson.loads(row["value"]) for row in rows}
    after = {one.name: one.value for one in message.settings}
    await db.execute(_FORGET, message.service)
    for one in message.settings:
        value = orjson.dumps(one.value).decode()
        kept = (one.name, value, one.is_default, one.description, message.occurred_at)
        await db.execute(_KEEP, message.service, *kept)
    lines = orjson.dumps([one.model_dump() for one in message.stated]).decode()
    await db.execute(_STATED, message.service, lines, message.occurred_at)
    changed = {
        name: {"old": before.get(name), "new": after.get(name)}
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }
    if not before or not changed:
        return []
    return [
        Entry(
            Action.SETTING_CHANGE,
            "service",
            message.service,
            privileged=True,
            details={"changed": changed},
            at=message.occurred_at,
        )
    ]
