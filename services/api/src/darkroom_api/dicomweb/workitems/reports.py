"""Reports of workitems as they are said (PS3.18 section 11.13), and how far who has got."""

from typing import Any, Final

import orjson

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.answer import element
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.as_workitem import tag_of
from darkroom_common.specs.worklist.workitems import (
    CANCEL_REQUESTED,
    EVENT,
    REPORT_PURPOSE,
    SCP_STATUS,
    STATE_REPORT,
)

_DELIVERED: Final = "SELECT delivered FROM api.workitem_subscriber WHERE ae_title = $1"
_DELIVER: Final = """
    INSERT INTO api.workitem_subscriber (ae_title, delivered) VALUES ($1, $2)
    ON CONFLICT (ae_title) DO UPDATE
    SET delivered = greatest(api.workitem_subscriber.delivered, $2), updated_at = now()
"""
_RESTARTED: Final = {
    tag_of("SCPStatus"): element("CS", "RESTARTED"),
    tag_of("SubscriptionListStatus"): element("CS", "WARM START"),
    tag_of("UnifiedProcedureStepListStatus"): element("CS", "WARM START"),
}
"""All subscriptions and workitems are as they were (PS3.4 table CC.2.4-1)."""
_MESSAGES: Final = 1 << 16
"""Message IDs there are (0000,0110)."""


def report_json(seal: Seal, row: Any) -> str:
    """Return a report as DICOM JSON."""
    said: JsonDataset = seal.open(row["sealed"], purpose=REPORT_PURPOSE) if row["sealed"] else {}
    kind = row["event_type"]
    made: JsonDataset = {
        "00000002": element("UI", EVENT),
        "00000110": element("US", row["number"] % _MESSAGES),
        "00001000": element("UI", row["sop_instance_uid"]),
        "00001002": element("US", kind),
    }
    if kind in (STATE_REPORT, CANCEL_REQUESTED):
        made[tag_of("ProcedureStepState")] = element("CS", row["state"])
        made[tag_of("InputReadinessState")] = element("CS", row["readiness"])
    if kind == SCP_STATUS and row["state"]:
        made[tag_of("SCPStatus")] = element("CS", row["state"])
    elif kind == SCP_STATUS:
        made |= _RESTARTED
    return orjson.dumps(made | said, option=orjson.OPT_SORT_KEYS).decode()


async def delivered_to(db: Connection, ae_title: str) -> int:
    """Return the number of the last report that has reached an AE; 0: none has."""
    return int(await db.fetchval(_DELIVERED, ae_title) or 0)


async def deliver(db: Connection, ae_title: str, number: int) -> None:
    """Keep that the reports up to a number have reached an AE."""
    await db.execute(_DELIVER, ae_title, number)
