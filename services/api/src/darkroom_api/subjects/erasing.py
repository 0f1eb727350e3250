"""What can be erased of a person today, and what stays, each with its reason (GDPR 17)."""

import datetime as dt
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from darkroom_api.http.parts import Parts
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.index.retention.holds import is_held
from darkroom_common.index.retention.judged import dated_of
from darkroom_common.index.retention.persons import studies_of_person
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers.transmit import sends_of

PURPOSE: Final = "erasure"
"""Of what is kept of one, sealed."""
Outcome = Literal["to_erase", "deleted", "kept", "held"]
_ELSEWHERE: Final = frozenset({"SENT", "COMMITTED"})


class Item(BaseModel):
    """A study of the person, and what was decided of it."""

    study_instance_uid: str
    study_date: dt.date | None
    modalities: list[str]
    objects: int
    outcome: Outcome = Field(
        description="to_erase; deleted: it was before, and waits to be purged; kept: by a rule of"
        " retention; held: under legal hold"
    )
    why: str = Field(description="the rule or the hold that keeps it; empty: nothing does")
    keep_until: dt.date | None = Field(description="the first day on which it may be erased")
    sent_to: list[str] = Field(description="destinations that have it: they are to be told")
    removal: str = Field(default="", description="the job that deletes it")


async def decide(db: Connection, parts: Parts, patient_key: bytes) -> list[Item]:
    """Return what is to be done with each study of a person, in a transaction that does it."""
    retention, today = parts.settings.retention, SYSTEM_CLOCK.now().date()
    found: dict[str, Item] = {}
    for row in await studies_of_person(db, parts.keys, patient_key):
        uid = row["study_instance_uid"]
        if uid in found:
            continue
        sent = await sends_of(db, uid)
        decided: dict[str, Any] = {"outcome": "to_erase", "why": "", "keep_until": None}
        kept = retention.kept(await dated_of(db, parts.keys, retention, uid))
        if row["status"] == "deleted":
            decided["outcome"] = "deleted"
        elif await is_held(db, uid):
            decided |= {"outcome": "held", "why": "legal hold"}
        elif today < kept.until:
            why = retention.in_words(kept.rule)
            decided |= {"outcome": "kept", "why": why, "keep_until": kept.until}
        found[uid] = Item(
            study_instance_uid=uid,
            study_date=row["study_date"],
            modalities=row["modalities"],
            objects=row["instance_count"],
            sent_to=sorted({one["destination"] for one in sent if one["state"] in _ELSEWHERE}),
            **decided,
        )
    return list(found.values())
