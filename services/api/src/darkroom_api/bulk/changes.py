"""A change of many examinations, some of them in each transaction, with what has become of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry, address_in
from darkroom_api.audit.log import AuditLog
from darkroom_api.mail.recipients import address_named
from darkroom_api.mail.repository import Mail
from darkroom_api.studies.examinations import MOST, Examinations, ExamStatus, Failed, Outcome
from darkroom_common.postgres.pool import Connection

What = Literal["update_status", "assign_physician"]
SOME = MOST
"""Examinations in one transaction."""


@dataclass(frozen=True)
class Change:
    """What is to become of which examinations.

    Attributes:
        value: the status, or the name of the physician.
        notify: whether the physician hears of it by e-mail.
        exam_ids: each once.
        who: has asked, as it is audited.
    """

    what: What
    value: str
    reason: str
    notify: bool
    exam_ids: Sequence[str]
    who: Entry

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON. It holds PHI."""
        who = self.who
        return {
            "what": self.what,
            "value": self.value,
            "reason": self.reason,
            "notify": self.notify,
            "exam_ids": list(self.exam_ids),
            "who": {
                "user_id": who.user_id,
                "username": who.username,
                "address": None if who.address is None else str(who.address),
                "user_agent": who.user_agent,
                "privileged": who.privileged,
            },
        }

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> "Change":
        """Return it again."""
        who = given["who"]
        address = address_in(who["address"]) if who["address"] else None
        entry = Entry(Action.BULK_UPDATE, **{**who, "address": address})
        return cls(**{**given, "who": entry})


@dataclass
class Result:
    """What has become of those that were gone through."""

    done: int = 0
    changed: int = 0
    failed: list[Failed] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count in what has become of some."""
        self.done += len(outcome.done)
        self.changed += len(outcome.changed)
        self.failed += outcome.failed


@dataclass(frozen=True)
class Changes:
    """Makes changes, in the caller's transactions.

    Attributes:
        physicians: the address for physicians whose own is not known; nothing for none.
    """

    exams: Examinations
    audit: AuditLog
    mail: Mail
    physicians: str

    async def make(self, db: Connection, change: Change, some: Sequence[str]) -> Outcome:
        """Make a change of at most `SOME` of its examinations, and audit it."""
        by = change.who.username[:64]
        if change.what == "update_status":
            status = cast("ExamStatus", change.value)
            outcome = await self.exams.set_status(db, some, status, by=by, reason=change.reason)
        else:
            outcome = await self.exams.assign(db, some, change.value, by=by, reason=change.reason)
        details: dict[str, Any] = {
            "what": change.what,
            "done": len(outcome.done),
            "changed": len(outcome.changed),
            "failed": len(outcome.failed),
            "studies": sorted(outcome.changed),
        }
        if change.what == "update_status":
            details["new_status"] = change.value
        phi = {"exam_ids": list(some), "value": change.value, "reason": change.reason}
        kept = replace(change.who, resource_type="study", details=details, phi=phi)
        await self.audit.add(db, [kept])
        return outcome

    async def notify(self, db: Connection, change: Change, changed: int) -> None:
        """Have a physician hear of what was assigned, if that is wanted and anything was."""
        if not change.notify or not changed or change.what != "assign_physician":
            return
        own = await address_named(db, change.value)
        values = {
            "count": changed,
            "by": change.who.username,
            "physician": "" if own else change.value,
        }
        if to := own or self.physicians:
            await self.mail.put(db, "physician_assigned", to, values)
