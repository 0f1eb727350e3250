"""What other services report becomes rows of the audit log, once."""

import json
from typing import Any

import pytest

from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.reported import Reported
from darkroom_common.messages.base import Message, new_message_id
from darkroom_common.messages.events import SettingItem, SettingsInForce, StudyRemoved
from darkroom_common.messages.procedure_steps import WorklistChanged
from darkroom_common.messages.repairs import InstanceRepaired
from darkroom_common.postgres.pool import Database


def settings(**values: Any) -> SettingsInForce:
    items = [SettingItem(name=name, value=one, is_default=False) for name, one in values.items()]
    return SettingsInForce(service="ingest", settings=tuple(items))


async def taken(database: Database, audit: AuditLog, *messages: Message) -> list[dict[str, Any]]:
    """Take messages, each twice; return the rows that came of them."""
    reported = Reported(database, audit)
    async with database.acquire() as db:
        before = {row["log_id"] for row in await db.fetch("SELECT log_id FROM api.audit_log")}
    for message in (*messages, *messages):
        await reported.take(message)
    async with database.acquire() as db:
        rows = await db.fetch("SELECT * FROM api.audit_log ORDER BY recorded_at")
    fresh = [dict(row) for row in rows if row["log_id"] not in before]
    return [row | {"details": json.loads(row["details"])} for row in fresh]


@pytest.mark.req("STO-04")
async def test_what_is_purged_has_a_row(database: Database, audit: AuditLog) -> None:
    asked = new_message_id()
    gone = StudyRemoved(
        study_instance_uid="1.2.3", how="purged", removal_id=asked, requested_by="ann", objects=3
    )
    (row,) = await taken(database, audit, gone)
    assert (row["action"], row["resource_id"], row["privileged"]) == ("STUDY_PURGE", "1.2.3", True)
    assert row["details"] == {"removal": asked, "requested_by": "ann", "objects": "3"}
    assert row["username"] == ""  # the system does it, long after ann has asked
    by_message = StudyRemoved(study_instance_uid="1.2.4", how="deleted", removal_id=asked)
    (row,) = await taken(database, audit, by_message)
    assert (row["action"], row["resource_id"]) == ("STUDY_DELETE", "1.2.4")


async def test_an_order_that_changes_the_worklist_has_a_row(
    database: Database, audit: AuditLog
) -> None:
    entry = new_message_id()
    told = WorklistChanged(
        source="hl7", kind="ORM^O01", by="hl7:RIS", peer="10.0.0.7", entries=(entry,)
    )
    (row,) = await taken(database, audit, told)
    assert (row["action"], row["resource_id"]) == ("WORKLIST_UPDATE", entry)
    assert (row["username"], str(row["ip_address"])) == ("hl7:RIS", "10.0.0.7")
    assert row["details"] == {"kind": "ORM^O01", "entries": [entry]}


async def test_a_service_that_starts_with_other_settings_has_a_row(
    database: Database, audit: AuditLog
) -> None:
    first = settings(DARKROOM_A=1, DARKROOM_B="x", DARKROOM_C=None)
    assert await taken(database, audit, first) == []
    assert await taken(database, audit, settings(**_values(first))) == []
    later = settings(DARKROOM_A=2, DARKROOM_B="x", DARKROOM_D=[1])
    (row,) = await taken(database, audit, later)
    assert (row["action"], row["resource_type"], row["resource_id"]) == (
        "SETTING_CHANGE",
        "service",
        "ingest",
    )
    assert row["details"]["changed"] == {
        "DARKROOM_A": {"old": 1, "new": 2},
        "DARKROOM_D": {"old": None, "new": [1]},
    }
    late = first.model_copy(update={"id": new_message_id()})
    assert await taken(database, audit, late) == []  # of a start that is over
    async with database.acquire() as db:
        kept = await db.fetch("SELECT name FROM api.service_setting ORDER BY name")
    assert [one["name"] for one in kept] == ["DARKROOM_A", "DARKROOM_B", "DARKROOM_D"]


def _values(message: SettingsInForce) -> dict[str, Any]:
    return {one.name: one.value for one in message.settings}


@pytest.mark.req("STO-08")
async def test_an_object_that_was_repaired_has_a_row(database: Database, audit: AuditLog) -> None:
    told = InstanceRepaired(
        receipt=new_message_id(),
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        sop_instance_uid="1.2.3.4.5",
        object_key="a/b",
        kind="altered-object",
        sha256="0" * 64,
        size=10,
    )
    (row,) = await taken(database, audit, told)
    assert (row["action"], row["resource_id"]) == ("OBJECT_REPAIR", "1.2.3.4.5")
    assert row["details"] == {"kind": "altered-object", "study": "1.2.3"}
